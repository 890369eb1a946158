"""Ensembles of molecular dynamics: each integrator advances a state by one step with one evaluation."""

from __future__ import annotations

from typing import Protocol

from atomsim.batch import Batch
from atomsim.dynamics.integrators.bussi import Bussi
from atomsim.dynamics.integrators.cell_rescaling import CellRescaling, compressibility
from atomsim.dynamics.integrators.langevin import Langevin
from atomsim.dynamics.integrators.nve import VelocityVerlet
from atomsim.dynamics.state import MDState
from atomsim.models.interface import EnergyModel

__all__ = ["Bussi", "CellRescaling", "Integrator", "Langevin", "VelocityVerlet", "compressibility"]


class Integrator(Protocol):
    """A pure step from state to state."""

    @property
    def timestep_fs(self) -> float:
        """Time step, fs."""
        ...

    def check(self, batch: Batch) -> None:
        """Refuse systems for which the ensemble is not defined.

        Raises:
            InputError: naming the system.
        """
        ...

    def step(self, state: MDState, potential: EnergyModel) -> MDState:
        """Advance all systems by one time step: one evaluation."""
        ...
