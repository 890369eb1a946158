"""Langevin dynamics at constant temperature and cell, all systems of a batch together.

The splitting BAOAB: half a kick, half a drift, the exact Ornstein–Uhlenbeck step, half a drift, half
a kick. Leimkuhler & Matthews 2013, J. Chem. Phys. 138, 174102, Sec. II; its configurations are exact
for a harmonic well at any stable time step (Leimkuhler & Matthews 2013, Appl. Math. Res. Express 34).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from ase.data import atomic_masses
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.models.interface import Surface
from atomsim.units import KB

ACCELERATION = 9.648533212e-3
"""One eV/(Å u) in Å/fs² (CODATA 2018: the elementary charge over the atomic mass constant)."""


@dataclass(frozen=True)
class Langevin:
    """How to move."""

    timestep_fs: float = 1.0
    friction_per_fs: float = 0.01
    """Inverse of the time in which a velocity is forgotten, 1/fs; 0 is Newton's dynamics."""

    def __post_init__(self) -> None:
        if self.timestep_fs <= 0 or self.friction_per_fs < 0:
            raise InputError(
                f"found timestep_fs = {self.timestep_fs:g} and friction_per_fs = {self.friction_per_fs:g}; "
                "wanted a time step above 0 and a friction of 0 or more"
            )


@dataclass(frozen=True)
class Motion:
    """Where all atoms are, how they move, and what the surface says there."""

    batch: Batch
    velocities: Tensor
    """Å/fs, (n_atoms, 3), float64; 0 along what constraints hold."""
    evaluation: Evaluation
    temperature: Tensor
    """Of each system's bath, K, (n_systems,), float64."""
    seeds: tuple[int, ...]
    """Of each system's noise; a system's path does not depend on what else is in the batch."""
    step: int = 0
    """Steps done. Noise is drawn from seed and step, so nothing else is needed to go on."""

    @property
    def kinetic_energy(self) -> Tensor:
        """Of each system, eV, (n_systems,)."""
        of_atom = 0.5 * _masses(self.batch) * (self.velocities**2).sum(dim=1) / ACCELERATION
        return torch.zeros_like(self.temperature).index_add(0, self.batch.system, of_atom)

    @property
    def kinetic_temperature(self) -> Tensor:
        """2 E_kin / (f k_B) over the f directions in which atoms may move, K, (n_systems,)."""
        free = torch.zeros_like(self.temperature).index_add(0, self.batch.system, self.batch.n_free)
        return 2.0 * self.kinetic_energy / (free.clamp(min=1.0) * KB)

    def take(self, systems: Sequence[int] | Tensor) -> Self:
        """Return the given systems, in the given order."""
        order = torch.as_tensor(systems, dtype=torch.int64, device=self.batch.device)
        return replace(
            self,
            batch=self.batch.take(order),
            velocities=self.velocities[self.batch.atoms_of(order)],
            evaluation=self.evaluation.take(self.batch, order),
            temperature=self.temperature[order],
            seeds=tuple(self.seeds[k] for k in order.tolist()),
        )


def start(batch: Batch, surface: Surface, temperature_K: float | Sequence[float], seeds: Sequence[int]) -> Motion:
    """Return systems at rest in place with velocities from the Maxwell–Boltzmann distribution.

    Args:
        batch: where they are.
        surface: what moves them.
        temperature_K: of the bath, one for all or one for each system.
        seeds: of the noise, one for each system.

    Raises:
        InputError: if a temperature is negative or there is not one seed and temperature for each system.
    """
    given = [float(temperature_K)] * batch.n_systems if isinstance(temperature_K, int | float) else list(temperature_K)
    if len(given) != batch.n_systems or len(seeds) != batch.n_systems or min(given) < 0:
        raise InputError(
            f"found {len(given)} temperatures (lowest {min(given, default=0):g} K) and {len(seeds)} seeds for "
            f"{batch.n_systems} systems; wanted one of each, from 0 K up"
        )
    temperature = torch.tensor(given, dtype=torch.float64, device=batch.device)
    # noise of step −1 is used by no step
    velocities = _thermal(batch, temperature) * _noise(batch, seeds, -1)
    return Motion(batch, batch.free_part(velocities), surface(batch), temperature, tuple(seeds))


def step(motion: Motion, surface: Surface, settings: Langevin) -> Motion:
    """Return what systems have come to after one time step: one evaluation."""
    batch, half = motion.batch, 0.5 * settings.timestep_fs
    kick = half * ACCELERATION / _masses(batch)[:, None]
    velocities = motion.velocities + kick * batch.free_part(motion.evaluation.forces)
    positions = batch.positions + half * velocities
    # the exact solution of the Ornstein–Uhlenbeck process over one step
    kept = float(np.exp(-settings.friction_per_fs * settings.timestep_fs))
    if settings.friction_per_fs > 0:
        noise = _thermal(batch, motion.temperature) * batch.free_part(_noise(batch, motion.seeds, motion.step))
        velocities = kept * velocities + (1.0 - kept**2) ** 0.5 * noise
    moved = replace(batch, positions=positions + half * velocities)
    said = surface(moved)
    velocities = velocities + kick * moved.free_part(said.forces)
    return replace(motion, batch=moved, velocities=velocities, evaluation=said, step=motion.step + 1)


def run(motion: Motion, surface: Surface, settings: Langevin, steps: int) -> Iterator[Motion]:
    """Yield the state after every step."""
    for _ in range(steps):
        motion = step(motion, surface, settings)
        yield motion


def _masses(batch: Batch) -> Tensor:
    """Standard atomic weights, u, (n_atoms,)."""
    return torch.as_tensor(atomic_masses, dtype=torch.float64, device=batch.device)[batch.numbers]


def _thermal(batch: Batch, temperature: Tensor) -> Tensor:
    """√(k_B T / m), Å/fs, (n_atoms, 1)."""
    return (KB * temperature[batch.system] * ACCELERATION / _masses(batch)).sqrt()[:, None]


def _noise(batch: Batch, seeds: Sequence[int], number: int) -> Tensor:
    """Normal numbers, (n_atoms, 3), each system's from its own seed and the step's number."""
    drawn = [
        np.random.default_rng([seed, number + 1]).standard_normal((size, 3))
        for seed, size in zip(seeds, batch.sizes, strict=True)
    ]
    return torch.from_numpy(np.concatenate(drawn)).to(batch.device)
