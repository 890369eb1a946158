"""The graph of a batch: bonds, their directions, and the angles between short ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.neighbors import Neighbors, SkinList, neighbor_list


@dataclass(frozen=True)
class BondGraph:
    """Bonds (undirected pairs), each counted once, short ones first.

    A bond has two directed edges, one seen from each end. Angles are ordered pairs of
    different directed edges that leave the same atom, both of short bonds.
    """

    n_atoms: int
    first: Tensor
    """One end of each bond, (n_bonds,), int64."""
    second: Tensor
    """Other end, (n_bonds,), int64."""
    vector: Tensor
    """From ``first`` to the image of ``second``, Å, (n_bonds, 3), float64."""
    n_short: int
    """The first ``n_short`` bonds are shorter than the bond-graph cutoff."""
    center: Tensor
    """Atom that a directed edge leaves, (2 n_bonds,), int64, never decreasing."""
    neighbor: Tensor
    """Atom that it reaches, (2 n_bonds,), int64."""
    bond: Tensor
    """Its bond, (2 n_bonds,), int64."""
    angle_count: Tensor
    """Angles of which each short edge is the left arm, in their order, (2 n_short,), int64."""
    angle_center: Tensor
    """Atom at the corner of each angle, (n_angles,), int64, never decreasing."""
    angle_bond: Tensor
    """Bonds of the two arms, (2, n_angles), int64, each below ``n_short``."""
    angle_sign: Tensor
    """−1 where the two arms' bond vectors point differently (one out, one in), else +1, (n_angles,), int8."""
    angle_pair: Tensor
    """Index of the unordered pair of arms, (n_angles,), int64: both orders of an angle share it."""
    pair_angle: Tensor
    """One ordered angle of each unordered pair, (n_angles / 2,), int64."""
    shift: Tensor
    """Lattice translations of ``second``, (n_bonds, 3), float64 holding integers."""
    system: Tensor
    """System of each bond, (n_bonds,), int64."""

    def at(self, batch: Batch) -> BondGraph:
        """Return the graph with the vectors of another geometry."""
        first, second = batch.positions.index_select(0, self.first), batch.positions.index_select(0, self.second)
        cell = batch.cell.index_select(0, self.system)
        vector = torch.baddbmm((second - first)[:, None], self.shift[:, None], cell)[:, 0]
        return replace(self, vector=vector)


@dataclass
class KeptGraph:
    """The graph of a moving batch, built again only where it must be.

    It holds all pairs of a skin list, and angles of bonds somewhat beyond ``short``. So it is the graph of any geometry
    in which the list holds and no other bond is shorter than ``short``, for a function that gives what lies beyond the
    cutoffs no weight. Of both the host is told at once.
    """

    cutoff: float
    short: float
    skin: float = 0.5
    short_skin: float = 0.15
    """Extra reach of angles, Å: their number grows fast with it."""
    built: int = 0
    """Graphs built so far; for benchmarks."""
    _list: SkinList = field(init=False, repr=False)
    _graph: BondGraph | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._list = SkinList(self.cutoff, self.skin)

    def __call__(self, batch: Batch) -> tuple[BondGraph, bool]:
        """Return the graph, with the vectors of ``batch``; and whether it was built anew."""
        stale = self._list.stale(batch)
        if stale is None or self._graph is None:
            return self._built(batch, None)
        graph = self._graph.at(batch)
        entered = (graph.vector[graph.n_short :].square().sum(dim=1) < self.short**2).any()
        *moved, entered = torch.cat([stale, entered[None]]).tolist()
        return self._built(batch, moved) if entered or any(moved) else (graph, False)

    def fresh(self, batch: Batch) -> BondGraph:
        """Return the graph of a batch without keeping it."""
        return bond_graph(batch, neighbor_list(batch, self.cutoff + self.skin), self.short + self.short_skin)

    def _built(self, batch: Batch, stale: list[bool] | None) -> tuple[BondGraph, bool]:
        self._list.update(batch, stale)
        assert self._list.pairs is not None
        self._graph = bond_graph(batch, self._list.pairs, self.short + self.short_skin)
        self.built += 1
        return self._graph, True


def bond_graph(batch: Batch, neighbors: Neighbors, short: float) -> BondGraph:
    """Build bonds, directed edges and angles from a neighbour list, on its device.

    The host waits for a device once, to learn how many there are.

    Args:
        batch: positions and cells.
        neighbors: directed pairs within the potential's cutoff; only one direction is read.
        short: bond-graph cutoff, Å.
    """
    once = one_direction(neighbors)
    n_atoms = batch.n_atoms
    is_short = once & (neighbors.vectors(batch).square().sum(dim=1) < short**2)
    near = is_short.to(torch.int64)
    arms = near.new_zeros(n_atoms).index_add_(0, neighbors.i, near).index_add_(0, neighbors.j, near)
    n_bonds, n_short, n_pairs = torch.stack([once.sum(), near.sum(), arms.square().sum()]).tolist()
    order = torch.cat([_true(is_short, n_short), _true(once & ~is_short, n_bonds - n_short)])
    i, j, shift = (t.index_select(0, order) for t in (neighbors.i, neighbors.j, neighbors.shift))
    center, by_center = torch.sort(torch.cat([i, j]), stable=True)
    bond = by_center % max(n_bonds, 1)
    angles = _angles(center, bond, by_center < n_bonds, arms, n_short, n_pairs)
    vector = Neighbors(i, j, shift).vectors(batch)
    neighbor = torch.cat([j, i])[by_center]
    return BondGraph(n_atoms, i, j, vector, n_short, center, neighbor, bond, *angles, shift, batch.system[i])


def one_direction(neighbors: Neighbors) -> Tensor:
    """Mark one of the two directions of each pair, (n_edges,), bool.

    It is i < j, and of an atom's own images the one whose first non-zero shift is positive.
    """
    s = neighbors.shift
    leading = torch.where(s[:, 0] != 0, s[:, 0], torch.where(s[:, 1] != 0, s[:, 1], s[:, 2]))
    return (neighbors.i < neighbors.j) | ((neighbors.i == neighbors.j) & (leading > 0))


def _true(mask: Tensor, count: int) -> Tensor:
    """Indices at which a mask is true, rising; ``count`` of them, so that a device need not be asked."""
    if mask.device.type == "cpu":
        return torch.nonzero(mask).flatten()
    return torch.sort((~mask).to(torch.int8), stable=True)[1][:count]


def short_edges(bond: Tensor, n_short: int) -> Tensor:
    """Directed edges of short bonds, (2 n_short,), rising."""
    return _true(bond < n_short, 2 * n_short)


def _angles(
    center: Tensor, bond: Tensor, outward: Tensor, arms: Tensor, n_short: int, n_pairs: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Angles from the short edges of each corner; ``n_pairs`` counts pairs of edges, those with itself included."""
    edges = short_edges(bond, n_short)
    corner, arm, outward = center[edges], bond[edges], outward[edges]
    start = torch.cumsum(arms, 0) - arms
    partners = arms[corner]  # each edge meets every edge of its corner, itself included
    each = torch.arange(len(edges), device=center.device)
    left = torch.repeat_interleave(each, partners, output_size=n_pairs)
    rank = torch.arange(n_pairs, device=center.device) - (torch.cumsum(partners, 0) - partners)[left]
    right = start[corner[left]] + rank
    different = _true(left != right, n_pairs - len(edges))
    left, right = left[different], right[different]
    ordered = _true(left < right, len(left) // 2)
    # (a, b) and (b, a) share a pair: number pairs by their (low, high) edges
    key = torch.minimum(left, right) * len(edges) + torch.maximum(left, right)
    pair = torch.searchsorted(key[ordered], key)
    sign = torch.where(outward[left] == outward[right], 1, -1).to(torch.int8)
    return partners - 1, corner[left], torch.stack([arm[left], arm[right]]), sign, pair, ordered
