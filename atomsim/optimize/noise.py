"""Seeded noise that belongs to the crystal: a random field in its own frame, read where the atoms are.

Each component of the noise is a Gaussian random field, periodic like the cell: a sum of plane waves with random
whole wave vectors, amplitudes and phases (Shinozuka & Deodatis, Appl. Mech. Rev. 44, 191 (1991)). Its value at an
atom follows from the atom's fractional coordinates. So noise turns with the crystal, is permuted with its atoms and
knows nothing of places in lists. Nothing is rounded or hashed: where a coordinate differs in its last bits, as after
a round trip through a file, the noise does too, and no more. Wave vectors are short enough for that and long enough
for neighbouring atoms to differ.

The phases depend on all atoms together, in the same smooth way, so that another structure gets other noise.
"""

from __future__ import annotations

import zlib

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.types import FloatArray

WAVES = 192
"""Plane waves of one component."""
LARGEST_INDEX = 16
"""Largest component of a wave vector, in reciprocal lattice vectors."""
BOX_A = 20.0
"""Box that coordinates are measured in where there is no cell, Å."""
GOLDEN = 0.5 * (5**0.5 - 1)
"""Tells elements apart: no multiple of it is near a whole number."""


def seeded_noise(atoms: Atoms, seed: int, purpose: str, number: int = 0, also: FloatArray | None = None) -> FloatArray:
    """Return standard normal noise, one vector for each atom, Cartesian, (n_atoms, 3).

    The same seed, purpose, number and structure give the same noise, however the crystal is turned and in whatever
    order its atoms stand. A system without a full cell has the laboratory's frame, with its centre as the origin.

    Args:
        atoms: where the field is read.
        seed: the user's.
        purpose: what it is for; other purposes get other noise.
        number: of the start, image or field.
        also: positions of a second structure of the same atoms that the noise shall depend on, Å.
    """
    rng = np.random.default_rng([seed, zlib.crc32(purpose.encode()), number])
    waves = rng.integers(-LARGEST_INDEX, LARGEST_INDEX + 1, (3, WAVES, 3)).astype(float)
    amplitudes = rng.normal(0.0, (2 / WAVES) ** 0.5, (3, WAVES))
    phases = rng.random((3, WAVES))
    places, frame = _coordinates(atoms)
    seen = _mean_field(rng, places, atoms.numbers)
    if also is not None:
        moved = atoms.copy()
        moved.set_positions(also, apply_constraint=False)
        seen = seen + _mean_field(rng, _coordinates(moved)[0], atoms.numbers)
    turns = np.einsum("cwk,nk->ncw", waves, places) + phases + seen
    # a normal amplitude times a cosine of random phase is not normal; the sum of many is, to 1 in WAVES
    return np.asarray(np.einsum("cw,ncw->nc", amplitudes, np.cos(2 * np.pi * turns)) @ frame)


def _mean_field(rng: np.random.Generator, places: FloatArray, numbers: NDArray[np.int64]) -> FloatArray:
    """A number for each wave that changes by a good part of one when an atom leaves or moves by an Å, (WAVES,)."""
    waves = rng.integers(-4, 5, (WAVES, 3)).astype(float)
    turns = np.einsum("wk,nk->nw", waves, places) + GOLDEN * numbers[:, None] + rng.random(WAVES)
    return np.asarray(np.cos(2 * np.pi * turns).sum(axis=0))


def _coordinates(atoms: Atoms) -> tuple[FloatArray, FloatArray]:
    """Return the atoms' coordinates in the cell, (n_atoms, 3), and the axes of the frame as rows, (3, 3).

    The first axis lies along the first lattice vector, the second in the plane of the first two.
    """
    cell = np.asarray(atoms.cell.complete().array)
    if atoms.cell.rank < 2:
        return (atoms.positions - atoms.positions.mean(axis=0)) / BOX_A, np.eye(3)
    axes, lengths = np.linalg.qr(cell.T)
    return np.linalg.solve(cell.T, atoms.positions.T).T, (axes * np.sign(np.diag(lengths))).T
