"""Keeping the space group: forces and stresses averaged over the symmetry that a system starts with."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from ase.spacegroup.symmetrize import prep_symmetry, symmetrize_rank1, symmetrize_rank2
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.optimize.drive import Group


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
                self._operations[group.key] = tuple(prep_symmetry(atoms, self.symprec))
            except Exception as error:  # spglib's own kinds differ between its versions
                raise InputError(f"no space group to keep: {error}; set keep_symmetry = false") from error
        return self._operations[group.key]
