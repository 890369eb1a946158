"""The primitive cell of a crystal, and the supercell that force constants are computed in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from atomsim.constraints.rules import require_unconstrained
from atomsim.errors import InputError
from atomsim.structures.superlattices import compact_first, hermite_normal_forms
from atomsim.structures.symmetrise import symmetrised
from atomsim.types import FloatArray, IntArray


def exact_crystal(atoms: Atoms, symprec_A: float) -> tuple[Atoms, str]:
    """Return a crystal moved to its exact symmetry, and its space group.

    Raises:
        InputError: if it is not periodic in three dimensions, or has constraints.
    """
    if not atoms.pbc.all():
        raise InputError(f"{atoms.get_chemical_formula()} is not periodic in 3 dimensions; phonons need a crystal")
    require_unconstrained(atoms, "phonons")
    found = symmetrised(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), symprec_A)
    return found.atoms, found.space_group


def primitive_cell(atoms: Atoms, symprec_A: float, matrix: Sequence[Sequence[float]] | None = None) -> Atoms:
    """Return the primitive cell of a crystal, species in the order of their first appearance.

    Args:
        atoms: the crystal, periodic in three dimensions.
        symprec_A: tolerance of the symmetry search.
        matrix: primitive vectors as rows in units of the given ones, instead of those that symmetry has.

    Raises:
        InputError: if the crystal does not repeat by the vectors of ``matrix``.
    """
    if matrix is not None:
        return _in_basis(atoms, np.asarray(matrix, dtype=np.float64), symprec_A)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=symprec_A)
    if found is None or len(found[2]) == len(atoms):
        same: Atoms = atoms.copy()
        return same
    lattice, fractional, numbers = (np.asarray(part) for part in found)
    first = {int(z): n for n, z in reversed(list(enumerate(atoms.numbers)))}
    order = np.argsort([first[int(z)] for z in numbers], kind="stable")
    return Atoms(numbers=numbers[order], scaled_positions=fractional[order], cell=lattice, pbc=True)


def _in_basis(atoms: Atoms, matrix: FloatArray, symprec_A: float) -> Atoms:
    """The cell of given primitive vectors."""
    advice = "leave primitive_matrix out and it is found by symmetry"
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-6:
        raise InputError(f"primitive_matrix: found {matrix.tolist()}, wanted three independent rows of three; {advice}")
    if np.linalg.det(matrix) < 0:
        raise InputError(f"primitive_matrix: found left-handed vectors {matrix.tolist()}; reverse one, or {advice}")
    vectors = matrix @ atoms.cell.array
    places = atoms.get_positions() @ np.linalg.inv(vectors)
    copies = np.linalg.inv(matrix)
    whole = np.abs(copies - np.round(copies)).max() < 1e-4
    tree = cKDTree(places % 1.0 % 1.0, boxsize=1.0)
    reach = symprec_A / float(np.linalg.norm(vectors, axis=1).min())
    groups = tree.query_ball_point(places % 1.0 % 1.0, r=max(reach, 1e-6) * 3)
    count = round(abs(float(np.linalg.det(copies))))
    alike = all(len(g) == count and len(set(atoms.numbers[g].tolist())) == 1 for g in groups)
    if not (whole and alike):
        raise InputError(
            f"primitive_matrix: {atoms.get_chemical_formula()} does not repeat by the vectors {matrix.tolist()}, "
            f"so they are no primitive cell of it; {advice}"
        )
    keep = sorted({min(g) for g in groups})
    return Atoms(atoms.numbers[keep], scaled_positions=places[keep], cell=vectors, pbc=True)


def commensurate_supercell(cell: FloatArray, q: Sequence[float], largest: int = 64) -> IntArray:
    """Return the most compact of the smallest supercells in which a wave of wave vector q repeats.

    Args:
        cell: primitive vectors as rows, Å, (3, 3).
        q: in units of the reciprocal vectors, rational.
        largest: cells that it may have.

    Raises:
        InputError: if it would have more.
    """
    wave = np.asarray(q, dtype=np.float64)
    for multiple in range(1, largest + 1):
        phases = multiple * wave
        if np.abs(phases - np.round(phases)).max() < 1e-6:
            forms = hermite_normal_forms(multiple)
            fits = np.abs(forms @ wave - np.round(forms @ wave)).max(axis=1) < 1e-6
            return compact_first(cell, forms[fits], [1] * int(fits.sum()))[0].matrix
    raise InputError(f"a wave of q = {wave.tolist()} repeats in no supercell of up to {largest} cells")


def phonon_supercell(primitive: Atoms, least_A: float, max_atoms: int) -> IntArray:
    """Return the smallest supercell whose images are ``least_A`` apart, else the widest within ``max_atoms``.

    Multiples of the primitive and of the conventional cell are looked at; one that keeps the whole point group goes
    before any that does not, as it needs fewer displacements and leaves degenerate modes degenerate.

    Returns:
        Vectors as rows in units of the primitive ones, (3, 3).

    Raises:
        InputError: if the primitive cell alone has more than ``max_atoms``.
    """
    if len(primitive) > max_atoms:
        raise InputError(
            f"{len(primitive)} atoms in the primitive cell are more than max_atoms = {max_atoms}; raise it"
        )
    rotations, bases = _symmetry(primitive)
    forms = np.concatenate([_multiples(basis, max_atoms // len(primitive)) for basis in bases])
    vectors = forms @ primitive.cell.array
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[np.any(grid != 0, axis=1)]
    apart = np.linalg.norm(grid @ vectors, axis=2).min(axis=1)
    turned = forms[:, None] @ rotations.transpose(0, 2, 1) @ np.linalg.inv(forms)[:, None]
    whole: NDArray[np.bool_] = np.asarray((np.abs(turned - np.round(turned)) < 1e-6).all(axis=(1, 2, 3)))
    cells = np.round(np.abs(np.linalg.det(forms)))
    wide = np.minimum(apart, least_A)  # wider than wanted is no merit
    best = min(range(len(forms)), key=lambda k: (-round(wide[k], 2), not whole[k], cells[k], -round(apart[k], 6), k))
    reached = [k for k in range(len(forms)) if whole[k] and wide[k] > 0.9 * wide[best]]
    if not whole[best] and reached:
        best = min(reached, key=lambda k: (-round(wide[k], 2), cells[k], k))
    chosen: IntArray = forms[best]
    return chosen


def _symmetry(primitive: Atoms) -> tuple[IntArray, list[IntArray]]:
    """Rotations in the basis of the cell, and the bases of regular supercells: its own and the conventional one."""
    own = np.eye(3, dtype=np.int64)
    cell = (primitive.cell.array, primitive.get_scaled_positions(), primitive.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=1e-3)
    if found is None:
        return own[None], [own]
    conventional = np.linalg.inv(found.transformation_matrix).T  # rows, in units of the primitive vectors
    rounded = np.round(conventional).astype(np.int64)
    bases = [own]
    if np.allclose(conventional, rounded, atol=1e-4) and abs(np.linalg.det(rounded)) > 1:
        bases.append(rounded if np.linalg.det(rounded) > 0 else -rounded)
    return np.unique(found.rotations, axis=0).astype(np.int64), bases


def _multiples(basis: IntArray, most: int) -> IntArray:
    """Supercells along the vectors of a basis, of up to ``most`` cells, (n, 3, 3)."""
    most //= round(float(np.linalg.det(basis)))
    counts = [
        (a, b, c) for a in range(1, most + 1) for b in range(1, most // a + 1) for c in range(1, most // (a * b) + 1)
    ]
    return np.array([np.diag(n) @ basis for n in counts], dtype=np.int64).reshape(-1, 3, 3)
