"""Born and Mayer's repulsion as a family of potentials: ``load`` is what the entry point names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atomsim.models.pair import PairPotential


@dataclass(eq=False)
class BornMayer(PairPotential):
    """V(r) = A exp(−r/ρ), switched off smoothly (Born & Mayer, Z. Phys. 75, 1 (1932))."""

    amplitude_eV: float = 1.0
    range_A: float = 0.3

    def pair_energy(self, distance: Tensor) -> Tensor:
        """Energy of a pair, eV."""
        return self.amplitude_eV * torch.exp(-distance / self.range_A)


def load(weights: Any, card: Any, device: torch.device, dtype: torch.dtype) -> BornMayer:
    """Make the potential of a card of the family ``born-mayer``, which has parameters and no weights."""
    return BornMayer(**card.parameters, name=card.name, device=device, dtype=dtype)
