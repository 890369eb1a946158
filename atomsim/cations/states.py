"""Oxidation states read from 3d moments, atom by atom, where they may be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

REFERENCES: dict[str, dict[int, float]] = {
    "Mn": {2: 5.0, 3: 4.0, 4: 3.0},  # high spin
    "Co": {2: 3.0, 3: 0.0, 4: 1.0},  # high spin Co²⁺; Co³⁺ and Co⁴⁺ low spin
    "Ni": {2: 2.0, 3: 1.0, 4: 0.0},  # low spin Ni³⁺
}
"""Spin-only moments in μB by state, octahedral field. Elements of the 4d and 5d rows are never read."""


def metal_moments(atoms: Atoms, moments: np.ndarray) -> dict[str, Any]:
    """Return the moments of each element whose states they may tell, and their mean.

    Args:
        atoms: structure.
        moments: μB, (n_atoms,).
    """
    symbols = np.array(atoms.get_chemical_symbols())
    found: dict[str, Any] = {}
    for element in sorted(set(REFERENCES) & set(symbols.tolist())):
        sizes = np.abs(np.asarray(moments, float))[symbols == element]
        found[element] = {"moments_muB": [round(float(m), 3) for m in sizes], "mean_moment_muB": float(sizes.mean())}
    return found


def nearest_states(element: str, moments: Sequence[float]) -> dict[int, int]:
    """Return how many atoms have a moment nearest to that of each state: an estimate, as covalency lowers moments."""
    references = REFERENCES[element]
    nearest = (min(references, key=lambda s: (abs(references[s] - abs(m)), s)) for m in moments)
    return dict(sorted(Counter(nearest).items()))
