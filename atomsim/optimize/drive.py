"""The driver: groups enter and leave while the others go on, so that a device stays full."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity, Fault, evaluate
from atomsim.batching.memory import Load
from atomsim.models.interface import Surface
from atomsim.optimize.apart import fallen_apart
from atomsim.optimize.rows import Method, Rows, join_states, take_state
from atomsim.optimize.space import Layout, Space


@dataclass(frozen=True)
class Group:
    """What one optimizer state moves: a system, or all images of a band."""

    key: Hashable
    """The caller's name for it."""
    batch: Batch
    """Its systems."""
    inverse_hessian: Tensor | None = None
    """What is known of it, Å²/eV, (3 rows, 3 rows), in the coordinates of ``Space``; None if nothing is."""


Projection = Callable[[Batch, Evaluation, Tensor, list[Group]], Evaluation]
"""(systems in flight, what the surface says of them, group of each system, the groups) to what moves them."""


@dataclass(frozen=True)
class Stop:
    """When a group is finished."""

    fmax: float = 0.05
    """Converged when no residual force (see ``Space.residual``) is larger, eV/Å."""
    max_steps: int = 500
    """Steps after which a group is given up as ``max_steps``."""
    exploded_force: float = 1e4
    """Residual force above which a group is given up as ``exploded``, eV/Å."""
    exploded_volume: float = 3.0
    """Factor of growth or shrinkage of a cell's volume above which likewise, if it goes uphill, comes apart or
    runs into itself: a sound relaxation may go as far, downhill and as one piece (see ``fallen_apart``)."""


@dataclass(frozen=True)
class Outcome:
    """How a group ended. ``batch`` and ``evaluation`` belong together, converged or not."""

    key: Hashable
    batch: Batch
    evaluation: Evaluation
    status: str
    """``converged``, ``max_steps``, ``exploded``, ``not_a_number``, ``too_large`` or ``invalid``."""
    message: str
    steps: int
    """Steps taken."""
    force_calls: int
    """Evaluations of its systems: one a step, one before the first, and what looking at modes took."""
    residual: float
    """Largest residual force at the end, eV/Å."""
    first_energy: float
    """Energy before the first step, summed over the group's systems, without PV, eV."""
    inverse_hessian: Tensor | None = None
    """What the optimizer has learned, Å²/eV, (3 rows, 3 rows), or None."""
    curvature: float | None = None
    """Curvature of the lowest mode found at the end, eV/Å²; None if nobody looked or could (see ``minima``)."""


def drive(
    groups: Iterable[Group],
    surface: Surface,
    method: Method[Any],
    space: Space,
    stop: Stop,
    capacity: Capacity,
    project: Projection | None = None,
    on_evaluation: Callable[[int], None] | None = None,
) -> Iterator[Outcome]:
    """Move groups downhill until each has converged or failed; yield each as it ends.

    A group's path does not depend on what else is in flight, to the rounding of the surface.

    Args:
        groups: what to move, read as there is room.
        surface: gives energies and forces of all systems in flight.
        method: the optimizer.
        space: what moves.
        stop: when a group is finished.
        capacity: how much may be in flight.
        project: turns what the surface says of the groups in flight into what moves them, e.g. a
            band's projected forces; convergence is judged after it.
        on_evaluation: called with the number of systems after each evaluation.
    """
    flight: _Flight | None = None
    waiting = _Lookahead(iter(groups))
    while True:
        entering = waiting.take(capacity, [m.load for m in flight.members] if flight else [])
        if not entering and flight is None:
            return
        flight = _Flight.join(flight, entering)
        evaluation, faults = evaluate(surface, flight.batch, flight.group)
        if on_evaluation:
            on_evaluation(flight.batch.n_systems)
        if project:
            evaluation = project(flight.batch, evaluation, flight.group, [m.group for m in flight.members])
        flight = flight.started(method, space, evaluation)
        verdicts = flight.judge(space, stop, evaluation, faults, float(getattr(surface, "cutoff", 0.0)))
        yield from flight.outcomes(evaluation, verdicts, method.inverse_hessians(flight.state), space)
        staying = torch.tensor([n for n, v in enumerate(verdicts) if v is None], dtype=torch.int64)
        flight = flight.moved(method, space, evaluation, staying.to(flight.group.device)) if len(staying) else None


@dataclass
class _Member:
    """What the driver remembers of one group."""

    group: Group
    load: Load
    steps: int = 0
    first_energy: float = float("nan")
    first_enthalpy: float = float("nan")
    residual: float = float("inf")
    started: bool = False


class _Lookahead:
    """Hands out groups while they fit; one that does not fit waits."""

    def __init__(self, groups: Iterator[Group]) -> None:
        self.groups = groups
        self.waiting: _Member | None = None

    def take(self, capacity: Capacity, flying: list[Load]) -> list[_Member]:
        load = sum(flying, Load())
        taken: list[_Member] = []
        while (member := self._peek(capacity)) is not None:
            load = load + member.load
            if not capacity.admits(load) and (taken or flying):
                break
            taken.append(member)
            self.waiting = None
        return taken

    def _peek(self, capacity: Capacity) -> _Member | None:
        if self.waiting is None and (group := next(self.groups, None)) is not None:
            self.waiting = _Member(group, capacity.load(group.batch))
        return self.waiting


@dataclass
class _Flight:
    """All groups in flight, and the optimizer's state of those that have started."""

    members: list[_Member]
    batch: Batch
    group: Tensor
    """Group of each system, (n_systems,), int64."""
    first_volume: Tensor
    """Volume of each system when it entered, Å³, (n_systems,)."""
    state: Any = field(default=None, repr=False)

    @classmethod
    def join(cls, flight: _Flight | None, entering: list[_Member]) -> _Flight:
        if not entering:
            assert flight is not None
            return flight
        members = (flight.members if flight else []) + entering
        batch = Batch.join(([flight.batch] if flight else []) + [m.group.batch for m in entering])
        counts = torch.tensor([m.group.batch.n_systems for m in members], device=batch.device)
        group = torch.repeat_interleave(torch.arange(len(members), device=batch.device), counts)
        volume = torch.cat(([flight.first_volume] if flight else []) + [m.group.batch.volume for m in entering])
        return cls(members, batch, group, volume, flight.state if flight else None)

    def rows(self, layout: Layout) -> Rows:
        return Rows(self.group[layout.system], len(self.members))

    def started(self, method: Method[Any], space: Space, evaluation: Evaluation) -> _Flight:
        """Give the groups that entered a state of their own."""
        new = [n for n, m in enumerate(self.members) if not m.started]
        if not new:
            return self
        systems = torch.nonzero(self.group >= new[0]).flatten()  # they entered last
        owner = self.group[systems] - new[0]
        batch, said = self.batch.take(systems), evaluation.take(self.batch, systems)
        layout = space.layout(batch)
        rows = Rows(owner[layout.system], len(new))
        energy = _by_group(space.energy(batch, said), owner, len(new))
        guesses = [self.members[n].group.inverse_hessian for n in new]
        state = method.start(rows, space.force(batch, said, layout), energy, guesses)
        firsts = zip(new, _by_group(said.energy, owner, len(new)).tolist(), energy.tolist(), strict=True)
        for n, value, enthalpy in firsts:
            member = self.members[n]
            member.started, member.first_energy, member.first_enthalpy = True, value, enthalpy
        self.state = state if self.state is None else join_states([self.state, state])
        return self

    def judge(
        self, space: Space, stop: Stop, evaluation: Evaluation, faults: dict[int, Fault], cutoff: float = 0.0
    ) -> list[tuple[str, str] | None]:
        """Return each group's status and message, or None where it goes on."""
        residual = space.residual(self.batch, evaluation)
        residual = torch.where(torch.isfinite(evaluation.energy), residual, torch.nan)
        worst = residual.new_zeros(len(self.members)).scatter_reduce(0, self.group, residual, "amax")
        change = (self.batch.volume / self.first_volume).log().abs().nan_to_num()  # 0/0 without a cell
        grown = change.new_zeros(len(self.members)).scatter_reduce(0, self.group, change, "amax").exp()
        verdicts: list[tuple[str, str] | None] = []
        for n, (member, force, growth) in enumerate(zip(self.members, worst.tolist(), grown.tolist(), strict=True)):
            member.residual = force
            wrong = self._astray(n, space, evaluation, cutoff) if growth > stop.exploded_volume else ""
            verdicts.append(_verdict(member, force, growth, wrong, stop, faults.get(n)))
        return verdicts

    def _astray(self, n: int, space: Space, evaluation: Evaluation, cutoff: float) -> str:
        """Say what is wrong with a group whose volume has changed much; empty if it may go on."""
        systems = torch.nonzero(self.group == n).flatten()
        batch = self.batch.take(systems)
        enthalpy = float(space.energy(batch, evaluation.take(self.batch, systems)).sum())
        if not enthalpy <= self.members[n].first_enthalpy:
            return f"energy rose by {enthalpy - self.members[n].first_enthalpy:.3g} eV"
        return fallen_apart(batch.to("cpu"), cutoff)

    def outcomes(
        self, evaluation: Evaluation, verdicts: list[tuple[str, str] | None], learned: Tensor | None, space: Space
    ) -> Iterator[Outcome]:
        sizes = (3 * self.rows(space.layout(self.batch)).counts).tolist()
        for n, (member, verdict) in enumerate(zip(self.members, verdicts, strict=True)):
            if verdict is None:
                continue
            systems = torch.nonzero(self.group == n).flatten()
            yield Outcome(
                key=member.group.key,
                batch=self.batch.take(systems),
                evaluation=evaluation.take(self.batch, systems),
                status=verdict[0],
                message=verdict[1],
                steps=member.steps,
                force_calls=member.steps + 1,
                residual=member.residual,
                first_energy=member.first_energy,
                inverse_hessian=None if learned is None else learned[n, : sizes[n], : sizes[n]],
            )

    def moved(self, method: Method[Any], space: Space, evaluation: Evaluation, staying: Tensor) -> _Flight:
        """Drop the groups that ended and take one step with the others."""
        if len(staying) < len(self.members):
            keep = torch.isin(self.group, staying)
            systems = torch.nonzero(keep).flatten()
            state = take_state(self.state, self.rows(space.layout(self.batch)), staying)
            evaluation = evaluation.take(self.batch, systems)
            group = torch.unique_consecutive(self.group[systems], return_inverse=True)[1]
            members = [self.members[n] for n in staying.tolist()]
            left = _Flight(members, self.batch.take(systems), group, self.first_volume[systems], state)
            return left._stepped(method, space, evaluation)
        return self._stepped(method, space, evaluation)

    def _stepped(self, method: Method[Any], space: Space, evaluation: Evaluation) -> _Flight:
        layout = space.layout(self.batch)
        energy = _by_group(space.energy(self.batch, evaluation), self.group, len(self.members))
        force = space.force(self.batch, evaluation, layout)
        step, state = method.step(self.state, self.rows(layout), force, energy)
        for member in self.members:
            member.steps += 1
        moved = space.move(self.batch, step, layout)
        return _Flight(self.members, moved, self.group, self.first_volume, state)


def _by_group(energy: Tensor, group: Tensor, n_groups: int) -> Tensor:
    return energy.new_zeros(n_groups).index_add_(0, group, energy)


def _verdict(
    member: _Member, force: float, grown: float, wrong: str, stop: Stop, fault: Fault | None
) -> tuple[str, str] | None:
    if fault is not None:
        return fault.status, fault.message
    if math.isnan(force):
        return (
            "not_a_number",
            f"the potential gave NaN after {member.steps} steps; look at the start for atoms too close",
        )
    if force > stop.exploded_force:
        return "exploded", (
            f"largest force {force:.3g} eV/Å after {member.steps} steps; "
            "look at the start for atoms too close, or try another potential"
        )
    if wrong:
        return "exploded", (
            f"volume changed {grown:.2f}-fold and {wrong} after {member.steps} steps; "
            "start from a cell nearer to the crystal's, fix the cell, or try another potential"
        )
    if force <= stop.fmax:
        return "converged", ""
    if member.steps >= stop.max_steps:
        return "max_steps", (
            f"largest force {force:.4f} eV/Å after {member.steps} steps, wanted {stop.fmax}; "
            "raise max_steps and run again"
        )
    return None
