"""Energies of events: barriers with proven saddles, the removal of an anion, the tetrahedral metal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.cations.events import Event, EventSettings, ends_of, moving_atom
from atomsim.mep.find import find_paths
from atomsim.mep.interpolate import between
from atomsim.mep.neb import without_drift
from atomsim.mep.path import Endpoints, PathSettings, ReactionPath, travellers
from atomsim.mep.segments import resolve
from atomsim.models.interface import EnergyModel
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax

SAME_MINIMUM_A = 0.3
"""Ends between which no atom moves further are one minimum, Å."""
ELSEWHERE_A = 1.0
"""An atom that relaxes further from where it was put went to another site, Å."""


@dataclass(frozen=True)
class EventRequest:
    """An event in one of the two crystals."""

    key: int
    atoms: Atoms = field(repr=False)
    """The relaxed crystal."""
    event: Event


@dataclass(frozen=True)
class EventEnergy:
    """An event that was computed, or not; ``status`` says which."""

    key: int
    status: str
    message: str
    atoms: Atoms = field(repr=False)
    """The relaxed cell with a vacancy, or the saddle; where neither was found the last cell."""
    force_calls: int
    removal_eV: float | None = None
    """E(without the anion) − E(intact), eV: a vacancy's energy against the gas but for the gas."""
    path: ReactionPath | None = None
    flags: tuple[str, ...] = ()

    @property
    def resolved_eV(self) -> float | None:  # noqa: N802 - units in names
        """Kinetically resolved barrier, E(saddle) − mean of both ends, eV: the same both ways (Van der Ven 2001)."""
        if self.path is None:
            return None
        return float(self.path.energies.max() - (self.path.energies[0] + self.path.energies[-1]) / 2)


def event_energies(
    requests: Sequence[EventRequest],
    potential: EnergyModel,
    settings: EventSettings,
    relax: RelaxSettings,
    path: PathSettings,
    capacity: Capacity | None = None,
) -> Iterator[EventEnergy]:
    """Compute events: all cells are relaxed in one flight, then all paths are found in one.

    Args:
        requests: which events, in which crystals.
        potential: the potential.
        settings: of the events.
        relax: how ends and vacancies are relaxed; their cell stays that of the crystal.
        path: how paths are found.
        capacity: how much to evaluate at once.
    """
    how = replace(relax, cell=False)
    cells = [(r, n, atoms) for r in requests for n, atoms in enumerate(ends_of(r.atoms, r.event, settings))]
    relaxed = dict(iter_relax([atoms for _, _, atoms in cells], potential, how, capacity=capacity))
    ends: dict[int, list[tuple[Atoms, Relaxation]]] = {}
    for k, (request, _, atoms) in enumerate(cells):
        ends.setdefault(request.key, []).append((atoms, relaxed[k]))
    joined: dict[int, Endpoints] = {}
    for request in requests:
        own = ends[request.key]
        found = _of_ends(request, own, potential)
        if found is None:
            joined[request.key] = _joined(request, own)
        else:
            yield found
    for one in find_paths(joined.values(), potential, path, capacity=capacity):
        key = int(str(one.key))
        resolved = resolve(one, joined[key], potential, path).path
        request = next(r for r in requests if r.key == key)
        yield _of_path(request, resolved, ends[key])


def _of_ends(
    request: EventRequest, ends: Sequence[tuple[Atoms, Relaxation]], potential: EnergyModel
) -> EventEnergy | None:
    """Return a vacancy's energy, or why no path can be looked for; None where one can."""
    calls = sum(r.force_calls for _, r in ends)
    last = ends[-1][1]
    for name, (_, end) in zip(("start", "end") if len(ends) > 1 else ("vacancy",), ends, strict=True):
        if not end.converged:
            return EventEnergy(request.key, end.status, f"{name}: {end.message or end.status}", end.atoms, calls)
    if request.event.moves is None:
        intact = float(next(iter(evaluate_all([request.atoms], potential)))[1].energy[0])
        return EventEnergy(request.key, "converged", "", last.atoms, calls + 1, last.energy - intact)
    apart = np.linalg.norm(between(ends[0][1].atoms, last.atoms), axis=1)
    if float(apart.max()) < SAME_MINIMUM_A or float(apart[moving_atom(request.event)]) < SAME_MINIMUM_A:
        message = "both ends relax to one minimum: what was moved went back"
        return EventEnergy(request.key, "drifted", message, last.atoms, calls)
    return None


def _joined(request: EventRequest, ends: Sequence[tuple[Atoms, Relaxation]]) -> Endpoints:
    first, last = ends[0][1], ends[1][1]
    moved = without_drift(first.atoms, between(first.atoms, last.atoms))
    plain = first.atoms.copy()
    plain.calc = None
    return Endpoints(request.key, plain, moved, first.energy, last.energy, travellers(moved))


def _of_path(request: EventRequest, path: ReactionPath, ends: Sequence[tuple[Atoms, Relaxation]]) -> EventEnergy:
    calls = path.force_calls + sum(r.force_calls for _, r in ends)
    flags = []
    atom = moving_atom(request.event)
    for name, (given, end) in zip(("start", "end"), ends, strict=True):
        away = float(np.linalg.norm(between(given, end.atoms)[atom]))
        if away > ELSEWHERE_A:
            flags.append(f"the {name} relaxed {away:.2f} Å from where it was put: it may be another site")
    return EventEnergy(
        request.key, path.status, path.message, path.images[path.highest], calls, path=path, flags=tuple(flags)
    )
