"""Forces and stress from ∂E/∂d, shared by all potentials of pair vectors.

With d_ij = r_j − r_i + (lattice translation) and g = ∂E/∂d_ij over directed pairs,
F_i = Σ_j (g_ij − g_ji) and σ = (1/V) Σ d ⊗ g, since a strain ε maps every d to d (1 + ε)
(Thompson, Plimpton, Mattson, J. Chem. Phys. 131, 154107 (2009)).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.models.neighbors import Neighbors


def evaluate_pairs(batch: Batch, pairs: Neighbors, atom_energies: Callable[[Tensor], Tensor]) -> Evaluation:
    """Differentiate atomic energies with respect to the pair vectors, once.

    Args:
        batch: the systems, read only.
        pairs: directed pairs of the batch.
        atom_energies: from pair vectors, Å, (n_edges, 3), float64, to energies, eV, (n_atoms,).

    Returns:
        Energies, forces, stresses and atomic energies in float64, detached.
    """
    with torch.enable_grad():
        vectors = pairs.vectors(batch).detach().requires_grad_(True)
        energies = atom_energies(vectors)
        if len(pairs.i):
            (gradient,) = torch.autograd.grad(energies.sum(), vectors)
        else:
            gradient = torch.zeros_like(vectors)
    energies, vectors = energies.detach().to(torch.float64), vectors.detach()
    forces, stress = forces_and_stress(batch, pairs, vectors, gradient)
    energy = energies.new_zeros(batch.n_systems).index_add_(0, batch.system, energies)
    return Evaluation(energy, forces, stress, energies=energies)


def forces_and_stress(batch: Batch, pairs: Neighbors, vectors: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return forces, eV/Å, (n_atoms, 3), and symmetric stresses, eV/Å³, (n_systems, 3, 3).

    Args:
        batch: the systems.
        pairs: directed pairs.
        vectors: d_ij, Å, (n_edges, 3).
        gradient: ∂E/∂d_ij, eV/Å, (n_edges, 3).
    """
    forces = torch.zeros_like(batch.positions).index_add_(0, pairs.i, gradient).index_add_(0, pairs.j, -gradient)
    outer = torch.einsum("ea,eb->eab", vectors, gradient)
    virial = torch.zeros_like(batch.cell).index_add_(0, batch.system[pairs.i], outer)
    volume = volumes(batch)[:, None, None]
    symmetric = 0.5 * (virial + virial.mT)
    return forces, torch.where(volume > 0.0, symmetric / volume, torch.zeros_like(virial))


def volumes(batch: Batch) -> Tensor:
    """Volume of each cell, Å³, (n_systems,); on a device by operations that a CUDA graph can hold."""
    if batch.device.type == "cpu":
        return batch.volume
    a, b, c = batch.cell.unbind(1)
    result: Tensor = (torch.linalg.cross(a, b) * c).sum(dim=1).abs()
    return result
