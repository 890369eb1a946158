"""Products of Hessians with vectors, by differences of forces, for some of many systems at once.

Vectors are padded, (n_systems, 3 × width): the rows of each system laid out one after the other (see ``Rows``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching.capacity import evaluate
from atomsim.models.interface import EnergyModel
from atomsim.optimize.rows import Rows
from atomsim.optimize.space import Layout, Space

NEAR = 0.015
"""Longest row of a one-sided displacement, Å: what is not harmonic is a few percent. CHGNet has cusps at angles of
180°, where curvatures at smaller displacements are far from those that a relaxation meets."""
FAR = 0.03
"""The same of a two-sided one: forces in single precision give curvatures to 0.01 eV/Å²."""


@dataclass
class Products:
    """Hessians of a batch, known by what they do to vectors."""

    batch: Batch
    force: Tensor
    """At the points themselves, (n_rows, 3), as ``space`` gives it."""
    potential: EnergyModel
    space: Space
    in_a_field: bool = False
    """A lone atom does not feel its translations, unless it is in a field that knows its place."""

    @cached_property
    def layout(self) -> Layout:
        """Which rows belong to what."""
        return self.space.layout(self.batch)

    @cached_property
    def rows(self) -> Rows:
        """The rows of each system."""
        return Rows.of_sizes(self.layout.row_sizes, self.batch.device)

    @cached_property
    def here(self) -> Tensor:
        """The force, padded."""
        return self.rows.pad(self.force)

    def one_sided(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """Hessian times vector, one evaluation for each of the chosen systems; zero for the others, NaN if it fails."""
        size = NEAR / self._longest(vectors)
        return self._where(chosen, (self.here - self._force(size * vectors, chosen)) / size)

    def two_sided(self, vectors: Tensor, chosen: Tensor) -> Tensor:
        """The same by central differences, with two evaluations each."""
        size = FAR / self._longest(vectors)
        down, up = (self._force(sign * size * vectors, chosen) for sign in (-1.0, 1.0))
        return self._where(chosen, (down - up) / (2 * size))

    def free(self, vectors: Tensor) -> Tensor:
        """Project vectors onto what may move."""
        return self.rows.pad(self.space.free_part(self.batch, self.rows.unpad(vectors), self.layout))

    def costless(self) -> list[Tensor]:
        """Unit vectors that cost nothing: translations, where constraints allow, and rotations as strains."""
        batch, layout = self.batch, self.layout
        shifts = batch.free_shifts / batch.counts.to(torch.float64).sqrt()[:, None, None]
        if self.in_a_field:
            shifts = torch.where((batch.counts == 1)[:, None, None], 0.0, shifts)
        vectors = []
        for k in range(3):
            shift = torch.zeros(len(layout.system), 3, dtype=torch.float64, device=batch.device)
            shift[layout.atom_rows] = shifts[batch.system, k]
            vectors.append(self.rows.pad(shift))
        for a, b in ((0, 1), (0, 2), (1, 2)) if layout.extra else ():
            spin = torch.zeros(len(layout.system), 3, dtype=torch.float64, device=batch.device)
            spin[layout.cell_rows[:, a], b], spin[layout.cell_rows[:, b], a] = 0.5**0.5, -(0.5**0.5)
            vectors.append(self.rows.pad(spin))
        return vectors

    def noise(self, seed: int) -> Tensor:
        """Normal noise; a system's own depends neither on the others nor on how its lattice is turned in space."""
        noise = torch.zeros(len(self.layout.system), 3, dtype=torch.float64)
        turns, atoms = _lattice_frames(self.batch), self.rows.counts.cpu() - self.layout.extra
        for start, count, turn in zip(self.rows.starts.tolist(), atoms.tolist(), turns, strict=True):
            end = start + count
            drawn = torch.randn(count + self.layout.extra, 3, generator=_seeded(seed), dtype=torch.float64)
            noise[start:end] = drawn[:count] @ turn
            if self.layout.extra:
                noise[end : end + 3] = turn.T @ drawn[count:] @ turn
        return self.rows.pad(noise.to(self.batch.device))

    def _longest(self, vectors: Tensor) -> Tensor:
        result: Tensor = vectors.unflatten(1, (-1, 3)).norm(dim=2).amax(dim=1, keepdim=True).clamp(min=1e-12)
        return result

    def _where(self, chosen: Tensor, products: Tensor) -> Tensor:
        return torch.where(chosen[:, None], products, 0.0)

    def _force(self, steps: Tensor, chosen: Tensor) -> Tensor:
        """Force after a step of the chosen systems, padded; NaN where the potential failed, and for the others."""
        some = [n for n, is_chosen in enumerate(chosen.tolist()) if is_chosen]
        found = torch.full_like(steps, torch.nan)
        if not some:
            return found
        whole = len(some) == self.batch.n_systems
        batch = self.batch if whole else self.batch.take(some)
        layout = self.layout if whole else self.space.layout(batch)
        rows = self.rows if whole else Rows.of_sizes(layout.row_sizes, batch.device)
        index = torch.tensor(some, device=batch.device)
        moved = self.space.move(batch, rows.unpad(steps[index, : 3 * rows.width]), layout)
        each = torch.arange(len(some), device=batch.device)
        evaluation, _ = evaluate(self.potential, moved, each)  # a fault in one system stays there
        found[index, : 3 * rows.width] = rows.pad(self.space.force(moved, evaluation, layout))
        found[index, 3 * rows.width :] = 0.0
        return found


def orthonormal(vectors: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Orthogonalise each system's vector to others and normalise it; and the length that was left, (n_systems, 1).

    Where nothing is left both are zero.
    """
    before = vectors.norm(dim=1, keepdim=True)
    for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem, 1998)
        for other in others:
            vectors = vectors - (vectors * other).sum(dim=1, keepdim=True) * other
    after = vectors.norm(dim=1, keepdim=True)
    left = after > 1e-7 * before
    return torch.where(left, vectors / after.clamp(min=1e-300), 0.0), torch.where(left, after, 0.0)


def padded(matrices: Sequence[Tensor], rows: Rows) -> Tensor:
    """Square matrices of systems, (3 rows, 3 rows) each, in one tensor with zeros behind."""
    whole = matrices[0].new_zeros(rows.n_groups, 3 * rows.width, 3 * rows.width)
    for n, matrix in enumerate(matrices):
        whole[n, : len(matrix), : len(matrix)] = matrix
    return whole


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _lattice_frames(batch: Batch) -> Tensor:
    """Axes that turn with the lattice, as rows, (n_systems, 3, 3): the first along a, the second in the plane a, b."""
    axes, lower = torch.linalg.qr(batch.cell.cpu().mT)
    sign = torch.where(lower.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0).to(axes.dtype)
    result: Tensor = (axes * sign[:, None, :]).mT
    return result
