"""MACE on a device: neighbours are laid out once, and an evaluation of small systems is recorded."""

from __future__ import annotations

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.models.chgnet.graph import one_direction
from atomsim.models.edges import forces_and_stress
from atomsim.models.mace.fast import FastMace
from atomsim.models.mace.kernels import Kernel, evaluate_kernel
from atomsim.models.neighbors import Neighbors, SkinList
from atomsim.models.replay import Replay, recorder

SMALL = 2**20
"""Slots of a table of neighbours below which starting operations takes longer than computing them."""


class OnDevice:
    """Evaluations of a moving batch.

    Of a small one all pairs of the skin list stay in, so that nothing of its layout changes while the list holds: the
    envelope makes what those beyond the cutoff say exactly zero. Of a large one they are dropped at each call.
    """

    def __init__(self, kernel: Kernel, cutoff: float) -> None:
        self.kernel, self._list = kernel, SkinList(cutoff)
        self._replay: Replay | None = None

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses and atomic energies."""
        if self._list.renew(batch):
            self._replay = self._lay_out(batch)
        if self._replay is None:
            return evaluate_kernel(self.kernel, batch, self._list.near(batch))
        energy, forces, stress, energies = self._replay(batch.positions, batch.cell)
        return Evaluation(energy, forces, stress, energies=energies)

    def _lay_out(self, batch: Batch) -> Replay | None:
        """Return the evaluation of a small batch as a function of geometry alone; None of a large one."""
        kernel, pairs = self.kernel, self._list.pairs
        assert pairs is not None
        # the compiled kernel takes what it is given, and cuEquivariance wants pairs in both directions
        if type(kernel) is not FastMace or not 0 < len(pairs.i) < SMALL:
            return None
        once = one_direction(pairs)
        bonds = Neighbors(pairs.i[once], pairs.j[once], pairs.shift[once])
        laid = kernel.layout(batch, bonds)

        def at(positions: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
            there = batch.moved(positions, cell)
            with torch.enable_grad():
                vectors = bonds.vectors(there).detach().requires_grad_(True)
                energies = kernel.energies(laid, vectors)
                (gradient,) = torch.autograd.grad(energies.sum(), vectors)
            energies = energies.detach()
            forces, stress = forces_and_stress(there, bonds, vectors.detach(), gradient)
            energy = energies.new_zeros(batch.n_systems).index_add_(0, batch.system, energies)
            return energy, forces, stress, energies

        return Replay(at, recorder(batch.device, small=True))
