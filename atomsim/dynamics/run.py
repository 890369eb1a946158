"""The driver of molecular dynamics: members enter, are evaluated together, and leave when they end or become unstable.

As in ``optimize.drive`` a member's path does not depend on its neighbours; on a CPU members run one after another.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity, Fault, device_capacity, evaluate
from atomsim.batching.memory import Load
from atomsim.dynamics.integrators import Integrator
from atomsim.dynamics.schedule import Schedule
from atomsim.dynamics.state import MDState
from atomsim.errors import InputError, counted
from atomsim.models.interface import EnergyModel


@dataclass(frozen=True)
class Member:
    """One system of a run, at its start or where it was interrupted."""

    key: Hashable
    """The caller's name for it."""
    state: MDState
    """State of one system."""
    schedule: Schedule
    """Temperature and pressure by the steps done, and how many steps there are."""


@dataclass(frozen=True)
class Limits:
    """When a member is given up as ``exploded``."""

    max_force_eV_per_A: float = 200.0
    max_volume_factor: float = 3.0
    """Growth or shrinkage of the cell's volume since the start."""


@dataclass(frozen=True)
class Snapshot:
    """One member at one moment, or at its end."""

    key: Hashable
    state: MDState
    """State of one system; of an unstable member the last before it left, with the evaluation there."""
    status: str
    """``running``, ``done``, ``exploded``, ``not_a_number``, ``too_large`` or ``invalid``."""
    message: str = ""


def run(
    members: Iterable[Member],
    potential: EnergyModel,
    integrator: Integrator,
    *,
    every: int = 1,
    capacity: Capacity | None = None,
    limits: Limits | None = None,
) -> Iterator[Snapshot]:
    """Run members to the end of their schedules; yield each at every so many steps and at its end.

    A member that starts with steps done continues from there, to the bit on a CPU. The state at the start is not
    yielded.

    Args:
        members: read as there is room.
        potential: gives energies, forces and stresses.
        integrator: the ensemble and its time step.
        every: steps between snapshots, counted from step 0.
        capacity: how much is evaluated at once; by the device if not given.
        limits: beyond which a member leaves.

    Raises:
        InputError: if the ensemble is not defined for a member.
    """
    if every < 1:
        raise InputError(f"found every={every}, wanted 1 step or more between snapshots")
    waiting, flight = _Queue(iter(members), potential, integrator, capacity), None
    while True:
        flight = _Flight.join(flight, waiting.take(flight))
        if flight is None:
            return
        ended = [n for n, m in enumerate(flight.members) if int(flight.state.step[n]) >= m.schedule.steps]
        if ended:
            yield from (Snapshot(flight.members[n].key, flight.state.take([n]), "done") for n in ended)
            flight = flight.without(ended)
            continue
        flight, faults = flight.stepped(potential, integrator)
        lost = flight.unstable(faults, limits or Limits())
        for n, (status, message) in lost.items():
            yield Snapshot(flight.members[n].key, flight.state.take([n]), status, message)
        flight = flight.without(list(lost)) if lost else flight
        if flight is not None:
            yield from flight.snapshots(every)


class _Queue:
    """Hands out members while they fit; one that does not fit waits."""

    def __init__(
        self, members: Iterator[Member], potential: EnergyModel, integrator: Integrator, capacity: Capacity | None
    ) -> None:
        self.members, self.potential, self.integrator, self.capacity = members, potential, integrator, capacity
        self.waiting: Member | None = None

    def take(self, flight: _Flight | None) -> list[Member]:
        taken: list[Member] = []
        load = Load()
        if flight is not None and self.capacity is not None:
            load = self.capacity.load(flight.state.batch)
        while (member := self._peek()) is not None:
            if self.capacity is None:
                self.capacity = device_capacity(self.potential, member.state.batch)
            load = load + self.capacity.load(member.state.batch)
            if not self.capacity.admits(load) and (taken or flight is not None):
                break
            taken.append(member)
            self.waiting = None
        return taken

    def _peek(self) -> Member | None:
        if self.waiting is None and (member := next(self.members, None)) is not None:
            _check(member, self.integrator)
            self.waiting = member
        return self.waiting


def _check(member: Member, integrator: Integrator) -> None:
    if member.state.n_systems != 1:
        raise InputError(f"member {member.key!r} has {member.state.n_systems} systems, wanted 1; take them one by one")
    integrator.check(member.state.batch)
    heated = any(s.temperature_K > 0 or (s.end_temperature_K or 0) > 0 for s in member.schedule.stages)
    rescales = hasattr(integrator, "tau_fs")
    if rescales and heated and float(member.state.kinetic_energy) == 0:
        raise InputError(
            f"member {member.key!r} is at rest, and a bath that scales velocities cannot heat it; start above 0 K"
        )


class _Faulty:
    """A potential whose faults are kept by system, their numbers NaN."""

    def __init__(self, potential: EnergyModel) -> None:
        self.potential = potential
        self.faults: dict[int, Fault] = {}

    def __call__(self, batch: Batch) -> Evaluation:
        found, self.faults = evaluate(self.potential, batch, torch.arange(batch.n_systems, device=batch.device))
        return found


@dataclass(frozen=True)
class _Flight:
    """All members in flight, in the order of their systems."""

    members: tuple[Member, ...]
    state: MDState

    @classmethod
    def join(cls, flight: _Flight | None, entering: list[Member]) -> _Flight | None:
        if not entering:
            return flight
        states = ([flight.state] if flight else []) + [m.state for m in entering]
        return cls((*(flight.members if flight else ()), *entering), MDState.join(states))

    def without(self, systems: list[int]) -> _Flight | None:
        staying = [n for n in range(len(self.members)) if n not in set(systems)]
        if not staying:
            return None
        return _Flight(tuple(self.members[n] for n in staying), self.state.take(staying))

    def stepped(self, potential: EnergyModel, integrator: Integrator) -> tuple[_Flight, dict[int, Fault]]:
        steps = self.state.step.tolist()
        targets = [m.schedule.at(step) for m, step in zip(self.members, steps, strict=True)]
        temperature, pressure = self.state.velocities.new_tensor(targets).unbind(dim=1)
        faulty = _Faulty(potential)
        moved = integrator.step(replace(self.state, temperature=temperature, pressure=pressure), faulty)
        return replace(self, state=moved), faulty.faults

    def unstable(self, faults: dict[int, Fault], limits: Limits) -> dict[int, tuple[str, str]]:
        """Return status and message of the members that cannot continue."""
        state = self.state
        norms = state.evaluation.forces.square().sum(dim=1).sqrt()
        largest = norms.new_zeros(state.n_systems).scatter_reduce(0, state.batch.system, norms, "amax")
        largest = largest + 0.0 * state.evaluation.energy  # NaN where either is
        change = (state.volume / state.first_volume).log().abs().nan_to_num().exp()  # 0/0 without a cell
        found = {}
        for n, (force, growth, step) in enumerate(
            zip(largest.tolist(), change.tolist(), state.step.tolist(), strict=True)
        ):
            verdict = _verdict(force, growth, step, limits, faults.get(n))
            if verdict:
                found[n] = verdict
        return found

    def snapshots(self, every: int) -> Iterator[Snapshot]:
        for n, step in enumerate(self.state.step.tolist()):
            if step % every == 0 and step < self.members[n].schedule.steps:
                yield Snapshot(self.members[n].key, self.state.take([n]), "running")


def _verdict(force: float, growth: float, step: int, limits: Limits, fault: Fault | None) -> tuple[str, str] | None:
    if fault is not None:
        return fault.status, f"step {step}: {fault.message}"
    if math.isnan(force):
        return "not_a_number", f"energies or forces are no numbers after {counted(step, 'step')}; shorten the time step"
    if force > limits.max_force_eV_per_A:
        return "exploded", (
            f"largest force {force:.3g} eV/Å after {counted(step, 'step')}, wanted at most "
            f"{limits.max_force_eV_per_A:g}; relax the start, shorten the time step, or try another potential"
        )
    if growth > limits.max_volume_factor:
        return "exploded", (
            f"volume changed {growth:.2f}-fold within {counted(step, 'step')}; lower the temperature, "
            "raise the pressure, or keep the cell"
        )
    return None
