"""Constant energy: the velocity form of Verlet's method.

Swope, Andersen, Berens & Wilson 1982, J. Chem. Phys. 76, 637, Eqs. 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atomsim.batch import Batch
from atomsim.dynamics.integrators.splitting import check_timestep, drift, evaluate, finished, kick
from atomsim.dynamics.state import MDState
from atomsim.models.interface import EnergyModel


@dataclass(frozen=True)
class VelocityVerlet:
    """Newton's equations at constant cell."""

    timestep_fs: float = 1.0
    ensemble: ClassVar[str] = "NVE"

    def __post_init__(self) -> None:
        check_timestep(self.timestep_fs)

    def check(self, batch: Batch) -> None:
        """Accept all systems."""

    def step(self, state: MDState, potential: EnergyModel) -> MDState:
        """Advance all systems by one time step: one evaluation."""
        half = 0.5 * self.timestep_fs
        moved = evaluate(drift(kick(state, half), self.timestep_fs), potential)
        return finished(kick(moved, half))
