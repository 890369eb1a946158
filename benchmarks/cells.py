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
