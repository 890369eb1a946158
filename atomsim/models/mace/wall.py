"""A wall where a learned potential knows nothing: pairs nearer than any that it was shown repel each other."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ase.data import covalent_radii
from torch import Tensor

from atomsim.errors import InputError

WALL_EV = 1000.0
"""Energy of a pair at no distance at all, eV: steeper than the pits that were seen in students' pair energies."""


class Wall(torch.nn.Module):
    """MACE's own pair repulsion and, for each pair nearer than d₀, ``WALL_EV`` × (1 - d/d₀)³.

    d₀ is a part of the sum of covalent radii (Cordero et al. 2008, Dalton Trans. 2832). Energy, forces and
    curvatures are continuous at d₀, and nothing beyond it is changed.
    """

    radii: Tensor
    """Covalent radii by atomic number, Å."""

    def __init__(self, inner: torch.nn.Module, part: float, scale: float) -> None:
        """Wrap.

        Args:
            inner: the repulsion that is there.
            part: of the covalent sum, d₀.
            scale: what the model multiplies pair energies with afterwards.
        """
        super().__init__()
        self.inner, self.part, self.scale = inner, part, scale
        self.register_buffer("radii", torch.tensor(covalent_radii, dtype=torch.float64), persistent=False)

    def forward(self, length: Tensor, node_attrs: Tensor, edge_index: Tensor, atomic_numbers: Tensor) -> Tensor:
        """Return the energy of each atom, half of each of its pairs', as MACE's pair repulsion does."""
        radius = self.radii.to(length.dtype)[atomic_numbers[node_attrs.argmax(dim=1)].to(torch.int64)]
        reach = self.part * (radius[edge_index[0]] + radius[edge_index[1]])
        within = (1.0 - length.squeeze(-1) / reach).clamp(min=0.0)
        pairs = 0.5 * (WALL_EV / self.scale) * within**3
        atoms = torch.zeros_like(node_attrs[:, 0]).index_add(0, edge_index[1], pairs)
        found: Tensor = self.inner(length, node_attrs, edge_index, atomic_numbers) + atoms
        return found


def walled(model: Any, part: float) -> Any:
    """Return a MACE model with a wall at a part of the covalent sums; none at 0.

    Raises:
        InputError: if the model has no pair repulsion, which the wall continues.
    """
    if part == 0:
        return model
    if not hasattr(model, "pair_repulsion"):
        raise InputError("a wall continues MACE's pair repulsion, and this model has none; train it with it")
    scale = float(model.scale_shift.scale.flatten()[0]) if hasattr(model, "scale_shift") else 1.0
    return _with(model, Wall(model.pair_repulsion_fn, part, scale))


def unwalled(model: Any) -> tuple[Any, float]:
    """Return the model without its wall, and where that was."""
    repulsion = getattr(model, "pair_repulsion_fn", None)
    return (_with(model, repulsion.inner), repulsion.part) if isinstance(repulsion, Wall) else (model, 0.0)


def _with(model: Any, repulsion: torch.nn.Module) -> Any:
    """A shallow copy with another repulsion."""
    changed = copy.copy(model)
    changed._modules = dict(model._modules)
    changed.pair_repulsion_fn = repulsion
    return changed
