"""Ions and rigid units pushed apart until no two are nearer than their ionic distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from atomsim.types import FloatArray, IntArray

SWEEPS = 1500
PUSH_A = 0.005
"""Pushed apart by more than the overlap, so that sweeps end, Å."""
SHAKE_A = 0.002
"""Noise that frees what is jammed, Å."""
TOUCHING = 0.995
"""Distance from which on a pair does not overlap, in its shortest distance."""


@dataclass(frozen=True)
class Bodies:
    """Atoms that keep their shape."""

    members: Sequence[IntArray] = ()
    """Atoms of each rigid unit."""
    shapes: Sequence[FloatArray] = ()
    """Positions of each unit's atoms, Å, (n, 3)."""

    def by_size(self) -> list[tuple[IntArray, FloatArray]]:
        """Return members and shapes of the units with equally many atoms, stacked."""
        sizes = sorted({len(m) for m in self.members})
        alike = [[n for n, m in enumerate(self.members) if len(m) == size] for size in sizes]
        return [(np.stack([self.members[n] for n in ns]), np.stack([self.shapes[n] for n in ns])) for ns in alike]

    def labels(self, n_atoms: int) -> IntArray:
        """Return the unit of each atom, or a number of its own, (n_atoms,)."""
        found = np.arange(n_atoms) + len(self.members)
        for n, members in enumerate(self.members):
            found[members] = n
        return found


def separate(
    atoms: Atoms, contacts: FloatArray, rng: np.random.Generator, bodies: Bodies | None = None, sweeps: int = SWEEPS
) -> Atoms | None:
    """Return atoms pushed apart, units whole; None where that does not end.

    Overlapping pairs move apart along their connection, half the overlap each; then each unit is put back into its
    shape by the rotation that fits best (Kabsch 1976, Acta Cryst. A 32, 922).

    Args:
        atoms: periodic start.
        contacts: shortest distance of each pair, Å, (n_atoms, n_atoms).
        rng: source of the noise.
        bodies: rigid units.
        sweeps: attempts before it is given up.
    """
    bodies = bodies or Bodies()
    grouped = bodies.by_size()
    moved: Atoms = atoms.copy()
    label = bodies.labels(len(atoms))
    reach = float(contacts.max())
    for _ in range(sweeps):
        i, j, distance, vector = neighbour_list("ijdD", moved, reach)
        wanted = contacts[i, j]
        near = (distance < TOUCHING * wanted) & (label[i] != label[j])
        if not near.any():
            return moved
        i, j, distance, vector, wanted = (a[near] for a in (i, j, distance, vector, wanted))
        # every pair is listed twice, once for each of its atoms
        away = -vector / np.maximum(distance, 1e-6)[:, None]
        push = np.zeros_like(moved.positions)
        np.add.at(push, i, (0.5 * (wanted - distance + PUSH_A))[:, None] * away)
        push += rng.normal(0.0, SHAKE_A, push.shape)
        moved.positions += push
        for members, shapes in grouped:
            moved.positions[members] = fitted(shapes, moved.positions[members])
    return None


def fitted(shapes: FloatArray, positions: FloatArray) -> FloatArray:
    """Return shapes moved and turned to fit positions in the sense of least squares, (…, n, 3)."""
    middle, centre = shapes.mean(axis=-2, keepdims=True), positions.mean(axis=-2, keepdims=True)
    u, _, v = np.linalg.svd(np.swapaxes(shapes - middle, -1, -2) @ (positions - centre))
    proper = np.ones(u.shape[:-1])
    proper[..., 2] = np.sign(np.linalg.det(u @ v))
    return np.asarray((shapes - middle) @ ((u * proper[..., None, :]) @ v) + centre)


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """Return a rotation, all orientations alike, (3, 3)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)))


def shortest_pairs(atoms: Atoms, reach: float = 3.5) -> dict[tuple[str, str], float]:
    """Return the shortest distance of each pair of elements within reach, Å, symbols in alphabetical order."""
    i, j, d = neighbour_list("ijd", atoms, reach)
    symbols = np.array(atoms.get_chemical_symbols())
    found: dict[tuple[str, str], float] = {}
    for a, b, distance in zip(symbols[i], symbols[j], d, strict=True):
        pair = (min(a, b), max(a, b))
        found[pair] = min(found.get(pair, np.inf), float(distance))
    return found
