"""Canonical sampling through velocity rescaling (CSVR).

Bussi, Donadio & Parrinello 2007, J. Chem. Phys. 126, 014101. All velocities are scaled by one factor, so that momentum
stays zero and, with τ well above the time of a vibration, diffusion is that of constant energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from atomsim.batch import Batch
from atomsim.dynamics.integrators.nve import VelocityVerlet
from atomsim.dynamics.integrators.splitting import check_timestep
from atomsim.dynamics.noise import Purpose, generator
from atomsim.dynamics.state import MDState
from atomsim.errors import check_number
from atomsim.models.interface import EnergyModel
from atomsim.units import KB


@dataclass(frozen=True)
class Bussi:
    """A bath that drives the total kinetic energy to its canonical distribution."""

    timestep_fs: float = 1.0
    tau_fs: float = 100.0
    """Relaxation time of the kinetic energy, fs."""
    ensemble: ClassVar[str] = "NVT"

    def __post_init__(self) -> None:
        check_timestep(self.timestep_fs)
        check_number("tau_fs", self.tau_fs, f"at least one time step ({self.timestep_fs:g} fs)", low=self.timestep_fs)

    def check(self, batch: Batch) -> None:
        """Accept all systems."""

    def step(self, state: MDState, potential: EnergyModel) -> MDState:
        """Advance all systems by one time step: one evaluation."""
        return rescaled(VelocityVerlet(self.timestep_fs).step(state, potential), self.timestep_fs, self.tau_fs)


def rescaled(state: MDState, timestep_fs: float, tau_fs: float) -> MDState:
    """Scale velocities so that the kinetic energy takes its exact stochastic step (Eq. A7), heat accounted.

    K′ = cK + (1 − c)(K̄/N_f) Σ R² + 2 √(c (1 − c) K K̄/N_f) R₁, c = exp(−Δt/τ), K̄ = N_f k_B T/2, with N_f normal
    numbers R; the sum of squares of all but the first is twice a gamma variate of shape (N_f − 1)/2.
    """
    c = math.exp(-timestep_fs / tau_fs)
    first, others = _variates(state)
    kinetic = state.kinetic_energy
    quantum = (1.0 - c) * 0.5 * KB * state.temperature  # (1 − c) K̄/N_f
    moving = kinetic > 0
    safe = torch.where(moving, kinetic, torch.ones_like(kinetic))
    cross = 2.0 * first * (c * quantum * safe).sqrt()
    wanted = (c * safe + quantum * (first * first + others) + cross).clamp(min=0.0)
    # Eq. A8: the sign of α = √(K′/K) is that of R₁ + √(c N_f K / ((1 − c) K̄))
    sign = torch.where(first * quantum.sqrt() + (c * safe).sqrt() < 0, -1.0, 1.0)
    alpha = torch.where(moving, sign * (wanted / safe).sqrt(), torch.ones_like(kinetic))
    heat = state.heat + torch.where(moving, wanted - kinetic, torch.zeros_like(kinetic))
    return replace(state, velocities=state.velocities * alpha[state.batch.system][:, None], heat=heat)


def _variates(state: MDState) -> tuple[torch.Tensor, torch.Tensor]:
    """One normal number, and the sum of N_f − 1 squares of others, for each system."""
    drawn = np.empty((2, state.n_systems))
    for n, (seed, step, n_f) in enumerate(
        zip(state.seed.tolist(), state.step.tolist(), state.degrees_of_freedom.tolist(), strict=True)
    ):
        stream = generator(seed, step, Purpose.BATH)
        drawn[0, n] = stream.standard_normal()
        drawn[1, n] = 2.0 * stream.standard_gamma(0.5 * (n_f - 1.0)) if n_f > 1 else 0.0
    first, others = torch.from_numpy(drawn).to(state.batch.device)
    return first, others
