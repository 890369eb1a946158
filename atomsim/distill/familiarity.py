"""Where a student may be trusted: a summary of what it learned from, with a limit that its errors decide.

Frames from like the training to nothing like it are made of a recipe's own systems and labelled by the teacher. The
limit is the smallest distance in feature space above which most frames have more than twice the error of the card; it
is chosen on half of the frames, and precision and recall are counted on the other half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from atomsim.batching.labels import label
from atomsim.distill.labelling import largest_force, read_frames, write_frames
from atomsim.distill.recipe import Recipe
from atomsim.distill.sampling import seed_of
from atomsim.distill.structures import structures_of
from atomsim.dynamics import Langevin
from atomsim.dynamics.trajectory import snapshots, stable
from atomsim.errors import InputError
from atomsim.io.files import replacing
from atomsim.models.familiarity import Familiarity, HasFeatures, features_of, to_safetensors
from atomsim.models.interface import EnergyModel
from atomsim.models.mace.potential import MacePotential
from atomsim.registry.cards import Familiar
from atomsim.structures.random import compressed, displaced, nearest_pair
from atomsim.types import FloatArray

STRANGE = 600
"""Strange frames that are made."""
TIMES = 2.0
"""Error over that of the card above which a structure is wrongly described."""
PRECISION = 0.85
"""Share of the flagged that must be wrongly described where the limit is chosen."""
TOO_NEAR = 0.45
"""Part of the covalent sum: what is nearer is no structure."""
WILD_EV_PER_A = 60.0
"""Frames with larger forces are left out: nobody asks about these."""


@dataclass(frozen=True)
class Calibration:
    """A limit, and how good it is on frames that it was not chosen on."""

    limit: float
    precision: float
    """Share of the flagged that have more than twice the error of the card."""
    recall: float
    """Share of those with more than twice that error that are flagged."""
    structures: int
    """Frames that this was counted on."""


def summary(frames: Sequence[Atoms], student: HasFeatures) -> Familiarity:
    """Summarise the atoms of all training frames."""
    features = np.concatenate([features_of(frame, student) for frame in frames])
    return Familiarity.of(features, np.concatenate([frame.numbers for frame in frames]))


def strange_frames(recipe: Recipe, student: EnergyModel, number: int) -> list[Atoms]:
    """Make frames of a recipe's systems: displaced, strained, exchanged, pushed together, molten."""
    rng = np.random.default_rng(seed_of(recipe, "strange"))
    crystals = [a for s in recipe.systems for a in structures_of(s, rng) if len(a) <= 64]
    found: list[Atoms] = []
    for n in range(number):
        begin = crystals[int(rng.integers(len(crystals)))]
        found.append(_ODD[n % len(_ODD)](begin, rng))
    starts = [displaced(crystals[int(rng.integers(len(crystals)))], 0.05, 0.02, rng) for _ in range(number // 20)]
    heats = [(1000.0, 2000.0, 3000.0)[n % 3] for n in range(len(starts))]
    seeds = rng.integers(2**31, size=len(starts)).tolist()
    seen = snapshots(starts, student, heats, seeds, Langevin(1.0, 0.02), steps=200, every=50)
    found += [frame for s in stable(seen) for frame in s.state.batch.to("cpu").split()]
    return [Atoms(f.numbers, f.positions, cell=f.cell, pbc=f.pbc) for f in found if nearest_pair(f) > TOO_NEAR]


def _displaced(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    return displaced(atoms, rng.uniform(0.02, 0.45), 0.03, rng)


def _strained(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    return displaced(atoms, 0.05, rng.uniform(0.03, 0.25), rng)


def _exchanged(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Unlike atoms exchanged: one pair to a quarter of all."""
    found: Atoms = displaced(atoms, 0.05, 0.02, rng)
    for _ in range(int(rng.integers(1, max(2, len(atoms) // 4)))):
        i, j = rng.integers(len(atoms), size=2)
        found.numbers[[i, j]] = found.numbers[[j, i]]
    return found


def _pushed(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    element = str(rng.choice(sorted(set(atoms.get_chemical_symbols()))))
    return compressed(displaced(atoms, 0.05, 0.02, rng), element, rng.uniform(1.1, 2.2), rng)


_ODD = (_displaced, _strained, _exchanged, _pushed)


def labelled_by(teacher: EnergyModel, frames: Sequence[Atoms]) -> list[Atoms]:
    """Label frames, and leave out those that nobody would ask about."""
    return [f for f in label(list(frames), teacher) if largest_force(f) < WILD_EV_PER_A]


def over_card(frames: Sequence[Atoms], student: EnergyModel, errors: Mapping[str, float]) -> FloatArray:
    """Error of each labelled frame over that of the card: of its energy or of its forces, the larger, (n_frames,).

    Args:
        frames: with the teacher's energies and forces.
        student: the student.
        errors: of its card, on held-out crystals.
    """
    own = label(list(frames), student)
    force, energy = errors["crystal_forces_MAE_meV_per_A"], errors["crystal_energy_MAE_meV_per_atom"]
    found = []
    for ours, theirs in zip(own, frames, strict=True):
        a, b = ours.calc.results, theirs.calc.results
        off = 1e3 * abs(a["energy"] - b["energy"]) / len(theirs)
        found.append(max(off / energy, 1e3 * float(np.abs(a["forces"] - b["forces"]).mean()) / force))
    return np.array(found)


def calibrate(
    distances: Sequence[float] | FloatArray, errors: Sequence[float] | FloatArray, allowed: float
) -> Calibration:
    """Choose the limit on every other frame, and judge it on those between.

    Args:
        distances: unfamiliarity of frames with a limit of 1, (n_frames,).
        errors: of the same frames, (n_frames,).
        allowed: error above which a frame is wrongly described.

    Raises:
        InputError: if there are too few frames, or no distance tells the wrongly described from the others.
    """
    d, wrong = np.asarray(distances, float), np.asarray(errors, float) > allowed
    if len(d) < 20:
        raise InputError(f"found {len(d)} frames to calibrate a limit on, wanted 20 or more; make more of them")
    chosen, judged = slice(0, None, 2), slice(1, None, 2)
    order = np.argsort(-d[chosen], kind="stable")
    precision = np.cumsum(wrong[chosen][order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(precision >= PRECISION)
    if not len(good):
        raise InputError(
            "no distance from the training tells frames of large error from others; learn from more frames"
        )
    limit = float(d[chosen][order][good[-1]])
    flagged = d[judged] >= limit
    hits = int((flagged & wrong[judged]).sum())
    return Calibration(
        limit, hits / max(1, int(flagged.sum())), hits / max(1, int(wrong[judged].sum())), len(d[judged])
    )


def familiarity_of(
    frames: Sequence[Atoms], strange: Sequence[Atoms], student: MacePotential, errors: Mapping[str, float]
) -> tuple[Familiarity, Calibration]:
    """Summarise training frames, and calibrate the limit on labelled strange ones.

    Args:
        frames: that it learned from.
        strange: labelled, that it did not.
        student: the student.
        errors: of its card, on held-out crystals.
    """
    known = summary(frames, student)
    rows = [float(known.of_atoms(features_of(f, student), f.numbers).mean()) for f in strange]
    calibration = calibrate(rows, over_card(strange, student, errors), TIMES)
    return known.with_limit(calibration.limit), calibration


def learned_from(out: Path) -> list[Atoms]:
    """Return all frames of a distillation but those held out."""
    paths = sorted((out / "labels").glob("*.extxyz"))
    return [frame for path in paths if not path.stem.endswith("-test") for frame in read_frames(path)]


def familiar_of(
    recipe: Recipe, teacher: EnergyModel, student: MacePotential, frames: Sequence[Atoms], out: Path,
    errors: Mapping[str, float], say: Callable[[str], None] = lambda _: None,
) -> Familiar | None:  # fmt: skip
    """Write a summary of what a student learned from beside its weights; its errors on strange frames decide the limit.

    Returns:
        What its card says of it; None, and the reason is said, where no limit can be had.
    """
    path = out / "strange.extxyz"
    if not errors.get("crystal_forces_MAE_meV_per_A", 0.0) > 0:
        say("no summary of what it learned from: no crystals were held out, so no error is known to compare with")
        return None
    if not path.is_file():
        write_frames(path, labelled_by(teacher, strange_frames(recipe, student, STRANGE)))
    try:
        known, found = familiarity_of(frames, read_frames(path), student, errors)
    except InputError as error:
        say(f"no summary of what it learned from: {error}")
        return None
    file = out / f"{recipe.header.name}.familiar.safetensors"
    data = to_safetensors(known)
    with replacing(file) as unfinished:
        unfinished.write_bytes(data)
    say(f"structures unlike the training are flagged: precision {found.precision:.2f}, recall {found.recall:.2f}")
    return Familiar(
        file=file.name, sha256=hashlib.sha256(data).hexdigest(), times=TIMES,
        precision=round(found.precision, 3), recall=round(found.recall, 3), structures=found.structures,
    )  # fmt: skip
