"""Symmetry-reduced displacements of a crystal, by phonopy: the fewest whose forces give all force constants.

With the cell itself as the supercell they give the curvature at Γ, all that a relaxation of that cell can feel
(``optimize.hessian``); with larger ones, phonons (``vibrations``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from atomsim.types import IntArray

if TYPE_CHECKING:
    from phonopy import Phonopy


def displacements(atoms: Atoms, matrix: IntArray, distance_A: float, symprec_A: float) -> Phonopy:
    """Return phonopy's object of a crystal, with the symmetry-distinct displacements generated in both directions.

    Args:
        atoms: the cell, taken as the primitive one.
        matrix: supercell vectors as rows in units of the cell's, (3, 3).
        distance_A: length of a displacement.
        symprec_A: tolerance of the symmetry search.
    """
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = PhonopyAtoms(numbers=atoms.numbers, cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    # phonopy has the supercell's vectors as columns
    phonon = Phonopy(unit, supercell_matrix=np.asarray(matrix).T, primitive_matrix="P", symprec=symprec_A)
    phonon.generate_displacements(distance=distance_A, is_plusminus=True, is_diagonal=False)
    return phonon


def displaced(phonon: Phonopy, perfect: Atoms) -> list[Atoms]:
    """Return the supercells to evaluate; ``perfect`` is the supercell in phonopy's order of atoms."""
    cells = phonon.supercells_with_displacements or []
    return [_moved(perfect, cell.positions - phonon.supercell.positions) for cell in cells]


def _moved(atoms: Atoms, displacement: np.ndarray) -> Atoms:
    moved: Atoms = atoms.copy()
    moved.positions += displacement
    return moved
