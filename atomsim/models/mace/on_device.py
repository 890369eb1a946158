"""MACE on a device: neighbours are laid out once, and an evaluation of small systems is recorded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.models.chgnet.graph import one_direction
from atomsim.models.edges import forces_and_stress
from atomsim.models.mace.fast import FastMace, Layout
from atomsim.models.mace.kernels import Kernel, evaluate_kernel
from atomsim.models.mace.neighbor_table import neighbor_table, with_room
from atomsim.models.neighbors import Neighbors, SkinList, neighbor_list
from atomsim.models.replay import Replay, is_plain, padded, padded_geometry, recorder, room_for

SMALL = 2**26
"""Pairs, each in both directions, times channels, below which starting operations takes longer than computing them."""


@dataclass(frozen=True)
class _Frame:
    """A batch laid out with room to spare."""

    batch: Batch
    bonds: Neighbors
    laid: Layout


class OnDevice:
    """Evaluations of a moving batch.

    Of a small one all pairs of the skin list stay in, so that nothing of its layout changes while the list holds: the
    envelope makes what those beyond the cutoff say exactly zero. Of a large one they are dropped at each call.
    """

    def __init__(self, kernel: Kernel, cutoff: float) -> None:
        self.kernel, self._list, self._reach = kernel, SkinList(cutoff), 3.0 * cutoff
        self._numbers: tuple[int, ...] = ()
        self._room: tuple[int, ...] | None = None
        self._replay: Replay | None = None
        self._small = False

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses and atomic energies."""
        if is_plain():
            return evaluate_kernel(self.kernel, batch, neighbor_list(batch, self._list.cutoff))
        if self._list.renew(batch):
            pairs = self._list.pairs
            # the compiled kernel takes what it is given, and cuEquivariance wants pairs in both directions
            self._small = type(self.kernel) is FastMace and pairs is not None and self._is_small(len(pairs.i))
            if self._small:
                self._lay_out(batch)
        if not self._small or self._replay is None or self._room is None:
            return evaluate_kernel(self.kernel, batch, self._list.near(batch))
        cell, positions = padded_geometry(batch, self._room[0], self._room[1], self._reach)
        energy, forces, stress, energies = self._replay(positions, cell)
        n, m = batch.n_systems, batch.n_atoms
        return Evaluation(energy[:n], forces[:m], stress[:n], energies=energies[:m])

    def _is_small(self, n_pairs: int) -> bool:
        assert isinstance(self.kernel, FastMace)
        return 0 < n_pairs * self.kernel.n_channels < SMALL

    def _lay_out(self, batch: Batch) -> None:
        kernel, pairs = self.kernel, self._list.pairs
        assert isinstance(kernel, FastMace)
        assert pairs is not None
        once = one_direction(pairs)
        i, j, shift = pairs.i[once], pairs.j[once], pairs.shift[once]
        t = neighbor_table(batch, Neighbors(i, j, shift))
        numbers = tuple(sorted({*self._numbers, *t.numbers}))
        count = {z: span.stop - span.start for z, span in zip(t.numbers, t.spans, strict=True)}
        needs = (batch.n_systems + 1, batch.n_atoms + 1, len(i) + 1, t.bond.shape[1])
        room = room_for(
            (*needs, *(count.get(z, 0) + 1 for z in numbers)), self._room if numbers == self._numbers else None
        )
        n_systems, n_atoms, n_bonds, n_slots, *rows = room
        whole = with_room(t, numbers, rows, (n_atoms, n_bonds, n_slots))
        more = n_bonds - len(i)
        # bonds from the added atoms to their images, out of reach; of one atom, sums over them would take long
        added = batch.n_atoms + torch.arange(more, device=batch.device) % (n_atoms - batch.n_atoms)
        across = shift.new_tensor([1.0, 0.0, 0.0]).expand(more, 3)
        bonds = Neighbors(torch.cat([i, added]), torch.cat([j, added]), torch.cat([shift, across]))
        ends = torch.stack([whole.place[bonds.i], whole.place[bonds.j]])
        frame = _Frame(padded(batch, n_systems, n_atoms, self._reach), bonds, kernel.laid(whole, ends))
        if self._replay is None or room != self._room or numbers != self._numbers:
            self._numbers, self._room = numbers, room
            self._replay = Replay(self._evaluate, frame, recorder(batch.device))
        else:
            self._replay.lay(frame)

    def _evaluate(self, frame: _Frame, positions: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        kernel, batch = self.kernel, frame.batch.moved(positions, cell)
        assert isinstance(kernel, FastMace)
        with torch.enable_grad():
            vectors = frame.bonds.vectors(batch).detach().requires_grad_(True)
            energies = kernel.energies(frame.laid, vectors)
            (gradient,) = torch.autograd.grad(energies.sum(), vectors)
        energies = energies.detach()
        forces, stress = forces_and_stress(batch, frame.bonds, vectors.detach(), gradient)
        energy = energies.new_zeros(batch.n_systems).index_add_(0, batch.system, energies)
        return energy, forces, stress, energies
