"""The directions that constraints leave free, as projectors."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from atomsim.constraints.rules import Kind, read_constraints, symmetry_of, without_symmetry


def free_projectors(fixed: Tensor, rule: Tensor, cell: Tensor) -> Tensor:
    """Projectors onto the directions in which atoms may move, (n_atoms, 3, 3).

    Args:
        fixed: (n_atoms,), bool.
        rule: as ``read_constraints`` gives it, (n_atoms, 4).
        cell: the lattice vectors around each atom as rows, Å, (n_atoms, 3, 3).
    """
    kind, values = rule[:, 0], rule[:, 1:]
    eye = torch.eye(3, dtype=rule.dtype, device=rule.device)
    # a fractional coordinate stays where the step is across its reciprocal vector
    whole_cell = torch.linalg.det(cell).abs()[:, None, None] > 0
    reciprocal = torch.linalg.inv(torch.where(whole_cell, cell, eye)).mT
    frame = torch.where((kind == Kind.SCALED)[:, None, None], reciprocal, eye)
    masked = (kind == Kind.CARTESIAN) | (kind == Kind.SCALED)
    held = torch.where(masked[:, None, None], frame * values[:, :, None], 0.0)
    held[:, 0] = torch.where((kind == Kind.PLANE)[:, None], values, held[:, 0])
    free = eye - _span(held)
    free = torch.where((kind == Kind.LINE)[:, None, None], values[:, :, None] * values[:, None, :], free)
    return torch.where(fixed[:, None, None], 0.0, free)


def free_axes(free: Tensor) -> Tensor:
    """Orthonormal directions that span what a projector, (3, 3), leaves free: Cartesian axes if they can, (k, 3)."""
    axes: list[Tensor] = []
    for column in free.T:
        left = column
        for unit in axes:
            left = left - (left @ unit) * unit
        if float(left.norm()) > 0.1 and len(axes) < round(float(free.trace())):
            axes.append(left / left.norm())
    return torch.stack(axes) if axes else free.new_zeros(0, 3)


def confined(matrix: Tensor, free: Tensor) -> Tensor:
    """Project both sides of a matrix over the coordinates of atoms.

    Args:
        matrix: (3 n_atoms, 3 n_atoms).
        free: projectors, (n_atoms, 3, 3).
    """
    blocks = matrix.reshape(len(free), 3, len(free), 3)
    return torch.einsum("aij,ajbk,bkl->aibl", free, blocks, free).contiguous().view_as(matrix)


def _span(vectors: Tensor) -> Tensor:
    """Projectors onto the spans of three vectors each, zero or independent: Gram–Schmidt, exact for Cartesian axes."""
    found: list[Tensor] = []
    for k in range(3):
        left = vectors[:, k]
        for _ in range(2):
            for unit in found:
                left = left - (left * unit).sum(dim=1, keepdim=True) * unit
        found.append(left / left.norm(dim=1, keepdim=True).clamp(min=1e-300))
    return sum((u[:, :, None] * u[:, None, :] for u in found), torch.zeros_like(vectors))


def free_directions(atoms: Atoms) -> NDArray[np.float64]:
    """Projectors onto the directions in which the atoms of a structure may move, (n_atoms, 3, 3).

    Raises:
        InputError: see ``read_constraints``.
    """
    fixed, rule = read_constraints(without_symmetry(atoms) if symmetry_of(atoms) else atoms)
    table = torch.from_numpy(np.zeros((len(atoms), 4)) if rule is None else rule)
    cell = torch.from_numpy(atoms.cell.array.copy()).expand(len(atoms), 3, 3)
    return np.asarray(free_projectors(torch.from_numpy(fixed), table, cell).numpy())
