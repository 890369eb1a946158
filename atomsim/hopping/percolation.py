"""Periodic networks of hops: in how many dimensions they percolate, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Edge:
    """A hop of the network between sites of one cell and its copies."""

    start: int
    end: int
    jimage: tuple[int, int, int]
    """Cell of the end relative to that of the start."""
    barrier: float
    """Energy to pass, eV (or any other measure)."""


def dimensionality(network: Sequence[Edge], n_sites: int) -> int:
    """Largest number of independent directions in which a connected part of the network repeats, 0 to 3.

    Each edge that closes a ring adds the lattice translation that the ring ends with; their rank is
    the dimensionality of its part.
    """
    parent = list(range(n_sites))
    offset = np.zeros((n_sites, 3), dtype=np.int64)
    translations: dict[int, list[np.ndarray]] = {}

    def root(site: int) -> tuple[int, np.ndarray]:
        shift = np.zeros(3, dtype=np.int64)
        while parent[site] != site:
            shift = shift + offset[site]
            site = parent[site]
        return site, shift

    for edge in network:
        (a, shift_a), (b, shift_b) = root(edge.start), root(edge.end)
        step = np.array(edge.jimage) + shift_b - shift_a
        if a == b:
            translations.setdefault(a, []).append(step)
        else:
            parent[b], offset[b] = a, -step
            translations.setdefault(a, []).extend(translations.pop(b, []))
    ranks = [int(np.linalg.matrix_rank(np.array(found))) for found in translations.values() if found]
    return max(ranks, default=0)


@dataclass(frozen=True)
class Percolation:
    """The lowest barrier at which a network spans one, two and three dimensions."""

    dimensions: int
    """With all edges."""
    thresholds: tuple[float | None, float | None, float | None]
    """Largest barrier on the easiest network of at least 1, 2, 3 dimensions, eV; None if there is none."""


def percolation(network: Sequence[Edge], n_sites: int) -> Percolation:
    """Add edges from the lowest barrier up, and note when each dimension is reached."""
    thresholds: list[float | None] = [None, None, None]
    for barrier in sorted({e.barrier for e in network}):
        reached = dimensionality([e for e in network if e.barrier <= barrier], n_sites)
        for d in range(reached):
            if thresholds[d] is None:
                thresholds[d] = barrier
        if reached == 3:
            break
    whole = dimensionality(network, n_sites)
    return Percolation(whole, (thresholds[0], thresholds[1], thresholds[2]))
