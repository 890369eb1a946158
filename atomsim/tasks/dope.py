"""Step kind ``dope``: an element on named sublattices, its preference at fixed composition, layers with and without it.

A task is one undoped cell or one configuration of dopants in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.barriers_checks import further_elements
from atomsim.tasks.base import Context, Inputs, Later, Origin, Source, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom
from atomsim.tasks.relax_checks import second_opinions

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.cations.doping import Configuration
    from atomsim.cations.settings import DopingSettings
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.relaxation import Relaxation

KIND = "dope"
NEEDS_POTENTIAL = True
report = "atomsim.report.dope:dope_part"
cost = cost_per_atom
LIMITS = ("max_steps",)
SAME_SITE_A = 1.0
"""Atoms this close to where a dopant stood, in fractional coordinates of one lattice, are on its site, Å."""


class Settings(StepSettings):
    """Keys of a ``dope`` step."""

    structures: Structures = Field(
        min_length=1,
        description="undoped crystals; of an order step, its lowest arrangements: steps, prototypes or files",
    )
    dopant: str = Field(description="element to put in; the host must not hold it")
    sites: list[str] = Field(
        default=["Mn"],
        min_length=1,
        description="sublattices: 'Mn', 'Li:metal-layer', 'Li:ion-layer', '#12'; the first gives up the atoms, on the "
        "others the dopant is exchanged with what stands there, so that all have one composition",
    )
    count: int | None = Field(default=None, ge=1, description="dopants per cell")
    fraction: float | None = Field(
        default=None, gt=0, le=1, description="share of the first sublattice that is replaced, in place of count"
    )
    per_site: int = Field(
        default=4,
        ge=1,
        description="configurations on each sublattice of each crystal: half the lowest in Coulomb energy",
    )
    compensation: Literal["none", "remove_ion", "swap"] = Field(
        default="none", description="what pays for the charge: the metals, ions that leave, or host cations become ions"
    )
    like: Annotated[str | None, Source(prototypes=False, files=False)] = Field(
        default=None,
        description="an earlier dope step: dopants stand where those of its lowest cell do, in the same lattice",
    )
    arrangements: int = Field(default=3, ge=1, description="lowest arrangements taken from an order step")
    ion: str = Field(default="Li", description="element between the layers, and whose content x is counted")
    charges: dict[str, float] = Field(
        default={}, description="formal charges of elements, e, where not the common ones"
    )
    fmax_eV_per_A: float = Field(default=0.02, gt=0, description="converged when no force is larger, eV/Å")
    max_steps: int = Field(default=500, ge=1, description="give up after this many steps")
    noise_A: float = Field(default=0.02, ge=0, le=0.2, description="seeded noise at the start, Å")
    cell: bool = Field(default=True, description="relax the cell too")
    check_minimum: bool = Field(default=False, description="look for a mode of negative curvature at the end")
    check_with: Annotated[list[str], Later()] = Field(
        default_factory=list, description="further potentials that judge each relaxed cell"
    )
    check_relax: Annotated[bool, Later()] = Field(
        default=False, description="relax again by each potential of check_with, instead of evaluating only"
    )


def doping_settings(settings: Settings, seed: int) -> DopingSettings:
    """Return the engine's settings."""
    from atomsim.cations.settings import DopingSettings

    of_both = DopingSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    values = settings.model_dump(include=set(of_both))
    return DopingSettings(seed=seed, **{**values, "sites": tuple(settings.sites)})


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each undoped crystal and each configuration.

    Raises:
        InputError: if the dopant is in the host or unknown to the potential, a sublattice matches nothing or holds
            several elements, less than one atom or more than there are would be replaced, the charge cannot be
            balanced, ``like`` has no lowest cell in this lattice, or a potential of ``check_with`` is not at hand
            or the first one.
    """
    from atomsim.cations.doping import dopings
    from atomsim.constraints.rules import require_unconstrained
    from atomsim.structures.sanity import check_structure

    further_elements(settings, context)
    how = doping_settings(settings, context.seed)
    _require_dopant(settings.dopant, context)
    like = None if settings.like is None else _dopants_of(settings.like, inputs)
    tasks = []
    for host in _hosts(settings, inputs, context):
        try:
            check_structure(host.atoms, context.elements)
            require_unconstrained(host.atoms, "an exchange of cations")
            found = dopings(host.atoms, how) if like is None else [_like(host.atoms, how, like)]
        except InputError as error:
            raise InputError(f"step {context.step!r}: {host.label}: {error}") from error
        content = _content(host.atoms, settings)
        tags = {
            "role": "host",
            "host": host.label,
            "content": content,
            "n_ions": list(host.atoms.symbols).count(settings.ion),
        }
        tasks.append(make_task(replace(host, tags=host.tags | tags), KIND, settings, context))
        for number, configuration in enumerate(found, 1):
            label = f"{host.label} {settings.dopant}@{configuration.site} {number}"
            own = tags | _tags(configuration, settings, host)
            doped = replace(host, label=label, atoms=configuration.atoms, tags=host.tags | own)
            tasks.append(make_task(doped, KIND, settings, context))
    return tasks


def _require_dopant(dopant: str, context: Context) -> None:
    from ase.data import atomic_numbers

    from atomsim.errors import nearest

    if dopant not in atomic_numbers or dopant == "X":
        raise InputError(f"step {context.step!r}: dopant {dopant!r} is no element;{nearest(dopant, atomic_numbers)}")
    if context.elements is not None and atomic_numbers[dopant] not in context.elements:
        raise InputError(
            f"step {context.step!r}: dopant {dopant} is unknown to {context.potential_name}; choose another potential "
            "('atomsim potentials list')"
        )


def _hosts(settings: Settings, inputs: Inputs, context: Context) -> list[Origin]:
    """Structures as given, and of an order step its lowest arrangements."""
    found: list[Origin] = []
    for word in settings.structures:
        records = [r for r in inputs.get(word, ()) if r.good and r.values.get("orderings")]
        if not records:
            found += origins([word], inputs, context)
            continue
        for record in records:
            for entry in record.values["orderings"][: settings.arrangements]:
                atoms = atoms_from_json(entry["structure"])
                number = entry["number"] + 1
                tags = record.tags | {"arrangement": number, "arrangement_above_eV": entry["above_lowest_eV"]}
                found.append(Origin(f"{record.label} {number}", atoms, tags, (record.task,)))
    return found


def _content(atoms: Atoms, settings: Settings) -> float:
    """Ions per two anions, x of LixMO2."""
    from atomsim.analysis.stacking import ANIONS

    symbols = atoms.get_chemical_symbols()
    anions = sum(s in ANIONS for s in symbols)
    return round(2 * symbols.count(settings.ion) / anions, 6) if anions else 0.0


def _tags(configuration: Configuration, settings: Settings, host: Origin) -> dict[str, Any]:
    fractional = host.atoms.get_scaled_positions()[list(configuration.dopants)]
    tags: dict[str, Any] = {
        "role": "doped",
        "dopant": settings.dopant,
        "site": configuration.site,
        "dopants": list(configuration.dopants),
        "dopants_at": fractional.round(6).tolist(),
        "donors": list(configuration.donors),
        "removed": list(configuration.removed),
        "swapped": list(configuration.swapped),
        "configurations": configuration.of,
        "sampled": configuration.sampled,
        "formula": configuration.atoms.get_chemical_formula(),
    }
    return tags if configuration.coulomb is None else tags | {"coulomb_eV": configuration.coulomb}


def _dopants_of(word: str, inputs: Inputs) -> list[list[list[float]]]:
    """Fractional positions of the dopants in the cells of an earlier step, the lowest cell first."""
    doped = [r for r in inputs.get(word, ()) if r.good and r.tags.get("role") == "doped" and not r.tags["donors"]]
    if not doped:
        raise InputError(f"like = {word!r}: found no doped cell there, wanted a dope step with converged cells")
    return [
        r.tags["dopants_at"] for r in sorted(doped, key=lambda r: (r.values.get("energy_eV", 0.0), r.label))
    ]  # none yet in a check


def _like(host: Atoms, how: DopingSettings, cells: list[list[list[float]]]) -> Configuration:
    """Dopants where those of the lowest cell of the same lattice stand on atoms of the first sublattice."""
    from ase.geometry import find_mic

    from atomsim.cations.doping import dope_at
    from atomsim.cations.sublattice import sites_of

    own = sites_of(host, how.sites[0], how.ion)
    for cell in cells:
        places = []
        for position in cell:
            away = host.positions[own] - np.asarray(position) @ host.cell.array
            distance = find_mic(away, host.cell, pbc=True)[1]
            if float(distance.min()) < SAME_SITE_A:
                places.append(int(own[int(np.argmin(distance))]))
        if len(set(places)) == len(cell):
            return dope_at(host, how, places)
    raise InputError(
        f"like: no {how.sites[0]} within {SAME_SITE_A:g} Å of where the other step's dopants stand; "
        "wanted the same lattice"
    )


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Relax, yielding records as cells finish."""
    from atomsim.relaxation import RelaxSettings, iter_relax

    del inputs, shared
    assert potential is not None
    of_both = RelaxSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    how = RelaxSettings(seed=context.seed, **settings.model_dump(include=set(of_both)))
    systems = [atoms_from_json(task.structure or {}) for task in tasks]
    for n, relaxation in iter_relax(systems, potential, how):
        again = how if settings.check_relax else None
        opinions = second_opinions(relaxation, settings.check_with, again, potential, context)
        yield _record(tasks[n], relaxation, settings, opinions)


def _record(task: Task, found: Relaxation, settings: Settings, opinions: dict[str, Any]) -> Record:
    from atomsim.cations.states import metal_moments
    from atomsim.tasks.order_record import layer_values

    values: dict[str, Any] = {
        "n_atoms": len(found.atoms),
        "force_calls": found.force_calls,
        "steps": found.steps,
    } | opinions
    energies = {"energy_eV": found.energy, "fmax_eV_per_A": found.fmax, "unrelaxed_eV": found.initial_energy}
    values |= {k: float(v) for k, v in energies.items() if np.isfinite(v)}
    arrays = {}
    if found.converged:
        values |= layer_values(found.atoms, settings.ion)
        values["volume_A3"] = float(found.atoms.cell.volume)
        if found.magmoms is not None:
            arrays["magmoms"] = found.magmoms
            values["states"] = metal_moments(found.atoms, found.magmoms)
    sound = np.isfinite(found.atoms.positions).all()
    structure = atoms_to_json(found.atoms, arrays) if sound else task.structure
    return record_of(task, found.status, found.message, values=values, structure=structure)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and force calls; preference of each sublattice, by each potential that was asked."""
    from atomsim.cations.doped import preferences
    from atomsim.cations.opinions import dopant_opinions

    del settings
    found = {p.site: round(p.above_eV, 4) for p in preferences(records)}
    counts = {"statuses": count_statuses(records), "force_calls": total_calls(records), "above_lowest_eV": found}
    opinions = dopant_opinions(records)
    return counts | ({"opinions": opinions} if opinions["sites"] else {})
