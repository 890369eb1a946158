"""Relaxations that end on minima: look at the lowest mode of what has converged, and leave saddles."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from atomsim.batch import Batch, Evaluation, to_host
from atomsim.batching.capacity import Capacity
from atomsim.batching.memory import Load
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.drive import Outcome
from atomsim.optimize.entering import Group
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.products import Products
from atomsim.optimize.rows import Rows
from atomsim.optimize.space import Space
from atomsim.optimize.sparse import is_large, sparse_springs
from atomsim.optimize.springs import spring_guess

NEGATIVE = -0.1
"""Curvature below which a point is a saddle, eV/Å²; soft modes above it are noise of the potential."""
KICK = 0.15
"""Longest row of the step off a saddle, Å."""
RESTARTS = 3
"""Departures from saddles before a relaxation is given up as one."""
UNCHECKED = "could not be checked for a saddle: the potential failed on a small displacement"
"""Message of what converged and could not be looked at."""
UNSETTLED = "the search for a saddle's mode was given up before it was sure"
"""The same of what has so many soft modes, or so bad a preconditioner, that the search was given up."""


def to_minima(
    groups: Iterable[Group],
    descend: Callable[[Iterable[Group]], Iterator[Outcome]],
    potential: EnergyModel,
    space: Space,
    capacity: Capacity,
    seed: int,
) -> Iterator[Outcome]:
    """Descend, look, and continue from saddles; yield each group as it ends.

    A group that still sits on a saddle after ``RESTARTS`` kicks ends as ``saddle``.

    Args:
        groups: single systems.
        descend: ``drive`` with all but its groups.
        potential: the potential.
        space: what moves.
        capacity: how many systems to look at together.
        seed: of the search for the mode.
    """
    earlier: dict[Hashable, Outcome] = {}
    for restart in range(RESTARTS + 1):
        displaced: list[Group] = []
        for found, onward in _looked_at(descend(groups), potential, space, capacity, seed):
            outcome = continued(found, earlier.get(found.key))
            if outcome.status == "saddle" and restart < RESTARTS:
                earlier[outcome.key] = outcome
                displaced.append(onward)
            else:
                yield outcome
        if not displaced:
            return
        groups = displaced


def _looked_at(
    outcomes: Iterable[Outcome], potential: EnergyModel, space: Space, capacity: Capacity, seed: int
) -> Iterator[tuple[Outcome, Group]]:
    """Pass outcomes on, those that converged with what was seen of their curvature, and the group to continue with."""
    waiting: list[Outcome] = []
    load = Load()
    for outcome in outcomes:
        if outcome.status != "converged":
            yield outcome, Group(outcome.key, outcome.batch)
            continue
        more = capacity.load(outcome.batch)
        if waiting and not capacity.admits(load + more):
            yield from _look(waiting, potential, space, seed)
            waiting, load = [], Load()
        waiting, load = [*waiting, outcome], load + more
    if waiting:
        yield from _look(waiting, potential, space, seed)


def _look(outcomes: list[Outcome], potential: EnergyModel, space: Space, seed: int) -> Iterator[tuple[Outcome, Group]]:
    device = device_of(potential)
    batch = Batch.join([o.batch for o in outcomes]).to(device)
    guesses = [_curvature(o, space).to(device) for o in outcomes]
    layout = space.layout(batch)
    force = space.force(batch, Evaluation.join([o.evaluation for o in outcomes]).to(device), layout)
    modes = lowest_modes(Products(batch, force, potential, space), guesses, negative=NEGATIVE, seed=seed)
    rows = Rows.of_sizes(layout.row_sizes, device)
    kick = KICK / rows.largest(modes.mode)
    displaced = space.move(batch, kick[rows.group, None] * modes.mode, layout)
    looked = zip(*(t.tolist() for t in to_host([modes.curvature, modes.settled, modes.force_calls])), strict=True)
    for n, (outcome, (curvature, settled, calls)) in enumerate(zip(outcomes, looked, strict=True)):
        known = curvature if math.isfinite(curvature) else None  # infinite where nothing can move
        found = replace(outcome, curvature=known, force_calls=outcome.force_calls + calls)
        if curvature < NEGATIVE:
            message = f"forces vanish on a saddle: a mode has curvature {curvature:.2f} eV/Å²; start from more noise"
            found = replace(found, status="saddle", message=message)
        elif math.isnan(curvature):
            found = replace(found, message=UNCHECKED)
        elif not settled:
            found = replace(found, message=_unsettled(curvature))
        yield found, Group(outcome.key, displaced.take([n]), outcome.inverse_hessian)


def _unsettled(curvature: float) -> str:
    return (
        f"{UNSETTLED}: the lowest curvature found is {curvature:.2f} eV/Å², and a saddle has one below {NEGATIVE:g}; "
        "to be sure relax again from more noise"
    )


def _curvature(outcome: Outcome, space: Space) -> Any:
    """Scale of the search: the inverse Hessian as far as it is known, or springs of a large system as it is now."""
    if is_large(outcome.batch.n_atoms):
        return sparse_springs(outcome.batch, space)
    return spring_guess(outcome.batch, space) if outcome.inverse_hessian is None else outcome.inverse_hessian


def continued(found: Outcome, earlier: Outcome | None) -> Outcome:
    """Add the cost of what came before a restart."""
    if earlier is None:
        return found
    return replace(
        found,
        steps=found.steps + earlier.steps,
        force_calls=found.force_calls + earlier.force_calls,
        first_energy=earlier.first_energy,
    )
