"""Hessians by finite differences, with as few force calls as symmetry allows.

Force constants come from phonopy's symmetry-reduced displacements of the cell itself (its
supercell is 1 × 1 × 1, so what it gives is the curvature at Γ, all that a relaxation of that
cell can feel). Six strains add the elastic part and what couples it to the atoms. All these
evaluations are independent and go through the potential as batches.

A child (atoms removed) starts from its parent's Hessian with the rows and columns of the
missing atoms dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.constraints.projectors import confined, free_axes
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel
from atomsim.optimize.displacements import displaced, displacements

DISPLACEMENT = 0.02
"""Length of a displacement, Å: large enough for forces in single precision."""
SYMPREC_A = 1e-3
"""Tolerance of the symmetry search, Å."""
STRAIN = 0.005
"""Size of a strain component."""
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Hessian:
    """Second derivatives of the energy of one system."""

    atoms: Tensor
    """∂²E/∂r∂r, eV/Å², (n, 3, n, 3)."""
    mixed: Tensor
    """−∂F/∂ε at fixed fractional coordinates, eV/Å, (n, 3, 3, 3), symmetric in the strain's indices."""
    strain: Tensor
    """∂²E/∂ε∂ε, eV, (3, 3, 3, 3)."""
    force_calls: int
    """Evaluations that it cost."""

    def of_child(self, parent_index: Sequence[int] | np.ndarray) -> Hessian:
        """Return the part that belongs to a child.

        Args:
            parent_index: the parent's atom that each of the child's atoms was.
        """
        keep = torch.as_tensor(np.asarray(parent_index), dtype=torch.int64)
        return replace(self, atoms=self.atoms[keep][:, :, keep], mixed=self.mixed[keep])

    def matrix(self, cell: bool) -> Tensor:
        """Return it in the coordinates of ``Space``, eV/Å², (3 rows, 3 rows)."""
        n = len(self.atoms)
        atoms = self.atoms.reshape(3 * n, 3 * n)
        if not cell:
            return atoms
        scale = n**0.5  # as Space scales strains
        mixed = self.mixed.reshape(3 * n, 9) / scale
        strain = self.strain.reshape(9, 9) / scale**2
        return torch.cat([torch.cat([atoms, mixed], dim=1), torch.cat([mixed.T, strain], dim=1)])


def hessian(atoms: Atoms, potential: EnergyModel, *, capacity: Capacity | None = None) -> Hessian:
    """Compute the Hessian of a periodic system that sits near a minimum.

    Args:
        atoms: the system; its symmetry is found by spglib through phonopy.
        potential: the potential.
        capacity: displaced systems at once; by default one on a CPU and what fits on a device.

    Raises:
        InputError: if the system is not periodic in three dimensions.
    """
    if not atoms.pbc.all():
        raise InputError(f"{atoms.get_chemical_formula()} is not periodic in 3 dimensions; a Hessian needs a crystal")
    phonon = displacements(atoms, np.eye(3, dtype=np.int64), DISPLACEMENT, SYMPREC_A)
    moved = displaced(phonon, atoms)
    strained = [_strained(atoms, pair, sign * STRAIN) for pair in VOIGT for sign in (1, -1)]
    found = list(_evaluations([*moved, *strained], potential, capacity))
    phonon.forces = np.array([forces for forces, _ in found[: len(moved)]])
    phonon.produce_force_constants(show_drift=False)
    constants = torch.from_numpy(np.asarray(phonon.force_constants)).permute(0, 2, 1, 3).contiguous()
    mixed, strain = _strain_parts(found[len(moved) :], len(atoms))
    symmetric = 0.5 * (constants + constants.permute(2, 3, 0, 1))
    return Hessian(symmetric, mixed, strain, len(found))


def _strained(atoms: Atoms, pair: tuple[int, int], size: float) -> Atoms:
    deformation = np.eye(3)
    deformation[pair] += 0.5 * size
    deformation[pair[::-1]] += 0.5 * size
    strained = _free(atoms)  # a constraint may adjust the cell
    strained.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return strained


def _evaluations(
    systems: list[Atoms], potential: EnergyModel, capacity: Capacity | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Forces and V σ of each system."""
    for batch, evaluation in evaluate_all([_free(a) for a in systems], potential, capacity):
        forces, virial = torch.split(evaluation.forces, batch.sizes), batch.volume[:, None, None] * evaluation.stress
        yield from ((f.numpy(), v.numpy()) for f, v in zip(forces, virial, strict=True))


def _free(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def _strain_parts(found: list[tuple[np.ndarray, np.ndarray]], n_atoms: int) -> tuple[Tensor, Tensor]:
    """Central differences along the six strains.

    A shear of ``size`` sets ε_ab = ε_ba = size/2, so its derivative is that of either component.
    """
    mixed = torch.zeros(n_atoms, 3, 3, 3, dtype=torch.float64)
    strain = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    for n, (a, b) in enumerate(VOIGT):
        (force_up, virial_up), (force_down, virial_down) = found[2 * n], found[2 * n + 1]
        for i, j in {(a, b), (b, a)}:
            mixed[:, :, i, j] = -torch.from_numpy(force_up - force_down) / (2 * STRAIN)
            strain[:, :, i, j] = torch.from_numpy(virial_up - virial_down) / (2 * STRAIN)
    return mixed, 0.5 * (strain + strain.permute(2, 3, 0, 1))


SHELL_A = 2.6
"""Atoms this near to a moving one at the saddle take part in a partial Hessian, Å: its first shell."""


def shell(atoms: Atoms, moving: Sequence[int], radius: float = SHELL_A) -> tuple[int, ...]:
    """Return the moving atoms and their neighbours within ``radius`` (Å), fixed atoms left out, sorted."""
    i, j = neighbor_list("ij", Atoms(atoms), radius)
    near = {int(m) for m in moving} | {int(b) for a, b in zip(i, j, strict=True) if int(a) in moving}
    fixed = {int(f) for f in np.flatnonzero(Batch.pack([atoms]).fixed.numpy())}
    return tuple(sorted(near - fixed))


def partial_hessian(
    atoms: Atoms, chosen: tuple[int, ...], potential: EnergyModel, capacity: Capacity | None = None
) -> tuple[np.ndarray, int]:
    """Second derivatives with respect to some atoms, all others held; eV/Å², (3 n, 3 n), and its force calls.

    Central differences of forces along the directions in which constraints let the atoms move, zero along others;
    all displaced systems are independent.
    """
    free = Batch.pack([atoms]).free
    axes = {a: free_axes(free[a]) for a in chosen}
    steps = [(a, sign * DISPLACEMENT * axis) for a in chosen for axis in axes[a] for sign in (1, -1)]
    index = torch.as_tensor(chosen)
    forces: list[Tensor] = []
    for batch, evaluation in evaluate_all(
        [_displaced(atoms, a, step.numpy()) for a, step in steps], potential, capacity
    ):
        forces += list(evaluation.forces.view(batch.n_systems, -1, 3)[:, index].flatten(1))
    if not forces:
        return np.zeros((3 * len(chosen), 3 * len(chosen))), 0
    found = torch.stack(forces)
    curvature = -(found[0::2] - found[1::2]) / (2 * DISPLACEMENT)
    frame = torch.block_diag(*axes.values())
    curvature = frame.T @ curvature
    curvature = confined(0.5 * (curvature + curvature.T), free[list(chosen)])
    return curvature.numpy(), len(steps)


def _displaced(atoms: Atoms, moved: int, step: np.ndarray) -> Atoms:
    displaced = atoms.copy()
    displaced.positions[moved] += step
    return displaced
