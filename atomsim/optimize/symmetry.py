"""Keeping the space group: forces and stresses averaged over the symmetry that a system starts with."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.spacegroup.symmetrize import prep_symmetry, symmetrize_rank1, symmetrize_rank2
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.optimize.entering import Group


@dataclass
class KeepSymmetry:
    """A ``Projection`` for ``drive``: what moves a system has the symmetry of its start.

    Args:
        symprec: tolerance in finding the symmetry, Å.
    """

    symprec: float = 1e-3
    _operations: dict[Hashable, tuple[Any, ...]] = field(default_factory=dict, repr=False)

    def __call__(self, batch: Batch, evaluation: Evaluation, group: Tensor, groups: list[Group]) -> Evaluation:
        """Return the evaluation with symmetric forces and stresses."""
        forces, stress = evaluation.forces.cpu().numpy().copy(), evaluation.stress.cpu().numpy().copy()
        cells = batch.cell.cpu().numpy()
        spans = zip(batch.starts.tolist(), batch.sizes, group.tolist(), strict=True)
        for n, (start, size, owner) in enumerate(spans):
            rotations, translations, maps = self.operations(groups[owner])
            rows, inverse = slice(start, start + size), np.linalg.pinv(cells[n])
            forces[rows] = symmetrize_rank1(cells[n], inverse, forces[rows], rotations, translations, maps)
            stress[n] = symmetrize_rank2(cells[n], inverse, stress[n], rotations)
        return replace(
            evaluation,
            forces=torch.from_numpy(forces).to(batch.device),
            stress=torch.from_numpy(stress).to(batch.device),
        )

    def operations(self, group: Group) -> tuple[Any, ...]:
        """Rotations, translations and permutations of a group's one system, found when it is first asked for.

        Raises:
            InputError: for a system without three lattice vectors, or that spglib refuses.
        """
        if group.key not in self._operations:
            (atoms,) = group.batch.to("cpu").split()
            if atoms.cell.rank < 3:
                raise InputError(
                    f"found {atoms.cell.rank} lattice vectors, wanted 3 to keep a space group; "
                    "set keep_symmetry = false"
                )
            try:
                found = tuple(prep_symmetry(atoms, self.symprec))
            except Exception as error:  # spglib's own kinds differ between its versions
                raise InputError(f"no space group to keep: {error}; set keep_symmetry = false") from error
            _require_symmetric_constraints(group.batch.to("cpu"), found)
            self._operations[group.key] = found
        return self._operations[group.key]


def _require_symmetric_constraints(batch: Batch, operations: tuple[Any, ...]) -> None:
    """Raise if the symmetry takes what is held to what is not."""
    if batch.rule is None and not bool(batch.fixed.any()):
        return
    cell = batch.cell[0].numpy()
    inverse = np.linalg.pinv(cell)
    anyhow = np.random.default_rng(0).normal(size=(batch.n_atoms, 3))
    forces = symmetrize_rank1(cell, inverse, anyhow, *operations)
    free = batch.free_part(torch.from_numpy(forces)).numpy()
    if np.abs(symmetrize_rank1(cell, inverse, free, *operations) - free).max() > 1e-6:
        raise InputError(
            "constraints hold an atom, but not in the same way those that the space group makes alike; "
            "hold all of them, or set keep_symmetry = false"
        )


def require_keepable(atoms: Atoms, constraint: FixSymmetry, cell: bool, starts: int) -> None:
    """Raise if ``KeepSymmetry`` cannot do what a ``FixSymmetry`` constraint asks for.

    Args:
        atoms: the structure that has it.
        constraint: the constraint.
        cell: the cell moves.
        starts: starts of the structure.

    Raises:
        InputError: for several starts, for symmetry of positions or cell alone, and where fewer operations are found.
    """
    name = f"{atoms.get_chemical_formula()} has a FixSymmetry constraint"
    if starts > 1:
        raise InputError(f"{name} and starts = {starts}: noise would break the symmetry; want starts = 1")
    if not constraint.do_adjust_positions or (cell and not constraint.do_adjust_cell):
        raise InputError(
            f"{name} with adjust_positions = {constraint.do_adjust_positions}, adjust_cell = "
            f"{constraint.do_adjust_cell}; keep_symmetry keeps both: want both, or keep the cell"
        )
    try:
        found = len(prep_symmetry(atoms, KeepSymmetry.symprec)[0])
    except Exception as error:  # spglib's own kinds differ between its versions
        raise InputError(f"{name}, but no space group was found: {error}") from error
    if found != len(constraint.rotations):
        raise InputError(
            f"{name} with {len(constraint.rotations)} operations (within {constraint.symprec:g} Å), and the structure "
            f"has {found} (within {KeepSymmetry.symprec:g} Å); symmetrise it first (ase.spacegroup.symmetrize)"
        )
