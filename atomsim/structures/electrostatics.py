"""Coulomb energy of point charges on the sites of a crystal, as a quadratic form in the charges."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.types import FloatArray


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
    return np.asarray((matrix + matrix.T) / 2)
