"""Constraints on single atoms: from ASE to numbers and back.

An atom is held as a whole (``FixAtoms``), along Cartesian axes (``FixCartesian``) or lattice vectors (``FixScaled``,
VASP's selective dynamics), to a plane (``FixedPlane``) or to a line (``FixedLine``). ``FixSymmetry`` is the business
of ``relax``. Any other constraint ties atoms together, and is refused by its name.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase.constraints import FixConstraint, FixSymmetry


class Kind(IntEnum):
    """Kind of constraint on an atom that may move in some directions."""

    FREE = 0
    """It is not."""
    CARTESIAN = 1
    """Along the Cartesian axes of its mask: those coordinates stay."""
    SCALED = 2
    """Along the lattice vectors of its mask: those fractional coordinates stay."""
    PLANE = 3
    """Along a direction: it moves in the plane across it."""
    LINE = 4
    """Across a direction: it moves along it."""


MASKED = (Kind.CARTESIAN, Kind.SCALED)


@cache
def classes() -> dict[Kind, type[Any]]:
    """Return ASE's class of each kind; imported on first use, as it brings SciPy and what else symmetry needs."""
    from ase.constraints import FixCartesian, FixedLine, FixedPlane, FixScaled

    return {Kind.CARTESIAN: FixCartesian, Kind.SCALED: FixScaled, Kind.PLANE: FixedPlane, Kind.LINE: FixedLine}


def read_constraints(atoms: Atoms) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Translate the constraints of ASE Atoms into numbers.

    Returns:
        Atoms that nothing may move, (n_atoms,), bool; and for each atom its ``Kind`` and the three numbers of the
        mask or unit direction, (n_atoms, 4), or None where no atom is held by anything but ``FixAtoms``.

    Raises:
        InputError: for a constraint that is not on single atoms, two of different kinds on one atom, or
            fractional coordinates held without three lattice vectors.
    """
    from ase.constraints import FixAtoms

    fixed = np.zeros(len(atoms), dtype=bool)
    rule = np.zeros((len(atoms), 4))
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            _check_index(atoms, constraint)
            fixed[constraint.index] = True
            continue
        kind = next((k for k, c in classes().items() if type(constraint) is c), None)
        if kind is None:
            raise InputError(_unsupported(atoms, constraint))
        _check_index(atoms, constraint)
        values = np.asarray(constraint.mask if kind in MASKED else constraint.dir, dtype=float)
        if not np.isfinite(values).all():
            raise InputError(f"{_found(atoms, constraint)} without a direction; give one other than (0, 0, 0)")
        if values.any():
            _add(rule, atoms, constraint.index, kind, values)
    if not rule.any():
        return fixed, None
    if (rule[:, 0] == Kind.SCALED).any() and atoms.cell.rank < 3:
        raise InputError(
            f"{atoms.get_chemical_formula()}: FixScaled holds fractional coordinates, but found {atoms.cell.rank} "
            "lattice vectors, wanted 3; use FixCartesian"
        )
    masked = np.isin(rule[:, 0], MASKED)
    fixed |= masked & (rule[:, 1:] != 0).all(axis=1)
    return fixed, rule


def _found(atoms: Atoms, constraint: FixConstraint) -> str:
    return f"{atoms.get_chemical_formula()} has a {type(constraint).__name__} constraint"


def _check_index(atoms: Atoms, constraint: Any) -> None:
    last = int(np.max(constraint.index, initial=0))
    if last >= len(atoms):
        raise InputError(f"{_found(atoms, constraint)} on atom {last}, and {len(atoms)} atoms from 0 on; correct it")


def _add(rule: NDArray[np.float64], atoms: Atoms, index: Any, kind: Kind, values: NDArray[np.float64]) -> None:
    """Put one constraint into the table; masks of one kind add up."""
    for n in np.arange(len(atoms))[index]:
        before = Kind(int(rule[n, 0]))
        if before is Kind.FREE or (before is kind and kind in MASKED):
            rule[n] = [kind, *np.maximum(rule[n, 1:], values)] if kind in MASKED else [kind, *values]
        elif before is not kind or not np.array_equal(rule[n, 1:], values):
            names = " and ".join(classes()[k].__name__ for k in (before, kind))
            raise InputError(
                f"{atoms.get_chemical_formula()}: atom {n} has two constraints, {names}; want one on each atom: "
                "two planes are a FixedLine, and FixAtoms holds it as a whole"
            )


def _unsupported(atoms: Atoms, constraint: FixConstraint) -> str:
    from ase.constraints import FixSymmetry

    if isinstance(constraint, FixSymmetry):
        return f"{_found(atoms, constraint)}, which only a relaxation can keep (keep_symmetry); remove it here"
    return (
        f"{_found(atoms, constraint)}, which is not supported; remove it, or hold single atoms by "
        f"{', '.join(['FixAtoms', *(c.__name__ for c in classes().values())])}"
    )


def as_constraints(fixed: NDArray[np.bool_], rule: NDArray[np.float64] | None) -> list[FixConstraint]:
    """Return ASE constraints from the numbers of ``read_constraints``, each of the kind that it was."""
    from ase.constraints import FixAtoms

    whole = fixed if rule is None else fixed & (rule[:, 0] == Kind.FREE)
    found: list[FixConstraint] = [FixAtoms(mask=whole)] if whole.any() else []
    for kind, values, index in grouped(rule):
        found.append(classes()[kind](index, values != 0 if kind in MASKED else values))
    return found


def grouped(rule: NDArray[np.float64] | None) -> list[tuple[Kind, NDArray[np.float64], list[int]]]:
    """Kind, mask or direction, and indices of atoms held alike, in the order of the first of each."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for n, row in enumerate([] if rule is None else rule.tolist()):
        if row[0] != Kind.FREE:
            groups.setdefault(tuple(row), []).append(n)
    return [(Kind(int(row[0])), np.array(row[1:]), index) for row, index in groups.items()]


def symmetry_of(atoms: Atoms) -> FixSymmetry | None:
    """Return the ``FixSymmetry`` constraint of a structure, or None."""
    from ase.constraints import FixSymmetry

    return next((c for c in atoms.constraints if isinstance(c, FixSymmetry)), None)


def without_symmetry(atoms: Atoms) -> Atoms:
    """Return a copy that keeps every constraint but ``FixSymmetry``, and its results."""
    from ase.constraints import FixSymmetry

    plain: Atoms = atoms.copy()
    plain.calc = atoms.calc
    plain.set_constraint([c for c in plain.constraints if not isinstance(c, FixSymmetry)])
    return plain


def require_supported(atoms: Atoms, *, cell: bool = False, symmetry: bool = False) -> None:
    """Raise if the constraints of a structure cannot be kept.

    Args:
        atoms: the structure.
        cell: its cell is to move, if it is periodic in three dimensions.
        symmetry: ``FixSymmetry`` can be kept.

    Raises:
        InputError: see ``read_constraints``; and for Cartesian directions that are held while the cell moves.
    """
    fixed, rule = read_constraints(without_symmetry(atoms) if symmetry and symmetry_of(atoms) else atoms)
    if rule is None or not cell or not atoms.pbc.all():
        return
    partly = ~np.isin(rule[:, 0], (Kind.FREE, Kind.SCALED)) & ~_whole(rule) & ~fixed
    if partly.any():
        n = int(np.flatnonzero(partly)[0])
        name = classes()[Kind(int(rule[n, 0]))].__name__
        raise InputError(
            f"{atoms.get_chemical_formula()}: {name} holds atom {n} in space, which "
            "says nothing once the cell deforms; keep the cell (cell = false, --no-cell), or hold fractional "
            "coordinates (FixScaled, selective dynamics)"
        )


def require_unconstrained(atoms: Atoms, work: str) -> None:
    """Raise if a structure has constraints where they mean nothing.

    Args:
        atoms: the structure.
        work: what is to be done with it, for the message.

    Raises:
        InputError: naming the constraints; those that hold nothing do not count.
    """
    fixed, rule = read_constraints(without_symmetry(atoms))
    if fixed.any() or rule is not None or symmetry_of(atoms) is not None:
        names = ", ".join(dict.fromkeys(type(c).__name__ for c in atoms.constraints))
        raise InputError(f"{atoms.get_chemical_formula()} has constraints ({names}); {work} holds nothing: remove them")


def _whole(rule: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isin(rule[:, 0], MASKED) & (rule[:, 1:] != 0).all(axis=1))
