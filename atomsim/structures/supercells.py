"""Supercells of a given size, and the permutations that symmetry makes of their sites."""

from __future__ import annotations

import numpy as np
import spglib
from ase import Atoms
from ase.build import make_supercell
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from atomsim.constraints.rules import require_unconstrained
from atomsim.errors import AtomsimError, InputError
from atomsim.structures.setting import SAME_LENGTH_A, SYMPREC_A, heights
from atomsim.structures.superlattices import compact_first, hermite_normal_forms, shortest_vectors
from atomsim.types import FloatArray, IntArray


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


def choose_supercell(host: Atoms, least_image_A: float, max_atoms: int) -> IntArray:
    """Return the smallest supercell whose images are ``least_image_A`` apart, else the best within ``max_atoms``.

    Of supercells with as many atoms and images as far apart to 5 %, the one that keeps most of the point
    group is taken: fewer ends are distinct.

    Args:
        host: cell with the ions in place.
        least_image_A: distance between an ion and its image that is wanted, Å.
        max_atoms: budget of atoms.

    Returns:
        Rows in units of the host's vectors, (3, 3).

    Raises:
        InputError: if the host itself has more than ``max_atoms``.
    """
    if len(host) > max_atoms:
        raise InputError(f"{len(host)} atoms in the host are more than max_atoms = {max_atoms}; raise it")
    best: tuple[FloatArray, IntArray] | None = None
    rotations, conventional = _point_group(host)
    for multiple in range(1, max_atoms // len(host) + 1):
        choices = [compact_supercell(host.cell.array, multiple), *_regular(conventional, multiple)]
        reached = [image_distance(m @ host.cell.array) for m in choices]
        enough = min(0.95 * max(reached), least_image_A if max(reached) >= least_image_A else np.inf)
        good = [k for k in range(len(choices)) if reached[k] >= enough]
        chosen = max(good, key=lambda k: (_kept(rotations, choices[k]), round(reached[k], 6), -k))
        lengths = _lengths(choices[chosen] @ host.cell.array)
        if best is None or _wider(lengths, best[0]):
            best = lengths, choices[chosen]
        if best[0][0] >= least_image_A:
            break
    assert best is not None
    return best[1]


def _point_group(host: Atoms) -> tuple[NDArray[np.int64], list[IntArray]]:
    """Rotations of the host in its own basis, and the bases to build regular supercells from: own and conventional."""
    bases = [np.eye(3, dtype=np.int64)]
    found = spglib.get_symmetry_dataset((host.cell.array, host.get_scaled_positions(), host.numbers), symprec=SYMPREC_A)
    if found is None:
        return np.eye(3, dtype=np.int64)[None], bases
    # rows of the inverse transpose are the conventional vectors in units of the host's
    conventional = np.linalg.inv(found.transformation_matrix).T
    rounded = np.round(conventional).astype(np.int64)
    if np.allclose(conventional, rounded, atol=1e-6):
        bases.append(rounded if np.linalg.det(rounded) > 0 else -rounded)
    return np.unique(found.rotations, axis=0).astype(np.int64), bases


def _kept(rotations: NDArray[np.int64], matrix: IntArray) -> int:
    """Number of rotations that map a superlattice onto itself."""
    image = matrix @ rotations.transpose(0, 2, 1) @ np.linalg.inv(matrix)
    return int((np.abs(image - np.round(image)) < 1e-6).all(axis=(1, 2)).sum())


def _regular(bases: list[IntArray], multiple: int) -> list[IntArray]:
    """Supercells along the vectors of some bases."""
    found: list[IntArray] = []
    for basis in bases:
        cells = round(float(np.linalg.det(basis)))
        found += [
            np.diag([a, b, multiple // (a * b * cells)]) @ basis
            for a in range(1, multiple + 1)
            for b in range(1, multiple // a + 1)
            if multiple % (a * b * cells) == 0
        ]
    return found


def image_distance(cell: FloatArray) -> float:
    """Length of the shortest lattice vector, Å."""
    return float(_lengths(cell)[0])


def _lengths(cell: FloatArray) -> FloatArray:
    """Lengths of the reduced vectors, ascending, Å, (3,)."""
    return np.asarray(np.sort(np.linalg.norm(minkowski_reduce(cell)[0], axis=1)))


def _wider(new: FloatArray, old: FloatArray) -> bool:
    """True if the first length that differs by more than 5 % is the longer one."""
    differs = np.flatnonzero(np.abs(new / old - 1) > 0.05)
    return bool(len(differs) and new[differs[0]] > old[differs[0]])
