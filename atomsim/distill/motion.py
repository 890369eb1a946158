"""Dynamics as a source of frames: systems that blow up leave, the others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from atomsim.batch import Batch
from atomsim.dynamics.langevin import Langevin, Motion, start, step
from atomsim.models.interface import Surface, device_of


@dataclass(frozen=True)
class Shot:
    """The systems of a batch at one moment."""

    motion: Motion
    members: tuple[int, ...]
    """Which of the structures that were given are still there."""
    lost: tuple[int, ...]
    """Those that left since the shot before."""


def shots(
    systems: Sequence[Atoms],
    surface: Surface,
    temperature_K: Sequence[float],
    seeds: Sequence[int],
    settings: Langevin,
    *,
    steps: int,
    every: int,
    limit_eV_per_A: float = 100.0,
) -> Iterator[Shot]:
    """Run dynamics and yield the state every so many steps; who has a force above the limit is dropped.

    Args:
        systems: where to start.
        surface: what moves them.
        temperature_K: of each bath.
        seeds: of each system's noise.
        settings: how to move.
        steps: number of steps.
        every: steps from shot to shot.
        limit_eV_per_A: largest force that is no explosion.
    """
    device = device_of(surface)
    motion = start(Batch.pack(list(systems), device), surface, list(temperature_K), list(seeds))
    members, lost = list(range(len(systems))), []
    for number in range(1, steps + 1):
        motion = step(motion, surface, settings)
        good = _sane(motion, limit_eV_per_A)
        if not all(good):
            lost += [m for m, fine in zip(members, good, strict=True) if not fine]
            members = [m for m, fine in zip(members, good, strict=True) if fine]
            if not members:
                yield Shot(motion.take([]), (), tuple(lost))
                return
            motion = motion.take([k for k, fine in enumerate(good) if fine])
        if number % every == 0:
            yield Shot(motion, tuple(members), tuple(lost))
            lost = []


def _sane(motion: Motion, limit: float) -> list[bool]:
    largest = np.zeros(motion.batch.n_systems)
    norms = motion.evaluation.forces.norm(dim=1).cpu().numpy()
    np.maximum.at(largest, motion.batch.system.cpu().numpy(), np.nan_to_num(norms, nan=np.inf))
    return [bool(value < limit) for value in largest]
