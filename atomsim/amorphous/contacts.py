"""Ionic radii, and the shortest distances that ions are packed with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from atomsim.analysis.coordination import RADII as ANION_RADII
from atomsim.types import FloatArray

CATION_RADII = {
    "Li": 0.76, "Na": 1.02, "K": 1.38, "Rb": 1.52, "Cs": 1.67, "Ag": 1.15, "Be": 0.45, "Mg": 0.72, "Ca": 1.00,
    "Sr": 1.18, "Ba": 1.35, "Zn": 0.74, "Cd": 0.95, "Cu": 0.73, "Al": 0.535, "Ga": 0.62, "In": 0.80, "Sc": 0.745,
    "Y": 0.90, "La": 1.03, "Ce": 0.87, "Ti": 0.605, "Zr": 0.72, "Hf": 0.71, "V": 0.58, "Nb": 0.64, "Ta": 0.64,
    "Cr": 0.615, "Mo": 0.65, "W": 0.60, "Re": 0.55, "Mn": 0.645, "Fe": 0.645, "Co": 0.61, "Ni": 0.65, "Ru": 0.62,
    "Rh": 0.60, "Pd": 0.76, "Os": 0.63, "Ir": 0.625, "Pt": 0.625, "Sn": 0.69, "Ge": 0.53, "Si": 0.40, "B": 0.27,
    "C": 0.16, "P": 0.38, "As": 0.46, "Sb": 0.60, "Bi": 1.03, "S": 0.29, "Se": 0.42, "Te": 0.56, "Cl": 0.27, "N": 0.13,
}  # fmt: skip
"""Six neighbours, the commonest state in oxides, Å: Shannon 1976, Acta Cryst. A 32, 751."""
NEAR = 0.87
"""Shortest distance of a packing, in sums of ionic radii: 2.44 Å for O–O."""
CATIONS_NEAR = 0.80
"""Shortest distance of two cations, in what octahedra that share an edge have (√2 times the bond)."""
IONIC_FRACTION = 0.60
"""Part of a cell that spheres of ionic radii fill at the density that is chosen where none is given."""


def ionic_radius(symbol: str, charge: float) -> float:
    """Return the ionic radius of an element, Å; part of the covalent one where none is tabulated."""
    table = ANION_RADII if charge < 0 else CATION_RADII
    if symbol in table:
        return table[symbol]
    covalent = float(covalent_radii[atomic_numbers[symbol]])
    return 0.55 * covalent if charge >= 0 else 0.55 * covalent + 1.0


def shortest_distances(charges: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Return the shortest distance of each pair of elements, Å, in both orders.

    Args:
        charges: formal charge of each element, whose sign says what is an anion.
    """
    radius = {s: ionic_radius(s, q) for s, q in charges.items()}
    anions = [radius[s] for s, q in charges.items() if q < 0]
    anion = float(np.mean(anions)) if anions else ANION_RADII["O"]
    found = {}
    for a, p in charges.items():
        for b, q in charges.items():
            together = radius[a] + radius[b]
            cations = p >= 0 and q >= 0
            found[a, b] = CATIONS_NEAR * (together + 2 * anion) / np.sqrt(2) if cations else NEAR * together
    return {pair: float(d) for pair, d in found.items()}


def ionic_volume(counts: Mapping[str, int], charges: Mapping[str, float]) -> float:
    """Return the volume at which ionic spheres fill ``IONIC_FRACTION`` of the cell, Å³."""
    spheres = sum(n * 4.0 / 3.0 * np.pi * ionic_radius(s, charges[s]) ** 3 for s, n in counts.items())
    return float(spheres / IONIC_FRACTION)


def contact_matrix(symbols: list[str], charges: Mapping[str, float]) -> FloatArray:
    """Return the shortest distance of each pair of atoms, Å, (n_atoms, n_atoms)."""
    kinds = list(dict.fromkeys(symbols))
    distances = shortest_distances({s: charges[s] for s in kinds})
    table = np.array([[distances[a, b] for b in kinds] for a in kinds])
    index = np.array([kinds.index(s) for s in symbols])
    return np.asarray(table[index[:, None], index[None, :]])
