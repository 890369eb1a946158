"""Empty sites of a crystal where one more ion would fit: corners of the Voronoi cells of its atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import minkowski_reduce
from scipy.spatial import Voronoi, cKDTree

from atomsim.errors import InputError
from atomsim.structures.setting import SYMPREC_A, cell_shifts, heights

ANIONS = frozenset({"N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
SAME_VOID_A = 0.7
"""Voronoi corners nearer to each other than this are one void, Å."""
WIDEST_A = 10.0
"""Voids with no atom within this are a vacuum, no site, Å."""
FIRST_SHELL = 1.3
"""Anions within this factor of the nearest belong to the first shell."""
SHAPES = {4: "tetrahedral", 5: "five-fold", 6: "octahedral", 8: "cubic"}


@dataclass(frozen=True)
class Void:
    """An empty site."""

    fractional: tuple[float, float, float]
    anion_A: float
    """Distance to the nearest anion, Å."""
    cation_A: float
    """Distance to the nearest cation, Å; infinite where there is none."""
    coordination: int
    """Anions of the first shell."""

    @property
    def shape(self) -> str:
        """Name of the polyhedron: ``tetrahedral``, ``octahedral`` and so on."""
        return SHAPES.get(self.coordination, f"{self.coordination}-fold")


def find_voids(
    atoms: Atoms, *, anion_min_A: float = 1.6, cation_min_A: float = 1.6, symprec: float = SYMPREC_A
) -> list[Void]:
    """Return the voids of a crystal, all symmetry copies, ordered by distance to anions, widest first.

    Args:
        atoms: periodic crystal.
        anion_min_A: voids nearer to an anion are left out, Å.
        cation_min_A: likewise for cations, Å.
        symprec: tolerance of the symmetry that copies of a void are averaged by, Å.

    Raises:
        InputError: if it is not periodic in three dimensions, or has no anions.
    """
    if not atoms.pbc.all():
        raise InputError(
            f"{atoms.get_chemical_formula()} is not periodic in 3 dimensions; voids are those of a crystal"
        )
    anion = np.array([s in ANIONS for s in atoms.symbols])
    if not anion.any():
        known = ", ".join(sorted(ANIONS))
        raise InputError(f"{atoms.get_chemical_formula()} has no anions; voids are found between {known}")
    cell, operation = minkowski_reduce(atoms.cell.array)
    reduced = Atoms(atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
    corners = _merged(_corners(reduced), reduced)
    complete = _symmetrised(corners, reduced, symprec)
    voids = [_void(f, reduced, anion, f @ operation) for f in complete]
    kept = [v for v in voids if v.anion_A >= anion_min_A and v.cation_A >= cation_min_A]
    return sorted(kept, key=lambda v: (-round(v.anion_A, 2), tuple(round(x, 4) for x in v.fractional)))


def _corners(atoms: Atoms) -> np.ndarray:
    """Fractional coordinates of the Voronoi corners in the cell, (n, 3)."""
    corners = Voronoi(_cloud(atoms)).vertices @ np.linalg.inv(atoms.cell.array)
    inside = ((corners > -1e-6) & (corners < 1 - 1e-6)).all(axis=1)
    return np.asarray(corners[inside] % 1.0)


def _cloud(atoms: Atoms) -> np.ndarray:
    """Positions of the atoms within ``WIDEST_A`` of any point of the cell, and some more, Å, (n, 3)."""
    shifts = cell_shifts(atoms.cell.array, WIDEST_A + 1e-3)
    around = (atoms.get_scaled_positions()[None] + shifts[:, None]).reshape(-1, 3)
    beyond = np.maximum(-around, around - 1) * heights(atoms.cell.array)
    return np.asarray(around[(beyond < WIDEST_A + 1e-3).all(axis=1)] @ atoms.cell.array)


def _merged(corners: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Keep the widest of corners that lie together, which no mean of them need be; (n, 3)."""
    away = cKDTree(_cloud(atoms)).query(corners @ atoms.cell.array, k=12)[0]
    corners, away = corners[away[:, 0] < WIDEST_A], away[away[:, 0] < WIDEST_A]
    kept: list[np.ndarray] = []
    # of equal ones the roomiest first: a corner's place among the others would depend on the cell
    for corner in corners[np.lexsort([-away.mean(axis=1).round(5), -away[:, 0].round(3)])]:
        if not kept or _nearest(kept, corner, atoms) >= SAME_VOID_A:
            kept.append(corner)
    return np.array(kept).reshape(-1, 3)


def _symmetrised(points: np.ndarray, atoms: Atoms, symprec: float) -> np.ndarray:
    """Move each point onto the average of its images that lie by it, and add the images that are missing."""
    symmetry = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec)
    if symmetry is None:
        return points
    complete: list[np.ndarray] = []
    for point in points:
        if complete and _nearest(complete, point, atoms) < SAME_VOID_A:
            continue
        centre = _centre(point, symmetry, atoms)
        orbit = np.einsum("oij,j->oi", symmetry["rotations"], centre) + symmetry["translations"]
        for image in orbit % 1.0:
            if not complete or _nearest(complete, image, atoms) > 0.1:
                complete.append(image)
    return np.array(complete).reshape(-1, 3)


def _centre(point: np.ndarray, symmetry: dict[str, np.ndarray], atoms: Atoms) -> np.ndarray:
    """Mean of the images of a point that lie by it, again until no further one does."""
    centre, count = point, 0
    while True:
        images = np.einsum("oij,j->oi", symmetry["rotations"], centre) + symmetry["translations"]
        offset = images - centre
        offset -= np.round(offset)
        by_it = np.linalg.norm(offset @ atoms.cell.array, axis=1) < SAME_VOID_A
        if by_it.sum() <= count:
            return centre
        centre, count = centre + offset[by_it].mean(axis=0), int(by_it.sum())


def _nearest(points: list[np.ndarray], point: np.ndarray, atoms: Atoms) -> float:
    """Distance to the nearest of some points, Å; where it is short, as the cell is reduced."""
    offset = np.array(points) - point
    return float(np.linalg.norm((offset - np.round(offset)) @ atoms.cell.array, axis=1).min())


def _void(fractional: np.ndarray, atoms: Atoms, anion: np.ndarray, given: np.ndarray) -> Void:
    """The void at a point of a reduced cell, which is ``given`` in the cell that was given."""
    shifts = cell_shifts(atoms.cell.array, 1.5 * WIDEST_A)
    away = (atoms.get_scaled_positions()[:, None] + shifts - fractional) @ atoms.cell.array
    length = np.linalg.norm(away, axis=2)
    to_anions = np.sort(length[anion].ravel())
    cations = length[~anion]
    return Void(
        fractional=tuple(float(x) for x in np.round(given % 1.0, 8) % 1.0),  # type: ignore[arg-type]
        anion_A=float(to_anions[0]),
        cation_A=float(cations.min()) if cations.size else float("inf"),
        coordination=int((to_anions < FIRST_SHELL * to_anions[0]).sum()),
    )
