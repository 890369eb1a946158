"""Coordinates of a relaxation: atoms alone, or atoms and cell. A map between batches and rows of coordinates.

An optimizer sees rows of three numbers with a force on each; it knows of no atoms, cells or
bands. A system contributes one row per atom and, where its cell moves, three rows more for
the strain. Coordinates are local: a step moves atoms by d and then deforms cell and atoms by
exp(ε), so the forces on d and ε are exactly −∂E/∂r and −Vσ at the present geometry, volumes
stay positive and nothing accumulates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atomsim.batch import Batch, Evaluation

TERMS = 7
"""Powers of a strain in the series of its exponential."""


@dataclass(frozen=True)
class Layout:
    """Which rows belong to what, for the systems of one batch."""

    sizes: tuple[int, ...]
    """Atoms in each system."""
    extra: int
    """Rows of each system beyond its atoms: 3 with a moving cell, else 0."""
    device: torch.device

    @cached_property
    def rows(self) -> Tensor:
        """Rows of each system, (n_systems,), int64."""
        return torch.tensor(self.row_sizes, device=self.device)

    @property
    def row_sizes(self) -> list[int]:
        """The same on the host."""
        return [n + self.extra for n in self.sizes]

    @cached_property
    def system(self) -> Tensor:
        """System of each row, (n_rows,), int64."""
        return self._put(np.repeat(np.arange(len(self.sizes)), self.row_sizes))

    @cached_property
    def atom_rows(self) -> Tensor:
        """Row of each atom, (n_atoms,), int64."""
        return self._put(self._atom_rows)

    @cached_property
    def _atom_rows(self) -> NDArray[np.int64]:
        before = np.repeat(np.arange(len(self.sizes)), self.sizes) * self.extra
        return np.arange(sum(self.sizes)) + before

    @cached_property
    def cell_rows(self) -> Tensor:
        """Rows of each strain, (n_systems, extra), int64."""
        return self._put(self._cell_rows)

    @cached_property
    def _cell_rows(self) -> NDArray[np.int64]:
        return np.cumsum(self.row_sizes)[:, None] - self.extra + np.arange(self.extra)

    @cached_property
    def every_cell_row(self) -> Tensor:
        """Rows of all strains, (extra × n_systems,), int64."""
        return self.cell_rows.flatten()

    @cached_property
    def origin(self) -> Tensor:
        """Place of each row in all atoms' and then all strains' rows, (n_rows,), int64."""
        return self._put(np.argsort(np.concatenate([self._atom_rows, self._cell_rows.ravel()])))

    @cached_property
    def owner(self) -> Tensor:
        """System of each of all atoms' and then all strains' rows, (n_rows,), int64."""
        systems = np.arange(len(self.sizes))
        return self._put(np.concatenate([np.repeat(systems, self.sizes), np.repeat(systems, self.extra)]))

    @cached_property
    def n_atoms(self) -> Tensor:
        """Atoms in each system, (n_systems, 1, 1), int64."""
        return torch.tensor(self.sizes, device=self.device)[:, None, None]

    @cached_property
    def scale(self) -> Tensor:
        """Factor of strains, see ``strain_scale``, (n_systems, 1, 1)."""
        return self.n_atoms.to(torch.float64).sqrt()

    @cached_property
    def minus_scale(self) -> Tensor:
        """By what V(σ + P) is divided to be a force."""
        return -self.scale

    def _put(self, index: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(index).to(self.device)


@dataclass(frozen=True)
class Space:
    """Coordinates of a batch.

    Args:
        cell: let cells move too.
        pressure: external pressure, eV/Å³, positive when it compresses.
    """

    cell: bool = False
    pressure: float = 0.0

    def layout(self, batch: Batch) -> Layout:
        """Return which rows belong to what."""
        return Layout(tuple(batch.sizes), 3 if self.cell else 0, batch.device)

    def held(self, batch: Batch, layout: Layout) -> Tensor:
        """Rows that never move, (n_rows,), bool: fixed atoms, and the strain of what is not fully periodic.

        What moves in some directions only is no such row: see ``free_part``.
        """
        held = torch.zeros(len(layout.system), dtype=torch.bool, device=batch.device)
        held[layout.atom_rows] = batch.fixed
        if self.cell:
            held[layout.cell_rows[~batch.pbc.all(dim=1)].flatten()] = True
        return held

    def free_part(self, batch: Batch, rows: Tensor, layout: Layout) -> Tensor:
        """Project rows, (n_rows, 3) or (n_rows, 3, k), onto what may move."""
        free = torch.where(self.held(batch, layout).view(-1, *[1] * (rows.dim() - 1)), 0.0, rows)
        if batch.rule is None:
            return free
        moving = torch.eye(3, dtype=rows.dtype, device=rows.device).repeat(len(layout.system), 1, 1)
        moving[layout.atom_rows] = batch.free
        return torch.einsum("rij,rj...->ri...", moving, free)

    def energy(self, batch: Batch, evaluation: Evaluation) -> Tensor:
        """Objective of the minimisation: the energy, or the enthalpy E + PV, eV, (n_systems,)."""
        if not self.cell or self.pressure == 0.0:
            return evaluation.energy
        return evaluation.energy + self.pressure * batch.volume

    def force(self, batch: Batch, evaluation: Evaluation, layout: Layout) -> Tensor:
        """Force on each row, (n_rows, 3): eV/Å on atoms, eV/Å on ``strain_scale`` × strain.

        Atoms follow a strain whether they are held or not, so what a strain keeps is their fractional coordinates.
        """
        return self.pull(batch, evaluation, layout)[0]

    def pull(self, batch: Batch, evaluation: Evaluation, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return the force on each row and each system's residual, together for less than both alone."""
        free = batch.free_part(evaluation.forces)
        if not self.cell:
            return free, _largest(free, batch.system, batch.n_systems)
        virial = self._virial(batch, evaluation)
        rows = torch.cat([free, (virial / layout.minus_scale).view(-1, 3)]).index_select(0, layout.origin)
        judged = torch.cat([free, (virial / layout.n_atoms).view(-1, 3)])
        return rows, _largest(judged, layout.owner, batch.n_systems)

    def move(self, batch: Batch, step: Tensor, layout: Layout) -> Batch:
        """Return the batch after a step of its rows; a system that is not fully periodic keeps its cell."""
        if batch.rule is not None:  # rounding in the optimizer's sums
            step = self.free_part(batch, step, layout)
        if not self.cell:
            return batch.moved(batch.positions + step)
        strain = step.index_select(0, layout.every_cell_row).view(-1, 3, 3) / layout.scale
        if not batch.known.periodic.all():
            strain = torch.where(batch.pbc.all(dim=1)[:, None, None], strain, 0.0)
        deformation = exponential(strain)
        moved = batch.positions + step.index_select(0, layout.atom_rows)
        positions = torch.bmm(moved[:, None], deformation.index_select(0, batch.system))[:, 0]
        return batch.moved(positions, torch.bmm(batch.cell, deformation))

    def residual(self, batch: Batch, evaluation: Evaluation) -> Tensor:
        """Largest force, eV/Å, (n_systems,): on atoms, what constraints hold left out, and on rows of V(σ + P)/n_atoms.

        The second is what ASE's ``FrechetCellFilter`` tests, so one ``fmax`` means the same here.
        """
        return self.pull(batch, evaluation, self.layout(batch))[1]

    def _virial(self, batch: Batch, evaluation: Evaluation) -> Tensor:
        """V(σ + P), eV; zero for a system that is not periodic in three dimensions: its cell stays."""
        stress = evaluation.stress
        if self.pressure != 0.0:
            stress = stress + self.pressure * torch.eye(3, dtype=stress.dtype, device=batch.device)
        virial = batch.volume.view(-1, 1, 1) * stress
        return virial if batch.known.periodic.all() else torch.where(batch.pbc.all(dim=1)[:, None, None], virial, 0.0)


def _largest(rows: Tensor, owner: Tensor, n_systems: int) -> Tensor:
    """Length of the longest row of each system, (n_systems,)."""
    length = torch.linalg.vector_norm(rows, dim=1)
    result: Tensor = length.new_zeros(n_systems).scatter_reduce(0, owner, length, "amax")
    return result


def exponential(strain: Tensor) -> Tensor:
    """Exponentials of the symmetric parts of strains, (n_systems, 3, 3).

    On a device by Taylor's series to the seventh power, since torch's own function asks the host how far to go: steps
    are bounded so that what is left out is below 10⁻⁷.
    """
    twice = strain + strain.mT
    if strain.device.type == "cpu":
        result: Tensor = torch.linalg.matrix_exp(0.5 * twice)
        return result
    eye = torch.eye(3, dtype=strain.dtype, device=strain.device)
    found = torch.add(eye, twice, alpha=0.5 / TERMS)
    for k in range(TERMS - 1, 0, -1):
        found = torch.baddbmm(eye, twice, found, alpha=0.5 / k)
    return found


def strain_scale(batch: Batch) -> Tensor:
    """Length by which a strain is multiplied to be a coordinate, Å, (n_systems,).

    √n_atoms × 1 Å makes the curvature of the strain, about n_atoms × 10 eV, that of an atom.
    """
    return batch.counts.to(torch.float64).sqrt()
