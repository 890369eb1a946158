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
from atomsim.models.replay import Replay, filled, padded, padded_geometry, recorder, room_for

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
        """Of a batch that is not small."""

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces, stresses, moments and atomic energies."""
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
        cell, positions = padded_geometry(batch, *self._room[:2], self._reach)
        energy, forces, stress, magmoms, energies = self._replay(positions, cell)
        n, m = batch.n_systems, batch.n_atoms
        return Evaluation(energy[:n], forces[:m], stress[:n], magmoms[:m], energies[:m])

    def _lay_out(self, batch: Batch, graph: BondGraph) -> None:
        n_long, n_pairs = len(graph.first) - graph.n_short, len(graph.pair_angle)
        needs = (batch.n_systems, batch.n_atoms, graph.n_short, n_long, n_pairs)
        room = room_for([n + 1 for n in needs], self._room)
        whole = with_room(graph, *room)
        frame = _Frame(padded(batch, *room[:2], self._reach), self._launches.prepare(whole, room[1]))
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
    last, gap, n_bonds = n_atoms - 1, n_short - g.n_short, n_short + n_long
    more_pairs = n_pairs - len(g.pair_angle)

    def bonds(values: Tensor, value: float) -> Tensor:
        near, far = values[..., : g.n_short], values[..., g.n_short :]
        return torch.cat([filled(near, n_short, value), filled(far, n_long, value)], dim=-1)

    def added(of: Tensor, *spans: tuple[int, int]) -> Tensor:
        """Numbers of what is added, each twice: bonds have two edges, and pairs of arms two orders."""
        return torch.cat([torch.arange(a, b, device=of.device) for a, b in (*spans, *spans)])

    shift = bonds(g.shift.mT, 0.0).mT.contiguous()
    shift[g.n_short : n_short, 0] = 1.0
    shift[gap + len(g.first) :, 0] = 1.0
    bond = torch.where(g.bond < g.n_short, g.bond, g.bond + gap)
    first_added = torch.arange(more_pairs, device=bond.device) + len(g.angle_center)
    return BondGraph(
        first=bonds(g.first, last),
        second=bonds(g.second, last),
        vector=shift,  # until it is placed
        n_short=n_short,
        center=filled(g.center, 2 * n_bonds, last),
        neighbor=filled(g.neighbor, 2 * n_bonds, last),
        bond=torch.cat([bond, added(bond, (g.n_short, n_short), (gap + len(g.first), n_bonds))]),
        angle_count=filled(g.angle_count, 2 * n_short, 0)
        + _spread(2 * more_pairs, 2 * gap, 2 * n_short, g.angle_count),
        angle_center=filled(g.angle_center, 2 * n_pairs, last),
        angle_bond=filled(g.angle_bond, 2 * n_pairs, n_short - 1),
        angle_sign=filled(g.angle_sign, 2 * n_pairs, 1),
        angle_pair=torch.cat([g.angle_pair, added(bond, (len(g.pair_angle), n_pairs))]),
        pair_angle=torch.cat([g.pair_angle, first_added]),
        shift=shift,
        system=bonds(g.system, n_systems - 1),
    )


def _spread(total: int, places: int, length: int, like: Tensor) -> Tensor:
    """Share out a number among the last places of a vector, (length,), as evenly as may be."""
    each = torch.full((places,), total // places, dtype=like.dtype, device=like.device)
    each[: total % places] += 1
    return torch.cat([each.new_zeros(length - places), each])
