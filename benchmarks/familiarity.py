"""Students and structures unlike their training: how often the flag is right, and how much it misses.

python -m benchmarks.familiarity DISTILLED             # a folder of atomsim distill: its summary, made and judged
python -m benchmarks.familiarity DISTILLED --write     # and put beside the shipped student of that name
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from atomsim import catalog
from atomsim.batching.labels import label
from atomsim.distill.familiarity import TIMES, familiar_of, learned_from, over_card
from atomsim.distill.recipe import load_recipe
from atomsim.models.familiarity import Familiarity, features_of, from_safetensors
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from atomsim.registry.cards import card_text, load_card
from atomsim.structures.prototypes import load_prototype, prototype_names
from atomsim.structures.random import displaced, nearest_pair


def foreign_crystals(symbols: Sequence[str], known: Sequence[str], each: int, seed: int = 3) -> list[Atoms]:
    """Make crystals of prototypes that a recipe does not name: cations and anions replaced, scaled by covalent radii.

    Args:
        symbols: elements that the student knows.
        known: prototypes of its recipe, left out.
        each: frames of each crystal, displaced and strained a little.
        seed: of elements, displacements and strains.
    """
    rng = np.random.default_rng(seed)
    anions = [s for s in symbols if s in ("O", "S", "P")]
    cations = [s for s in symbols if s not in anions]
    found = []
    for name in prototype_names():
        atoms = load_prototype(name).primitive
        if name in known or len(atoms) > 60:
            continue
        replaced = {
            s: s if s in symbols else str(rng.choice(anions if s in ("O", "S", "P", "Cl", "F") else cations))
            for s in dict.fromkeys(atoms.get_chemical_symbols())
        }
        other = Atoms(
            [replaced[s] for s in atoms.get_chemical_symbols()], positions=atoms.positions, cell=atoms.cell, pbc=True
        )
        scale = covalent_radii[other.numbers].sum() / covalent_radii[atoms.numbers].sum()
        other.set_cell(other.cell.array * scale, scale_atoms=True)
        found += [displaced(other, 0.05, 0.06, rng) for _ in range(each)]
    return [f for f in found if nearest_pair(f) > 0.5]


def judged(known: Familiarity, frames: Sequence[Atoms], student: MacePotential, errors: Mapping[str, float]) -> str:
    """Return precision and recall on labelled frames as one line."""
    wrong = over_card(frames, student, errors) > TIMES
    far = np.array([known.of_atoms(features_of(f, student), f.numbers).mean() for f in frames]) > 1
    hits = int((far & wrong).sum())
    return (
        f"{len(frames)} frames, {int(wrong.sum())} wrongly described, {int(far.sum())} flagged: "
        f"precision {hits / max(1, far.sum()):.2f}, recall {hits / max(1, wrong.sum()):.2f}"
    )


def main() -> None:
    """Make the summary of a distillation's student, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("distilled", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    recipe = load_recipe(given.distilled / "recipe.toml")
    name = recipe.header.name
    card = load_card(name)
    student, teacher = load_potential(name, "cpu"), load_potential(recipe.header.teacher, "cpu")
    assert isinstance(student, MacePotential)
    frames = learned_from(given.distilled)
    print(f"{name}: {len(frames)} training frames", flush=True)
    found = familiar_of(recipe, teacher, student, frames, given.distilled, card.errors, print)
    if found is None:
        return
    known = from_safetensors((given.distilled / found.file).read_bytes())
    own = [s.prototype for s in recipe.systems if s.prototype]
    foreign = label(foreign_crystals(recipe.symbols, own, 4), teacher)
    print(f"foreign crystals: {judged(known, foreign, student, card.errors)}")
    if given.write:
        folder = catalog.folder("potentials")
        shutil.copy(given.distilled / found.file, folder)
        (folder / f"{name}.toml").write_text(card_text(card.model_copy(update={"familiar": found})), encoding="utf-8")


if __name__ == "__main__":
    main()
