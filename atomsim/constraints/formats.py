"""Constraints in task JSON, extended XYZ and VASP's selective dynamics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.constraints.rules import (
    MASKED,
    Kind,
    as_constraints,
    classes,
    grouped,
    read_constraints,
    symmetry_of,
    without_symmetry,
)
from atomsim.errors import InputError

if TYPE_CHECKING:
    from ase.constraints import FixConstraint


def constraints_to_json(atoms: Atoms) -> list[dict[str, Any]]:
    """Return the constraints of a structure but ``FixAtoms`` as JSON: kind, atoms, and mask or direction.

    Raises:
        InputError: see ``read_constraints``.
    """
    symmetry = symmetry_of(atoms)
    _, rule = read_constraints(atoms if symmetry is None else without_symmetry(atoms))
    found: list[dict[str, Any]] = []
    for kind, values, index in grouped(rule):
        what = {"mask": [bool(v) for v in values]} if kind in MASKED else {"direction": values.tolist()}
        found.append({"kind": classes()[kind].__name__, "atoms": index, **what})
    if symmetry is not None:
        switches = {"adjust_positions": symmetry.do_adjust_positions, "adjust_cell": symmetry.do_adjust_cell}
        found.append({"kind": "FixSymmetry", "symprec": float(symmetry.symprec), **switches})
    return found


def constraints_from_json(atoms: Atoms, content: Sequence[Mapping[str, Any]]) -> list[FixConstraint]:
    """Rebuild what ``constraints_to_json`` wrote, for the same structure.

    Raises:
        InputError: for what it does not write.
    """
    from ase.constraints import FixAtoms, FixSymmetry

    by_name: dict[str, Any] = {"FixAtoms": FixAtoms} | {c.__name__: c for c in classes().values()}
    found: list[FixConstraint] = []
    for entry in content:
        what = dict(entry)
        name = what.pop("kind", None)
        try:
            if name == "FixSymmetry":
                found.append(FixSymmetry(atoms.copy(), **what))  # it moves the atoms that it is given
            else:
                values = [what[key] for key in ("mask", "direction") if key in what]
                found.append(by_name[str(name)](what["atoms"], *values))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"found a constraint {dict(entry)}, wanted one of {', '.join(by_name)}") from error
    return found


def noted_in_info(atoms: Atoms) -> Atoms:
    """Return a structure that extended XYZ can hold: its ``move_mask`` knows Cartesian axes alone.

    Other constraints are written as JSON under ``constraints``, and those that hold Cartesian axes also as the mask,
    for other programs. ``restored_from_info`` undoes it.
    """
    described = constraints_to_json(atoms)
    if all(entry["kind"] == "FixCartesian" for entry in described):
        return atoms
    from ase.constraints import FixAtoms, FixCartesian

    from atomsim.constraints.projectors import free_directions

    fixed = sorted({int(i) for c in atoms.constraints if isinstance(c, FixAtoms) for i in c.index})
    noted: Atoms = atoms.copy()
    noted.calc = atoms.calc
    noted.info["constraints"] = [*([{"kind": "FixAtoms", "atoms": fixed}] if fixed else []), *described]
    free = free_directions(atoms)
    axes = [np.round(np.diagonal(p)) for p in free]
    aligned = [not np.any(np.abs(p - np.diag(a)) > 1e-12) for p, a in zip(free, axes, strict=True)]
    held = [n for n, (a, ok) in enumerate(zip(axes, aligned, strict=True)) if ok and not a.all()]
    noted.set_constraint([FixCartesian([n], axes[n] == 0) for n in held])
    return noted


def restored_from_info(atoms: Atoms) -> Atoms:
    """Return a structure with the constraints that ``noted_in_info`` wrote, or as it is.

    Raises:
        InputError: if the entry is damaged.
    """
    content = atoms.info.get("constraints")
    if not isinstance(content, list) or not all(isinstance(c, dict) and "kind" in c for c in content):
        return atoms
    restored: Atoms = atoms.copy()
    restored.calc = atoms.calc
    del restored.info["constraints"]
    restored.set_constraint(constraints_from_json(restored, content))
    return restored


def from_selective_dynamics(flags: Sequence[Sequence[bool] | None]) -> list[FixConstraint]:
    """Return the constraints of VASP's selective dynamics: T moves along that lattice vector, F does not.

    Args:
        flags: three of each atom, or None where it may move.

    Raises:
        InputError: for what is no three truth values.
    """
    for n, row in enumerate(flags, 1):
        if row is not None and not (np.shape(row) == (3,) and all(f in (True, False) for f in row)):
            raise InputError(f"selective dynamics: atom {n} has {row!r}; want three of True and False")
    held = np.logical_not([[True] * 3 if f is None else list(f) for f in flags])
    rule = np.column_stack([np.where(held.any(axis=1), float(Kind.SCALED), 0.0), held])
    whole = np.asarray(held.all(axis=1))
    rule[whole] = 0.0
    return as_constraints(whole, rule)


def selective_dynamics(atoms: Atoms) -> NDArray[np.bool_] | None:
    """Return the flags of VASP's selective dynamics, (n_atoms, 3), or None where nothing is held.

    Raises:
        InputError: if an atom is held otherwise than along lattice vectors.
    """
    if not atoms.constraints:
        return None
    from atomsim.constraints.projectors import free_directions

    flags = np.ones((len(atoms), 3), dtype=bool)
    masks = np.array([[bool(m & bit) for bit in (4, 2, 1)] for m in range(8)])
    for n, free in enumerate(free_directions(atoms)):
        spans = (_span(atoms.cell.array[mask]) for mask in masks)
        found = next((m for m, p in zip(masks, spans, strict=True) if np.abs(p - free).max() < 1e-6), None)
        if found is None:
            raise InputError(
                f"{atoms.get_chemical_formula()}: atom {n} is held along directions that are none of the lattice's; "
                "selective dynamics cannot say so: write extended XYZ"
            )
        flags[n] = found
    return None if flags.all() else flags


def _span(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Projector onto the span of vectors, rows of (k, 3)."""
    return np.asarray(np.linalg.pinv(vectors) @ vectors) if len(vectors) else np.zeros((3, 3))
