"""Standard setting of a crystal: one primitive cell, origin, orientation and order of atoms, however it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.cell import Cell
from ase.geometry import minkowski_reduce
from scipy.spatial import cKDTree

from atomsim.types import FloatArray, IntArray

SYMPREC_A = 0.02
"""Tolerance of the symmetry of a host, Å: what relaxing it to 0.01 eV/Å leaves of noise is smaller."""
DIGITS = 7
"""Digits of fractional coordinates, and of lengths in Å: what lies behind them depends on the setting given."""
SAME_LENGTH_A = 1e-5
COARSE, FINE = 1e-3, 1e-5
"""Grids on which fractional coordinates are compared; a tie on the first goes to the second."""
OFF_GRID = 0.3718281828
"""Shift of a grid, in units of it: neither decimals nor simple fractions then lie on the edge of two of its cells."""
MOST_ROUNDS = 6


def cell_shifts(cell: FloatArray, reach_A: float) -> IntArray:
    """Lattice translations between cells that hold points within ``reach_A`` of each other, (n, 3), the smallest first.

    Ranges follow from the heights of the cell, so no shape of it loses an image.
    """
    most = (reach_A / heights(cell)).astype(np.int64) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in most], indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(grid[np.argsort(np.abs(grid).sum(axis=1), kind="stable")])


def heights(cell: FloatArray) -> FloatArray:
    """Distances between opposite faces of a cell, Å, (3,)."""
    return np.asarray(1 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def standard_setting(atoms: Atoms, symprec: float = SYMPREC_A) -> Atoms:
    """Return a crystal's primitive cell in a setting that does not depend on the one given.

    Cells of any shape and size, rotations, origins and orders of atoms of one crystal give the same numbers.
    Positions and lattice are made exactly as symmetric as they are within ``symprec``. Of all right-handed reduced
    bases and origins on atoms of the rarest element the first in order is taken. Elements come by atomic number;
    initial magnetic moments and charges are kept, and atoms that differ in them are different atoms.

    Args:
        atoms: crystal, periodic in three dimensions; its constraints are dropped.
        symprec: tolerance of the symmetry search, Å.
    """
    found = _standard(_right_handed(atoms), symprec)
    for _ in range(MOST_ROUNDS):  # until rounding changes nothing: the standard setting of itself
        again = _standard(found, symprec)
        if np.array_equal(again.positions, found.positions) and np.array_equal(again.cell.array, found.cell.array):
            break
        found = again
    return found


def _standard(atoms: Atoms, symprec: float) -> Atoms:
    kinds, examples = _kinds(atoms)
    cell, fractional = atoms.cell.array, atoms.get_scaled_positions()
    cell, fractional = _symmetrised(cell, fractional, kinds, symprec)
    crystal: Any = (cell, fractional, kinds)
    smaller = spglib.standardize_cell(crystal, to_primitive=True, no_idealize=True, symprec=symprec)
    if smaller is not None and len(smaller[2]) < len(kinds):
        cell, fractional, kinds = (np.asarray(part) for part in smaller)
        cell, fractional = _right(cell, fractional)
        cell, fractional = _symmetrised(cell, fractional, kinds, symprec)
    basis, placed = _first_description(cell, fractional, kinds)
    fractional = np.round(placed, DIGITS) % 1.0
    order = np.lexsort([*fractional.T[::-1], kinds])
    return _atoms(_cell(basis @ cell), fractional[order], [examples[k] for k in kinds[order]], atoms)


def _kinds(atoms: Atoms) -> tuple[IntArray, dict[int, int]]:
    """Number of each atom's kind, by element, moment and charge, and an atom of each kind."""
    marks = [np.asarray(atoms.numbers, dtype=float)]
    for name in ("initial_magmoms", "initial_charges"):
        if atoms.has(name):
            marks += list(np.round(np.asarray(atoms.get_array(name), dtype=float).reshape(len(atoms), -1), 3).T)
    _, first, inverse = np.unique(np.array(marks).T, axis=0, return_index=True, return_inverse=True)
    return inverse.reshape(-1) + 1, {k + 1: int(n) for k, n in enumerate(first)}


def _atoms(cell: FloatArray, fractional: FloatArray, sources: list[int], given: Atoms) -> Atoms:
    found = Atoms(given.numbers[sources], scaled_positions=fractional, cell=cell, pbc=True)
    for name in ("initial_magmoms", "initial_charges"):
        if given.has(name):
            found.set_array(name, given.get_array(name)[sources])
    return found


def _right_handed(atoms: Atoms) -> Atoms:
    cell, fractional = _right(atoms.cell.array, atoms.get_scaled_positions())
    return _atoms(cell, fractional, list(range(len(atoms))), atoms)


def _right(cell: FloatArray, fractional: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same points in a right-handed and reduced basis."""
    sign = 1.0 if np.linalg.det(cell) > 0 else -1.0
    reduced, operation = minkowski_reduce(sign * cell)
    moved = sign * fractional @ np.linalg.inv(operation)
    if np.linalg.det(reduced) < 0:
        reduced, moved = -reduced, -moved
    return reduced, moved % 1.0


def _symmetrised(
    cell: FloatArray, fractional: FloatArray, kinds: IntArray, symprec: float
) -> tuple[FloatArray, FloatArray]:
    """Mean of a crystal over the operations of its own space group."""
    crystal: Any = (cell, fractional, kinds)
    found = spglib.get_symmetry(crystal, symprec=symprec)
    if found is None:
        return cell, fractional
    metric = np.einsum("oji,jk,okl->il", found["rotations"], cell @ cell.T, found["rotations"])
    shift, used = np.zeros_like(fractional), 0
    # only an atom of the same kind is near: kinds lie apart along a fourth coordinate
    wide = [1.0, 1.0, 1.0, 4.0 * (kinds.max() + 1)]
    tree = cKDTree(np.column_stack([fractional % 1.0 % 1.0, 2.0 * kinds]), boxsize=wide)
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
        moved = fractional @ rotation.T + translation
        image = tree.query(np.column_stack([moved % 1.0 % 1.0, 2.0 * kinds]))[1]
        if len(set(image.tolist())) == len(image):
            offset = moved - fractional[image]
            shift[image] += offset - np.round(offset)
            used += 1
    # an orthogonal frame of the mean metric that is turned like the one given
    mean = np.linalg.cholesky(metric / len(found["rotations"]))
    return mean, fractional + shift / max(used, 1)


def _cell(cell: FloatArray) -> FloatArray:
    """First vector along x, second in the xy plane; from rounded lengths and cosines."""
    lengths = np.linalg.norm(cell, axis=1)
    cosines = np.clip((cell @ cell.T) / np.outer(lengths, lengths), -1, 1)
    angles = np.degrees(np.arccos(np.round([cosines[1, 2], cosines[0, 2], cosines[0, 1]], DIGITS + 2)))
    return np.asarray(Cell.fromcellpar([*np.round(lengths, DIGITS), *angles]).array)


def _first_description(cell: FloatArray, fractional: FloatArray, kinds: IntArray) -> tuple[IntArray, FloatArray]:
    """Canonical basis and origin, the first in order: the basis in units of the cell's, and coordinates in it."""
    counts = {int(k): int((kinds == k).sum()) for k in np.unique(kinds)}
    rarest = min(counts, key=lambda k: (counts[k], k))
    best: tuple[tuple[int, ...], IntArray, FloatArray] | None = None
    for basis in _reduced_bases(cell):
        inside = fractional @ np.linalg.inv(basis)
        for origin in inside[kinds == rarest]:
            placed = (inside - origin + 0.5 * 10.0**-DIGITS) % 1.0 - 0.5 * 10.0**-DIGITS
            key = (*_key(placed, kinds, COARSE), *_key(placed, kinds, FINE))
            if best is None or key < best[0]:
                best = key, basis, placed
    assert best is not None
    return best[1], best[2]


def _key(fractional: FloatArray, kinds: IntArray, grid: float) -> list[int]:
    cells = np.floor(fractional / grid + OFF_GRID).astype(np.int64)
    order = np.lexsort([*cells.T[::-1], kinds])
    return [int(n) for n in cells[order].ravel()]


def _reduced_bases(cell: FloatArray) -> list[IntArray]:
    """All right-handed bases of the three shortest independent vectors that have the same, least cosines."""
    reduced, operation = minkowski_reduce(cell)
    lengths = np.linalg.norm(reduced, axis=1)
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = grid @ reduced
    size = np.linalg.norm(vectors, axis=1)
    candidates = [np.flatnonzero(np.abs(size - length) < SAME_LENGTH_A) for length in lengths]
    triples = np.stack(np.meshgrid(*candidates, indexing="ij"), axis=-1).reshape(-1, 3)
    right = np.round(np.linalg.det(vectors[triples]) / abs(np.linalg.det(reduced))) == 1
    triples = triples[right]
    one, two, three = vectors[triples].transpose(1, 0, 2)
    products = np.stack([(one * two).sum(axis=1), (one * three).sum(axis=1), (two * three).sum(axis=1)], axis=1)
    keys = np.floor(products / (100 * SAME_LENGTH_A) + OFF_GRID).astype(np.int64)
    least = keys[np.lexsort(keys.T[::-1])[0]]
    return [np.asarray(grid[rows] @ operation, dtype=np.int64) for rows in triples[(keys == least).all(axis=1)]]
