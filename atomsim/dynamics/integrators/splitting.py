"""Parts of all splittings of the equations of motion: kicks, drifts and an evaluation.

Trotter splitting of the Liouville operator: Tuckerman, Berne & Martyna 1992, J. Chem. Phys. 97, 1990.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from atomsim.dynamics.state import MDState
from atomsim.errors import check_number
from atomsim.models.interface import EnergyModel
from atomsim.units import ACCELERATION

MAX_TIMESTEP_FS = 10.0


def check_timestep(timestep_fs: float) -> None:
    """Refuse time steps with which nothing that vibrates is integrated.

    Raises:
        InputError: for 0 or less, more than 10 fs, or what is no number.
    """
    wanted = f"a time step above 0 and up to {MAX_TIMESTEP_FS:g} fs"
    check_number("timestep_fs", timestep_fs, wanted, above=0.0, high=MAX_TIMESTEP_FS)


def kick(state: MDState, time_fs: float) -> MDState:
    """Change velocities by the forces for a time."""
    push = state.batch.free_part(state.evaluation.forces) * (time_fs * ACCELERATION / state.masses)[:, None]
    return replace(state, velocities=state.velocities + push)


def drift(state: MDState, time_fs: float) -> MDState:
    """Move atoms along their velocities for a time; forces are then of the past."""
    moved = replace(state.batch, positions=state.batch.positions + state.velocities * time_fs)
    return replace(state, batch=moved)


def evaluate(state: MDState, potential: EnergyModel) -> MDState:
    """Evaluate the potential at the present positions."""
    return replace(state, evaluation=potential(state.batch))


def finished(state: MDState) -> MDState:
    """Count one step, and take away the momentum of systems in which nothing is held.

    Forces in single precision have a small sum, which would set the whole system moving.
    """
    return replace(state, step=state.step + 1, velocities=state.without_drift(state.velocities))


def transform(vectors: Tensor, matrices: Tensor, system: Tensor) -> Tensor:
    """Multiply row vectors on atoms, (n_atoms, 3), with the matrix of their system, (n_systems, 3, 3).

    Written out: a matrix product's rounding may depend on how many atoms there are, and a batch must not.
    """
    rows = matrices[system]
    return vectors[:, 0:1] * rows[:, 0] + vectors[:, 1:2] * rows[:, 1] + vectors[:, 2:3] * rows[:, 2]
