"""Langevin dynamics at constant temperature and cell, for melting and quenching.

The splitting BAOAB: half a kick, half a drift, the exact Ornstein–Uhlenbeck step, half a drift, half a kick. Leimkuhler
& Matthews 2013, J. Chem. Phys. 138, 174102, Sec. II; its configurations are exact for a harmonic well at any stable
time step (Leimkuhler & Matthews 2013, Appl. Math. Res. Express 34). Friction slows diffusion down: not for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from atomsim.batch import Batch
from atomsim.dynamics.integrators.splitting import check_timestep, drift, evaluate, finished, kick
from atomsim.dynamics.noise import Purpose
from atomsim.dynamics.state import MDState
from atomsim.dynamics.velocities import thermal_noise
from atomsim.errors import check_number
from atomsim.models.interface import EnergyModel


@dataclass(frozen=True)
class Langevin:
    """A bath of friction and noise on every atom."""

    timestep_fs: float = 1.0
    friction_per_fs: float = 0.01
    """Friction coefficient γ, 1/fs; 0 is Newton's dynamics."""
    ensemble: ClassVar[str] = "NVT"

    def __post_init__(self) -> None:
        check_timestep(self.timestep_fs)
        check_number("friction_per_fs", self.friction_per_fs, "a friction of 0 or more, 1/fs", low=0.0)

    def check(self, batch: Batch) -> None:
        """Accept all systems."""

    def step(self, state: MDState, potential: EnergyModel) -> MDState:
        """Advance all systems by one time step: one evaluation."""
        half = 0.5 * self.timestep_fs
        state = drift(kick(state, half), half)
        state = drift(self._thermalize(state), half)
        return finished(kick(evaluate(state, potential), half))

    def _thermalize(self, state: MDState) -> MDState:
        """Solve dv = −γ v dt + √(2 γ k_B T / m) dW over one step, exactly."""
        if self.friction_per_fs == 0:
            return state
        kept = math.exp(-self.friction_per_fs * self.timestep_fs)
        noise = thermal_noise(state, Purpose.LANGEVIN)
        velocities = state.velocities * kept + noise * math.sqrt(1.0 - kept * kept)
        after = replace(state, velocities=velocities)
        return replace(after, heat=state.heat + after.kinetic_energy - state.kinetic_energy)
