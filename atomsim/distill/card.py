"""The card of a student: what it is, where it came from, how far it is off its teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ase.data import chemical_symbols

from atomsim.distill.recipe import Recipe
from atomsim.models.interface import Potential
from atomsim.registry.cards import (
    Citation,
    Distilled,
    Familiar,
    PotentialCard,
    Weights,
    card_names,
    card_text,
    load_card,
    sha256_of,
)

DIGITS = 4
"""Significant digits of errors."""


def card_of(
    recipe: Recipe,
    teacher: Potential,
    student: Potential,
    weights: Path,
    errors: Mapping[str, float],
    frames: int,
    left_out: int = 0,
    familiar: Familiar | None = None,
) -> str:
    """Return the card of a student as TOML that ``atomsim.registry.cards.read_card`` reads back.

    What the teacher's own card says of functional, energies, licence, citation and limits holds for
    its student too.
    """
    parent = load_card(teacher.name) if teacher.name in card_names() else None
    t = recipe.train
    network = (
        f"MACE, {t.interactions} layers, {t.hidden_irreps}, l up to {t.max_ell}, correlation {t.correlation}, "
        f"cutoff {t.r_max_A:g} Å, ZBL repulsion at short distances"
    )
    domains = ", ".join(f"{s.name} ({s.domain})" for s in recipe.systems)
    card = PotentialCard(
        name=recipe.header.name,
        family="mace",
        summary=recipe.header.summary,
        method=f"{network}; learned from {teacher.name} on {frames:,} frames of: {domains}",
        functional=parent.functional if parent else f"that of {teacher.name}",
        elements=tuple(chemical_symbols[z] for z in sorted(student.elements)),
        cutoff_A=student.cutoff,
        dtype="float32",
        licence="MIT (atomsim)" if parent is None else f"MIT (atomsim); its teacher: {parent.licence}",
        citation=parent.citation if parent else Citation(text=f"cite {teacher.name}"),
        weights=Weights(origin="file", file=weights.name, sha256=sha256_of(weights), size_bytes=weights.stat().st_size),
        energies=parent.energies if parent else f"those of {teacher.name}",
        limits=(
            f"For {'–'.join(recipe.symbols)} in structures like those it learned from; elsewhere wrong"
            + (", which is flagged as often as 'familiar' says." if familiar else " without a sign."),
            where_it_ends(recipe, left_out),
            "Trained again after an interruption it is another student: equality to the last bit is not promised.",
            f"Every limit of {teacher.name} is its own too, and its errors come on top ('errors').",
            "No magnetic moments.",
            *(parent.limits if parent else ()),
        ),
        distilled=Distilled(
            teacher=teacher.name,
            teacher_sha256=teacher.sha256,
            recipe=recipe.path.name,
            recipe_sha256=recipe.sha256,
            frames=frames,
            epochs=t.epochs,
            network=network,
            command=f"atomsim distill workflows/{recipe.path.name}",
        ),
        familiar=familiar,
        errors={key: float(f"{value:.{DIGITS}g}") for key, value in errors.items() if value == value},
    )
    return card_text(card)


def where_it_ends(recipe: Recipe, left_out: int | None) -> str:
    """Say which frames a student's errors are of, and that beyond them they are larger."""
    many = "uncounted" if left_out is None else f"{left_out:,}"
    rattled = [s for s in recipe.systems if s.rattled]
    bounds = [f"forces below {recipe.header.max_force_eV_per_A:g} eV/Å ({many} frames above it left out)"]
    if rattled:
        most, strain = max(s.rattle_A for s in rattled), max(s.strain for s in rattled)
        bounds.insert(
            0, f"displacements of up to {most:g} Å (standard deviation) and strains of up to {100 * strain:g} %"
        )
    return f"Its 'errors' are within its frames: {' and '.join(bounds)}. Beyond these expect several times as much."
