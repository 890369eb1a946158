"""Dynamics of structures at constant temperature, as a source of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ase import Atoms

from atomsim.batch import Batch
from atomsim.dynamics.integrators import Integrator
from atomsim.dynamics.run import Limits, Member, Snapshot, run
from atomsim.dynamics.schedule import Schedule
from atomsim.dynamics.velocities import start
from atomsim.models.interface import EnergyModel, device_of


def snapshots(
    systems: Sequence[Atoms],
    potential: EnergyModel,
    temperature_K: Sequence[float],
    seeds: Sequence[int],
    integrator: Integrator,
    *,
    steps: int,
    every: int,
    limit_eV_per_A: float = 100.0,
) -> Iterator[Snapshot]:
    """Yield each system at every so many steps, keys counting from 0; unstable ones leave, with a last snapshot.

    Args:
        systems: structures to start from.
        potential: gives energies and forces.
        temperature_K: of each bath.
        seeds: one for each system.
        integrator: the ensemble.
        steps: number of steps.
        every: steps from snapshot to snapshot.
        limit_eV_per_A: force above which a trajectory is unstable.
    """
    device = device_of(potential)

    def members() -> Iterator[Member]:
        for n, (atoms, temperature, seed) in enumerate(zip(systems, temperature_K, seeds, strict=True)):
            state = start(Batch.pack([atoms], device), potential, temperature, [seed])
            yield Member(n, state, Schedule.constant(temperature, steps))

    for snapshot in run(members(), potential, integrator, every=every, limits=Limits(limit_eV_per_A)):
        if snapshot.status != "done" or steps % every == 0:
            yield snapshot


def stable(found: Iterator[Snapshot]) -> list[Snapshot]:
    """Return the snapshots of stable moments in the order of time, and at each time of keys."""
    sound = [s for s in found if s.status in ("running", "done")]
    return sorted(sound, key=lambda s: (int(s.state.step), s.key))
