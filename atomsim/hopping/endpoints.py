"""The ends of hops in a supercell: each relaxed once, the others had from it by symmetry."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from atomsim.hopping.hops import Hop, HopSet
from atomsim.structures.setting import SYMPREC_A
from atomsim.structures.supercells import expand, image_distance
from atomsim.types import FloatArray, IntArray

DRIFT_A = 1.0
"""An ion that relaxes further than this from its site has left it, Å."""


@dataclass(frozen=True)
class Cell:
    """The supercell that the hops of a host are computed in."""

    atoms: Atoms = field(repr=False)
    matrix: IntArray = field(repr=False)
    """Its vectors as rows, in units of the host's."""
    image_distance_A: float
    """Least distance between an atom and its own image."""
    sites: FloatArray = field(repr=False)
    """Fractional coordinates of the empty sites in it, (n, 3)."""
    rotations: NDArray[np.int64] = field(repr=False)
    """Rotations of its own space group, (n_operations, 3, 3), fractional."""
    permutations: IntArray = field(repr=False)
    """Where each operation takes its atoms and then its empty sites, (n_operations, n)."""

    @property
    def n_atoms(self) -> int:
        """Atoms of the host in it."""
        return len(self.atoms)


@dataclass(frozen=True, order=True)
class DefectState:
    """Atoms missing from the supercell and atoms added, as numbers of atoms and of empty sites."""

    removed: tuple[int, ...]
    added: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Short text: ``-12`` or ``-12+3``."""
        return "".join(f"-{n}" for n in self.removed) + "".join(f"+{n}" for n in self.added) or "host"


@dataclass(frozen=True)
class HopInSupercell:
    """A hop in the supercell."""

    hop: Hop
    start: DefectState
    end: DefectState
    kept: IntArray = field(repr=False)
    """Atoms of the supercell that are there at both ends, besides the ion, in order."""
    origin: FloatArray = field(repr=False)
    """Where the ion starts before relaxation, Å, (3,)."""
    target: FloatArray = field(repr=False)
    """Where it ends, continuous with ``origin``, Å, (3,)."""
    site_indices: tuple[int, int] = (0, 0)
    """Sites that it starts from and ends on: atoms of the supercell, then empty sites."""


def build_cell(hops: HopSet, matrix: IntArray, symprec: float = SYMPREC_A) -> Cell:
    """Build the supercell of a host, its empty sites and its symmetry."""
    bare = Atoms(hops.host.numbers, hops.host.positions, cell=hops.host.cell, pbc=True)
    atoms, _ = expand(bare, matrix)
    empty = [s for s in hops.sites if s.atom is None]
    if empty:
        marks = Atoms(f"X{len(empty)}", scaled_positions=[s.fractional for s in empty], cell=bare.cell, pbc=True)
        sites = expand(marks, matrix)[0].get_scaled_positions()
    else:
        sites = np.zeros((0, 3))
    rotations, permutations = _symmetry(atoms, sites, symprec)
    return Cell(atoms, matrix, image_distance(atoms.cell.array), sites, rotations, permutations)


def _symmetry(atoms: Atoms, sites: FloatArray, symprec: float) -> tuple[NDArray[np.int64], IntArray]:
    scaled = atoms.get_scaled_positions()
    found = spglib.get_symmetry((atoms.cell.array, scaled, atoms.numbers), symprec=symprec)
    points = np.concatenate([scaled, sites])
    kinds = np.concatenate([atoms.numbers, np.zeros(len(sites), dtype=int)])
    rotations, permutations = [], []
    if found is not None:
        for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
            offset = (points @ rotation.T + translation)[:, None] - points[None]
            offset -= np.round(offset)
            length = np.linalg.norm(offset @ atoms.cell.array, axis=2)
            length[kinds[:, None] != kinds[None]] = np.inf
            image = length.argmin(axis=1)
            if len(set(image)) == len(image) and (length.min(axis=1) < max(10 * symprec, 0.15)).all():
                rotations.append(rotation)
                permutations.append(image)
    if not rotations:
        rotations, permutations = [np.eye(3, dtype=np.int64)], [np.arange(len(points))]
    return np.array(rotations, dtype=np.int64), np.array(permutations, dtype=np.int64)


def place(hop: Hop, hops: HopSet, cell: Cell) -> HopInSupercell | None:
    """Put a hop into the supercell; None where that is so small that its sites are images of each other."""
    points = [(hop.start, (0, 0, 0)), (hop.end, hop.jimage), *hop.also_vacant]
    where = [(np.array(hops.sites[s].fractional) + np.array(at)) @ hops.host.cell.array for s, at in points]
    numbers = [_find(cell, w, hops.sites[s].atom is None) for w, (s, _) in zip(where, points, strict=True)]
    if len(set(numbers)) < len(numbers):
        return None
    a, b = numbers[:2]
    n = cell.n_atoms
    gone = {s for s in numbers if s < n}
    start, end = (DefectState(tuple(sorted(gone - {s})), (s,) if s >= n else ()) for s in (a, b))
    kept = np.array([k for k in range(n) if k not in gone], dtype=np.int64)
    return HopInSupercell(hop, start, end, kept, where[0], where[1], (a, b))


def _find(cell: Cell, position: FloatArray, empty: bool) -> int:
    fractional = position @ np.linalg.inv(cell.atoms.cell.array)
    points = cell.sites if empty else cell.atoms.get_scaled_positions()
    offset = points - fractional
    length = np.linalg.norm((offset - np.round(offset)) @ cell.atoms.cell.array, axis=1)
    return int(length.argmin()) + (cell.n_atoms if empty else 0)


def representative(end: DefectState, cell: Cell) -> tuple[DefectState, int]:
    """Return the equivalent end that is first in order, and the operation that takes it to ``end``."""
    best: tuple[DefectState, int] | None = None
    for number, permutation in enumerate(cell.permutations):
        inverse = np.argsort(permutation)
        moved = DefectState(
            tuple(sorted(int(inverse[s]) for s in end.removed)), tuple(sorted(int(inverse[s]) for s in end.added))
        )
        if best is None or moved < best[0]:
            best = moved, number
    assert best is not None
    return best


def structure_of(end: DefectState, cell: Cell, ion: str) -> Atoms:
    """Return an end before relaxation: the supercell's atoms in order, then the added ions."""
    atoms = cell.atoms[[k for k in range(cell.n_atoms) if k not in end.removed]]
    for site in end.added:
        atoms += Atoms(ion, positions=[cell.sites[site - cell.n_atoms] @ cell.atoms.cell.array])
    return atoms


def shifts_of(end: DefectState, relaxed: FloatArray, cell: Cell, ion: str) -> FloatArray:
    """Displacements from the sites in a relaxed end, Å, (n_atoms + n_empty, 3), NaN where nobody is."""
    ideal = structure_of(end, cell, ion)
    moved = find_mic(relaxed - ideal.positions, cell.atoms.cell, cell.atoms.pbc)[0]
    shifts = np.full((cell.n_atoms + len(cell.sites), 3), np.nan)
    shifts[[*(k for k in range(cell.n_atoms) if k not in end.removed), *end.added]] = moved
    return shifts


def carried(shifts: FloatArray, cell: Cell, operation: int) -> FloatArray:
    """Take displacements to where an operation takes their sites, Å."""
    moved = np.full_like(shifts, np.nan)
    moved[cell.permutations[operation]] = shifts @ _cartesian(cell, operation).T
    return moved


def swapping(placed: HopInSupercell, cell: Cell) -> list[tuple[FloatArray, IntArray]]:
    """Return the operations that swap the sites of a hop: Cartesian rotation, and where each atom of its path goes."""
    a, b = placed.site_indices
    number = {int(atom): k for k, atom in enumerate(placed.kept)}
    found = []
    for operation, permutation in enumerate(cell.permutations):
        image = [number.get(int(atom)) for atom in permutation[placed.kept]]
        if permutation[a] == b and permutation[b] == a and None not in image:
            found.append((_cartesian(cell, operation), np.array([*image, len(image)], dtype=np.int64)))
    return found


def _cartesian(cell: Cell, operation: int) -> FloatArray:
    lattice = cell.atoms.cell.array.T
    return np.asarray(lattice @ cell.rotations[operation] @ np.linalg.inv(lattice))


def drifted(shifts: FloatArray) -> float | None:
    """Displacement of the atom that moved furthest, if it has left its site, Å; else None."""
    furthest = float(np.nanmax(np.linalg.norm(shifts, axis=1)))
    return furthest if furthest > DRIFT_A else None


def pair_of(
    placed: HopInSupercell, start: FloatArray, end: FloatArray, cell: Cell, ion: str
) -> tuple[Atoms, FloatArray]:
    """Return the first end of a hop, the ion last, and the displacement of every atom to the other.

    The mean displacement of all atoms but the ion, a drift of the whole crystal, is taken out.

    Args:
        placed: the hop.
        start: displacements from the sites at its start (``shifts_of``), Å.
        end: at its end, Å.
        cell: the supercell.
        ion: element of the ion.
    """
    kept = placed.kept
    first = cell.atoms[kept]
    first.positions += start[kept]
    a, b = placed.site_indices
    first += Atoms(ion, positions=[placed.origin + start[a]])
    moved = np.concatenate([end[kept] - start[kept], [placed.target + end[b] - placed.origin - start[a]]])
    moved -= moved[:-1].mean(axis=0)
    return first, moved
