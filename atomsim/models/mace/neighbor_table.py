"""Neighbours as a table, atom by atom, so that a sum over neighbours is a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
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


def with_room(t: Table, numbers: tuple[int, ...], rows: Sequence[int], sizes: tuple[int, int, int]) -> Table:
    """Return the table with empty rows and slots.

    Args:
        t: a table.
        numbers: elements, those of ``t`` among them, ascending.
        rows: for each of them, more than it has; atoms that are added are in the last one.
        sizes: atoms, bonds and slots, at least those of ``t``.
    """
    (n_atoms, n_bonds, n_slots), device = sizes, t.kind.device
    ends = np.cumsum([0, *rows]).tolist()
    moved = [ends[numbers.index(z)] - span.start for z, span in zip(t.numbers, t.spans, strict=True)]
    row = torch.arange(len(t.kind), device=device) + torch.tensor(moved, device=device)[t.kind]

    def spread(values: Tensor) -> Tensor:
        empty = torch.zeros(ends[-1], n_slots, dtype=values.dtype, device=device)
        empty[:, : values.shape[1]].index_copy_(0, row, values)
        return empty

    sign = spread(t.sign)
    # what empty slots read does not count, but derivatives of one row that all of them read would take long
    each = torch.arange(sign.numel(), device=device).view_as(sign)
    bond = torch.where(sign == 0, each % n_bonds, spread(t.bond))
    neighbor = torch.where(sign == 0, each // n_slots, spread(row[t.neighbor]))
    first_free = int(ends[-2] + (t.spans[-1].stop - t.spans[-1].start if t.numbers[-1] == numbers[-1] else 0))
    added = torch.arange(n_atoms - len(row), device=device) % (ends[-1] - first_free)
    place = torch.cat([row[t.place], first_free + added])
    return Table(
        numbers=numbers,
        spans=tuple(slice(a, b) for a, b in pairwise(ends)),
        place=place,
        kind=torch.from_numpy(np.repeat(np.arange(len(numbers)), rows)).to(device),
        bond=bond,
        neighbor=neighbor,
        sign=sign,
        degree=torch.zeros(ends[-1], dtype=torch.int64, device=device).index_copy_(0, row, t.degree),
    )
