"""Structures that are evaluated in benchmarks; the same seed gives the same."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from atomsim.structures.prototypes import load_prototype


def rattled(n: int, *, lithium: int = 8, seed: int = 0, amplitude: float = 0.05) -> list[Atoms]:
    """Li2RuO3, primitive cell of 24 atoms, ``lithium`` of its 8 Li left, rattled (Å)."""
    rng = np.random.default_rng(seed)
    host = load_prototype("Li2RuO3").primitive
    sites = np.flatnonzero(host.numbers == 3)
    found = []
    for _ in range(n):
        atoms = host.copy()
        del atoms[rng.permutation(sites)[lithium:]]
        atoms.rattle(amplitude, rng=rng)
        found.append(atoms)
    return found


BAG = {
    "Li": (2, 1, 1),
    "Li2O": (1, 1, 1),
    "LiCoO2": (1, 1, 1),
    "Li2O2": (1, 1, 1),
    "Mo6S8": (1, 1, 1),
    "Li2RuO3": (1, 1, 1),
    "Li2WO4": (1, 1, 1),
    "LRMO": (1, 1, 1),
    "Li2MnO3": (2, 2, 2),
    "Na3RuO4": (2, 2, 1),
    "Li2RuO3-rocksalt": (2, 2, 1),
}
"""Prototypes and how often each is repeated: 2 to 192 atoms, of 1 to 5 elements."""


def mixed_bag(seed: int = 0, amplitude: float = 0.05) -> dict[str, Atoms]:
    """Cells of many sizes and chemistries, rattled (Å), by prototype, smallest first."""
    rng = np.random.default_rng(seed)
    cells = {name: load_prototype(name).primitive.repeat(times) for name, times in BAG.items()}
    for atoms in cells.values():
        atoms.rattle(amplitude, rng=rng)
    return dict(sorted(cells.items(), key=lambda pair: len(pair[1])))


def large(seed: int = 0, amplitude: float = 0.05) -> Atoms:
    """One cell of 1,000 atoms, LiCoO2, rattled (Å)."""
    atoms = load_prototype("LiCoO2").primitive.repeat((5, 5, 10))
    atoms.rattle(amplitude, rng=np.random.default_rng(seed))
    return atoms
