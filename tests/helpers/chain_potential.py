"""A row of wells and humps along x, in which every barrier is known: a potential that commands of tests can load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atomsim.batch import Batch, Evaluation
from atomsim.registry.cards import ALL_ELEMENTS

WIDTH_A = 0.25


class Chain:
    """Wells at whole numbers of Å, humps between them, the axis a valley; or one well beside a shelf."""

    def __init__(self, humps: Sequence[float], wells: Sequence[float], *, shelf: bool = False) -> None:
        self.humps, self.wells, self.shelf = humps, wells, shelf
        self.name, self.sha256, self.device, self.dtype = "chain", "0" * 64, torch.device("cpu"), torch.float64
        self.elements, self.cutoff, self.calls = ALL_ELEMENTS, 1.0, 0

    def along(self, x: torch.Tensor) -> torch.Tensor:
        """Energy on the axis, eV."""
        if self.shelf:  # one well at 0, then nothing but a rise
            return 0.2 * (1 + torch.tanh(4 * (x - 0.8))) + torch.relu(-x) ** 2 + 0.05 * torch.exp(-x / 0.2)
        energy = 0.15 * (1 - torch.cos(2 * np.pi * x))
        for k, height in enumerate(self.humps):
            energy = energy + height * torch.exp(-(((x - k - 0.5) / WIDTH_A) ** 2))
        for k, depth in enumerate(self.wells):
            energy = energy - depth * torch.exp(-(((x - k) / WIDTH_A) ** 2))
        return energy

    def __call__(self, batch: Batch) -> Evaluation:
        self.calls += batch.n_systems
        positions = batch.positions.detach().requires_grad_()
        with torch.enable_grad():
            energy = self.along(positions[:, 0]) + 2.0 * (positions[:, 1:] ** 2).sum(dim=1)
            (slope,) = torch.autograd.grad(energy.sum(), positions)
        per_system = torch.zeros(batch.n_systems, dtype=torch.float64).index_add(0, batch.system, energy.detach())
        return Evaluation(per_system, -slope, slope.new_zeros(batch.n_systems, 3, 3))

    def scanned(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies of the wells and of the tops between them, eV, by looking everywhere."""
        x = torch.linspace(-0.3, len(self.humps) + 0.3, 50001, dtype=torch.float64)
        energy, x = self.along(x).numpy(), x.numpy()
        wells = [energy[np.abs(x - k) < 0.3].min() for k in range(len(self.wells))]
        tops = [energy[(x > k) & (x < k + 1)].max() for k in range(len(self.humps))]
        return np.array(wells), np.array(tops)


def load(name: str, device: str = "auto", dtype: str | None = None, trust_file: bool = False) -> Chain:
    """Build the one that is named ``three`` or ``shelf``."""
    return Chain((), (), shelf=True) if name == "shelf" else Chain((0.1, 0.3, 0.2), (0, 0.05, 0.3, 0))
