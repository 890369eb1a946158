"""All superlattices of a crystal, those alike by symmetry once, and the orderings that each of them adds.

Hart & Forcade, Phys. Rev. B 77, 224115 (2008), and 80, 014120 (2009): every superlattice of n cells has one Hermite
normal form; two are alike if a rotation of the crystal turns one into the other; of the orderings of one, those
that a translation of the crystal leaves as they are have a smaller cell and are counted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Superlattice:
    """One superlattice for all that are alike by symmetry."""

    matrix: IntArray
    """Vectors as rows in units of the cell's, Minkowski-reduced and right-handed, (3, 3)."""
    orientations: int
    """Superlattices that symmetry makes of it, itself included."""

    @property
    def cells(self) -> int:
        """Cells of the crystal in one cell of the superlattice."""
        return round(abs(float(np.linalg.det(self.matrix))))


def hermite_normal_forms(multiple: int) -> IntArray:
    """Return all superlattices of ``multiple`` cells, each once, vectors as rows, (n, 3, 3).

    Rows ``(a, 0, 0), (b, c, 0), (d, e, f)`` with a c f = multiple, 0 ≤ b, d < a and 0 ≤ e < c.
    """
    forms = [
        [[a, 0, 0], [b, c, 0], [d, e, multiple // (a * c)]]
        for a, c in product(range(1, multiple + 1), repeat=2)
        if multiple % (a * c) == 0
        for b, d, e in product(range(a), range(a), range(c))
    ]
    return np.array(forms, dtype=np.int64).reshape(-1, 3, 3)


def distinct_superlattices(
    cell: NDArray[np.float64], rotations: Sequence[IntArray], multiple: int
) -> list[Superlattice]:
    """Return the superlattices of ``multiple`` cells that no symmetry makes alike, the most compact first.

    Args:
        cell: lattice vectors as rows, Å, (3, 3).
        rotations: point group of the crystal in units of the cell, as spglib gives it, (n, 3, 3).
        multiple: number of cells.
    """
    if multiple == 1:
        return [Superlattice(np.eye(3, dtype=np.int64), 1)]  # the cell itself, as it was given
    forms = hermite_normal_forms(multiple)
    # two forms span one lattice if each is a whole-number combination of the other: A B⁻¹ is whole
    inverse = np.round(multiple * np.linalg.inv(forms)).astype(np.int64)
    left = np.ones(len(forms), dtype=bool)
    found = []
    for n, form in enumerate(forms):
        if not left[n]:
            continue
        turned = form @ np.unique(np.asarray(rotations, dtype=np.int64), axis=0).transpose(0, 2, 1)
        alike = ((turned[:, None] @ inverse[None]) % multiple == 0).all(axis=(2, 3)).any(axis=0)
        left &= ~alike
        # of those alike, the first: all have the same shape
        reduced, operation = minkowski_reduce(form @ cell)
        matrix = np.asarray(operation @ form, dtype=np.int64)
        matrix = matrix if np.linalg.det(matrix @ cell) > 0 else -matrix
        lengths = np.linalg.norm(reduced, axis=1)
        score = (-round(float(lengths.min()), 6), round(float(lengths.sum()), 6), n)
        found.append((score, Superlattice(matrix, int(alike.sum()))))
    return [lattice for _, lattice in sorted(found, key=lambda entry: entry[0])]


def translation_permutations(fractional: NDArray[np.float64], parent_index: IntArray) -> IntArray:
    """Return how the crystal's own translations permute some sites of a supercell.

    Args:
        fractional: sites in units of the supercell, (n_sites, 3).
        parent_index: site of the crystal's cell that each is an image of, (n_sites,).

    Returns:
        One permutation for each cell in the supercell, the identity first, (n_cells, n_sites).
    """
    images = np.flatnonzero(parent_index == parent_index[0])
    shifts = fractional[images] - fractional[images[0]]
    offset = fractional[None, :, :] + shifts[:, None, :]
    apart = offset[:, :, None, :] - fractional[None, None, :, :]
    apart -= np.round(apart)
    apart = np.where((parent_index[:, None] == parent_index[None, :])[None, :, :, None], apart, np.inf)
    return np.asarray(np.abs(apart).max(axis=3).argmin(axis=2), dtype=np.int64)


def has_smaller_cell(occupied: BoolArray, translations: IntArray) -> BoolArray:
    """Whether a translation of the crystal leaves an ordering as it is, (n_orderings,).

    Args:
        occupied: orderings, (n_orderings, n_sites).
        translations: as ``translation_permutations`` gives them.
    """
    smaller = np.zeros(len(occupied), dtype=bool)
    for permutation in translations[1:]:
        smaller |= (occupied[:, permutation] == occupied).all(axis=1)
    return smaller
