"""The driver: groups enter and leave while the others continue, so that a device stays full."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation, on_host
from atomsim.batching.capacity import Capacity, Fault, evaluate
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.apart import fallen_apart
from atomsim.optimize.entering import Entering, Group, Member, joined
from atomsim.optimize.rows import Method, Rows, join_states, take_state
from atomsim.optimize.space import Layout, Space
from atomsim.optimize.sparse import Springs
from atomsim.optimize.stop import Stop, growth_factor, largest, verdict

Projection = Callable[[Batch, Evaluation, Tensor, list[Group]], Evaluation]
"""(systems in flight, their evaluation, group of each system, the groups) to what moves them."""
Settle = Callable[[Batch, Tensor, list[Group]], Batch]
"""(systems in flight, group of each system, the groups) to the systems where constraints want them."""


@dataclass(frozen=True)
class Outcome:
    """Final state of a group. ``batch`` and ``evaluation`` belong together, converged or not, and are on the CPU."""

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
    inverse_hessian: Tensor | Springs | None = None
    """Inverse Hessian that the optimizer has learned, Å²/eV, (3 rows, 3 rows), the springs that it started from, or
    None."""
    curvature: float | None = None
    """Curvature of the lowest mode found at the end, eV/Å²; None if nobody looked or could (see ``minima``)."""


def drive(
    groups: Iterable[Group],
    potential: EnergyModel,
    method: Method[Any],
    space: Space,
    stop: Stop,
    capacity: Capacity,
    project: Projection | None = None,
    on_evaluation: Callable[[int], None] | None = None,
    settle: Settle | None = None,
) -> Iterator[Outcome]:
    """Move groups downhill until each has converged or failed; yield each as it ends.

    A group's path does not depend on what else is in flight, to the rounding of the potential.

    Args:
        groups: what to move, read as there is room.
        potential: gives energies and forces of all systems in flight.
        method: the optimizer.
        space: what moves.
        stop: when a group is finished.
        capacity: how much may be in flight.
        project: turns the evaluation of the groups in flight into the forces that move them, e.g. a
            band's projected forces; convergence is judged after it.
        on_evaluation: called with the number of systems after each evaluation.
        settle: puts systems back onto what a step leaves to second order, before they are evaluated.
    """
    flight: _Flight | None = None
    device = device_of(potential)
    waiting = Entering(iter(groups), capacity, device)
    while True:
        entering = waiting.take([m.load for m in flight.members] if flight else [])
        if not entering and flight is None:
            return
        flight = _Flight.join(flight, entering, space, device)
        if settle:
            flight = replace(flight, batch=settle(flight.batch, flight.group, [m.group for m in flight.members]))
        evaluation, faults = evaluate(potential, flight.batch, flight.group)
        if on_evaluation:
            on_evaluation(flight.batch.n_systems)
        waiting.prepare(len(flight.members))
        if project:
            evaluation = project(flight.batch, evaluation, flight.group, [m.group for m in flight.members])
        seen = flight.seen(space, evaluation)
        flight.start(method, seen)
        verdicts = flight.judge(space, stop, seen, faults, float(getattr(potential, "cutoff", 0.0)))
        yield from flight.outcomes(evaluation, verdicts, method.inverse_hessians(flight.state))
        staying = [n for n, v in enumerate(verdicts) if v is None]
        flight = flight.moved(method, space, seen, staying) if staying else None


@dataclass(frozen=True)
class _Seen:
    """An evaluation by group: energies, forces and residuals of the groups in flight."""

    evaluation: Evaluation
    force: Tensor
    """On each row, (n_rows, 3)."""
    residual: Tensor
    """Largest of each system, eV/Å, (n_systems,)."""
    energy: Tensor
    """Objective of each group, eV, (n_groups,)."""


@dataclass
class _Flight:
    """All groups in flight, and the optimizer's state of those that have started."""

    members: list[Member]
    batch: Batch
    group: Tensor
    """Group of each system, (n_systems,), int64."""
    layout: Layout
    rows: Rows
    state: Any = field(default=None, repr=False)

    @classmethod
    def join(cls, flight: _Flight | None, entering: list[Member], space: Space, device: torch.device) -> _Flight:
        if not entering:
            assert flight is not None
            return flight
        members = (flight.members if flight else []) + entering
        batch = joined([m.group.batch for m in entering], device)
        batch = Batch.join([flight.batch, batch]) if flight else batch
        return cls._of(members, batch, space, flight.state if flight else None)

    @classmethod
    def _of(cls, members: list[Member], batch: Batch, space: Space, state: Any) -> _Flight:
        layout = space.layout(batch)
        owners = np.repeat(np.arange(len(members)), [m.group.batch.n_systems for m in members])
        sizes = np.bincount(owners, weights=layout.row_sizes, minlength=len(members)).astype(int).tolist()
        group = torch.from_numpy(owners).to(batch.device)
        return cls(members, batch, group, layout, Rows.of_sizes(sizes, batch.device), state)

    def systems_of(self, chosen: Sequence[int]) -> list[int]:
        """Systems of these groups, in their order."""
        return [k for n in chosen for k in range(self._ends[n], self._ends[n + 1])]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate((m.group.batch.n_systems for m in self.members), initial=0))

    def seen(self, space: Space, evaluation: Evaluation) -> _Seen:
        """Look at an evaluation, without asking a device for anything."""
        force, residual = space.pull(self.batch, evaluation, self.layout)
        return _Seen(evaluation, force, residual, self._by_group(space.energy(self.batch, evaluation)))

    def _by_group(self, values: Tensor) -> Tensor:
        return values if len(self.members) == self.batch.n_systems else _by_group(values, self.group, len(self.members))

    def start(self, method: Method[Any], seen: _Seen) -> None:
        """Give the groups that entered a state of their own."""
        new = [n for n, m in enumerate(self.members) if not m.started]
        if not new:
            return
        rows = Rows.of_sizes(self.rows.sizes[new[0] :], self.batch.device)  # they entered last
        guesses = [self.members[n].group.inverse_hessian for n in new]
        energy, force = seen.energy[new[0] :], seen.force[len(seen.force) - sum(rows.sizes) :]
        state = method.start(rows, force, energy, guesses)
        plain = self._by_group(seen.evaluation.energy)[new[0] :]
        for n, value, enthalpy in zip(new, *torch.stack([plain, energy]).tolist(), strict=True):
            member = self.members[n]
            member.started, member.first_energy, member.first_enthalpy = True, value, enthalpy
        self.state = state if self.state is None else join_states([self.state, state])

    def judge(
        self, space: Space, stop: Stop, seen: _Seen, faults: dict[int, Fault], cutoff: float = 0.0
    ) -> list[tuple[str, str] | None]:
        """Return each group's status and message, or None where it continues."""
        columns = torch.stack([seen.residual, self.batch.volume, seen.evaluation.energy]).tolist()
        looks = list(zip(*columns, strict=True))
        verdicts: list[tuple[str, str] | None] = []
        for n, member in enumerate(self.members):
            own = [looks[k] for k in self.systems_of([n])]
            volumes = [volume for _, volume, _ in own]
            member.first_volumes = member.first_volumes or volumes
            force = member.residual = largest(f if math.isfinite(e) else math.nan for f, _, e in own)
            growth = max(map(growth_factor, volumes, member.first_volumes))
            wrong = self._astray(n, space, seen.evaluation, cutoff) if growth > stop.exploded_volume else ""
            verdicts.append(verdict(member.steps, force, growth, wrong, stop, faults.get(n)))
        return verdicts

    def _astray(self, n: int, space: Space, evaluation: Evaluation, cutoff: float) -> str:
        """Say what is wrong with a group whose volume has changed much; empty if it may continue."""
        systems = self.systems_of([n])
        batch = self.batch.take(systems)
        enthalpy = float(space.energy(batch, evaluation.take(self.batch, systems)).sum())
        if not enthalpy <= self.members[n].first_enthalpy:
            return f"energy rose by {enthalpy - self.members[n].first_enthalpy:.3g} eV"
        return fallen_apart(batch.to("cpu"), cutoff)

    def outcomes(
        self, evaluation: Evaluation, verdicts: list[tuple[str, str] | None], learned: Any
    ) -> Iterator[Outcome]:
        """Return the groups that have ended, fetched from the device together."""
        ended = [n for n, verdict in enumerate(verdicts) if verdict is not None]
        if not ended:
            return
        systems = self.systems_of(ended)
        batch, evaluation = on_host(self.batch.take(systems), evaluation.take(self.batch, systems))
        first = 0
        for n in ended:
            member, verdict, size = self.members[n], verdicts[n], 3 * self.rows.sizes[n]
            assert verdict is not None
            own = range(first, first + member.group.batch.n_systems)
            first = own.stop
            yield Outcome(
                key=member.group.key,
                batch=batch.take(own),
                evaluation=evaluation.take(batch, own),
                status=verdict[0],
                message=verdict[1],
                steps=member.steps,
                force_calls=member.steps + 1,
                residual=member.residual,
                first_energy=member.first_energy,
                inverse_hessian=_of_group(learned, n, size),
            )

    def moved(self, method: Method[Any], space: Space, seen: _Seen, staying: list[int]) -> _Flight:
        """Drop the groups that ended and take one step with the others."""
        flight, force, energy = self, seen.force, seen.energy
        if len(staying) < len(self.members):
            systems = self.systems_of(staying)
            state = take_state(self.state, self.rows, staying)
            members = [self.members[n] for n in staying]
            flight = _Flight._of(members, self.batch.take(systems), space, state)
            force = force[self.rows.of(staying)]
            energy = energy[torch.tensor(staying, device=energy.device)]
        step, state = method.step(flight.state, flight.rows, force, energy)
        for member in flight.members:
            member.steps += 1
        return replace(flight, batch=space.move(flight.batch, step, flight.layout), state=state)


def _of_group(learned: Any, n: int, size: int) -> Tensor | Springs | None:
    if isinstance(learned, Tensor):
        return learned[n, :size, :size]
    return None if learned is None else learned[n]


def _by_group(energy: Tensor, group: Tensor, n_groups: int) -> Tensor:
    return energy.new_zeros(n_groups).index_add_(0, group, energy)
