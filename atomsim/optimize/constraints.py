"""A distance between two atoms that is kept exactly, one for each system, while everything else relaxes.

With d the vector of the pair and R the map that scales d to its length L and keeps its midpoint, what is minimised
is E(R(r)). Before an evaluation systems are put back onto the constraint (``settle``), so the length is exact to
rounding and not to the order of a step; after it, what is left of forces and stress is the gradient of E(R(r)).
The gradient with respect to L, the mean force, is known too: at a constrained minimum it is dE/dL.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.optimize.entering import Group


@dataclass(frozen=True)
class FixedDistance:
    """The length of one pair of atoms."""

    first: int
    second: int
    shift: tuple[int, int, int]
    """Lattice translation of the second atom, in units of the cell's vectors."""
    length_A: float


@dataclass
class FixedDistances:
    """A ``Projection`` for ``drive``: one distance for each group, which is a single system.

    Args:
        distances: by the groups' keys.
    """

    distances: Mapping[Hashable, FixedDistance]
    mean_force: dict[Hashable, float] = field(default_factory=dict)
    """dE/dL of each group at its last evaluation, eV/Å; negative where the pair is pushed apart."""

    def settle(self, batch: Batch, group: Tensor, groups: Sequence[Group]) -> Batch:
        """Return the batch with all lengths as wanted and all midpoints where they were."""
        i, j, image, wanted = self._pairs(batch, group, groups)
        d = batch.positions[j] + image - batch.positions[i]
        half = 0.5 * (1 - wanted / d.norm(dim=1)).unsqueeze(1) * d
        positions = batch.positions.clone()
        positions[i] += half
        positions[j] -= half
        return replace(batch, positions=positions)

    def __call__(self, batch: Batch, evaluation: Evaluation, group: Tensor, groups: list[Group]) -> Evaluation:
        """Return the evaluation without what acts along the constraints; note the mean forces."""
        i, j, image, wanted = self._pairs(batch, group, groups)
        d = batch.positions[j] + image - batch.positions[i]
        unit = d / d.norm(dim=1, keepdim=True)
        slope = -0.5 * ((evaluation.forces[j] - evaluation.forces[i]) * unit).sum(dim=1)
        forces = evaluation.forces.clone()
        forces[i] -= slope[:, None] * unit
        forces[j] += slope[:, None] * unit
        # the length does not follow a strain: its part of the virial is dE/dL L u⊗u
        virial = (slope * wanted)[:, None, None] * unit[:, :, None] * unit[:, None, :]
        volume = batch.volume[:, None, None]
        stress = evaluation.stress - torch.where(volume > 0, virial / volume.clamp(min=1e-300), 0.0)
        keys = [g.key for g in groups]
        self.mean_force |= dict(zip((keys[n] for n in group.tolist()), slope.tolist(), strict=True))
        return replace(evaluation, forces=forces, stress=stress)

    def _pairs(self, batch: Batch, group: Tensor, groups: Sequence[Group]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Atoms of each system's pair, lattice vector of the second's image, Å, and the length wanted, Å."""
        held = [self.distances[groups[n].key] for n in group.tolist()]
        where = torch.tensor([[h.first, h.second] for h in held], device=batch.device) + batch.starts[:, None]
        shift = torch.tensor([h.shift for h in held], dtype=batch.cell.dtype, device=batch.device)
        wanted = torch.tensor([h.length_A for h in held], dtype=batch.cell.dtype, device=batch.device)
        return where[:, 0], where[:, 1], torch.einsum("si,sij->sj", shift, batch.cell), wanted
