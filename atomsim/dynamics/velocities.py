"""Starting velocities and states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.dynamics.noise import Purpose, normals
from atomsim.dynamics.state import MDState, degrees_of_freedom, standard_masses
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel
from atomsim.units import ACCELERATION, KB


def start(
    batch: Batch,
    potential: EnergyModel,
    temperature_K: float | Sequence[float],
    seeds: Sequence[int],
    *,
    masses: Tensor | None = None,
) -> MDState:
    """Return systems at their positions with velocities from the Maxwell–Boltzmann distribution: one evaluation.

    Args:
        batch: positions and cells.
        potential: gives energies and forces.
        temperature_K: one for all or one for each system.
        seeds: one for each system, 0 or more.
        masses: u, (n_atoms,); standard atomic weights if not given.

    Raises:
        InputError: if a temperature is negative or no number, a seed is negative, there is not one seed and temperature
            for each system, or nothing in a system can move.
    """
    shared = isinstance(temperature_K, int | float)
    given = [float(temperature_K)] * batch.n_systems if shared else [float(t) for t in temperature_K]  # type: ignore[union-attr,arg-type]
    good = all(0 <= t < float("inf") for t in given) and all(0 <= s < 2**63 for s in seeds)
    if len(given) != batch.n_systems or len(seeds) != batch.n_systems or not good:
        raise InputError(
            f"found {len(given)} temperatures ({_named(given)} K) and {len(seeds)} seeds ({_named(seeds)}) for "
            f"{batch.n_systems} systems; wanted one of each, temperatures from 0 K up and seeds of 0 or more"
        )
    zero = torch.zeros(batch.n_systems, dtype=torch.float64, device=batch.device)
    counter = torch.zeros_like(zero, dtype=torch.int64)
    temperature = torch.tensor(given, dtype=torch.float64, device=batch.device)
    state = MDState(
        batch=batch,
        evaluation=potential(batch),
        velocities=torch.zeros_like(batch.positions),
        masses=standard_masses(batch) if masses is None else masses.to(batch.positions),
        temperature=temperature,
        pressure=zero,
        seed=counter + torch.tensor(list(seeds), dtype=torch.int64, device=batch.device),
        step=counter,
        degrees_of_freedom=degrees_of_freedom(batch),
        heat=zero,
        work=zero,
        first_volume=batch.volume,
    )
    _refuse_immobile(state)
    return with_velocities(state)


def with_velocities(state: MDState) -> MDState:
    """Return the state with new velocities, Maxwell–Boltzmann at its temperature, the centre of mass at rest."""
    velocities = thermal_noise(state, Purpose.VELOCITIES)
    return replace(state, velocities=velocities)


def thermal_noise(state: MDState, purpose: Purpose) -> Tensor:
    """Draw velocities from the Maxwell–Boltzmann distribution of 3N − 3 degrees of freedom, Å/fs, (n_atoms, 3).

    Taking the centre of mass away from independent velocities projects them, orthogonally in the metric of the masses,
    onto the momenta that may change: their distribution stays the canonical one.
    """
    batch = state.batch
    drawn = normals(state.seed.tolist(), state.step.tolist(), purpose, batch.sizes, batch.device)
    width = (KB * ACCELERATION * state.temperature[batch.system] / state.masses).sqrt()  # √(k_B T / m)
    return state.without_drift(batch.free_part(width[:, None] * drawn))


def _named(values: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in list(values)[:4]) + (", …" if len(values) > 4 else "")


def _refuse_immobile(state: MDState) -> None:
    still = torch.nonzero(state.degrees_of_freedom < 1).flatten().tolist()
    if still:
        raise InputError(
            f"nothing in system {still[0]} can move: found {state.batch.sizes[still[0]]} atoms without a degree of "
            "freedom (the centre of mass stays at rest); wanted two atoms or more, not all fixed"
        )
