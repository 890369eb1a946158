"""Is it a minimum? The lowest mode of many systems at once, from a few force calls each.

A force below a threshold says nothing of curvature: symmetry keeps cells on saddles that are
tenths of an eV above the minimum. Davidson's method, J. Comput. Phys. 17, 87 (1975), finds
the lowest eigenvalue of a Hessian from its products with a few vectors, each product a
central difference of forces; all systems share the evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching import evaluate
from atomsim.models.interface import Surface
from atomsim.optimize.rows import Rows
from atomsim.optimize.space import Layout, Space

DISPLACEMENT = 0.03
"""Longest row of a displacement, Å: forces in single precision give curvatures to 0.01 eV/Å²."""

SOFTENING = 6
"""Power iterations on the first vector: batched products, where an eigensolver would stall a GPU."""


@dataclass(frozen=True)
class Modes:
    """Lowest modes of a batch, one a system."""

    curvature: Tensor
    """Rayleigh quotient, eV/Å², (n_systems,): an upper bound of the lowest eigenvalue.

    NaN where a displaced system could not be evaluated, infinite where nothing can move."""
    mode: Tensor
    """Its vector, (n_rows, 3), of length 1 in each system."""
    force_calls: Tensor
    """Evaluations that each system needed, (n_systems,), int64."""


def lowest_modes(
    batch: Batch,
    surface: Surface,
    space: Space,
    preconditioner: Sequence[Tensor],
    *,
    negative: float = -0.1,
    tolerance: float = 0.2,
    max_products: int = 8,
    seed: int = 0,
) -> Modes:
    """Estimate the lowest eigenvalue of each system's Hessian in the coordinates of ``space``.

    A system is settled when it is known to be on a saddle (curvature below ``negative``) or
    when its residual |Hv − λv| is below ``tolerance`` (eV/Å²), at the latest after ``max_products``.

    Args:
        batch: systems at points of small force.
        surface: the potential.
        space: what moves.
        preconditioner: approximate inverse Hessians, Å²/eV, (3 rows, 3 rows) each.
        negative: curvature that proves a saddle, eV/Å².
        tolerance: residual at which a curvature is accepted, eV/Å².
        max_products: Hessian-vector products at most, two evaluations each.
        seed: of the first vector, which has a random part so that it has no symmetry.
    """
    layout = space.layout(batch)
    rows = Rows(layout.system, batch.n_systems)
    inverse = _padded(preconditioner, rows)
    null = _null_space(batch, layout, rows)
    vector = _free(_softened(_noise(rows, seed).to(inverse.device), inverse, null), batch, space, layout, rows)
    basis: list[Tensor] = []
    products: list[Tensor] = []
    curvature, mode = torch.full_like(vector[:, 0], torch.nan), torch.zeros_like(vector)
    calls = torch.zeros(rows.n_groups, dtype=torch.int64, device=batch.device)
    open_ = torch.ones_like(calls, dtype=torch.bool)
    failed, lost = ~open_, ~open_
    while bool(open_.any()) and len(basis) < max_products:
        basis.append(_orthonormal(vector, [*null, *basis]))
        product = _product(basis[-1], batch, surface, space, layout, rows)
        failed = failed | ~torch.isfinite(product).all(dim=1)
        lost = lost | (open_ & failed)  # a settled system keeps its answer
        basis[-1], product = (torch.where(failed[:, None], 0.0, v) for v in (basis[-1], product))
        products.append(product)
        values, ritz, residual = _lowest(torch.stack(basis, dim=1), torch.stack(products, dim=1))
        # a system that is settled keeps its answer, so that it does not depend on the others
        curvature, mode = torch.where(open_, values, curvature), torch.where(open_[:, None], ritz, mode)
        calls = calls + 2 * open_
        open_ = open_ & ~failed & ~((values < negative) | (residual.norm(dim=1) < tolerance))
        onward = torch.where(failed[:, None], 0.0, torch.einsum("gij,gj->gi", inverse, residual))
        vector = _free(onward, batch, space, layout, rows)
    curvature = torch.where(mode.any(dim=1), curvature, torch.inf)
    return Modes(torch.where(lost, torch.nan, curvature), rows.unpad(mode), calls)


def _lowest(basis: Tensor, products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest Ritz value (g,), vector and residual (g, n) of bases and their products (g, k, n)."""
    small = torch.einsum("gki,gli->gkl", basis, products)
    exhausted = basis.square().sum(dim=2) < 0.5  # a zero vector: it must not look like a soft mode
    small = 0.5 * (small + small.mT) + torch.diag_embed(torch.where(exhausted, 1e9, 0.0))
    values, combinations = torch.linalg.eigh(small)
    ritz = torch.einsum("gki,gk->gi", basis, combinations[:, :, 0])
    return values[:, 0], ritz, torch.einsum("gki,gk->gi", products, combinations[:, :, 0]) - values[:, :1] * ritz


def _product(vector: Tensor, batch: Batch, surface: Surface, space: Space, layout: Layout, rows: Rows) -> Tensor:
    """Hessian times vector by central differences, padded like ``vector``; NaN where the surface failed."""
    step = rows.unpad(vector)
    size = DISPLACEMENT / rows.largest(step).clamp(min=1e-12)
    forces, each = [], torch.arange(batch.n_systems, device=batch.device)
    for sign in (1.0, -1.0):
        moved = space.move(batch, (sign * size)[rows.group, None] * step, layout)
        said, _ = evaluate(surface, moved, each)  # a fault in one system stays there
        forces.append(space.force(moved, said, layout))
    return rows.pad((forces[1] - forces[0]) / (2 * size)[rows.group, None])


def _free(vector: Tensor, batch: Batch, space: Space, layout: Layout, rows: Rows) -> Tensor:
    """Project padded vectors onto what may move."""
    return rows.pad(space.free_part(batch, rows.unpad(vector), layout))


def _null_space(batch: Batch, layout: Layout, rows: Rows) -> list[Tensor]:
    """Unit vectors that cost nothing, padded: translations (where constraints allow), rotations as strains."""
    vectors, shifts = [], batch.free_shifts
    for k in range(3):
        shift = torch.zeros(len(layout.system), 3, dtype=torch.float64, device=batch.device)
        shift[layout.atom_rows] = shifts[batch.system, k]
        length = batch.counts.to(torch.float64).sqrt()
        vectors.append(rows.pad(shift / length[rows.group, None]))
    for a, b in ((0, 1), (0, 2), (1, 2)) if layout.extra else ():
        spin = torch.zeros(len(layout.system), 3, dtype=torch.float64, device=batch.device)
        spin[layout.cell_rows[:, a], b], spin[layout.cell_rows[:, b], a] = 0.5**0.5, -(0.5**0.5)
        vectors.append(rows.pad(spin))
    return vectors


def _orthonormal(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Orthogonalise and normalise each system's vector; zero where nothing is left of it."""
    before = vector.norm(dim=1, keepdim=True)
    for _ in range(2):  # twice is enough (Parlett, The Symmetric Eigenvalue Problem, 1998)
        for other in others:
            vector = vector - (vector * other).sum(dim=1, keepdim=True) * other
    after = vector.norm(dim=1, keepdim=True)
    return torch.where(after > 1e-7 * before, vector / after.clamp(min=1e-300), 0.0)


def _softened(vector: Tensor, inverse: Tensor, null: Sequence[Tensor]) -> Tensor:
    """Filter out what the preconditioner knows to be stiff, by a few power iterations."""
    for _ in range(SOFTENING):
        vector = _orthonormal(torch.einsum("gij,gj->gi", inverse, vector), null)
    return vector


def _noise(rows: Rows, seed: int) -> Tensor:
    """Random vectors, padded; a system's own does not depend on the others."""
    noise = torch.zeros(rows.n_groups, 3 * rows.width, dtype=torch.float64)
    for n, count in enumerate(rows.counts.tolist()):
        generator = torch.Generator().manual_seed(seed)
        noise[n, : 3 * count] = torch.randn(3 * count, generator=generator, dtype=torch.float64)
    return noise


def _padded(matrices: Sequence[Tensor], rows: Rows) -> Tensor:
    padded = matrices[0].new_zeros(rows.n_groups, 3 * rows.width, 3 * rows.width)
    for n, matrix in enumerate(matrices):
        padded[n, : len(matrix), : len(matrix)] = matrix
    return padded
