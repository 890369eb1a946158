"""Atoms of a cell from listed sites and symmetry operations, with sites put where the symmetry demands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pymatgen.optimization.neighbors import find_points_in_spheres

from atomsim.errors import InputError
from atomsim.io.cif_sites import Site
from atomsim.io.symmetry import PARTS, Symmetry

SAME_SITE_A = 0.02
"""Images closer than this are one atom, however many digits were given, Å."""
SNAP_A = 0.25
"""Images farther apart than this are never one atom, however few digits were given, Å."""
EXACT_A = 1e-6
ROUNDS = 20


def expand(site: Site, symmetry: Symmetry, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fractional coordinates in [0, 1) of all atoms that a site stands for, (n, 3).

    A coordinate given as 0.333 may stand for 1/3: where images of a site agree within the digits
    given, the site is put at their mean, which the operations that join them leave in place, until
    all do exactly.

    Raises:
        InputError: if images that agree are no whole number of atoms.
    """
    if len(symmetry.rotations) == 1:
        return np.asarray(site.position[None] % 1.0 % 1.0)
    shifts = symmetry.translations / PARTS
    bound = np.abs(symmetry.rotations - np.eye(3, dtype=int)) @ site.unit + 1e-9
    position = site.position
    for _ in range(ROUNDS):
        images = symmetry.rotations @ position + shifts
        apart = images - position
        apart -= np.rint(apart)
        distances = np.linalg.norm(apart @ cell, axis=1)
        same = (distances < SAME_SITE_A) | ((np.abs(apart) <= bound).all(axis=1) & (distances < SNAP_A))
        if distances[same].max() < EXACT_A:
            break
        position = position + apart[same].mean(axis=0)
    apart = images[:, None] - images[None]
    apart -= np.rint(apart)
    first = np.argmax(np.linalg.norm(apart @ cell, axis=-1) < SAME_SITE_A / 2, axis=1)
    found = images[np.unique(first)]
    if len(found) * same.sum() != len(images):
        raise InputError(
            f"site {site.label} lies within {distances[same].max():.2g} Å of its own images, too near to tell how many "
            "atoms it stands for; give more digits"
        )
    return np.asarray(found % 1.0 % 1.0)


def closest(
    positions: NDArray[np.float64], cell: NDArray[np.float64], within_A: float
) -> tuple[float, int, int] | None:
    """Return the distance (Å) and indices of the closest two atoms of a periodic cell, or None beyond a distance."""
    points = np.ascontiguousarray(positions @ cell)
    i, j, shift, distance = find_points_in_spheres(
        points, points, r=within_A, pbc=np.ones(3, dtype=np.int64), lattice=np.ascontiguousarray(cell), tol=1e-8
    )
    other = (i != j) | shift.any(axis=1)
    if not other.any():
        return None
    nearest = int(np.argmin(np.where(other, distance, np.inf).round(9)))
    return float(distance[nearest]), int(i[nearest]), int(j[nearest])
