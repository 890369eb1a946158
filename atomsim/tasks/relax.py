"""Step kind ``relax``: atoms, and the cell where asked, to the nearest minimum of energy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from atomsim.constraints.rules import require_supported, symmetry_of
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.barriers_checks import further_elements
from atomsim.tasks.base import (
    Context,
    Inputs,
    Later,
    Origin,
    StepSettings,
    Structures,
    make_task,
    origins,
)
from atomsim.tasks.familiarity import familiarity_values
from atomsim.tasks.kind import cost_per_atom
from atomsim.tasks.relax_checks import second_opinions
from atomsim.units import GPA

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.relaxation import Relaxation, RelaxSettings
    from atomsim.relaxation.hosts import Inherited

KIND = "relax"
NEEDS_POTENTIAL = True
report = "atomsim.report.steps:relax_part"
cost = cost_per_atom

LIMITS = ("max_steps",)
"""Settings that may be raised in a run that has begun: what ended before the limit stays as it is."""


class Settings(StepSettings):
    """Keys of a ``relax`` step."""

    structures: Structures = Field(min_length=1, description="an earlier step, prototypes or files")
    fmax_eV_per_A: float = Field(default=0.05, gt=0, description="converged when no force is larger, eV/Å")
    max_steps: int = Field(default=500, ge=1, description="give up after this many steps")
    cell: bool = Field(default=True, description="relax the cell too")
    pressure_GPa: float = Field(default=0.0, description="target pressure, GPa")
    noise_A: float = Field(
        default=0.0, ge=0, le=0.5, description="random displacement before relaxing, Å: leaves saddle points"
    )
    starts: int = Field(
        default=1,
        ge=1,
        le=20,
        description="starts of each structure, all but the first with noise of 0.1 Å or more; the lowest is kept",
    )
    method: Literal["newton", "lbfgs", "fire"] = Field(
        default="newton", description="optimizer; newton starts from what is known of the curvature"
    )
    curvature: Literal["host", "springs"] = Field(
        default="host",
        description="what newton starts from: the Hessian of the host that ions were taken from, or a model of springs",
    )
    keep_symmetry: bool = Field(
        default=False, description="keep the space group of the start; without noise and without the check below"
    )
    check_minimum: bool = Field(
        default=True, description="look for a mode of negative curvature at the end, and leave a saddle along it"
    )
    standard_cell: Annotated[bool, Later()] = Field(
        default=False,
        description="relax the primitive cell in its standard setting, the same for all descriptions of a crystal; "
        "structures with constraints stay as they are",
    )
    finish_in_double: Annotated[bool, Later()] = Field(
        default=True, description="below 0.01 eV/Å, take the last part in float64 where the potential offers it"
    )
    check_with: Annotated[list[str], Later()] = Field(
        default_factory=list, description="further potentials that judge each relaxed structure"
    )
    check_relax: Annotated[bool, Later()] = Field(
        default=False, description="relax again by each potential of check_with, instead of evaluating only"
    )

    @model_validator(mode="after")
    def _one_start_keeps_symmetry(self) -> Settings:
        if self.starts > 1 and self.keep_symmetry:
            raise ValueError(
                f"found starts = {self.starts} with keep_symmetry; several starts differ by noise, which breaks it: "
                "leave one of the two out"
            )
        return self


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure.

    Raises:
        InputError: if a structure has an element that the potential does not know, or constraints that cannot be kept,
            or a potential of ``check_with`` is not at hand or the first one.
    """
    further_elements(settings, context)
    found = _without_lost_hosts(origins(settings.structures, inputs, context, as_given=True), inputs)
    if settings.standard_cell:
        found = [replace(o, atoms=_in_standard_setting(o.atoms)) for o in found]
    require_elements(found, context)
    _check_constraints(found, settings, context)
    return [make_task(origin, KIND, settings, context) for origin in found]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Relax, yielding records as structures finish."""
    from atomsim.relaxation import iter_relax
    from atomsim.relaxation.hosts import inherited

    del inputs
    assert potential is not None
    systems = [atoms_from_json(task.structure) for task in tasks if task.structure is not None]
    how = _relax_settings(settings, context.seed)
    known = inherited([structure_of(task) for task in tasks], potential, how, shared)
    for n, relaxation in iter_relax(systems, potential, how, hessians={n: k.hessian for n, k in known.items()}):
        again = how if settings.check_relax else None
        opinions = second_opinions(relaxation, settings.check_with, again, potential, context)
        yield _record(tasks[n], relaxation, known.get(n), opinions | familiarity_values(relaxation.atoms, potential))


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses, steps and force calls, and name the hardest structure."""
    del settings
    summary: dict[str, Any] = {
        "statuses": count_statuses(records),
        "force_calls": total_calls(records),
    }
    slowest = max(records, key=lambda r: r.values.get("steps", 0), default=None)
    if slowest is not None and "steps" in slowest.values:
        summary["most_steps"] = {"label": slowest.label, "steps": slowest.values["steps"]}
    return summary


def _without_lost_hosts(found: Sequence[Origin], inputs: Inputs) -> list[Origin]:
    """Forget where ions were in what an earlier step has relaxed.

    Filled up, relaxed siblings are different hosts, and each would cost a Hessian of its own.
    """
    relaxed = {r.task for records in inputs.values() for r in records if r.kind == KIND}
    return [
        replace(o, tags={k: v for k, v in o.tags.items() if k != "vacancies"}) if relaxed.intersection(o.parents) else o
        for o in found
    ]


def _in_standard_setting(atoms: Atoms) -> Atoms:
    from atomsim.structures.setting import standard_setting

    return atoms if atoms.constraints or not atoms.pbc.all() else standard_setting(atoms)


def require_elements(found: Sequence[Origin], context: Context) -> None:
    """Refuse structures with elements that the potential does not know.

    Raises:
        InputError: naming the first.
    """
    from ase.data import chemical_symbols

    if context.elements is None:
        return
    for origin in found:
        unknown = sorted({int(z) for z in origin.atoms.numbers} - context.elements)
        if unknown:
            symbols = ", ".join(chemical_symbols[z] for z in unknown)
            raise InputError(
                f"step {context.step!r}: {origin.label} holds {symbols}, which {context.potential_name} was not "
                "made for; choose another potential ('atomsim potentials list') or leave this structure out"
            )


def _check_constraints(found: Sequence[Origin], settings: Settings, context: Context) -> None:
    for origin in found:
        try:
            check_constraints(origin.atoms, settings)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {origin.label}: {error}") from error


def check_constraints(atoms: Atoms, settings: Settings) -> None:
    """Refuse constraints that a relaxation with these settings cannot keep.

    Raises:
        InputError: naming the constraint.
    """
    require_supported(atoms, cell=settings.cell, symmetry=True)
    if (symmetry := symmetry_of(atoms)) is not None:
        from atomsim.optimize.symmetry import require_keepable

        require_keepable(atoms, symmetry, settings.cell, settings.starts)


def structure_of(task: Task) -> Atoms:
    """Return a task's structure with ``info`` of where ions were, which its tags alone tell."""
    from atomsim.structures.hosts import left_sites

    assert task.structure is not None
    atoms = atoms_from_json(task.structure)
    atoms.info.pop("vacancies", None)
    atoms.info |= left_sites(task.tags)
    return atoms


def _relax_settings(settings: Settings, seed: int) -> RelaxSettings:
    from atomsim.relaxation import RelaxSettings

    of_both = RelaxSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    return RelaxSettings(seed=seed, **settings.model_dump(include=set(of_both)))


def _record(task: Task, relaxation: Relaxation, known: Inherited | None, opinions: dict[str, Any]) -> Record:
    """Return the record of a relaxation; numbers that are not finite are left out."""
    arrays = {"forces": relaxation.forces}
    if relaxation.magmoms is not None:
        arrays["magmoms"] = relaxation.magmoms
    finite = {name: array for name, array in arrays.items() if np.isfinite(array).all()}
    sound = np.isfinite(relaxation.atoms.positions).all() and np.isfinite(relaxation.atoms.cell.array).all()
    return record_of(
        task,
        relaxation.status,
        relaxation.message,
        values=relaxation_values(relaxation)
        | (_changed_symmetry(task, relaxation.atoms) if sound else {})
        | _of_host(known)
        | opinions,
        structure=atoms_to_json(relaxation.atoms, finite) if sound else task.structure,
    )


def _of_host(known: Inherited | None) -> dict[str, Any]:
    """Cost of the host's Hessian, whoever paid for it: the same in all records of its children."""
    if known is None:
        return {}
    return {"host_hessian_force_calls": known.hessian.force_calls, "host_id": known.host}


def _changed_symmetry(task: Task, relaxed: Atoms) -> dict[str, str]:
    """Space groups before and after a relaxation, where they differ: symmetry then implies something else."""
    from atomsim.analysis.lattice import space_group
    from atomsim.structures.setting import SYMPREC_A

    before = space_group(atoms_from_json(task.structure or {}), SYMPREC_A) if relaxed.pbc.all() else None
    after = space_group(relaxed, SYMPREC_A) if before else None
    if before is None or after is None or before.number == after.number:
        return {}
    return {"space_group_before": before.symbol, "space_group": after.symbol}


def relaxation_values(relaxation: Relaxation) -> dict[str, Any]:
    """Return energies, residual force and stress of a relaxation; what is not finite is left out."""
    n_atoms = len(relaxation.atoms)
    stress_gpa = np.asarray(relaxation.stress) / GPA
    voigt = [float(stress_gpa[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
    energies = {
        "energy_eV": float(relaxation.energy),
        "energy_per_atom_eV": float(relaxation.energy) / n_atoms,
        "initial_energy_eV": float(relaxation.initial_energy),
        "fmax_eV_per_A": float(relaxation.fmax),
        "pressure_GPa": -float(np.trace(stress_gpa)) / 3,
        "volume_A3": float(relaxation.atoms.cell.volume),
    }
    if relaxation.lowest_curvature is not None:
        energies["lowest_curvature_eV_per_A2"] = float(relaxation.lowest_curvature)
    values: dict[str, Any] = {key: value for key, value in energies.items() if np.isfinite(value)}
    if np.isfinite(voigt).all():
        values["stress_GPa"] = voigt
    return values | {"steps": relaxation.steps, "force_calls": relaxation.force_calls, "n_atoms": n_atoms}
