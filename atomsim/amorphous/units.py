"""Rigid units that a glass is packed of: sulfate, phosphate and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atomsim.amorphous.composition import Composition
from atomsim.errors import InputError, nearest
from atomsim.types import FloatArray

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
TRIANGLE = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [-0.5, -np.sqrt(0.75), 0]])


@dataclass(frozen=True)
class Unit:
    """A centre and its ligands, the distance of both."""

    centre: str
    ligand: str
    directions: FloatArray
    """Directions of the ligands, (n_ligands, 3)."""
    bond_A: float

    @property
    def n_ligands(self) -> int:
        """Ligands around the centre."""
        return len(self.directions)

    @property
    def shape(self) -> FloatArray:
        """Positions, the centre first, Å, (n_ligands + 1, 3)."""
        return np.vstack([np.zeros((1, 3)), self.bond_A * self.directions])

    @property
    def symbols(self) -> list[str]:
        """Symbols in the order of ``shape``."""
        return [self.centre, *[self.ligand] * self.n_ligands]


UNITS = {
    "SO4": Unit("S", "O", TETRAHEDRON, 1.48),
    "PO4": Unit("P", "O", TETRAHEDRON, 1.54),
    "PS4": Unit("P", "S", TETRAHEDRON, 2.05),
    "SiO4": Unit("Si", "O", TETRAHEDRON, 1.63),
    "CO3": Unit("C", "O", TRIANGLE, 1.29),
    "NO3": Unit("N", "O", TRIANGLE, 1.25),
    "BO3": Unit("B", "O", TRIANGLE, 1.37),
}
"""Units by name; bonds are means over crystal structures (International Tables C, Table 9.5)."""
COMMON = ("SO4", "PO4", "PS4", "CO3", "NO3")
"""Units that a composition is taken to hold wherever it can; silicates and borates also condense."""


def units_in(composition: Composition, names: Sequence[str] | None = None) -> dict[str, int]:
    """Return how many of each rigid unit a composition holds: one for each centre.

    Args:
        composition: whole atoms.
        names: of ``UNITS``; those that it can hold if not given.

    Raises:
        InputError: for an unknown unit, or one that the composition cannot hold.
    """
    if names is None:
        fitting = [n for n in COMMON if _holds(composition, UNITS[n]) and not _other_anion(composition, UNITS[n])]
        return {name: composition.counts[UNITS[name].centre] for name in fitting}
    found: dict[str, int] = {}
    left = dict(composition.counts)
    for name in names:
        if name not in UNITS:
            raise InputError(f"unknown unit {name!r};{nearest(name, UNITS)} units are {', '.join(UNITS)}")
        unit = UNITS[name]
        n, wanted = left.get(unit.centre, 0), left.get(unit.centre, 0) * unit.n_ligands
        if n == 0 or left.get(unit.ligand, 0) < wanted:
            raise InputError(
                f"{composition.name} cannot hold {name}: found {n} {unit.centre} and {left.get(unit.ligand, 0)} "
                f"{unit.ligand} in {composition.n_atoms} atoms, wanted {unit.n_ligands} {unit.ligand} for each "
                f"{unit.centre}; leave the unit out or correct the formula"
            )
        found[name] = n
        left[unit.ligand] -= wanted
        left[unit.centre] = 0
    return found


def _holds(composition: Composition, unit: Unit) -> bool:
    n, ligands = composition.counts.get(unit.centre, 0), composition.counts.get(unit.ligand, 0)
    return n > 0 and ligands >= n * unit.n_ligands and composition.charges.get(unit.centre, 0) > 0


def _other_anion(composition: Composition, unit: Unit) -> bool:
    """True if a harder anion takes the ligands' place: thiophosphate only where there is no oxygen."""
    return unit.ligand == "S" and "O" in composition.counts
