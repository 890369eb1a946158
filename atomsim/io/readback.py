"""Check that a file holds the structure that was written: some formats, or their writers, hold less than it seems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from atomsim.errors import InputError
from atomsim.io.structures import read_structures

ROUNDED_A = 0.005
"""Largest rounding of a format, Å: PDB has three decimals."""
ROUNDED_DEG = 0.02


def check_readback(path: Path, structures: Sequence[Atoms], name: str) -> list[Atoms]:
    """Refuse a format in which structures do not come back with their atoms, places and periodicity.

    Args:
        path: file that was written for trial, alone in its folder.
        structures: what was written; one of each kind of periodicity is looked at.
        name: of the file that is wanted, for the message.

    Returns:
        What was read.

    Raises:
        InputError: naming what is lost.
    """
    if len(list(path.parent.iterdir())) != 1:
        raise InputError(f"{name} would be several files; write to .extxyz, which holds everything")
    try:
        found = read_structures(path)
    except InputError as error:
        raise InputError(f"{name} would not be read again ({error}); write to .extxyz") from error
    kinds = {(*atoms.pbc.tolist(), atoms.cell.rank): n for n, atoms in reversed(list(enumerate(structures)))}
    for n in kinds.values():
        lost = f"{len(structures)} structures" if len(found) != len(structures) else _lost(structures[n], found[n])
        if lost:
            raise InputError(f"{name} does not hold {lost} of these structures; write to .extxyz, which does")
    return found


def _lost(written: Atoms, found: Atoms) -> str:
    """Return what of a structure, wherever it is turned to, did not come back; empty if all did.

    A slab in a box may come back periodic across its vacuum, as most programs have it.
    """
    if not np.array_equal(written.numbers, found.numbers):
        return "the order or the elements of the atoms"
    if (written.pbc & ~found.pbc).any() or (found.pbc & ~found.cell.any(axis=1)).any():
        return "the periodicity"
    if written.cell.rank < 3 or found.cell.rank < 3:
        same_cell = np.allclose(written.cell[written.pbc], found.cell[written.pbc], rtol=0, atol=ROUNDED_A)
        apart = (found.positions - found.positions[0]) - (written.positions - written.positions[0])
        return "the positions" if not same_cell or np.abs(apart).max() > 2 * ROUNDED_A else ""
    change = np.abs(written.cell.cellpar() - found.cell.cellpar())
    if change[:3].max() > ROUNDED_A or change[3:].max() > ROUNDED_DEG:
        return "the cell"
    apart = found.cell.scaled_positions(found.positions) - written.cell.scaled_positions(written.positions)
    apart -= apart[0]
    apart -= np.rint(apart)
    return "the positions" if np.linalg.norm(apart @ written.cell.array, axis=1).max() > 4 * ROUNDED_A else ""
