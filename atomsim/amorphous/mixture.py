"""Crystals that a glass could fall apart into: energy and volume of their cheapest mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.optimize import linprog


@dataclass(frozen=True)
class Crystal:
    """A relaxed crystal of the same potential."""

    name: str
    counts: Mapping[str, int]
    energy_eV: float
    volume_A3: float

    @classmethod
    def of(cls, name: str, atoms: Atoms, energy_eV: float) -> Crystal:
        """Return the crystal of a relaxed cell."""
        counts = {s: int(n) for s, n in atoms.symbols.formula.count().items()}
        return cls(name, counts, float(energy_eV), float(atoms.cell.volume))


@dataclass(frozen=True)
class Mixture:
    """The crystals of least energy with the composition of a glass."""

    energy_eV: float
    """Energy of as many atoms as the glass has."""
    volume_A3: float
    cells: Mapping[str, float]
    """Cells of each crystal."""


def cheapest_mixture(counts: Mapping[str, int], crystals: Sequence[Crystal]) -> Mixture | None:
    """Return the mixture of crystals of least energy, by a linear programme; None where none has this composition."""
    if not crystals:
        return None
    elements = sorted(set(counts).union(*(c.counts for c in crystals)))
    matrix = np.array([[c.counts.get(e, 0) for c in crystals] for e in elements], dtype=float)
    wanted = np.array([counts.get(e, 0) for e in elements], dtype=float)
    found = linprog([c.energy_eV for c in crystals], A_eq=matrix, b_eq=wanted, bounds=(0, None))
    if not found.success:
        return None
    volume = float(np.dot(found.x, [c.volume_A3 for c in crystals]))
    cells = {c.name: float(n) for c, n in zip(crystals, found.x, strict=True) if n > 1e-9}
    return Mixture(float(found.fun), volume, cells)
