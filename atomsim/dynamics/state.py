"""The state of molecular dynamics: all that is needed to continue, for every system of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from ase.data import atomic_masses
from torch import Tensor

from atomsim.batch import PER_ATOM, PER_SYSTEM, Batch, Evaluation
from atomsim.units import ACCELERATION, KB


@dataclass(frozen=True)
class MDState:
    """Positions, velocities, targets and accumulated energies of independent systems.

    Every system has its own temperature, pressure, seed and step. ``to_arrays`` and ``from_arrays`` keep it bitwise.
    """

    batch: Batch
    """Positions (unwrapped), cells and species."""
    evaluation: Evaluation
    """Energies, forces and stresses at these positions."""
    velocities: Tensor = field(metadata=PER_ATOM)
    """Å/fs, (n_atoms, 3), float64; 0 along what constraints hold."""
    masses: Tensor = field(metadata=PER_ATOM)
    """u, (n_atoms,), float64."""
    temperature: Tensor = field(metadata=PER_SYSTEM)
    """Target of the bath, K, (n_systems,), float64."""
    pressure: Tensor = field(metadata=PER_SYSTEM)
    """Target of the barostat, eV/Å³, (n_systems,), float64."""
    seed: Tensor = field(metadata=PER_SYSTEM)
    """Seed of all random numbers of a system, (n_systems,), int64."""
    step: Tensor = field(metadata=PER_SYSTEM)
    """Steps done, (n_systems,), int64."""
    degrees_of_freedom: Tensor = field(metadata=PER_SYSTEM)
    """Directions in which atoms may move, less those of the whole system, (n_systems,), float64: 3N − 3 where nothing
    is held, as the centre of mass is at rest from the start and gets no noise."""
    heat: Tensor = field(metadata=PER_SYSTEM)
    """Energy that the bath has given, eV, (n_systems,), float64."""
    work: Tensor = field(metadata=PER_SYSTEM)
    """Energy that the barostat has given, eV, (n_systems,), float64."""
    first_volume: Tensor = field(metadata=PER_SYSTEM)
    """Volume of the cell at the very start, Å³, (n_systems,), float64."""

    @property
    def n_systems(self) -> int:
        """Number of systems."""
        return self.batch.n_systems

    @cached_property
    def volume(self) -> Tensor:
        """Volume of each cell, Å³, (n_systems,), by its triple product: a determinant takes ten times longer."""
        a, b, c = self.batch.cell.unbind(dim=1)
        result: Tensor = (a * torch.linalg.cross(b, c)).sum(dim=1).abs()
        return result

    def sum_over_atoms(self, values: Tensor) -> Tensor:
        """Sum values on atoms, (n_atoms, …), over each system, (n_systems, …)."""
        return sum_over_atoms(self.batch, values)

    @cached_property
    def kinetic_energy(self) -> Tensor:
        """½ Σ m v², eV, (n_systems,)."""
        v = self.velocities
        squared = v[:, 0] * v[:, 0] + v[:, 1] * v[:, 1] + v[:, 2] * v[:, 2]
        return self.sum_over_atoms(self.masses * squared) * (0.5 / ACCELERATION)

    @cached_property
    def kinetic_stress(self) -> Tensor:
        """Σ m v ⊗ v, eV, (n_systems, 3, 3): the kinetic part of the pressure times the volume."""
        momenta = self.masses[:, None] * self.velocities
        return self.sum_over_atoms(momenta[:, :, None] * self.velocities[:, None, :]) / ACCELERATION

    @property
    def pressure_tensor(self) -> Tensor:
        """Instantaneous internal pressure (Σ m v ⊗ v)/V − σ, eV/Å³, (n_systems, 3, 3); 0 without a cell."""
        volume = self.volume[:, None, None]
        found = self.kinetic_stress / volume - self.evaluation.stress
        return torch.where(volume > 0, found, torch.zeros_like(found))

    @property
    def kinetic_temperature(self) -> Tensor:
        """2 K / (N_f k_B), K, (n_systems,)."""
        return 2.0 * self.kinetic_energy / (self.degrees_of_freedom.clamp(min=1.0) * KB)

    @property
    def conserved(self) -> Tensor:
        """K + U − heat − work, eV, (n_systems,): constant in every ensemble but for errors of the time step.

        Bussi, Donadio & Parrinello 2007, J. Chem. Phys. 126, 014101, Eq. 15 for a bath; the same with the energy that
        scaling has given for a barostat.
        """
        return self.kinetic_energy + self.evaluation.energy - self.heat - self.work

    def without_drift(self, velocities: Tensor) -> Tensor:
        """Remove the momentum of each system that may move as a whole."""
        momentum = self.sum_over_atoms(self.masses[:, None] * velocities)
        drift = momentum / self.sum_over_atoms(self.masses)[:, None]
        if self.batch.rule is None:
            loose = self.batch.free_shifts[:, 0, 0]  # all directions or none
            return velocities - (drift * loose[:, None])[self.batch.system]
        along = torch.einsum(
            "skx,sk->sx", self.batch.free_shifts, torch.einsum("skx,sx->sk", self.batch.free_shifts, drift)
        )
        return velocities - along[self.batch.system]

    def take(self, systems: Sequence[int] | Tensor) -> Self:
        """Return the given systems, in the given order."""
        order = torch.as_tensor(systems, dtype=torch.int64, device=self.batch.device)
        atoms = self.batch.atoms_of(order)
        index = {"atom": atoms, "system": order}
        own = {f.name: getattr(self, f.name)[index[f.metadata["scope"]]] for f in _own_fields()}
        return replace(self, batch=self.batch.take(order), evaluation=self.evaluation.take(self.batch, order), **own)

    @classmethod
    def join(cls, states: Sequence[Self]) -> Self:
        """Concatenate states."""
        own = {f.name: torch.cat([getattr(s, f.name) for s in states]) for f in _own_fields()}
        batch = Batch.join([s.batch for s in states])
        return cls(batch=batch, evaluation=Evaluation.join([s.evaluation for s in states]), **own)

    def to(self, device: torch.device | str) -> Self:
        """Return this state on another device."""
        own = {f.name: getattr(self, f.name).to(device) for f in _own_fields()}
        return replace(self, batch=self.batch.to(device), evaluation=_moved(self.evaluation, device), **own)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return everything as arrays by name, for a checkpoint; ``from_arrays`` gives the same state to the bit."""
        parts: dict[str, Any] = {"batch": self.batch, "evaluation": self.evaluation}
        found = {
            f"{part}.{f.name}": getattr(record, f.name) for part, record in parts.items() for f in fields(record)
        } | {f.name: getattr(self, f.name) for f in _own_fields()}
        return {name: value.detach().cpu().numpy().copy() for name, value in found.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], device: torch.device | str = "cpu") -> Self:
        """Return the state that ``to_arrays`` has written, on a device."""

        def values(record: Any, prefix: str) -> dict[str, Any]:
            names = {f.name: f"{prefix}{f.name}" for f in record if f"{prefix}{f.name}" in arrays}
            return {name: torch.from_numpy(np.array(arrays[key])).to(device) for name, key in names.items()}

        return cls(
            batch=Batch(**values(fields(Batch), "batch.")),
            evaluation=Evaluation(**values(fields(Evaluation), "evaluation.")),
            **values(_own_fields(), ""),
        )


def sum_over_atoms(batch: Batch, values: Tensor) -> Tensor:
    """Sum values on atoms, (n_atoms, …), over each system, (n_systems, …)."""
    return values.new_zeros(batch.n_systems, *values.shape[1:]).index_add_(0, batch.system, values)


def degrees_of_freedom(batch: Batch) -> Tensor:
    """Directions in which the atoms of each system may move, less those of the whole system, (n_systems,), float64."""
    shifts = batch.free_shifts.square().sum(dim=(1, 2)).round()
    return (sum_over_atoms(batch, batch.n_free) - shifts).clamp(min=0.0)


def standard_masses(batch: Batch) -> Tensor:
    """Standard atomic weights, u, (n_atoms,), float64."""
    return torch.as_tensor(atomic_masses, dtype=torch.float64, device=batch.device)[batch.numbers]


def _own_fields() -> list[Any]:
    return [f for f in fields(MDState) if "scope" in f.metadata]


def _moved(evaluation: Evaluation, device: torch.device | str) -> Evaluation:
    values = {f.name: getattr(evaluation, f.name) for f in fields(evaluation)}
    moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in values.items()}
    return replace(evaluation, **moved)
