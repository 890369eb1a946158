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
            rotations, translations, maps = self._of(groups[owner])
            rows, inverse = slice(start, start + size), np.linalg.pinv(cells[n])
            forces[rows] = symmetrize_rank1(cells[n], inverse, forces[rows], rotations, translations, maps)
            stress[n] = symmetrize_rank2(cells[n], inverse, stress[n], rotations)
        return replace(
            evaluation,
            forces=torch.from_numpy(forces).to(batch.device),
            stress=torch.from_numpy(stress).to(batch.device),
        )

    def _of(self, group: Group) -> tuple[Any, ...]:
        if group.key not in self._operations:
            (atoms,) = group.batch.to("cpu").split()
            self._operations[group.key] = tuple(prep_symmetry(atoms, self.symprec))
        return self._operations[group.key]
