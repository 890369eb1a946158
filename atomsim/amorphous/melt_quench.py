"""From a start to a glass: melt, quench and anneal, all seeds in one batch, resumable at every step.

The melt is Langevin dynamics in the cell of the start; quench and anneal sample the volume too (CSVR and stochastic
cell rescaling). Temperature is a pure function of the step and noise of (seed, step), so that a saved state is enough
to resume, to the bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ase import Atoms

from atomsim.batch import Batch
from atomsim.dynamics.integrators import CellRescaling, Integrator, Langevin
from atomsim.dynamics.run import Limits, Member, Snapshot, run
from atomsim.dynamics.schedule import Schedule, Stage
from atomsim.dynamics.state import MDState
from atomsim.dynamics.velocities import start
from atomsim.errors import InputError, check_number
from atomsim.models.interface import EnergyModel, device_of
from atomsim.relaxation import RelaxSettings, iter_relax

FIRST_FMAX = 2.0
"""Largest force that the start is relaxed to in its cell before it gets velocities, eV/Å."""
FIRST_STEPS = 200
COLD = 0.25
"""Temperature of the first velocities, in that of the melt: the start's potential energy heats it."""
LIMITS = Limits(max_force_eV_per_A=200.0, max_volume_factor=3.0)


@dataclass(frozen=True)
class Phase:
    """A part of the protocol with one integrator."""

    name: str
    stage: Stage
    integrator: Integrator


@dataclass(frozen=True)
class Protocol:
    """Temperatures and times of melt, quench and anneal."""

    melt_K: float = 1500.0
    end_K: float = 300.0
    """At the end of the quench."""
    anneal_K: float = 600.0
    melt_ps: float = 4.0
    quench_ps: float = 10.0
    anneal_ps: float = 4.0
    """0 leaves the anneal out."""
    pressure_GPa: float = 0.0
    timestep_fs: float = 2.0
    tau_fs: float = 100.0
    tau_p_fs: float = 1000.0
    compressibility_per_GPa: float = 0.01

    def __post_init__(self) -> None:
        for key in ("melt_K", "end_K", "anneal_K"):
            check_number(key, getattr(self, key), "a temperature above 0 K, up to 10000 K", above=0.0, high=10_000.0)
        for key in ("melt_ps", "quench_ps", "anneal_ps"):
            check_number(key, getattr(self, key), "a time of 0 ps or more", low=0.0)
        if self.melt_K <= self.end_K:
            raise InputError(
                f"found melt_K={self.melt_K:g}, not above the end of the quench (end_K={self.end_K:g}); melt hotter"
            )
        if self.anneal_ps > 0 and self.anneal_K >= self.melt_K:
            raise InputError(
                f"found anneal_K={self.anneal_K:g}, not below melt_K={self.melt_K:g}; an anneal does not melt"
            )
        if min(self.melt_ps, self.quench_ps) * 1000 < self.timestep_fs:
            raise InputError(
                f"found melt_ps={self.melt_ps:g} and quench_ps={self.quench_ps:g}, wanted a time step "
                f"({self.timestep_fs:g} fs) or more of each"
            )
        _ = self.phases  # integrators check their own times

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The parts in their order."""
        bath = Langevin(self.timestep_fs)
        barostat = CellRescaling(self.timestep_fs, self.compressibility_per_GPa, self.tau_p_fs, self.tau_fs)
        pressure = self.pressure_GPa
        found = [
            Phase("melt", Stage(self._steps(self.melt_ps), self.melt_K, pressure_GPa=pressure), bath),
            Phase("quench", Stage(self._steps(self.quench_ps), self.melt_K, self.end_K, pressure), barostat),
        ]
        if self.anneal_ps > 0:
            found.append(
                Phase("anneal", Stage(self._steps(self.anneal_ps), self.anneal_K, pressure_GPa=pressure), barostat)
            )
        return tuple(found)

    def _steps(self, time_ps: float) -> int:
        return max(1, round(1000.0 * time_ps / self.timestep_fs))

    def schedule(self, last: int | None = None) -> Schedule:
        """Return temperature and pressure against the step, up to the end of a phase."""
        phases = self.phases if last is None else self.phases[: last + 1]
        return Schedule(tuple(p.stage for p in phases))

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self.schedule().steps

    def phase_at(self, step: int) -> int:
        """Return the number of the phase that a step belongs to, ``len(phases)`` after the last."""
        return sum(step >= end for end in self.schedule().ends)

    @property
    def quench_rate_K_per_ps(self) -> float:  # noqa: N802 - units are in names
        """Cooling rate."""
        return (self.melt_K - self.end_K) / self.quench_ps


@dataclass(frozen=True)
class Melt:
    """One system at its start, or where it was interrupted."""

    key: Hashable
    atoms: Atoms
    """Before the melt."""
    seed: int
    """Seed of velocities and noise."""
    state: MDState | None = None
    """Saved state to resume from."""


def melt_quench(
    melts: Iterable[Melt], potential: EnergyModel, protocol: Protocol, *, every: int = 50
) -> Iterator[tuple[str, Snapshot]]:
    """Melt, quench and anneal; yield the phase and a snapshot at every so many steps and at the end of each phase.

    A system that becomes unstable leaves with its status; the others are not disturbed.

    Args:
        melts: systems, which run together where the device has room.
        potential: gives energies, forces and stresses.
        protocol: temperatures and times.
        every: steps between snapshots.
    """
    waiting: dict[Hashable, Melt] = {melt.key: melt for melt in melts}
    for number, phase in enumerate(protocol.phases):
        schedule = protocol.schedule(number)

        def entering(number: int = number, schedule: Schedule = schedule) -> Iterator[Member]:
            for melt in list(waiting.values()):
                state = melt.state
                if state is None:
                    state = _first_state(melt, potential, protocol)
                if protocol.phase_at(int(state.step)) == number:
                    yield Member(melt.key, state, schedule)

        for snapshot in run(entering(), potential, phase.integrator, every=every, limits=LIMITS):
            yield phase.name, snapshot
            if snapshot.status == "done":
                waiting[snapshot.key] = replace(waiting[snapshot.key], state=snapshot.state)
            elif snapshot.status != "running":
                del waiting[snapshot.key]


def _first_state(melt: Melt, potential: EnergyModel, protocol: Protocol) -> MDState:
    """Relax the packed ions a little in their cell, and give them velocities."""
    how = RelaxSettings(fmax_eV_per_A=FIRST_FMAX, max_steps=FIRST_STEPS, cell=False, check_minimum=False, method="fire")
    ((_, relaxed),) = iter_relax([melt.atoms], potential, how)
    batch = Batch.pack([relaxed.atoms], device_of(potential))
    return start(batch, potential, COLD * protocol.melt_K, [melt.seed])
