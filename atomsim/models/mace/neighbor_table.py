"""Neighbours as a table, atom by atom, so that a sum over neighbours is a matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.neighbors import Neighbors


@dataclass(frozen=True)
class Table:
    """Neighbours of each atom, atoms sorted by element, padded to the largest number of neighbours."""

    numbers: tuple[int, ...]
    """Elements present, ascending."""
    spans: tuple[slice, ...]
    """Atoms of each element."""
    place: Tensor
    """Where each atom of the batch is in the table, (n_atoms,), int64."""
    kind: Tensor
    """Index into ``numbers`` of each atom of the table, (n_atoms,), int64."""
    bond: Tensor
    """Bond of each slot, (n_atoms, n_slots), int64; 0 where there is none."""
    neighbor: Tensor
    """Place of the neighbour in each slot, (n_atoms, n_slots), int64; 0 where there is none."""
    sign: Tensor
    """−1 where the bond leads away from the atom, +1 where towards it, 0 in an empty slot, (n_atoms, n_slots), int8."""
    degree: Tensor
    """Neighbours of each atom; they fill its first slots, (n_atoms,), int64."""


def neighbor_table(batch: Batch, bonds: Neighbors) -> Table:
    """Lay out bonds, each listed once, as neighbours of both their atoms."""
    n_atoms, n_bonds, device = batch.n_atoms, len(bonds.i), batch.device
    numbers, kind, counts = torch.unique(batch.numbers, return_inverse=True, return_counts=True)
    order = torch.argsort(kind, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(n_atoms, device=device)
    center, by_center = torch.sort(place[torch.cat([bonds.i, bonds.j])], stable=True)
    neighbor = place[torch.cat([bonds.j, bonds.i])[by_center]]
    degree = torch.bincount(center, minlength=n_atoms)
    n_slots = int(degree.max())
    rank = torch.arange(2 * n_bonds, device=device) - (torch.cumsum(degree, 0) - degree)[center]
    slot = center * n_slots + rank

    def spread(values: Tensor) -> Tensor:
        empty = torch.zeros(n_atoms * n_slots, dtype=values.dtype, device=device)
        return empty.index_copy(0, slot, values).view(n_atoms, n_slots)

    ends = torch.cumsum(counts, 0).tolist()
    return Table(
        numbers=tuple(numbers.tolist()),
        spans=tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)),
        place=place,
        kind=kind[order],
        bond=spread(by_center % max(n_bonds, 1)),
        neighbor=spread(neighbor),
        sign=spread(torch.where(by_center < n_bonds, -1, 1).to(torch.int8)),
        degree=degree,
    )
