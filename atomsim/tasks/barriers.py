"""Step kind ``barriers``: the hops of an ion, their minimum-energy paths and barriers, each saddle proven.

One task is one symmetry-distinct hop, so that processes share the work and an interruption loses one hop
at most. What the hops of a host share (its Hessian, its relaxed ends) is computed once in each process
and is the same in all of them; a record names its cost beside its own, whoever paid it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from atomsim.errors import InputError, nearest, note_once
from atomsim.store.records import Record, Task, count_statuses, record_of, task_id, total_calls
from atomsim.tasks.base import Context, Inputs, Later, Origin, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.hopping.hops import Hop
    from atomsim.hopping.survey import Survey, SurveySettings
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "barriers"
NEEDS_POTENTIAL = True
report = "atomsim.report.barriers:barriers_part"

LIMITS = ("max_steps",)
"""Settings that may be raised in a run that has begun: what ended before the limit stays as it is."""


class Settings(StepSettings):
    """Keys of a ``barriers`` step."""

    structures: Structures = Field(
        min_length=1, description="relaxed hosts with their ions: an earlier step, prototypes or files"
    )
    ion: str = Field(default="Li", description="element that hops")
    max_length_A: float = Field(default=4.0, gt=0, le=10, description="longest hop, Å")
    interstitials: bool = Field(default=False, description="hop between empty sites too, found by void analysis")
    divacancies: bool = Field(default=False, description="also hops beside a second vacancy")
    supercell_min_A: float = Field(default=8.0, gt=0, description="distance wanted between an ion and its image, Å")
    max_atoms: int = Field(default=120, ge=2, description="largest supercell that may be used for it")
    images: int = Field(default=5, ge=1, le=50, description="images between the ends of a path")
    fmax_eV_per_A: float = Field(
        default=0.05, gt=0, description="of a band, largest projected force; of a followed saddle 0.4 of it, eV/Å"
    )
    end_fmax_eV_per_A: float = Field(default=0.02, gt=0, description="the same for the ends")
    max_steps: int = Field(default=200, ge=1, description="steps of a band before it is given up")
    search: Literal["follow", "band"] = Field(
        default="follow", description="follow the mode along a rough path to the saddle, or a climbing band all the way"
    )
    guess: Literal["idpp", "linear"] = Field(default="idpp", description="first guess of a path")
    noise_A: float = Field(default=0.03, ge=0, le=0.5, description="seeded noise on the guess, Å: leaves ridges")
    starts: int = Field(default=1, ge=1, le=20, description="bands per hop with other noise; the lowest is kept")
    prefactors: bool | Literal["full"] = Field(
        default=False, description='attempt frequencies (Vineyard): of the ion and its shell, or "full": all atoms'
    )
    check_with: list[str] = Field(
        default=[], description="further potentials to evaluate each path with: names, NAME#HEAD or paths"
    )
    only: Annotated[list[str] | None, Later()] = Field(
        default=None, min_length=1, description="names of the hops to compute; all if not given"
    )
    sample: Annotated[int | None, Later()] = Field(
        default=None, ge=1, description="hops of each host to compute, drawn at random: for a glass, which has hundreds"
    )

    @model_validator(mode="after")
    def _one_choice(self) -> Settings:
        if self.only is not None and self.sample is not None:
            raise ValueError("found only and sample; wanted one of them")
        return self


def cost(task: Task, settings: Settings) -> float:
    """Grow with the atoms of the host and the images of a band."""
    return cost_per_atom(task, settings) * settings.images


def survey_settings(settings: Settings, seed: int) -> SurveySettings:
    """Return the engine's settings."""
    from atomsim.hopping.survey import SurveySettings
    from atomsim.mep.path import PathSettings

    return SurveySettings(
        max_length_A=settings.max_length_A,
        interstitials=settings.interstitials,
        divacancies=settings.divacancies,
        supercell_min_A=settings.supercell_min_A,
        max_atoms=settings.max_atoms,
        end_fmax_eV_per_A=settings.end_fmax_eV_per_A,
        path=PathSettings(
            images=settings.images,
            fmax_eV_per_A=settings.fmax_eV_per_A,
            max_steps=settings.max_steps,
            search=settings.search,
            guess=settings.guess,
            noise_A=settings.noise_A,
            starts=settings.starts,
            seed=seed,
        ),
    )


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each distinct hop of each host, in the host's standard setting.

    Raises:
        InputError: if the ion is not in a host, no hop is short enough, a host exceeds ``max_atoms``,
            or an element is unknown to the potential or to one of ``check_with``, or that is not at hand.
    """
    from atomsim.hopping.survey import survey
    from atomsim.structures.mobility import mobility_note
    from atomsim.structures.sanity import check_structure

    hosts = origins(settings.structures, inputs, context)
    known = _known_elements(settings, context)
    relaxed = {r.task: r.values["space_group_before"] for n in inputs.values() for r in n if _changed(r)}
    tasks = []
    for host in hosts:
        check_structure(host.atoms, context.elements)
        _check_elements(host, settings.ion, known, context.step)
        try:
            view = survey(host.atoms, settings.ion, survey_settings(settings, context.seed))
        except InputError as error:
            raise InputError(f"step {context.step!r}, {host.label}: {error}") from error
        if not view.placed:
            reasons = "; ".join(f"{name}: {why}" for name, why in view.left_out[:3])
            raise InputError(f"step {context.step!r}, {host.label}: no hop can be computed ({reasons})")
        note_once(mobility_note(host.atoms, settings.ion))
        if settings.only is not None:
            view = _chosen(view, settings.only, f"step {context.step!r}, {host.label}")
        if settings.sample is not None:
            view = _chosen(view, _drawn(view, settings.sample, context.seed), "")
        shared = _tags_of_host(host, view, settings)
        if settings.sample is not None:
            shared["drawn_at_random"] = len(view.placed)
        before = next((relaxed[task] for task in host.parents if task in relaxed), view.hops.space_group)
        if before != view.hops.space_group:
            shared["space_group_before"] = before
        for placed in view.placed:
            label = placed.hop.name if len(hosts) == 1 else f"{host.label} {placed.hop.name}"
            tags = host.tags | shared | _tags_of_hop(placed.hop, view)
            tasks.append(make_task(Origin(label, view.hops.host, tags, host.parents), KIND, settings, context))
    return tasks


def _drawn(view: Survey, count: int, seed: int) -> list[str]:
    """Return the names of random hops, all where there are fewer."""
    names = [placed.hop.name for placed in view.placed]
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[n] for n in sorted(chosen)]


def _chosen(view: Survey, only: Sequence[str], where: str) -> Survey:
    """Return a survey of some hops; the others count as left out, so that thresholds are upper bounds."""
    names = [placed.hop.name for placed in view.placed]
    for name in only:
        if name not in names:
            why = dict(view.left_out).get(name)
            raise InputError(
                f"{where}: only: "
                + (f"{name!r} cannot be computed: {why}" if why else f"no hop {name!r};{nearest(name, names)}")
                + f" hops are {', '.join(names)}"
            )
    others = tuple((name, "not asked for") for name in names if name not in only)
    placed = tuple(p for p in view.placed if p.hop.name in only)
    return replace(view, placed=placed, left_out=(*view.left_out, *others))


def _changed(record: Record) -> bool:
    return "space_group_before" in record.values


def _known_elements(settings: Settings, context: Context) -> dict[str, frozenset[int]]:
    """Atomic numbers that the potential and those of ``check_with`` know."""
    from atomsim.tasks.barriers_checks import further_elements

    own = {} if context.elements is None else {"the potential": context.elements}
    return own | {f"{name} (check_with)": known for name, known in further_elements(settings, context).items()}


def _check_elements(host: Origin, ion: str, known: dict[str, frozenset[int]], step: str) -> None:
    """Refuse what would fail only after the paths were found; an ion that goes to empty sites is not in the host."""
    from ase.data import atomic_numbers, chemical_symbols

    if ion not in atomic_numbers:
        raise InputError(f"step {step!r}: ion: found {ion!r}, wanted the symbol of an element, such as Li")
    needed = {*(int(z) for z in host.atoms.numbers), atomic_numbers[ion]}
    for name, numbers in known.items():
        unknown = ", ".join(chemical_symbols[z] for z in sorted(needed - numbers))
        if unknown:
            hint = "choose another ('atomsim potentials list')"
            raise InputError(f"step {step!r}, {host.label}: {unknown} is not known to {name}; {hint}")


def _tags_of_host(host: Origin, view: Survey, settings: Settings) -> dict[str, Any]:
    """Tags that all hops of a host share; sites, cell and copies are those of its standard setting."""
    return {
        "host": host.label,
        "ion": view.hops.ion,
        "max_length_A": settings.max_length_A,
        "most_dimensions": _most_dimensions(view),
        "sites": [{"name": s.name, "fractional": [float(x) for x in s.fractional]} for s in view.hops.sites],
        "space_group": view.hops.space_group,
        "hops_of_host": len(view.hops.hops),
        "left_out": [[*entry, _hop(view, entry[0]).mechanism] for entry in view.left_out],
        "cell_A": view.hops.host.cell.array.tolist(),
        "supercell": view.cell.matrix.tolist(),
        "image_distance_A": view.cell.image_distance_A,
        "supercell_min_A": settings.supercell_min_A,
        "n_host_atoms": len(view.hops.host),
    }


def _hop(view: Survey, name: str) -> Hop:
    return next(h for h in view.hops.hops if h.name == name)


def _most_dimensions(view: Survey) -> dict[str, int]:
    """Dimensions that each mechanism's hops connect the crystal in if all of them can be made, those left out too."""
    from atomsim.hopping.percolation import Edge, dimensionality

    networks: dict[str, list[Edge]] = {}
    for hop in view.hops.hops:
        if not hop.also_vacant:
            made = [Edge(k[0][0], k[1][0], k[1][1], 0.0) for k in hop.members]
            networks.setdefault(hop.mechanism, []).extend(made)
    return {mechanism: dimensionality(found, len(view.hops.sites)) for mechanism, found in networks.items()}


def _tags_of_hop(hop: Hop, view: Survey) -> dict[str, Any]:
    sites = view.hops.sites
    return {
        "hop": hop.name,
        "from": sites[hop.start].name,
        "to": sites[hop.end].name,
        "length_A": hop.length_A,
        "mechanism": hop.mechanism,
        "multiplicity": hop.multiplicity,
        "bottleneck_A": hop.bottleneck_A,
        "reversible": hop.reversible,
        "copies": [[k[0][0], k[1][0], *k[1][1]] for k in hop.members] if not hop.also_vacant else [],
    }


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Find all paths in one flight; yield each hop's record as its path is done."""
    from atomsim.hopping.compute import HopRequest, compute
    from atomsim.io.atoms_json import atoms_from_json
    from atomsim.tasks.barriers_record import failed_values, path_record

    del inputs
    assert potential is not None
    how = survey_settings(settings, context.seed)
    requests = [
        HopRequest(n, task_id(task.structure), atoms_from_json(task.structure or {}), task.tags["hop"])
        for n, task in enumerate(tasks)
    ]
    for result in compute(requests, settings.ion, how, potential, prefactors=settings.prefactors, shared=shared):
        task = tasks[result.key]
        if result.path is None:
            yield record_of(task, result.status, result.message, values=failed_values(result, task.tags))
        else:
            yield path_record(task, result, settings.check_with, potential, context)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and force calls; for each host barriers and percolation."""
    from atomsim.hopping.summary import host_summaries

    del settings
    return {
        "statuses": count_statuses(records),
        "force_calls": total_calls(records),
        "hosts": host_summaries(records),
    }
