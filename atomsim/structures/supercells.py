"""Supercells of a given size, and the permutations that symmetry makes of their sites."""

from __future__ import annotations

import numpy as np
import spglib
from ase import Atoms
from ase.build import make_supercell
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from atomsim.constraints.rules import require_unconstrained
from atomsim.errors import AtomsimError
from atomsim.structures.setting import SAME_LENGTH_A, heights
from atomsim.structures.superlattices import compact_first, hermite_normal_forms, shortest_vectors
from atomsim.types import IntArray


def compact_supercell(cell: NDArray[np.float64], multiple: int) -> IntArray:
    """Return the supercell of ``multiple`` cells whose periodic images are farthest apart.

    Of all superlattices, each Minkowski-reduced; ties go to the more cubic cell, then to the first Hermite normal form.

    Args:
        cell: lattice vectors as rows, Å, (3, 3).
        multiple: number of cells in the supercell.

    Returns:
        Supercell vectors as rows, in units of the cell's vectors, (3, 3), right-handed.

    Raises:
        AtomsimError: if ``multiple`` is below 1.
    """
    if multiple < 1:
        raise AtomsimError(f"no supercell of {multiple} cells; want at least 1")
    if multiple == 1:
        return np.eye(3, dtype=np.int64)
    forms = hermite_normal_forms(multiple)
    shortest = shortest_vectors(cell, forms)
    best = forms[shortest > shortest.max() - SAME_LENGTH_A]
    return compact_first(cell, best, [1] * len(best))[0].matrix


def expand(parent: Atoms, matrix: IntArray) -> tuple[Atoms, IntArray]:
    """Build a supercell whose sites keep the parent's order.

    Args:
        parent: unit cell.
        matrix: supercell vectors as rows in units of the parent's, (3, 3).

    Returns:
        The supercell, all images of the parent's first atom first, and the parent's atom
        that each site is an image of, (n_sites,).

    Raises:
        InputError: for a parent with constraints, which would be lost.
    """
    require_unconstrained(parent, "a supercell for orderings or hops")
    bare = parent.copy()
    bare.set_constraint()
    supercell = make_supercell(bare, matrix, order="atom-major")
    return supercell, np.repeat(np.arange(len(parent)), len(supercell) // len(parent))


def site_permutations(atoms: Atoms, sites: IntArray, symprec: float = 1e-3) -> IntArray:
    """Return how the space group of a cell, lattice translations within it included, permutes some sites.

    Args:
        atoms: fully occupied periodic cell, not necessarily primitive.
        sites: indices of the sites of one sublattice, (n,), closed under the space group.
        symprec: tolerance of the symmetry search, Å.

    Returns:
        Distinct permutations, sorted, the identity first, (n_operations, n): site ``i`` goes to ``[:, i]``.

    Raises:
        AtomsimError: if spglib finds no symmetry at all or an operation does not map the
            sites onto themselves.
    """
    fractional = atoms.get_scaled_positions()
    symmetry = spglib.get_symmetry((atoms.cell.array, fractional, atoms.numbers), symprec=symprec)
    if symmetry is None:
        raise AtomsimError(
            f"spglib found no symmetry of {atoms.get_chemical_formula()}; check it for overlapping atoms"
        )
    chosen = fractional[sites]
    moved = np.einsum("oij,nj->oni", symmetry["rotations"], chosen) + symmetry["translations"][:, None, :]
    tree = cKDTree(chosen % 1.0 % 1.0, boxsize=1.0)  # twice: -1e-17 % 1 is 1.0, outside the box
    distance, image = tree.query(moved % 1.0 % 1.0)
    # The search is in fractional units; what spglib accepted is at most symprec over the smallest height.
    tolerance = 10 * symprec / float(heights(atoms.cell.array).min())
    permutations = np.asarray(image, dtype=np.int64)
    closed = np.sort(permutations, axis=1) == np.arange(len(sites))
    if float(np.max(distance, initial=0.0)) > tolerance or not closed.all():
        raise AtomsimError("a symmetry operation does not map the sublattice onto itself; lower symprec")
    return np.unique(permutations, axis=0)
