"""CHGNet on a device: its graph is kept while it holds, and an evaluation of small systems is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.models.chgnet.graph import BondGraph, KeptGraph
from atomsim.models.chgnet.launches import Launches
from atomsim.models.replay import Replay, is_plain, padded, padded_geometry, recorder, room_for

Differentiated = Callable[[Batch, BondGraph, Callable[..., tuple[Tensor, Tensor]]], tuple[Tensor, ...]]
"""Gives the fields of an ``Evaluation`` from a graph and atomic energies as a function of its vectors."""


@dataclass(frozen=True)
class _Frame:
    """A batch laid out with room to spare."""

    batch: Batch
    rows: Any
    """As ``Launches.prepare`` lays them out."""


class OnDevice:
    """Evaluations of a moving batch."""

    def __init__(self, launches: Launches, kept: KeptGraph, whole: Differentiated) -> None:
        self._launches, self._kept, self._whole = launches, kept, whole
        self._reach = 3.0 * kept.cutoff
        self._room: tuple[int, ...] | None = None
        self._replay: Replay | None = None
        self._rows: Any = None
        """Layout of a batch that is not small."""

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses, moments and atomic energies."""
        if is_plain():
            rows = self._launches.prepare(self._kept.fresh(batch), batch.n_atoms)
            return Evaluation(*self._evaluate(_Frame(batch, rows), batch.positions, batch.cell))
        graph, anew = self._kept(batch)
        if anew:
            small = 0 < len(graph.center) + len(graph.angle_center) < self._launches.small
            self._rows = None if small else self._launches.prepare(graph, batch.n_atoms)
            if small:
                self._lay_out(batch, graph)
        if self._rows is not None:
            return Evaluation(*self._evaluate(_Frame(batch, self._rows), batch.positions, batch.cell))
        assert self._replay is not None
        assert self._room is not None
        cell, positions = padded_geometry(batch, self._room[0], self._room[1], self._reach)
        energy, forces, stress, magmoms, energies = self._replay(positions, cell)
        n, m = batch.n_systems, batch.n_atoms
        return Evaluation(energy[:n], forces[:m], stress[:n], magmoms[:m], energies[:m])

    def _lay_out(self, batch: Batch, graph: BondGraph) -> None:
        n_long, n_pairs = len(graph.first) - graph.n_short, len(graph.pair_angle)
        needs = (batch.n_systems, batch.n_atoms, graph.n_short, n_long, n_pairs)
        room = room_for([n + 1 for n in needs], self._room)
        n_systems, n_atoms, *more = room
        whole = with_room(graph, n_systems, n_atoms, *more)
        frame = _Frame(padded(batch, n_systems, n_atoms, self._reach), self._launches.prepare(whole, n_atoms))
        if self._replay is None or room != self._room:
            self._room, self._replay = room, Replay(self._evaluate, frame, recorder(batch.device))
        else:
            self._replay.lay(frame)

    def _evaluate(self, frame: _Frame, positions: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        batch = frame.batch.moved(positions, cell)
        return self._whole(
            batch, frame.rows.graph.at(batch), lambda b, _, vector: self._launches(b, frame.rows, vector)
        )


def with_room(g: BondGraph, n_systems: int, n_atoms: int, n_short: int, n_long: int, n_pairs: int) -> BondGraph:
    """Return the graph with more bonds, from the last atom to its image, and angles between them.

    Args:
        g: the graph of a batch.
        n_systems: systems, the last one added.
        n_atoms: atoms, the last one added, in the last system.
        n_short: short bonds, more than ``g`` has.
        n_long: others, likewise.
        n_pairs: unordered pairs of arms, likewise.
    """
    gap, n_bonds, known = n_short - g.n_short, n_short + n_long, len(g.first)
    more_long, more_pairs, device = n_bonds - known - gap, n_pairs - len(g.pair_angle), g.first.device

    def numbers(start: int, end: int) -> Tensor:
        return torch.arange(start, end, device=device)

    def bonds(values: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """Values of bonds, short ones first, with those of the added."""
        return torch.cat([values[: g.n_short], near, values[g.n_short :], far])

    # spread over the added atoms: sums over the bonds of one would take as long as all others together
    atoms = g.n_atoms + _shared(n_atoms - g.n_atoms, gap + more_long, device)
    near, far = atoms.split([gap, more_long])
    across = g.shift.new_tensor([1.0, 0.0, 0.0])
    shift = bonds(g.shift, across.expand(gap, 3), across.expand(more_long, 3))
    added = torch.cat([numbers(g.n_short, n_short), numbers(gap + known, n_bonds)]).repeat_interleave(2)
    bounds = (numbers(0, 2 * gap + 1) * more_pairs + gap - 1) // gap
    count = bounds.diff()  # angles of each added edge, as many as may be alike
    arm = added[: 2 * gap].repeat_interleave(count, output_size=2 * more_pairs)
    ends = atoms.repeat_interleave(2)
    pairs = numbers(len(g.pair_angle), n_pairs)
    return BondGraph(
        n_atoms=n_atoms,
        first=bonds(g.first, near, far),
        second=bonds(g.second, near, far),
        vector=shift,  # until it is placed
        n_short=n_short,
        center=torch.cat([g.center, ends]),
        neighbor=torch.cat([g.neighbor, ends]),
        bond=torch.cat([torch.where(g.bond < g.n_short, g.bond, g.bond + gap), added]),
        angle_count=torch.cat([g.angle_count, count]),
        angle_center=torch.cat([g.angle_center, near.index_select(0, arm - g.n_short)]),
        angle_bond=torch.cat([g.angle_bond, torch.stack([arm, arm])], dim=1),
        angle_sign=torch.cat([g.angle_sign, g.angle_sign.new_ones(2 * more_pairs)]),
        angle_pair=torch.cat([g.angle_pair, pairs, pairs]),
        pair_angle=torch.cat([g.pair_angle, numbers(0, more_pairs) + len(g.angle_center)]),
        shift=shift,
        system=bonds(g.system, torch.full_like(near, n_systems - 1), torch.full_like(far, n_systems - 1)),
    )


def _shared(places: int, things: int, device: torch.device) -> Tensor:
    """Place of each of some things, shared out evenly, never decreasing, (things,), int64."""
    return torch.arange(things, device=device) * places // max(things, 1)
