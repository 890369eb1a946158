"""The spring model of large cells: sparse, solved by conjugate gradients, in memory that grows with the atoms.

A matrix of 2,000 atoms takes 0.3 GB dense (36 million numbers). A factor of it costs 0.8 to 1.5 s of one core (SuperLU,
minimum degree), as much as seven calls of a distilled MACE; conjugate gradients with 3 × 3 blocks on the diagonal
need 22 products of 0.5 ms for four digits, no more than the factor's own solve, and nothing beforehand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from ase.data import covalent_radii
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.neighbors import neighbor_list
from atomsim.optimize.space import Space, strain_scale
from atomsim.optimize.springs import DECAY, FLOOR, REACH, STIFFNESS, TRANSVERSE

LARGE = 128
"""Atoms from which on a relaxation keeps no dense matrix. Time outside a distilled MACE, sparse against dense, is
0.6 and 0.4 s at 48 atoms, 0.5 and 0.8 s at 96, 0.8 and 2.1 s at 192. It stands above the ``max_atoms`` that steps have
unless told otherwise (100 and 120), as a host's Hessian, which saves calls, is dense."""
WEAK = 0.05
"""Stiffness of springs that are left out, eV/Å²: two of three within ``REACH``."""
MAX_ITERATIONS = 200
"""Iterations of conjugate gradients at most; some 20 are usual."""
KRYLOV = 30
"""Dimensions of the space in which a square root is taken: two to three digits."""


def is_large(n_atoms: int) -> bool:
    """True if a system of so many atoms is relaxed without dense matrices."""
    return n_atoms >= LARGE


@dataclass(frozen=True)
class Springs:
    """A spring model's Hessian of one system, on the free coordinates of ``Space``, with ``FLOOR`` added.

    Vectors are flat, (3 rows,): what is held stays zero. Matrices are SciPy's on the CPU and torch's on a device.
    """

    matrix: Any
    """The Hessian, eV/Å², sparse, (3 rows, 3 rows)."""
    inverse_blocks: Any
    """Inverses of its diagonal blocks, one for each atom and one for the strain, sparse, (3 rows, 3 rows)."""

    def to(self, device: torch.device) -> Springs:
        """Return it on a device: one transfer."""
        if device.type == "cpu":
            return self
        return Springs(_to_device(self.matrix, device), _to_device(self.inverse_blocks, device))

    def times(self, vector: Tensor) -> Tensor:
        """Hessian times vector."""
        return self._with_library(self.matrix.__matmul__, vector)

    def solve(self, vector: Tensor, tolerance: float) -> Tensor:
        """Inverse times vector, by preconditioned conjugate gradients (Nocedal & Wright, Algorithm 5.3)."""
        return self._with_library(partial(self._conjugate, tolerance=tolerance), vector)

    def root(self, vector: Tensor) -> Tensor:
        """Square root of the inverse times vector, in a Krylov space (Higham, Functions of Matrices, Eq. 13.5)."""
        length = vector.norm()
        basis: list[Tensor] = [vector / length.clamp(min=1e-300)]
        diagonal: list[float] = []
        beside: list[float] = []
        for _ in range(KRYLOV):
            image = self.times(basis[-1])
            diagonal.append(float(image @ basis[-1]))
            for known in basis:
                image = image - (known @ image) * known
            beside.append(float(image.norm()))
            if not beside[-1] > 1e-10:
                break
            basis.append(image / beside[-1])
        size = len(diagonal)
        small = np.diag(diagonal) + np.diag(beside[: size - 1], 1) + np.diag(beside[: size - 1], -1)
        values, vectors = np.linalg.eigh(small)
        weights = vectors @ (vectors[0] / np.sqrt(values.clip(min=0.5 * FLOOR)))
        result: Tensor = length * (torch.from_numpy(weights).to(vector.device) @ torch.stack(basis[:size]))
        return result

    def _with_library(self, function: Callable[[Any], Any], vector: Tensor) -> Tensor:
        """Apply a function of NumPy's or torch's vectors: on the CPU the former's overhead is a fifth."""
        if scipy.sparse.issparse(self.matrix):
            return torch.from_numpy(function(vector.numpy()))
        result: Tensor = function(vector)
        return result

    def _conjugate(self, vector: Any, tolerance: float) -> Any:
        found, left = 0.0 * vector, vector
        eased = self.inverse_blocks @ left
        direction, size = eased, left @ eased
        enough = tolerance**2 * float(size)
        for _ in range(MAX_ITERATIONS):
            if not float(size) > enough:  # NaN included
                break
            image = self.matrix @ direction
            length = size / (direction @ image)
            found, left = found + length * direction, left - length * image
            eased = self.inverse_blocks @ left
            before, size = size, left @ eased
            direction = eased + (size / before) * direction
        return found


def sparse_springs(batch: Batch, space: Space, *, weak: float = WEAK, floor: float = FLOOR) -> Springs:
    """Assemble the spring model of a batch of one system on the CPU, and take it to the batch's device.

    Args:
        batch: one system.
        space: what moves.
        weak: stiffness below which springs are left out, eV/Å².
        floor: added to every curvature, eV/Å².
    """
    one = batch.to("cpu")
    layout = space.layout(one)
    moving = torch.eye(3, dtype=one.positions.dtype).repeat(len(layout.system), 1, 1)
    moving = space.free_part(one, moving, layout)
    n = one.n_atoms
    i, j, d, stiff = _springs(one, weak)
    free, eye = moving[layout.atom_rows], torch.eye(9, dtype=d.dtype)
    own, strains = torch.arange(n), n + torch.arange(3)
    # each spring is listed from both of its ends, so what it does to its first atom is all there is to add
    diagonal = free @ d.new_zeros(n, 3, 3).index_add_(0, i, stiff) @ free + floor * eye[:3, :3]
    parts = [(i, j, -free[i] @ stiff @ free[j]), (own, own, diagonal)]
    inverses = [(own, own, torch.linalg.inv(diagonal))]
    if space.cell:
        strain = _strains(one, d)
        pull, inner = stiff @ strain, torch.block_diag(*moving[layout.cell_rows[0]])
        border = -free @ d.new_zeros(n, 3, 9).index_add_(0, i, pull) @ inner
        corner = 0.5 * inner @ torch.einsum("eax,eay->xy", strain, pull) @ inner + floor * eye
        across = border.unflatten(2, (3, 3)).transpose(1, 2).flatten(0, 1)
        ends = own.repeat_interleave(3), strains.repeat(n)
        parts += [(*ends, across), (*ends[::-1], across.mT), _square(strains, corner)]
        inverses += [_square(strains, torch.linalg.inv(corner))]
    rows = len(layout.system)
    return Springs(_blocked(parts, rows), _blocked(inverses, rows)).to(batch.device)


Blocks = tuple[Tensor, Tensor, Tensor]
"""Rows and columns of 3 × 3 blocks, and the blocks."""


def _square(places: Tensor, matrix: Tensor) -> Blocks:
    """Blocks of a dense matrix, (3 k, 3 k), of k places."""
    k = len(places)
    return places.repeat_interleave(k), places.repeat(k), matrix.view(k, 3, k, 3).transpose(1, 2).reshape(-1, 3, 3)


def _springs(batch: Batch, weak: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both ends of each spring, its vector, and its stiffness as a matrix, eV/Å² (see ``spring_hessian``)."""
    pairs = neighbor_list(batch, REACH)
    d = pairs.vectors(batch)
    length = d.norm(dim=1).clamp(min=1e-3)
    radii = torch.from_numpy(np.asarray(covalent_radii))[batch.numbers]
    k = STIFFNESS * torch.exp(-DECAY * (length / (radii[pairs.i] + radii[pairs.j]) - 1)).clamp(max=10.0)
    kept = k > weak
    i, j, d, k, unit = pairs.i[kept], pairs.j[kept], d[kept], k[kept], (d / length[:, None])[kept]
    along = unit[:, :, None] * unit[:, None, :]
    eye = torch.eye(3, dtype=d.dtype)
    return i, j, d, k[:, None, None] * (along + TRANSVERSE * (eye - along))


def _strains(batch: Batch, d: Tensor) -> Tensor:
    """Derivative of each spring's vector with respect to strain: (d ε)_b with ε symmetric, (n, 3, 9)."""
    half, eye = 0.5 / strain_scale(batch)[0], torch.eye(3, dtype=d.dtype)
    return half * (torch.einsum("ea,bc->ebac", d, eye) + torch.einsum("ec,ba->ebac", d, eye)).flatten(2)


def _blocked(parts: Sequence[Blocks], rows: int) -> Any:
    """Sparse matrix of blocks; those of one place are summed."""
    i, j, blocks = (torch.cat(each) for each in zip(*parts, strict=True))
    places, slot = torch.unique(i * rows + j, return_inverse=True)
    summed = blocks.new_zeros(len(places), 3, 3).index_add_(0, slot, blocks)
    starts = torch.searchsorted(places, torch.arange(rows + 1) * rows)
    data = (summed.numpy(), (places % rows).numpy().astype(np.int32), starts.numpy().astype(np.int32))
    return scipy.sparse.bsr_matrix(data, shape=(3 * rows, 3 * rows))


def _to_device(matrix: Any, device: torch.device) -> Tensor:
    rows = matrix.tocsr()
    starts, columns = (torch.from_numpy(a.astype(np.int64)) for a in (rows.indptr, rows.indices))
    with warnings.catch_warnings():  # torch says with each first one that they are new
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, torch.from_numpy(rows.data), rows.shape).to(device)
