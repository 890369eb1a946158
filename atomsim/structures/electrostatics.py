"""Coulomb energy of point charges on the sites of a crystal, as a quadratic form in the charges."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.core import Composition, Element
from pymatgen.io.ase import AseAtomsAdaptor

FloatArray = NDArray[np.float64]


def ewald_matrix(atoms: Atoms) -> FloatArray:
    """Return the matrix ``M`` with which the Coulomb energy of charges ``q`` is ``q @ M @ q``, eV per cell.

    Exact for a neutral cell; a charged one is neutralised by a uniform background. One Ewald
    summation serves all orderings of charges on the same sites.

    Args:
        atoms: sites of a three-dimensional periodic cell; species do not matter.

    Returns:
        Symmetric matrix, eV/e², (n_sites, n_sites).
    """
    structure = AseAtomsAdaptor.get_structure(Atoms("H" * len(atoms), atoms.positions, cell=atoms.cell, pbc=True))
    structure.add_oxidation_state_by_site([1.0] * len(structure))
    summation = EwaldSummation(structure)
    # pymatgen leaves the neutralising background, −(k/2) π (Σq)² / (V η), out of the matrix.
    background = -EwaldSummation.CONV_FACT / 2 * np.pi / (structure.volume * summation.eta)
    matrix = np.asarray(summation.total_energy_matrix, dtype=float) + background
    return (matrix + matrix.T) / 2


def formal_charges(atoms: Atoms) -> dict[str, float] | None:
    """Return the likeliest formal charge of each element, or None where no assignment is neutral.

    Uses pymatgen's statistics of oxidation states (``Composition.oxi_state_guesses``); an
    element of mixed valence gets its mean.
    """
    composition = Composition(atoms.get_chemical_formula()).reduced_composition
    guesses = composition.oxi_state_guesses(max_sites=-1)
    return {str(element): float(charge) for element, charge in guesses[0].items()} if guesses else None


def redox_elements(atoms: Atoms, ion: str) -> frozenset[str]:
    """Return the elements taken to be oxidised when an ion is removed: transition metals, else all other cations."""
    others = sorted({symbol for symbol in atoms.get_chemical_symbols() if symbol != ion})
    metals = frozenset(symbol for symbol in others if Element(symbol).is_transition_metal)
    return metals or frozenset(symbol for symbol in others if Element(symbol).is_metal)
