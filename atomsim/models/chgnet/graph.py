"""The graph of a batch: bonds, their directions, and the angles between short ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.neighbors import Neighbors


@dataclass(frozen=True)
class BondGraph:
    """Bonds (undirected pairs), each counted once, short ones first.

    A bond has two directed edges, one seen from each end. Angles are ordered pairs of
    different directed edges that leave the same atom, both of short bonds.
    """

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


def bond_graph(batch: Batch, neighbors: Neighbors, short: float) -> BondGraph:
    """Build bonds, directed edges and angles from a neighbour list, on its device.

    Args:
        batch: positions and cells.
        neighbors: directed pairs within the potential's cutoff; only one direction is read.
        short: bond-graph cutoff, Å.
    """
    once = one_direction(neighbors)
    i, j, shift = neighbors.i[once], neighbors.j[once], neighbors.shift[once]
    vector = Neighbors(i, j, shift).vectors(batch)
    is_short = vector.square().sum(dim=1) < short**2
    order = torch.cat([torch.nonzero(is_short).flatten(), torch.nonzero(~is_short).flatten()])
    i, j, vector = i[order], j[order], vector[order]
    n_short = int(is_short.sum())
    n_bonds = len(i)
    center, by_center = torch.sort(torch.cat([i, j]), stable=True)
    bond = by_center % max(n_bonds, 1)
    angles = _angles(center, bond, by_center < n_bonds, n_short, batch.n_atoms)
    return BondGraph(i, j, vector, n_short, center, torch.cat([j, i])[by_center], bond, *angles)


def one_direction(neighbors: Neighbors) -> Tensor:
    """Mark one of the two directions of each pair, (n_edges,), bool.

    It is i < j, and of an atom's own images the one whose first non-zero shift is positive.
    """
    s = neighbors.shift
    leading = torch.where(s[:, 0] != 0, s[:, 0], torch.where(s[:, 1] != 0, s[:, 1], s[:, 2]))
    return (neighbors.i < neighbors.j) | ((neighbors.i == neighbors.j) & (leading > 0))


def _angles(center: Tensor, bond: Tensor, outward: Tensor, n_short: int, n_atoms: int) -> tuple[Tensor, ...]:
    edges = torch.nonzero(bond < n_short).flatten()
    corner, arm, outward = center[edges], bond[edges], outward[edges]
    count = torch.bincount(corner, minlength=n_atoms)
    start = torch.cumsum(count, 0) - count
    partners = count[corner]  # each edge meets every edge of its corner, itself included
    left = torch.repeat_interleave(torch.arange(len(edges), device=center.device), partners)
    rank = torch.arange(len(left), device=center.device) - (torch.cumsum(partners, 0) - partners)[left]
    right = start[corner[left]] + rank
    different = left != right
    left, right = left[different], right[different]
    ordered = torch.nonzero(left < right).flatten()
    # (a, b) and (b, a) share a pair: number pairs by their (low, high) edges
    key = torch.minimum(left, right) * len(edges) + torch.maximum(left, right)
    pair = torch.searchsorted(key[ordered], key)
    sign = torch.where(outward[left] == outward[right], 1, -1).to(torch.int8)
    return corner[left], torch.stack([arm[left], arm[right]]), sign, pair, ordered
