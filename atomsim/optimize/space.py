"""What moves: atoms alone, or atoms and cell. A map between batches and rows of coordinates.

An optimizer sees rows of three numbers with a force on each; it knows of no atoms, cells or
bands. A system contributes one row per atom and, where its cell moves, three rows more for
the strain. Coordinates are local: a step moves atoms by d and then deforms cell and atoms by
exp(ε), so the forces on d and ε are exactly −∂E/∂r and −Vσ at the present geometry, volumes
stay positive and nothing accumulates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation


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
        return torch.tensor([n + self.extra for n in self.sizes], device=self.device)

    @cached_property
    def system(self) -> Tensor:
        """System of each row, (n_rows,), int64."""
        return torch.repeat_interleave(torch.arange(len(self.sizes), device=self.device), self.rows)

    @cached_property
    def atom_rows(self) -> Tensor:
        """Row of each atom, (n_atoms,), int64."""
        counts = torch.tensor(self.sizes, device=self.device)
        before = torch.repeat_interleave(torch.arange(len(self.sizes), device=self.device), counts) * self.extra
        return torch.arange(int(counts.sum()), device=self.device) + before

    @cached_property
    def cell_rows(self) -> Tensor:
        """Rows of each strain, (n_systems, extra), int64."""
        ends = torch.cumsum(self.rows, 0)
        return ends[:, None] - self.extra + torch.arange(self.extra, device=self.device)


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
        """What is minimised: the energy, or the enthalpy E + PV, eV, (n_systems,)."""
        return evaluation.energy + self.pressure * batch.volume if self.cell else evaluation.energy

    def force(self, batch: Batch, evaluation: Evaluation, layout: Layout) -> Tensor:
        """Force on each row, (n_rows, 3): eV/Å on atoms, eV/Å on ``strain_scale`` × strain.

        Atoms follow a strain whether they are held or not, so what a strain keeps is their fractional coordinates.
        """
        free = batch.free_part(evaluation.forces)
        if not self.cell:
            return free
        rows = free.new_zeros(len(layout.system), 3)
        rows[layout.atom_rows] = free
        pull = -self._virial(batch, evaluation) / strain_scale(batch)[:, None, None]
        rows[layout.cell_rows.flatten()] = pull.flatten(0, 1)
        return rows

    def move(self, batch: Batch, step: Tensor, layout: Layout) -> Batch:
        """Return the batch after a step of its rows; a system that is not fully periodic keeps its cell."""
        if batch.rule is not None:  # rounding in the optimizer's sums
            step = self.free_part(batch, step, layout)
        if not self.cell:
            return replace(batch, positions=batch.positions + step)
        strain = step[layout.cell_rows] / strain_scale(batch)[:, None, None]
        strain = torch.where(batch.pbc.all(dim=1)[:, None, None], strain, 0.0)
        deformation = torch.linalg.matrix_exp(0.5 * (strain + strain.mT))
        moved = batch.positions + step[layout.atom_rows]
        positions = torch.einsum("ac,acd->ad", moved, deformation[batch.system])
        return replace(batch, positions=positions, cell=batch.cell @ deformation)

    def residual(self, batch: Batch, evaluation: Evaluation) -> Tensor:
        """Largest force, eV/Å, (n_systems,): on atoms, what constraints hold left out, and on rows of V(σ + P)/n_atoms.

        The second is what ASE's ``FrechetCellFilter`` tests, so one ``fmax`` means the same here.
        """
        free = batch.free_part(evaluation.forces).norm(dim=1)
        largest = free.new_zeros(batch.n_systems).scatter_reduce(0, batch.system, free, "amax")
        if not self.cell:
            return largest
        pull = self._virial(batch, evaluation) / batch.counts[:, None, None]
        return torch.maximum(largest, pull.norm(dim=2).amax(dim=1))

    def _virial(self, batch: Batch, evaluation: Evaluation) -> Tensor:
        """V(σ + P), eV; zero for a system that is not periodic in three dimensions: its cell stays."""
        eye = torch.eye(3, dtype=evaluation.stress.dtype, device=batch.device)
        virial = batch.volume[:, None, None] * (evaluation.stress + self.pressure * eye)
        return torch.where(batch.pbc.all(dim=1)[:, None, None], virial, 0.0)


def strain_scale(batch: Batch) -> Tensor:
    """Length by which a strain is multiplied to be a coordinate, Å, (n_systems,).

    √n_atoms × 1 Å makes the curvature of the strain, about n_atoms × 10 eV, that of an atom.
    """
    return batch.counts.to(torch.float64).sqrt()
