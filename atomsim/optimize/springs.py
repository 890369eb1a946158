"""A spring model of a structure: curvature to start from where none is known.

Every pair of atoms is a spring whose stiffness falls off with its length over the sum of
covalent radii, in the spirit of Lindh, Bernhardsson, Karlström, Malmqvist, Chem. Phys. Lett.
241, 423 (1995), and of the exponential preconditioner of Packwood et al., J. Chem. Phys.
144, 164109 (2016). Unlike those it contains the strain, and what couples strain and atoms,
from the same springs: a bond vector d follows its ends and the cell, δd = u_j − u_i + d ε.
"""

from __future__ import annotations

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.neighbors import neighbor_list
from atomsim.optimize.space import Space, strain_scale

STIFFNESS = 4.0
"""Stiffness of a spring as long as the sum of its covalent radii, eV/Å²."""
DECAY = 5.0
"""Stiffness falls as exp(−DECAY (length / radii − 1))."""
TRANSVERSE = 0.15
"""Stiffness across a spring, as a fraction of that along it."""
FLOOR = 1.0
"""Added to every curvature, eV/Å²: keeps the model positive definite."""
REACH = 5.0
"""Longest spring, Å."""


def spring_hessian(batch: Batch, space: Space) -> Tensor:
    """Hessian of the spring model of a batch of one system, eV/Å², in the coordinates of ``space``."""
    pairs = neighbor_list(batch, REACH)
    d = pairs.vectors(batch)
    length = d.norm(dim=1).clamp(min=1e-3)  # atoms on one point have no direction; the potential shall judge them
    radii = torch.from_numpy(np.asarray(covalent_radii)).to(batch.device)[batch.numbers]
    ratio = length / (radii[pairs.i] + radii[pairs.j])
    k = 0.5 * STIFFNESS * torch.exp(-DECAY * (ratio - 1)).clamp(max=10.0)  # each pair is listed twice
    unit = d / length[:, None]
    along = unit[:, :, None] * unit[:, None, :]
    eye = torch.eye(3, dtype=d.dtype, device=d.device)
    root = k.sqrt()[:, None, None] * (along + TRANSVERSE**0.5 * (eye - along))
    stretch = _stretch(batch, space, pairs.i, pairs.j, d)
    weighted = torch.einsum("eab,ebx->eax", root, stretch).flatten(0, 1)
    return weighted.T @ weighted


def spring_guess(batch: Batch, space: Space) -> Tensor:
    """Inverse of the spring model's Hessian, Å²/eV, zero for what is held; (3 rows, 3 rows)."""
    hessian = spring_hessian(batch, space)
    return invert(hessian, batch, space)


def invert(hessian: Tensor, batch: Batch, space: Space, floor: float = FLOOR) -> Tensor:
    """Invert a Hessian with its eigenvalues floored (eV/Å²); what is held neither moves nor couples."""
    values, vectors = torch.linalg.eigh(_confined(hessian, batch, space))
    inverse = (vectors / values.clamp(min=floor)) @ vectors.T
    return _confined(inverse, batch, space)


def _confined(matrix: Tensor, batch: Batch, space: Space) -> Tensor:
    """Project both sides of a matrix, (3 rows, 3 rows), onto what may move."""
    layout, size = space.layout(batch), len(matrix)
    for _ in range(2):
        matrix = space.free_part(batch, matrix.view(-1, 3, size), layout).reshape(size, size).T.contiguous()
    return matrix


def _stretch(batch: Batch, space: Space, i: Tensor, j: Tensor, d: Tensor) -> Tensor:
    """Derivative of each bond vector with respect to the coordinates: (n_edges, 3, 3 rows)."""
    layout = space.layout(batch)
    follow = d.new_zeros(len(i), 3, len(layout.system), 3)
    edge = torch.arange(len(i), device=d.device)
    eye = torch.eye(3, dtype=d.dtype, device=d.device)
    follow[edge, :, layout.atom_rows[j]] += eye
    follow[edge, :, layout.atom_rows[i]] -= eye
    if space.cell:
        # (d ε)_b = Σ_a d_a ε_ab with ε symmetric: half from ε_ab, half from ε_ba
        half = 0.5 / strain_scale(batch)[0]
        strain = half * (torch.einsum("ea,bc->ebac", d, eye) + torch.einsum("ec,ba->ebac", d, eye))
        follow[:, :, layout.cell_rows[0]] = strain
    return follow.flatten(2)
