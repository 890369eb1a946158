"""Step kind ``coherent``: the coherent interface of two crystals, relaxed, and its work of adhesion.

A task is one pair of terminations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.base import Context, Inputs, Origin, Parent, StepSettings, make_task, origins
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.interfaces.adhesion import Adhesion
    from atomsim.interfaces.coherent import CoherentCell, CoherentPlanes, CoherentSettings
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "coherent"
NEEDS_POTENTIAL = True
report = "atomsim.report.coherent:coherent_part"
cost = cost_per_atom
LIMITS = ("max_steps",)
LISTED = 10
"""Lattice matches that a record lists."""
Plane = Annotated[list[int], Field(min_length=3, max_length=3)]


class Settings(StepSettings):
    """Keys of a ``coherent`` step."""

    film: Parent = Field(description="crystal that takes the other's lattice: a prototype, a file or an earlier step")
    substrate: Parent = Field(description="the other: a prototype, a file or an earlier step with one structure")
    film_hkl: Plane = Field(default=[0, 0, 1], description="plane of the film, in indices of the cell given")
    substrate_hkl: Plane = Field(default=[0, 0, 1], description="plane of the substrate, likewise")
    max_strain: float = Field(
        default=0.05, gt=0, le=0.3, description="largest principal strain of the film; 0.05 is 5 %"
    )
    max_area_A2: float = Field(default=200.0, gt=0, le=5000, description="largest area of a lattice match, Å²")
    thickness_A: float = Field(default=8.0, gt=0, le=100, description="least thickness of each slab, Å")
    gap_A: float = Field(default=2.0, gt=0, le=6, description="distance of the slabs before relaxing, Å")
    vacuum_A: float = Field(default=12.0, ge=6, le=100, description="vacuum above the film, Å")
    terminations: int = Field(default=4, ge=1, description="pairs of terminations that are computed, at most")
    shifts: int = Field(
        default=2, ge=1, le=6, description="lateral shifts along each vector, unrelaxed; the lowest is relaxed"
    )
    max_atoms: int = Field(default=400, ge=2, description="largest interface that may be computed")
    fmax_eV_per_A: float = Field(default=0.05, gt=0, description="converged when no force is larger, eV/Å")
    max_steps: int = Field(default=500, ge=1, description="give up after this many steps")


def coherent_settings(settings: Settings) -> CoherentSettings:
    """Return the engine's settings."""
    from atomsim.interfaces.coherent import CoherentSettings

    of_both = CoherentSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    values = settings.model_dump(include=set(of_both))
    planes = {key: tuple(values[key]) for key in ("film_hkl", "substrate_hkl")}
    return CoherentSettings(**values | planes)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each pair of terminations, of the match of least area.

    Raises:
        InputError: if the lattices do not match within the strain that is allowed, a plane is none, or the interface
            has more atoms than allowed.
    """
    from atomsim.interfaces.coherent import CoherentPlanes
    from atomsim.structures.sanity import check_structure

    film, substrate = (_one(key, getattr(settings, key), inputs, context) for key in ("film", "substrate"))
    label = f"{film.label}–{substrate.label}"
    try:
        for origin in (film, substrate):
            check_structure(origin.atoms, context.elements)
        planes = CoherentPlanes(film.atoms, substrate.atoms, coherent_settings(settings))
        cells = [planes.cell(t) for t in planes.terminations[: settings.terminations]]
    except InputError as error:
        raise InputError(f"step {context.step!r}: {label}: {error}") from error
    parents = tuple(dict.fromkeys(film.parents + substrate.parents))
    tasks = []
    for number, cell in enumerate(cells, 1):
        name = label if len(cells) == 1 else f"{label} {number}"
        tags = _tags(cell, planes, film, substrate)
        tasks.append(make_task(Origin(name, cell.atoms, tags, parents), KIND, settings, context))
    return tasks


def _one(key: str, word: str, inputs: Inputs, context: Context) -> Origin:
    found = origins([word], inputs, context)
    if len(found) != 1:
        raise InputError(f"step {context.step!r}: {key}: {word!r} holds {len(found)} structures, wanted one")
    return found[0]


def _tags(cell: CoherentCell, planes: CoherentPlanes, film: Origin, substrate: Origin) -> dict[str, Any]:
    match, s = cell.match, planes.settings
    return {
        "film": film.label,
        "substrate": substrate.label,
        "film_formula": planes.names[0],
        "substrate_formula": planes.names[1],
        "film_hkl": list(s.film_hkl),
        "substrate_hkl": list(s.substrate_hkl),
        "film_termination": cell.film_termination,
        "substrate_termination": cell.substrate_termination,
        "terminations": len(planes.terminations),
        "area_A2": round(match.area_A2, 6),
        "strain": [round(e, 8) for e in match.strain],
        "cells": [match.film_cells, match.substrate_cells],
        "matches": [[round(m.area_A2, 3), *(round(e, 6) for e in m.strain)] for m in planes.matches[:LISTED]],
        "film_atoms": np.flatnonzero(cell.film).tolist(),
    }


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Relax each interface and its slabs."""
    from atomsim.interfaces.adhesion import work_of_adhesion
    from atomsim.relaxation import RelaxSettings

    del inputs, shared
    assert potential is not None
    how = RelaxSettings(
        fmax_eV_per_A=settings.fmax_eV_per_A, max_steps=settings.max_steps, cell=False, check_minimum=False,
        seed=context.seed,
    )  # fmt: skip
    for task in tasks:
        yield _record(task, work_of_adhesion(_cell(task), potential, how, shifts=settings.shifts))


def _cell(task: Task) -> CoherentCell:
    from atomsim.interfaces.coherent import CoherentCell, LatticeMatch

    t = task.tags
    atoms = atoms_from_json(task.structure or {})
    film = np.zeros(len(atoms), dtype=bool)
    film[t["film_atoms"]] = True
    match = LatticeMatch(t["area_A2"], t["area_A2"], (t["strain"][0], t["strain"][1]), t["cells"][0], t["cells"][1], 0)
    return CoherentCell(atoms, film, match, t["film_termination"], t["substrate_termination"])


def _record(task: Task, found: Adhesion) -> Record:
    whole, film, substrate = found.energies_eV
    values: dict[str, Any] = {
        "work_J_per_m2": found.work_J_per_m2, "rigid_J_per_m2": found.rigid_J_per_m2, "energy_eV": whole,
        "film_eV": film, "substrate_eV": substrate, "distance_A": found.distance_A,
        "shift_spread_eV": found.shift_spread_eV,
    }  # fmt: skip
    values = {k: float(v) for k, v in values.items() if np.isfinite(v)}
    values |= {"shift": list(found.shift), "n_atoms": len(found.atoms), "force_calls": found.force_calls}
    values["flags"] = list(found.flags)
    if found.status != "converged":
        values.pop("work_J_per_m2", None)
    sound = np.isfinite(found.atoms.positions).all()
    structure = atoms_to_json(found.atoms) if sound else task.structure
    return record_of(task, found.status, found.message, values=values, structure=structure)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and force calls; work of adhesion by terminations."""
    del settings
    work = {
        f"{r.tags['film_termination']} | {r.tags['substrate_termination']}": round(r.values["work_J_per_m2"], 4)
        for r in records
        if r.good
    }
    return {"statuses": count_statuses(records), "force_calls": total_calls(records), "work_J_per_m2": work}
