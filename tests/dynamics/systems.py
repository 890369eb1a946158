"""Systems whose statistics are known, in potentials that cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch, Evaluation
from atomsim.dynamics import start
from atomsim.dynamics.state import MDState


@dataclass(frozen=True)
class Wells:
    """Every atom in a harmonic well of its own around the origin."""

    stiffness: float

    def __call__(self, batch: Batch) -> Evaluation:
        of_atom = 0.5 * self.stiffness * (batch.positions**2).sum(dim=1)
        energy = torch.zeros(batch.n_systems, dtype=torch.float64).index_add(0, batch.system, of_atom)
        stress = torch.zeros(batch.n_systems, 3, 3, dtype=torch.float64)
        return Evaluation(energy, -self.stiffness * batch.positions, stress)


@dataclass(frozen=True)
class Nothing:
    """No interaction: an ideal gas."""

    def __call__(self, batch: Batch) -> Evaluation:
        zero = torch.zeros(batch.n_systems, dtype=torch.float64)
        return Evaluation(zero, torch.zeros_like(batch.positions), torch.zeros_like(batch.cell))


@dataclass(frozen=True)
class DenseArgon:
    """Lennard-Jones of argon, force-shifted, over all pairs of systems of one size by the nearest image."""

    cutoff: float = 4.9
    epsilon: float = 0.010341
    sigma: float = 3.4

    def __call__(self, batch: Batch) -> Evaluation:
        k, n = batch.n_systems, batch.sizes[0]
        i, j = torch.triu_indices(n, n, 1)
        x = batch.positions.view(k, n, 3)
        d = x[:, j] - x[:, i]
        d -= torch.round(d @ torch.linalg.inv(batch.cell)) @ batch.cell
        r2 = d.square().sum(dim=2)
        d, r2, system = d[r2 < self.cutoff**2], r2[r2 < self.cutoff**2], torch.nonzero(r2 < self.cutoff**2)
        s6, r = (self.sigma**2 / r2) ** 3, r2.sqrt()
        c6 = (self.sigma / self.cutoff) ** 6
        slope_c = -24 * self.epsilon * (2 * c6 * c6 - c6) / self.cutoff
        u_c = 4 * self.epsilon * (c6 * c6 - c6)
        u = 4 * self.epsilon * (s6 * s6 - s6) - u_c - slope_c * (r - self.cutoff)
        g = d * ((-24 * self.epsilon * (2 * s6 * s6 - s6) / r - slope_c) / r)[:, None]  # ∂u/∂d
        energy = torch.zeros(k, dtype=torch.float64).index_add_(0, system[:, 0], u)
        first, second = (system[:, 0] * n + index[system[:, 1]] for index in (i, j))
        forces = torch.zeros_like(batch.positions).index_add_(0, first, g).index_add_(0, second, -g)
        virial = torch.zeros_like(batch.cell).index_add_(0, system[:, 0], d[:, :, None] * g[:, None, :])
        return Evaluation(energy, forces, virial / batch.volume[:, None, None])


def argon(count: int, temperature_K: float, a: float = 5.4, seed: int = 0) -> MDState:
    """Crystals of 32 atoms with velocities, each with a seed of its own."""
    crystal = bulk("Ar", "fcc", a=a, cubic=True).repeat(2)
    return start(Batch.pack([crystal] * count), DenseArgon(), temperature_K, range(seed, seed + count))


def gas(count: int, atoms: int, temperature_K: float, volume_A3: float) -> MDState:
    """Ideal gases in cubic cells."""
    rng = np.random.default_rng(3)
    cell = np.eye(3) * volume_A3 ** (1 / 3)
    systems = [Atoms(f"Ar{atoms}", scaled_positions=rng.random((atoms, 3)), cell=cell, pbc=True) for _ in range(count)]
    return start(Batch.pack(systems), Nothing(), temperature_K, range(count))


def at(state: MDState, temperature_K: float | None = None, pressure: float | None = None) -> MDState:
    """The state with other targets (K, eV/Å³)."""
    t = state.temperature if temperature_K is None else torch.full_like(state.temperature, temperature_K)
    p = state.pressure if pressure is None else torch.full_like(state.pressure, pressure)
    return replace(state, temperature=t, pressure=p)
