"""Step kind ``oxygen``: neutral oxygen vacancies, O2 of the same potential, and release of O2 against the ion content.

One task is one crystal, one vacancy in it, or one of the phases and elements that energies are counted from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from atomsim.constraints.rules import require_unconstrained
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.barriers_checks import further_elements
from atomsim.tasks.base import Context, Inputs, Later, Origin, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom
from atomsim.tasks.oxygen_checks import Judges

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.oxygen.vacancies import Oxygen
    from atomsim.relaxation import Relaxation, RelaxSettings
    from atomsim.structures.vacancies import Vacancy

KIND = "oxygen"
NEEDS_POTENTIAL = True
report = "atomsim.report.oxygen:oxygen_part"
REPORT_ORDER = 1
cost = cost_per_atom
LIMITS = ("max_steps",)


class Settings(StepSettings):
    """Keys of an ``oxygen`` step."""

    structures: Structures = Field(
        min_length=1, description="relaxed oxides, the most lithiated among them: an earlier step, prototypes or files"
    )
    ion: str = Field(default="Li", description="element whose content x is counted, per atom of the other metals")
    vacancies: Literal["none", "single", "pairs"] = Field(
        default="single", description="symmetry-distinct vacancies: none, single ones, or pairs up to longest_A too"
    )
    longest_A: float = Field(default=3.2, gt=0, le=6, description="longest pair of vacancies, Å")
    symprec_A: float = Field(
        default=0.05, gt=0, le=0.5, description="tolerance in which sites and pairs are alike by symmetry, Å"
    )
    cell: bool = Field(default=False, description="let the cell follow a vacancy; otherwise it stays")
    fmax_eV_per_A: float = Field(default=0.02, gt=0, description="converged when no force is larger, eV/Å")
    max_steps: int = Field(default=500, ge=1, description="give up after this many steps")
    supercell_min_A: float = Field(
        default=0.0, ge=0, description="distance wanted between a vacancy and its image, Å; 0 keeps the cell given"
    )
    max_atoms: int = Field(default=120, ge=2, description="largest supercell that may be used for it")
    phases: Structures = Field(
        default=[], description="other oxides that release may lead to, such as RuO2: prototypes, files or steps"
    )
    calibrate: list[str] = Field(
        default=[],
        description="prototypes of oxides with a measured enthalpy of formation: corrected numbers beside uncorrected",
    )
    oxygen: Structures = Field(default=["O2"], min_length=1, description="the molecule in a box")
    temperature_K: float = Field(default=300.0, ge=100, le=1500, description="of the O2 that is released into, K")
    pressure_bar: float = Field(default=1.0, gt=0, description="of that O2, bar")
    check_with: Annotated[list[str], Later()] = Field(
        default_factory=list, description="further potentials that judge each relaxed cell, and have an O2 of their own"
    )
    check_relax: Annotated[bool, Later()] = Field(
        default=False, description="relax again by each potential of check_with, instead of evaluating only"
    )


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each crystal, vacancy, phase, element and the molecule.

    Raises:
        InputError: if a structure has no oxygen, nothing would be left of it, O2 is of another potential or no O2,
            a calibration oxide has no measured enthalpy or no elements to count from, or a potential of ``check_with``
            is not at hand or the first one.
    """
    from atomsim.structures.sanity import check_structure

    further_elements(settings, context)
    hosts = origins(settings.structures, inputs, context)
    tasks = []
    for host in hosts:
        try:
            check_structure(host.atoms, context.elements)
            require_unconstrained(host.atoms, "a vacancy that stands for all alike by symmetry")
            tasks += _of_host(host, settings, context)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {host.label}: {error}") from error
    names = [("phase", w) for w in settings.phases] + [("calibration", w) for w in settings.calibrate]
    references = [(role, o) for role, word in names for o in _reference(role, word, inputs, context)]
    elements = sorted({e for role, o in references if role == "calibration" for e in o.atoms.symbols} - {"O"})
    references += [("element", o) for e in elements for o in _element(e, inputs, context)]
    references.append(("oxygen", _molecule(settings, inputs, context)))
    for role, origin in references:
        check_structure(origin.atoms, context.elements)
        require_unconstrained(origin.atoms, f"step {context.step!r}, which counts from its energy at rest,")
        tasks.append(_task(replace(origin, label=f"{role} {origin.label}"), {"role": role}, settings, context))
    return tasks


def _of_host(host: Origin, settings: Settings, context: Context) -> list[Task]:
    from atomsim.oxygen.summary import ion_content
    from atomsim.structures.vacancies import find_vacancies, image_distance, wide_supercell

    x = ion_content(host.atoms, settings.ion)
    tasks = [_task(host, {"role": "host", "host": host.label, "x": x}, settings, context)]
    found = find_vacancies(host.atoms)  # refuses what has no oxygen
    if settings.vacancies == "none":
        return tasks
    cell = host.atoms
    if settings.supercell_min_A:
        cell = wide_supercell(host.atoms, settings.supercell_min_A, settings.max_atoms)
    found = find_vacancies(
        cell, pairs=settings.vacancies == "pairs", longest_A=settings.longest_A, symprec=settings.symprec_A
    )
    for vacancy in found:
        tags = {
            "role": "vacancy",
            "host": host.label,
            "x": x,
            "sites": list(vacancy.sites),
            "vacancy": vacancy.kind,
            "multiplicity": vacancy.multiplicity,
            "image_distance_A": round(image_distance(cell.cell.array), 6),
        }
        tasks.append(_task(replace(host, label=f"{host.label} {vacancy.name}", atoms=cell), tags, settings, context))
    return tasks


def _task(origin: Origin, tags: dict[str, Any], settings: Settings, context: Context) -> Task:
    return make_task(replace(origin, tags={**origin.tags, **tags}), KIND, settings, context)


def _reference(role: str, word: str, inputs: Inputs, context: Context) -> list[Origin]:
    from atomsim.analysis.thermochemistry import measured_enthalpy

    if role == "calibration":
        measured_enthalpy(word)
    return origins([word], inputs, context)


def _element(element: str, inputs: Inputs, context: Context) -> list[Origin]:
    from atomsim.structures.prototypes import prototype_names

    if element not in prototype_names():
        raise InputError(
            f"calibrate: no crystal of elemental {element} to count from; calibrate with oxides of "
            f"{', '.join(n for n in prototype_names() if len(n) <= 2 and n != 'O2')}"
        )
    return origins([element], inputs, context)


def _molecule(settings: Settings, inputs: Inputs, context: Context) -> Origin:
    """The O2 to count from."""
    found = origins(settings.oxygen, inputs, context)
    if len(found) != 1 or found[0].atoms.get_chemical_formula() != "O2":
        raise InputError(f"oxygen: found {', '.join(o.atoms.get_chemical_formula() for o in found)}, wanted one O2")
    made = [r for records in inputs.values() for r in records if r.task in found[0].parents]
    other = [r.provenance.get("potential", {}) for r in made]
    for potential in other:
        if potential.get("sha256") not in (None, context.potential_sha256):
            raise InputError(
                f"oxygen: O2 is of {potential.get('name')}, the crystals are of {context.potential_name}: "
                "energies of two potentials are never mixed; relax O2 with this one"
            )
    return found[0]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Relax crystals, references and what vacancies leave."""
    from atomsim.relaxation import RelaxSettings

    del inputs
    assert potential is not None
    judges = Judges(settings.check_with, settings.check_relax, potential, context, shared)
    how = RelaxSettings(
        fmax_eV_per_A=settings.fmax_eV_per_A, max_steps=settings.max_steps, cell=settings.cell, seed=context.seed
    )
    for task in tasks:
        role = task.tags["role"]
        if role == "oxygen":
            yield _of_oxygen(task, potential, judges)
        elif role == "vacancy":
            yield _of_vacancy(task, settings, how, judges)
        else:
            if role == "host":
                found = _intact(task, settings, how, potential, shared)
                calls = {"force_calls": 0} | _calls_of(found) | judges.on(found, how)
            else:
                tight = replace(how, cell=True, fmax_eV_per_A=min(0.01, how.fmax_eV_per_A))
                found = _relaxed(atoms_from_json(task.structure or {}), tight, potential)
                calls = {"force_calls": found.force_calls} | judges.on(found, tight)
            values = _energies(found) | calls
            yield record_of(task, found.status, found.message, values=values, structure=atoms_to_json(found.atoms))


def _relaxed(atoms: Atoms, how: RelaxSettings, potential: EnergyModel) -> Relaxation:
    from atomsim.relaxation import iter_relax

    return next(iter_relax([atoms], potential, how))[1]


def _energies(found: Relaxation) -> dict[str, Any]:
    values = {"energy_eV": float(found.energy), "fmax_eV_per_A": float(found.fmax)}
    return {k: v for k, v in values.items() if np.isfinite(v)} | {"n_atoms": len(found.atoms)}


def _of_oxygen(task: Task, potential: EnergyModel, judges: Judges) -> Record:
    from atomsim.errors import AtomsimError
    from atomsim.oxygen.vacancies import as_molecule, relaxed_oxygen

    relaxed = relaxed_oxygen(potential, atoms_from_json(task.structure or {}))
    try:
        found = as_molecule(relaxed)
    except AtomsimError as error:
        values = {"force_calls": relaxed.force_calls}
        return record_of(task, "invalid", str(error), values=values, structure=task.structure)
    values = _molecule_values(found) | judges.on_oxygen(atoms_from_json(task.structure or {}))
    return record_of(task, "converged", values=values, structure=task.structure)


def _molecule_values(found: Oxygen) -> dict[str, Any]:
    values = {
        "energy_eV": found.energy_eV,
        "bond_A": found.bond_A,
        "image_distance_A": found.box_A,
        "force_calls": found.force_calls,
    }
    return values if found.moment is None else values | {"moment_muB": found.moment}


def _of_vacancy(task: Task, settings: Settings, how: RelaxSettings, judges: Judges) -> Record:
    """Energies without the gas: against ½E(O2) they are counted in the summary, from one record of O2."""
    intact = _intact(task, settings, how, judges.potential, judges.shared)
    of_host = _calls_of(intact)
    if not intact.converged:
        why = f"the intact cell did not relax ({intact.status}: {intact.message})"
        return record_of(task, intact.status, why, values=of_host | {"force_calls": 0}, structure=task.structure)
    vacancy = _vacancy_of(task)
    found = _relaxed(vacancy.made_in(intact.atoms), how, judges.potential)
    values: dict[str, Any] = _energies(found) | of_host | {"force_calls": found.force_calls}
    if np.isfinite(found.initial_energy):
        values["unrelaxed_without_gas_eV"] = float(found.initial_energy - intact.energy)
    if found.converged:
        values["relaxed_without_gas_eV"] = float(found.energy - intact.energy)
    values |= judges.on_vacancy(intact, found, how)
    return record_of(task, found.status, found.message, values=values, structure=atoms_to_json(found.atoms))


def _intact(
    task: Task, settings: Settings, how: RelaxSettings, potential: EnergyModel, shared: Shared | None
) -> Relaxation:
    """The cell of a host or a vacancy without the vacancy, relaxed once for all of them."""
    from atomsim.models.shared import Shared

    atoms = atoms_from_json(task.structure or {})
    what = ("intact", task.structure and repr(sorted(task.structure.items())), settings.model_dump_json())
    found: Relaxation = (shared or Shared()).get(potential, what, lambda: _relaxed(atoms, how, potential))
    return found


def _calls_of(intact: Relaxation) -> dict[str, int]:
    """Force calls that a host and its vacancies share, and the size of the cell that they are of."""
    return {"intact_force_calls": intact.force_calls, "intact_atoms": len(intact.atoms)}


def _vacancy_of(task: Task) -> Vacancy:
    from atomsim.structures.vacancies import Vacancy

    return Vacancy(tuple(task.tags["sites"]), task.tags["multiplicity"], task.tags["vacancy"])


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and force calls; vacancies, release and its onset, by each potential that was asked."""
    from atomsim.oxygen.opinions import oxygen_opinions
    from atomsim.oxygen.summary import summary_of

    found = summary_of(records, settings.ion, settings.temperature_K, settings.pressure_bar)
    counts = {"statuses": count_statuses(records), "force_calls": total_calls(records)} | found.to_json()
    opinions = oxygen_opinions(records)
    return counts | ({"opinions": opinions} if opinions["potentials"] else {})
