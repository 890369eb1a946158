"""The end of a path in the start's basis and in its place, in whatever order its atoms are."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from atomsim.constraints.projectors import free_directions
from atomsim.errors import InputError
from atomsim.structures.hosts import left_sites

FloatArray = NDArray[np.float64]

SAME_LATTICE = 1e-3
"""Largest deviation from whole numbers of a change of basis."""
STILL_A = 0.5
"""An atom that is no further from a like one is in its place, Å."""
IN_PLACE = 0.2
"""Part of the atoms that may have moved in an end that is not shifted as a whole."""
ANCHORS = 3
"""Atoms whose possible partners give the translations to try."""


def in_basis_of(start: Atoms, end: Atoms, remarks: list[str]) -> tuple[Atoms, list[str]]:
    """Return the end with the start's cell vectors if these span the same lattice; no atom moves.

    Raises:
        InputError: if constraints hold along the end's own vectors.
    """
    if not (start.pbc.all() and end.pbc.all() and start.cell.rank == end.cell.rank == 3):
        return end, remarks
    change = end.cell.array @ np.linalg.inv(start.cell.array)
    whole = np.rint(change)
    other = bool(np.abs(whole - np.eye(3)).any())
    if not other or np.abs(change - whole).max() > SAME_LATTICE or abs(round(np.linalg.det(whole))) != 1:
        return end, remarks
    placed = end.copy()
    placed.set_cell(start.cell)
    if sites := left_sites(end.info):
        placed.info["vacancies"] = (np.asarray(sites["vacancies"]) @ whole).tolist()
    if np.abs(free_directions(end) - free_directions(placed)).max(initial=0.0) > SAME_LATTICE:
        raise InputError(
            "the end's cell is another basis of the start's lattice, and its constraints hold along its vectors; "
            "want both ends in one cell"
        )
    return placed, [*remarks, "the end's cell is another basis of the start's lattice; the start's was taken"]


def translated(atoms: Atoms, shift: FloatArray) -> Atoms:
    """Return atoms moved as a whole by a vector, Å, with the sites that ions have left."""
    placed: Atoms = atoms.copy()
    placed.positions = atoms.positions + shift
    if (sites := left_sites(atoms.info)) and atoms.cell.rank == 3:
        moved = np.asarray(sites["vacancies"]) + atoms.cell.scaled_positions(np.atleast_2d(shift))
        placed.info["vacancies"] = (moved % 1.0).tolist()
    return placed


def framework_shift(start: Atoms, end: Atoms) -> FloatArray:
    """Return the translation of the end, Å, after which most atoms are where like ones are in the start.

    Zero where most are already. Of several that are as good, as between the cells of a supercell, the one that
    leaves the shortest way to go, but not none.
    """
    zero = np.zeros(3)
    if _away(start, end, zero) < max(3.0, IN_PLACE * len(start)):
        return zero
    rarest = min(np.unique(start.numbers), key=lambda z: (int((start.numbers == z).sum()), int(z)))
    here, there = np.flatnonzero(start.numbers == rarest), np.flatnonzero(end.numbers == rarest)
    tried = [end.positions[e] - start.positions[s] for e in there[:ANCHORS] for s in here]
    shifts = [_refined(start, end, find_mic(shift, start.cell, start.pbc)[0]) for shift in tried]
    away = np.array([_away(start, end, shift) for shift in shifts])
    if away.min() > len(start) / 2:
        return zero
    # vacancies that fall on one another leave nothing to go: such a shift is one of the host's own translations
    some = [n for n in range(len(shifts)) if 0 < away[n] <= max(1, away.min())] or [int(away.argmin())]
    lengths = [(round(_way(start, end, shifts[n]), 3), round(float(np.linalg.norm(shifts[n])), 3), n) for n in some]
    return shifts[min(lengths)[2]]


def _nearest(start: Atoms, end: Atoms, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each atom of the shifted end the vector from the nearest like atom of the start, (n, 3), and its length."""
    vectors, lengths = np.zeros((len(end), 3)), np.zeros(len(end))
    for number in np.unique(end.numbers):
        here, there = np.flatnonzero(start.numbers == number), np.flatnonzero(end.numbers == number)
        apart = (end.positions[there][:, None] - shift - start.positions[here][None]).reshape(-1, 3)
        found, length = find_mic(apart, start.cell, start.pbc)
        best = length.reshape(len(there), len(here)).argmin(axis=1)
        rows = np.arange(len(there))
        vectors[there] = found.reshape(len(there), len(here), 3)[rows, best]
        lengths[there] = length.reshape(len(there), len(here))[rows, best]
    return vectors, lengths


def _away(start: Atoms, end: Atoms, shift: FloatArray) -> int:
    return int((_nearest(start, end, shift)[1] > STILL_A).sum())


def _refined(start: Atoms, end: Atoms, shift: FloatArray) -> FloatArray:
    """Add the mean displacement of the atoms that are in their places."""
    vectors, lengths = _nearest(start, end, shift)
    still = lengths < STILL_A
    return np.asarray(shift + vectors[still].mean(axis=0)) if still.any() else shift


def _way(start: Atoms, end: Atoms, shift: FloatArray) -> float:
    """Least sum of squared displacements of the shifted end, Å²."""
    total = 0.0
    for number in np.unique(end.numbers):
        here, there = np.flatnonzero(start.numbers == number), np.flatnonzero(end.numbers == number)
        apart = (end.positions[there][None] - shift - start.positions[here][:, None]).reshape(-1, 3)
        cost = find_mic(apart, start.cell, start.pbc)[1].reshape(len(here), len(there)) ** 2
        total += float(cost[linear_sum_assignment(cost)].sum())
    return total
