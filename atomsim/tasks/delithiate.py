"""Step kind ``delithiate``: symmetry-distinct ways of leaving x ions in a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from atomsim.constraints.rules import require_unconstrained
from atomsim.errors import InputError, note_once
from atomsim.store.records import Record, Task, count_statuses, record_of
from atomsim.tasks.base import Context, Inputs, Later, Origin, Parent, StepSettings, make_task, origins
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.structures.delithiation import Delithiation
    from atomsim.structures.symmetrise import Symmetrised

KIND = "delithiate"
NEEDS_POTENTIAL = False
report = "atomsim.report.steps:delithiate_part"
cost = cost_per_atom

SYMPREC_A = 0.01
"""Tolerance in the search for the primitive cell, Å."""
MEMBER = "member"
"""Tag of the glass, of several, that an ordering is of."""
DRAWN = "drawn_at_random"
"""Tag of an ordering that was drawn at random."""


class Settings(StepSettings):
    """Keys of a ``delithiate`` step."""

    parent: Parent = Field(description="prototype, file or earlier step with one structure: the full host")
    x_per_formula_unit: list[float] = Field(min_length=1, description="ions left per formula unit of the host")
    ion: str = Field(default="Li", description="element to take out")
    host_unit: str | None = Field(
        default=None, description="formula unit of the host without the ion, such as RuO3; the reduced one if not given"
    )
    orderings: int = Field(default=5, ge=1, le=1000, description="orderings to keep for each x")
    max_atoms: int = Field(
        default=100,
        ge=1,
        description="largest supercell, atoms: all shapes of all sizes up to it are searched for orderings",
    )
    primitive: bool = Field(default=True, description="start from the parent's primitive cell, not from its whole cell")
    supercell: list[int] | None = Field(
        default=None, min_length=3, max_length=3, description="copies along each lattice vector, instead of a search"
    )
    symprec_A: Annotated[float | None, Later()] = Field(
        default=None,
        ge=1e-3,
        le=0.5,
        description="tolerance of the parent's symmetry, Å; by default the structure's own noise decides, up to 0.1 Å",
    )
    formal_charges: Annotated[dict[str, float] | None, Later()] = Field(
        default=None,
        description="formal charges of some elements of the parent, as in {Ni = 2}; others follow from common states",
    )
    choose: Annotated[Literal["coulomb", "random"], Later()] = Field(
        default="coulomb",
        description="coulomb: low Coulomb energies and unlike ones; random: drawn at random, for a glass",
    )


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make the orderings, one task for each; of several glasses of one formula, those of each.

    Raises:
        InputError: if an x is more than the structure holds, or cannot be reached within ``max_atoms``; and for a
            parent with constraints.
    """
    found = origins([settings.parent], inputs, context)
    glasses = len({o.atoms.get_chemical_formula() for o in found}) == 1 and all("seed" in o.tags for o in found)
    if len(found) != 1 and not glasses:
        raise InputError(f"step {context.step!r}: parent {settings.parent!r} gives {len(found)} structures, wanted one")
    if len(found) == 1:
        return [make_task(origin, KIND, settings, context) for origin in _of_parent(found[0], settings, context)]
    members = [
        replace(o, label=f"{glass.label}-{o.label}", tags=o.tags | {MEMBER: glass.label})
        for glass in found
        for o in _of_parent(glass, settings, context)
    ]
    return [make_task(origin, KIND, settings, context) for origin in members]


def _of_parent(given: Origin, settings: Settings, context: Context) -> list[Origin]:
    """Return the orderings of one parent."""
    from atomsim.analysis.redox import moment_states
    from atomsim.structures.mobility import mobility_note

    require_unconstrained(given.atoms, f"step {context.step!r}, which makes orderings of it,")
    symmetric = _symmetrised(given.atoms, settings, context)
    whole = replace(given, atoms=symmetric.atoms)
    parent = _primitive(whole) if settings.primitive else whole
    note_once(mobility_note(parent.atoms, settings.ion))
    made = _delithiate(parent, moment_states(given.atoms), settings, context)
    if len({count.x for count in made.counts}) < len(made.counts):
        typed = ", ".join(f"{x:g}" for x in settings.x_per_formula_unit)
        raise InputError(f"step {context.step!r}: x_per_formula_unit {typed} names a composition twice; leave one out")
    drawn = {DRAWN: True} if settings.choose == "random" else {}
    return [replace(o, tags=o.tags | drawn) for o in _origins(made, parent, whole, symmetric)]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Pass every ordering on as a record."""
    del settings, inputs, context, potential, shared
    for task in tasks:
        assert task.structure is not None
        yield record_of(task, "done", structure=task.structure, values={"n_atoms": len(task.structure["numbers"])})


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count, for each x, all orderings, the distinct ones among them, and those chosen."""
    del settings
    counts = {record.tags["x"]: {"x": record.tags["x"], **record.tags["counts"]} for record in records}
    charges = {s: q for record in records[:1] for s, q in record.tags.get("formal_charges", {}).items()}
    return {
        "statuses": count_statuses(records),
        "orderings": list(counts.values()),
        "formal_charges": charges,
        "symmetry": records[0].tags.get("symmetry", {}) if records else {},
    }


def _symmetrised(atoms: Atoms, settings: Settings, context: Context) -> Symmetrised:
    from atomsim.structures.symmetrise import symmetrised

    try:
        return symmetrised(atoms, settings.symprec_A)
    except InputError as error:
        raise InputError(f"step {context.step!r}: {error}") from error


def _primitive(parent: Origin) -> Origin:
    """Return the parent with its primitive cell, in the same orientation."""
    import spglib
    from ase import Atoms

    atoms = parent.atoms
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    # no_idealize: a rotated cell could not be traced back to the parent's
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMPREC_A)
    if found is None or len(found[2]) >= len(atoms):
        return parent
    lattice, fractional, numbers = (np.asarray(part) for part in found)
    order = np.argsort([int(np.flatnonzero(atoms.numbers == z)[0]) for z in numbers], kind="stable")
    primitive = Atoms(numbers=numbers[order], scaled_positions=fractional[order], cell=lattice, pbc=True)
    return replace(parent, atoms=primitive)


def _delithiate(parent: Origin, states: Mapping[str, float], settings: Settings, context: Context) -> Delithiation:
    from atomsim.structures.delithiation import delithiate

    cell = None
    if settings.supercell is not None:
        cell = [[n if row == column else 0 for column in range(3)] for row, n in enumerate(settings.supercell)]
    try:
        return delithiate(
            parent.atoms,
            settings.ion,
            settings.x_per_formula_unit,
            host_unit=settings.host_unit,
            orderings=settings.orderings,
            max_atoms=settings.max_atoms,
            supercell=cell,
            seed=context.seed,
            charges=settings.formal_charges,
            states=states,
            choose=settings.choose,
        )
    except InputError as error:
        raise InputError(f"step {context.step!r}: {error}") from error


def _origins(made: Delithiation, primitive: Origin, parent: Origin, symmetric: Symmetrised) -> list[Origin]:
    """Return the orderings, labelled by x and rank, with all that later steps and the report need."""
    counts = {c.x: c for c in made.counts}
    prototype = parent.tags.get("prototype")  # a file may have the name of one, and another setting
    name = str(prototype or parent.label)
    fractions = _fractions(primitive, parent)
    symmetry = {
        "space_group": symmetric.space_group,
        "symprec_A": symmetric.symprec_A,
        "symmetrised_A": round(symmetric.noise_A, 4),
    }
    found = []
    for ordering in made.orderings:
        count = counts[ordering.x]
        met = {
            "total": count.total,
            "distinct": count.distinct,
            "chosen": count.chosen,
            "enumerated": count.enumerated,
            "superlattices": count.superlattices,
            "cells": [size.cells for size in count.sizes],
            "largest_cells": count.largest_cells,
            "coverage": count.coverage,
        }
        # in units of the parent as it was given, so that lattice and reflections lead back to its setting
        supercell = (np.array(ordering.supercell) @ fractions).tolist()
        tags = made.tags(ordering, name) | {
            "supercell": supercell,
            "counts": met,
            "prototype": prototype,
            "symmetry": symmetry,
        }
        label = f"x={ordering.x:.3f}".removesuffix("0") + f"-{ordering.index:02d}"
        atoms = ordering.atoms.copy()
        atoms.info.pop("vacancies")  # tags say it here
        atoms.info.pop("ion")
        found.append(Origin(label, atoms, tags, parent.parents))
    return found


def _fractions(primitive: Origin, parent: Origin) -> np.ndarray:
    """Return the primitive cell in units of the parent's vectors, rows, (3, 3): the inverse of whole numbers."""
    whole = np.round(parent.atoms.cell.array @ np.linalg.inv(primitive.atoms.cell.array))
    return np.asarray(np.linalg.inv(whole))
