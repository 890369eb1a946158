"""Step kind ``effects``: what a dopant does to hops, oxygen vacancies and metals that leave their layer.

A task is one event on one side: in the crystal without the dopant, or in that with it. Both sides of a pair are made of
the same atoms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.base import Context, Inputs, Origin, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.cations.event_energies import EventEnergy
    from atomsim.cations.events import CrystalPair, Event, EventSettings
    from atomsim.mep.path import PathSettings, ReactionPath
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.relaxation import RelaxSettings

KIND = "effects"
NEEDS_POTENTIAL = True
report = "atomsim.report.effects:effects_part"
LIMITS = ("max_steps",)
PATH_IMAGES_COST = 10.0
"""A path costs as much as so many relaxations."""


class Settings(StepSettings):
    """Keys of an ``effects`` step."""

    structures: Structures = Field(
        min_length=1, description="a dope step with relaxed cells, undoped and doped, that hold the same ions"
    )
    cells: int = Field(default=1, ge=1, description="doped cells of each undoped one, the lowest in energy")
    ion: str = Field(default="Li", description="element that hops, and between the layers")
    hops: int = Field(default=6, ge=0, description="hops in each pair of cells, half of them with the dopant near")
    max_length_A: float = Field(default=3.4, gt=0, le=6, description="longest hop, Å")
    near_A: float = Field(
        default=3.6, gt=0, le=8, description="metals within this of the middle of a hop are at its bottleneck, Å"
    )
    vacancies: int = Field(default=4, ge=0, description="oxygen vacancies in each pair, half bonded to the dopant")
    migrations: int = Field(
        default=0, ge=0, description="metals that go to the tetrahedron in the ion layer, ions in the way taken out"
    )
    migrating: list[str] = Field(default=["Mn"], description="their elements; the dopant may be one")
    images: int = Field(default=5, ge=3, le=50, description="images between the ends of a path")
    fmax_eV_per_A: float = Field(default=0.05, gt=0, description="of a path; of its saddle 0.4 of it, eV/Å")
    end_fmax_eV_per_A: float = Field(default=0.02, gt=0, description="of ends and vacancies, eV/Å")
    max_steps: int = Field(default=300, ge=1, description="give up a relaxation or a path after this many steps")
    check_minimum: bool = Field(default=False, description="look for a mode of negative curvature at each end")


def cost(task: Task, settings: Settings) -> float:
    """Grow with the atoms; a path costs several relaxations."""
    del settings
    return cost_per_atom(task, None) * (1.0 if task.tags["event"] == "vacancy" else PATH_IMAGES_COST)


def event_settings(settings: Settings, seed: int) -> EventSettings:
    """Return the engine's settings."""
    from atomsim.cations.events import EventSettings

    of_both = EventSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    values = settings.model_dump(include=set(of_both))
    return EventSettings(seed=seed, **{**values, "migrating": tuple(settings.migrating)})


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make two tasks for each event: without and with the dopant.

    Raises:
        InputError: if nothing is asked for, or the structures are no pairs of undoped and doped cells with the same
            atoms, or have none of what is asked for.
    """
    from atomsim.cations.events import find_events

    if not settings.hops + settings.vacancies + settings.migrations:
        raise InputError(f"step {context.step!r}: found hops, vacancies and migrations all 0, wanted one of them above")
    how = event_settings(settings, context.seed)
    tasks = []
    for pair, hosts in _pairs(settings, inputs, context):
        try:
            events = find_events(pair, how)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {hosts[1].label}: {error}") from error
        for event in events:
            tasks += [_task(side, event, pair, hosts, settings, context) for side in (0, 1)]
    return tasks


def _pairs(settings: Settings, inputs: Inputs, context: Context) -> Iterator[tuple[CrystalPair, tuple[Origin, Origin]]]:
    """The undoped cells with their lowest doped ones, whose dopants replace atoms without an exchange."""
    from atomsim.cations.events import CrystalPair

    energies = {r.task: r.values.get("energy_eV", 0.0) for found in inputs.values() for r in found}
    found = origins(settings.structures, inputs, context)
    hosts = {o.tags["host"]: o for o in found if o.tags.get("role") == "host"}
    doped: dict[str, list[Origin]] = {}
    for one in found:
        t = one.tags
        if t.get("role") == "doped" and not t["donors"] and not t["removed"] and not t["swapped"]:
            doped.setdefault(t["host"], []).append(one)
    if not set(hosts) & set(doped):
        raise InputError(
            f"step {context.step!r}: found {len(hosts)} undoped cells and none with a dopant that belongs to them and "
            'keeps their ions, wanted a dope step with compensation = "none"; exchanged cells are not compared'
        )
    for name, host in hosts.items():
        own = sorted(doped.get(name, ()), key=lambda o: (round(_energy(o, energies), 6), o.label))
        for one in own[: settings.cells]:
            yield CrystalPair(host.atoms, one.atoms), (host, one)


def _energy(origin: Origin, energies: dict[str, float]) -> float:
    if "energy_eV" in origin.tags:  # given by a Python caller, whose structures have no records here
        return float(origin.tags["energy_eV"])
    return next((float(energies[p]) for p in origin.parents if p in energies), 0.0)


def _task(
    side: int, event: Event, pair: CrystalPair, hosts: tuple[Origin, Origin], settings: Settings, context: Context
) -> Task:
    from atomsim.cations.effects import SIDES

    own, doped = hosts[side], hosts[1]
    name = f"{doped.label} {event.name}"
    tags = {
        "pair": name,
        "side": SIDES[side],
        "event": event.kind,
        "name": event.name,
        "host": hosts[0].label,
        "dopant": pair.dopant,
        "content": hosts[0].tags.get("content", 0.0),
        "near": event.near,
        "distance_A": event.distance_A,
        "around": event.around if side else event.around_undoped,
        "removed": list(event.removed),
        "moves": event.moves,
        "upward": event.upward,
    }
    parents = tuple(dict.fromkeys(own.parents + doped.parents))
    return make_task(Origin(f"{name} {SIDES[side]}", own.atoms, tags, parents), KIND, settings, context)


def _event(task: Task) -> Event:
    from atomsim.cations.events import Event

    t = task.tags
    return Event(
        t["event"], t["name"], tuple(t["removed"]), t["moves"], t["upward"], t["near"], t["distance_A"], t["around"], {}
    )


def _how(settings: Settings, seed: int) -> tuple[RelaxSettings, PathSettings]:
    from atomsim.mep.path import PathSettings
    from atomsim.relaxation import RelaxSettings

    relax = RelaxSettings(
        fmax_eV_per_A=settings.end_fmax_eV_per_A, max_steps=settings.max_steps, check_minimum=settings.check_minimum,
        cell=False, seed=seed,
    )  # fmt: skip
    path = PathSettings(
        images=settings.images, fmax_eV_per_A=settings.fmax_eV_per_A, max_steps=settings.max_steps, seed=seed
    )
    return relax, path


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Compute events, yielding records as they finish."""
    from atomsim.cations.event_energies import EventRequest, event_energies

    del inputs, shared
    assert potential is not None
    how = event_settings(settings, context.seed)
    requests = [EventRequest(n, atoms_from_json(t.structure or {}), _event(t)) for n, t in enumerate(tasks)]
    for found in event_energies(requests, potential, how, *_how(settings, context.seed)):
        yield _record(tasks[found.key], found)


def _record(task: Task, found: EventEnergy) -> Record:
    values: dict[str, Any] = {"n_atoms": len(found.atoms), "force_calls": found.force_calls, "flags": list(found.flags)}
    if found.removal_eV is not None:
        values["removal_eV"] = float(found.removal_eV)
    if found.path is not None:
        values |= _path_values(found.path)
        values["resolved_eV"] = found.resolved_eV
    values = {k: v for k, v in values.items() if not isinstance(v, float) or np.isfinite(v)}
    structure = atoms_to_json(found.atoms) if np.isfinite(found.atoms.positions).all() else task.structure
    return record_of(task, found.status, found.message, values=values, structure=structure)


def _path_values(path: ReactionPath) -> dict[str, Any]:
    """Barrier from the lower end, both ways, and the path for its profile."""
    values: dict[str, Any] = {
        "barrier_eV": max(path.barrier, path.reverse_barrier),
        "forward_eV": path.barrier,
        "reverse_eV": path.reverse_barrier,
        "reaction_eV": path.reaction_energy,
        "path_A": path.lengths.round(4).tolist(),
        "path_eV": (path.energies - path.energies[0]).round(6).tolist(),
    }
    return values if path.proof is None else values | {"negative_modes": path.proof.negative_modes}


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses, force calls and complete pairs; the paired differences."""
    from atomsim.cations.effects import counted, event_differences

    del settings
    return {
        "statuses": count_statuses(records),
        "force_calls": total_calls(records),
        "pairs": {event: f"{n} of {of}" for event, n, of in counted(records)},
        "differences": [asdict(p) for p in event_differences(records)],
    }
