"""O2 put into the largest void that two atoms leave behind."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from atomsim.errors import InputError
from atomsim.structures.pairs import Pair
from atomsim.structures.setting import cell_shifts
from atomsim.structures.voids import find_voids
from atomsim.types import FloatArray

BOND_A = 1.21
"""Length of O2, Å."""
DIRECTIONS = 64


def in_void(atoms: Atoms, pair: Pair) -> Atoms | None:
    """Return the structure with both atoms of a pair as a molecule in the largest void; None where there is none.

    Of even directions that is taken in which the molecule's atoms are farthest from all others. Positions stay
    continuous with those given: each atom goes the shorter way.
    """
    host = atoms.copy()
    host.set_constraint()
    del host[[pair.first, pair.second]]
    try:
        voids = find_voids(host, anion_min_A=1.2, cation_min_A=1.2)
    except InputError:  # no other anions
        return None
    if not voids:
        return None
    middle = np.array(max(voids, key=lambda v: round(min(v.anion_A, v.cation_A), 3)).fractional)
    centre = _nearest_image(middle, atoms, pair) @ atoms.cell.array
    axes = np.array(_even_directions(DIRECTIONS))
    room = [min(_room(host, centre + sign * 0.5 * BOND_A * axis) for sign in (-1, 1)) for axis in axes]
    half = 0.5 * BOND_A * axes[int(np.argmax(np.round(room, 3)))]
    image = np.array(pair.shift) @ atoms.cell.array
    ends = [(centre - half, centre + half), (centre + half, centre - half)]
    first, second = min(ends, key=lambda e: float(np.linalg.norm(e[0] - atoms.positions[pair.first])))
    placed: Atoms = atoms.copy()
    placed.calc = None
    placed.positions[pair.first], placed.positions[pair.second] = first, second - image
    return placed


def _nearest_image(fractional: FloatArray, atoms: Atoms, pair: Pair) -> FloatArray:
    """The image of a point that is nearest to the middle of a pair."""
    image = np.array(pair.shift) @ atoms.cell.array
    middle = 0.5 * (atoms.positions[pair.first] + atoms.positions[pair.second] + image)
    offset = fractional - middle @ np.linalg.inv(atoms.cell.array)
    return np.asarray(fractional - np.round(offset))


def _even_directions(n: int) -> list[FloatArray]:
    """Directions spread evenly over a half sphere, by the golden angle."""
    height = (np.arange(n) + 0.5) / n
    turn = np.pi * (3 - 5**0.5) * np.arange(n)
    radius = np.sqrt(1 - height**2)
    return list(np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1))


def _room(atoms: Atoms, point: FloatArray) -> float:
    """Distance of a point to the nearest atom, images included, Å."""
    shifts = cell_shifts(atoms.cell.array, 6.0)
    fractional = point @ np.linalg.inv(atoms.cell.array)
    offset = (atoms.get_scaled_positions() - fractional % 1.0)[:, None] + shifts
    return float(np.linalg.norm(offset @ atoms.cell.array, axis=2).min())
