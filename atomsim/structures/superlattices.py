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

from atomsim.structures.setting import cell_shifts
from atomsim.types import IntArray

BoolArray = NDArray[np.bool_]


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
    images = _images(forms, np.unique(np.asarray(rotations, dtype=np.int64), axis=0))
    first = np.flatnonzero(images.min(axis=0) == np.arange(len(forms)))  # of those alike: all have the same shape
    return compact_first(cell, forms[first], [len(np.unique(images[:, n])) for n in first])


def compact_first(cell: NDArray[np.float64], forms: IntArray, orientations: Sequence[int]) -> list[Superlattice]:
    """Return superlattices reduced, those whose periodic images are farthest apart first."""
    found = []
    for n, form in enumerate(forms):
        reduced, operation = minkowski_reduce(form @ cell)
        matrix = np.asarray(operation @ form, dtype=np.int64)
        matrix = matrix if np.linalg.det(matrix @ cell) > 0 else -matrix
        lengths = np.linalg.norm(reduced, axis=1)
        score = (-round(float(lengths.min()), 6), round(float(lengths.sum()), 6), n)
        found.append((score, Superlattice(matrix, orientations[n])))
    return [lattice for _, lattice in sorted(found, key=lambda entry: entry[0])]


def shortest_vectors(cell: NDArray[np.float64], forms: IntArray) -> NDArray[np.float64]:
    """Return the length of the shortest vector of superlattices of one size, Å, (n_forms,)."""
    multiple = round(abs(float(np.linalg.det(forms[0]))))
    reduced, operation = minkowski_reduce(cell)
    # no lattice of volume V has a shortest vector above 2^(1/6) V^(1/3): Hermite's constant
    reach = 1.001 * 2 ** (1 / 6) * (multiple * abs(float(np.linalg.det(cell)))) ** (1 / 3)
    shifts = cell_shifts(reduced, reach)
    length = np.linalg.norm(shifts @ reduced, axis=1)
    inverse = np.round(multiple * np.linalg.inv(forms)).astype(np.int64)
    shortest, left = np.zeros(len(forms)), np.arange(len(forms))
    for n in np.argsort(length, kind="stable")[1:]:  # without the zero
        inside = ((shifts[n] @ operation @ inverse[left]) % multiple == 0).all(axis=1)
        shortest[left[inside]] = length[n]
        left = left[~inside]
        if not len(left):
            break
    return shortest


def _images(forms: IntArray, rotations: IntArray) -> IntArray:
    """Return the number of the form of each superlattice as each rotation turns it, (n_rotations, n_forms)."""
    base = int(forms.max()) + 1
    digits = base ** np.arange(9, dtype=object) if base**9 > 2**62 else base ** np.arange(9, dtype=np.int64)
    codes = forms.reshape(-1, 9) @ digits
    order = np.argsort(codes)
    turned = [_normal_form(forms @ rotation.T).reshape(-1, 9) @ digits for rotation in rotations]
    return np.array([order[np.searchsorted(codes[order], one)] for one in turned], dtype=np.int64)


def _normal_form(matrices: IntArray) -> IntArray:
    """Return the Hermite normal forms of many bases, by Euclid's algorithm on their rows, (n, 3, 3)."""
    rows = matrices.copy()
    for pivot in (2, 1, 0):
        for other in range(pivot):
            while (unequal := np.flatnonzero(rows[:, other, pivot])).size:
                small, large = rows[unequal, other], rows[unequal, pivot]
                rows[unequal, pivot] = small
                rows[unequal, other] = large - (large[:, pivot] // small[:, pivot])[:, None] * small
        rows[:, pivot] *= np.sign(rows[:, pivot, pivot])[:, None]
    for row, column in ((2, 1), (2, 0), (1, 0)):
        rows[:, row] -= (rows[:, row, column] // rows[:, column, column])[:, None] * rows[:, column]
    return rows


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
    """True where a translation of the crystal leaves an ordering as it is, (n_orderings,).

    Args:
        occupied: orderings, (n_orderings, n_sites).
        translations: as ``translation_permutations`` gives them.
    """
    smaller = np.zeros(len(occupied), dtype=bool)
    for permutation in translations[1:]:
        smaller |= (occupied[:, permutation] == occupied).all(axis=1)
    return smaller
