"""Contents of a structure, besides its atoms and cell, that do not come back from a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomsim.constraints.projectors import free_directions
from atomsim.constraints.rules import symmetry_of, without_symmetry
from atomsim.errors import InputError
from atomsim.io.metadata import GEOMETRY, OF_READERS, as_read

NAMED = 8
"""Things that a message names, at most."""
WORDS = {"momenta": "velocities", "initial_magmoms": "magnetic moments", "initial_charges": "charges"}
ZERO_IS_NONE = frozenset({"tags", "momenta", "initial_magmoms", "initial_charges"})
"""Arrays that say nothing where all of them is zero."""


def losses(written: Atoms, found: Atoms, same: Callable[[object, object], bool]) -> set[str]:
    """Return names of what was written and is not in what was found.

    Args:
        written: the structure.
        found: what a reader makes of the file.
        same: whether two values of info mean the same.
    """
    read = as_read(found)
    lost = {f"info {key}" for key, value in written.info.items() if not _has(read.info, key, value, same)}
    for name, array in written.arrays.items():
        if name in GEOMETRY | OF_READERS or not array.size or (name in ZERO_IS_NONE and not array.any()):
            continue
        back = read.arrays.get(name)
        if back is None or not _equal(array, back):
            lost.add(WORDS.get(name, name))
    if not _same_constraints(written, found):
        lost.add("constraints")
    known = written.calc.results if isinstance(written.calc, SinglePointCalculator) else {}
    stored: dict[str, Any] = getattr(found.calc, "results", {})
    return lost | {name for name, value in known.items() if value is not None and stored.get(name) is None}


def note_losses(name: str, lost: set[str], nowhere: set[str]) -> None:
    """Name on standard error what a file does not keep, and the format that does, in one line.

    Args:
        name: of the file.
        lost: what it does not keep.
        nowhere: what extended XYZ does not keep either.
    """
    kept, gone = lost - nowhere, lost & nowhere
    parts = [f"{_listed(kept)}; .extxyz does"] * bool(kept)
    parts += [f"{_listed(gone)}, which no format does: wanted text, numbers or lists"] * bool(gone)
    if parts:
        sys.stderr.write(f"note: {name} does not keep {'; nor '.join(parts)}\n")


def _listed(lost: set[str]) -> str:
    ordered = sorted(lost, key=lambda word: (word.startswith("info "), word))
    more = len(ordered) - NAMED
    return ", ".join(ordered[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _has(info: dict[str, object], key: str, value: object, same: Callable[[object, object], bool]) -> bool:
    return key in OF_READERS or (key in info and same(info[key], value))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "bif" and other.dtype.kind in "bif":
        return bool(np.allclose(one, other, rtol=1e-5, atol=1e-5, equal_nan=True))
    return bool(np.all(one.astype(str) == other.astype(str)))


def _same_constraints(written: Atoms, found: Atoms) -> bool:
    if not written.constraints or not found.constraints:
        return not written.constraints
    pair = (written, found)
    if (symmetry_of(written) is None) != (symmetry_of(found) is None):
        return False
    try:
        free = [free_directions(a if symmetry_of(a) is None else without_symmetry(a)) for a in pair]
    except InputError:
        return len(written.constraints) == len(found.constraints)
    return bool(np.allclose(free[0], free[1], atol=1e-3))


def with_results_to_come(structures: Sequence[Atoms]) -> list[Atoms]:
    """Return copies with zeros for the results that a relaxation will find, to be written for trial."""
    ready = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=0.0, forces=np.zeros((len(copy), 3)), stress=np.zeros(6))
        ready.append(copy)
    return ready
