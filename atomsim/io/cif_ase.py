"""CIFs in ASE's order of atoms, where ASE reads the same crystal."""

from __future__ import annotations

import warnings
from io import StringIO
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from pymatgen.optimization.neighbors import find_points_in_spheres

from atomsim.io.cif import read_cif
from atomsim.io.text import read_text

MANY = 250
"""Atoms beyond which ASE, which compares each with each, takes long; without symmetry the file's order is its own."""
SAME_GEOMETRY_A = 1e-5
"""Atoms closer than this are the same, Å: coordinates differ by rounding only."""


def read_cif_as_ase(path: Path) -> list[Atoms]:
    """Return the crystals of a CIF, each as ASE has it where that is the same one.

    Order and last digits of atoms enter the ids of tasks, which so stay what they were when ASE alone read CIFs.

    Raises:
        InputError: as ``read_cif``.
    """
    ours = read_cif(path)
    if sum(len(atoms) for atoms in ours) > MANY:
        return ours
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = list(ase.io.read(StringIO(read_text(path)), index=":", format="cif"))
    except Exception:  # what ASE cannot read is no fault of the file
        return ours
    if len(theirs) != len(ours):
        return ours
    return [b if _same_atoms(a, b) else a for a, b in zip(ours, theirs, strict=True)]


def _same_atoms(one: Atoms, other: Atoms) -> bool:
    """True if two structures have the same cell and the same nuclei at the same places, in any order."""
    if sorted(one.numbers) != sorted(other.numbers) or not np.array_equal(one.pbc, other.pbc):
        return False
    if not np.allclose(one.cell.array, other.cell.array, rtol=0, atol=SAME_GEOMETRY_A):
        return False
    periodic = np.ascontiguousarray(one.pbc, dtype=np.int64)
    i, j, _, _ = find_points_in_spheres(
        np.ascontiguousarray(one.positions), np.ascontiguousarray(other.positions), r=SAME_GEOMETRY_A, pbc=periodic,
        lattice=np.ascontiguousarray(one.cell.array if one.pbc.all() else np.eye(3)), tol=1e-8,
    )  # fmt: skip
    same = (one.numbers[i] == other.numbers[j]) & np.isclose(one.get_masses()[i], other.get_masses()[j])
    return len(set(i[same])) == len(one) and len(set(j[same])) == len(one)
