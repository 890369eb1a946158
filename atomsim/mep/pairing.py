"""Two given structures as the ends of a path: the same atoms, in the same order, in the same place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy.optimize import linear_sum_assignment

from atomsim.constraints.projectors import free_directions
from atomsim.constraints.rules import require_supported
from atomsim.errors import InputError
from atomsim.mep.interpolate import between, displacement, same_atoms_and_cell
from atomsim.mep.path import travellers
from atomsim.mep.placing import framework_shift, in_basis_of, translated
from atomsim.types import FloatArray

ORDERS = ("checked", "matched", "given")
STILL_A = 0.5
"""An atom that goes no further has stayed in its place, Å."""
GAIN_A2 = 1.0
"""An order of the atoms that shortens the sum of squared displacements by less is as good as the one given, Å²."""
SHIFT_A = 0.1
"""A common displacement of all atoms that is less is drift, Å."""
HELD_A = 0.01
"""A fixed atom that is further from where it is at the other end has moved, Å."""
NAMED = 4
"""Atoms that a message names, at most."""


@dataclass(frozen=True)
class Pair:
    """The ends of a path, atom by atom."""

    start: Atoms = field(repr=False)
    end: Atoms = field(repr=False)
    """Its atoms in the order of the start's."""
    remarks: tuple[str, ...] = ()
    """Changes made to the end, in words."""


def paired(start: Atoms, end: Atoms, order: str = "checked") -> Pair:
    """Bring the end into the order and the place of the start, or refuse what cannot be joined.

    Lattice vectors between atoms of the ends are harmless, and so is another basis of the same lattice. A translation
    of the whole end is taken out, as no energy depends on it. Which of two like atoms went where is the chemist's
    choice, so another order is only taken where it is asked for.

    Args:
        start: one end.
        end: the other.
        order: ``checked``: refuse an end in which like atoms that move could be named so that they move much less;
            ``matched``: put its atoms into the order that moves them least; ``given``: take it as it is.

    Raises:
        InputError: if cells, numbers or kinds of atoms differ, atoms are in another order, a fixed atom moves or is
            free at the other end, or nothing moves.
    """
    if order not in ORDERS:
        raise InputError(f"unknown order {order!r}, wanted one of {', '.join(ORDERS)}")
    remarks: list[str] = []
    end, remarks = in_basis_of(start, end, remarks)
    same_atoms_and_cell(start, end)
    in_order = bool((start.numbers == end.numbers).all())
    if in_order:
        end, remarks = _unshifted(start, end, remarks)
    if order == "matched":
        end, remarks = _shifted_back(start, end, framework_shift(start, end), remarks)
    if order == "matched" or (order == "checked" and in_order):
        best = _least_moves(start, end, everything=not in_order)
        other = np.flatnonzero(best != np.arange(len(best)))
        if len(other) and order == "checked":
            raise InputError(_exchanged(start, end, best, other))
        if len(other):
            remarks.append(f"the end's atoms were put into the order of the start's: {_renamed(start, best, other)}")
            end = end[best]
            end, remarks = _unshifted(start, end, remarks)
    _check_held(start, end)
    try:
        displacement(start, end)
    except InputError as error:
        raise InputError("; ".join([str(error), *remarks])) from error
    return Pair(start, end, tuple(remarks))


def moves(moved: FloatArray, atoms: Atoms) -> str:
    """Name the atoms that travel and how far: ``Li2 2.30 Å``."""
    length = np.linalg.norm(moved, axis=1)
    chosen = sorted(travellers(moved), key=lambda n: (-round(float(length[n]), 3), n))
    named = ", ".join(f"{_name(atoms, n)} {length[n]:.2f} Å" for n in chosen[:NAMED])
    return named + (f" and {len(chosen) - NAMED} more" if len(chosen) > NAMED else "")


def _name(atoms: Atoms, n: int) -> str:
    return f"{atoms.symbols[n]}{n + 1}"


def _unshifted(start: Atoms, end: Atoms, remarks: list[str]) -> tuple[Atoms, list[str]]:
    """Take out the translation after which most atoms are where they were, if there is one."""
    moved = between(start, end)
    still = int((np.linalg.norm(moved, axis=1) < STILL_A).sum())
    best, most = np.zeros(3), still
    for shift in np.unique(moved.round(2), axis=0):
        rest, length = find_mic(moved - shift, start.cell, start.pbc)
        near = length < STILL_A
        if int(near.sum()) > most:
            best, most = shift + rest[near].mean(axis=0), int(near.sum())
    # fewer than three atoms, or less than half, are no frame of reference
    if most == still or most < max(3, len(start) / 2):
        return end, remarks
    return _shifted_back(start, end, best, remarks)


def _shifted_back(start: Atoms, end: Atoms, best: FloatArray, remarks: list[str]) -> tuple[Atoms, list[str]]:
    if float(np.linalg.norm(best)) < SHIFT_A:
        return end, remarks
    text = f"the end as a whole is shifted by ({', '.join(f'{x:.2f}' for x in best)}) Å against the start"
    if not (_shiftable(start, best) and _shiftable(end, best)):
        raise InputError(f"{text}, and has held atoms; want both in one place: shift one of the files back")
    return translated(end, -best), [*remarks, f"{text}; the shift was taken out"]


def _least_moves(start: Atoms, end: Atoms, *, everything: bool) -> np.ndarray:
    """Return the order of the end's atoms that minimises the sum of squared displacements, element by element.

    Squares rather than lengths: a chain in which each atom takes the next one's place stays a chain, as its short
    moves cost less than one long one. Where the order given is consistent, only atoms that move change names.
    """
    order = np.arange(len(start))
    far = np.linalg.norm(between(start, end), axis=1) > STILL_A
    for number in np.unique(start.numbers):
        here, there = np.flatnonzero(start.numbers == number), np.flatnonzero(end.numbers == number)
        if not everything:
            here = there = here[far[here]]
        if not len(here):
            continue
        apart = (end.positions[there][None] - start.positions[here][:, None]).reshape(-1, 3)
        cost = find_mic(apart, start.cell, start.pbc)[1].reshape(len(here), len(there)) ** 2
        rows, columns = linear_sum_assignment(cost)
        if everything or np.trace(cost) - cost[rows, columns].sum() > GAIN_A2:
            order[here[rows]] = there[columns]
    return order


def _exchanged(start: Atoms, end: Atoms, best: np.ndarray, other: np.ndarray) -> str:
    before = np.linalg.norm(between(start, end)[other], axis=1).max()
    after = np.linalg.norm(between(start, end[best])[other], axis=1).max()
    return (
        f"like atoms have other places in the end than in the start: {_renamed(start, best, other)}; as given they "
        f"move up to {before:.2f} Å, exchanged {after:.2f} Å: match the order (--match), or keep it (--as-given)"
    )


def _renamed(start: Atoms, best: np.ndarray, other: np.ndarray) -> str:
    named = ", ".join(f"{_name(start, n)} of the start is atom {best[n] + 1} of the end" for n in other[:NAMED])
    return named + (f" and {len(other) - NAMED} more" if len(other) > NAMED else "")


def _shiftable(atoms: Atoms, shift: FloatArray) -> bool:
    """True if constraints let a structure be shifted as a whole."""
    free = free_directions(atoms)
    return bool(np.abs(free @ shift - shift).max() < HELD_A)


def _check_held(start: Atoms, end: Atoms) -> None:
    """Refuse constraints that differ, or hold what must travel."""
    require_supported(start)
    require_supported(end)
    free = free_directions(start)
    differs = np.flatnonzero(np.abs(free - free_directions(end)).max(axis=(1, 2)) > 1e-6)
    if len(differs):
        n = int(differs[0])
        raise InputError(
            f"{_name(start, n)} is constrained differently at the two ends ({len(differs)} such atoms); "
            "want the same constraints at both"
        )
    moved = between(start, end)
    across = np.linalg.norm(moved - np.einsum("aij,aj->ai", free, moved), axis=1)
    if across.max() > HELD_A:
        n = int(across.argmax())
        raise InputError(
            f"{_name(start, n)} is held and is {across[n]:.3g} Å from its place at the other end; "
            "want held atoms in one place: free it, or correct one of the files"
        )
