"""Compositions that a host can take, and the sizes of supercells in which it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from pymatgen.core import Composition

from atomsim.errors import InputError
from atomsim.types import IntArray


def host_units(parent: Atoms, ion: str, host_unit: str | int | None) -> int:
    """Return the formula units of the host, the parent without its ions, in the parent.

    Args:
        parent: host with all ions.
        ion: element to leave out.
        host_unit: formula of one unit (``"RuO3"``), or how many there are; None for the reduced formula.

    Raises:
        InputError: if the unit does not divide the host, or nothing but ions is there.
    """
    host = Composition({s: n for s, n in _counts(parent).items() if s != ion})
    if not host:
        raise InputError(f"{parent.get_chemical_formula()} is {ion} alone; want a host that keeps its atoms")
    if host_unit is None:
        # not pymatgen's reduced formula, which is O2 for a host of oxygen alone
        return gcd(*(round(n) for n in host.values()))
    if isinstance(host_unit, int):
        if host_unit < 1:
            raise InputError(f"host_unit = {host_unit}; want 1 or more units in the parent")
        # Not checked to divide the atoms: a disordered host has units of mean composition.
        return host_unit
    try:
        unit = Composition(host_unit)
    except ValueError as error:
        raise InputError(f"host unit {host_unit!r} is not a formula; want one such as 'RuO3'") from error
    ratios = {round(host[element] / n, 6) for element, n in unit.items()}
    if set(unit) != set(host) or len(ratios) != 1 or ratios.pop() % 1:
        raise InputError(
            f"host unit {host_unit!r} does not divide the host {host.formula}; want {host.reduced_formula!r}"
        )
    return round(host.num_atoms / unit.num_atoms)


def _counts(atoms: Atoms) -> dict[str, int]:
    result: dict[str, int] = atoms.symbols.formula.count()
    return result


@dataclass(frozen=True)
class Size:
    """A number of parent cells in which a composition is possible."""

    cells: int
    """Cells of the parent in the supercell."""
    ions: int
    """Ions that are left in it."""


def reachable_sizes(
    parent: Atoms, n_ions: int, units: int, x: float, max_atoms: int, supercell: IntArray | None = None
) -> list[Size]:
    """Return the supercell sizes in which ``x`` is possible, the smallest first.

    Args:
        parent: host with all ions.
        n_ions: ions in the parent.
        units: host units in the parent.
        x: ions per host unit wanted; one within 0.002 of a possible value means that value.
        max_atoms: largest supercell, atoms.
        supercell: the one supercell to use, rows in units of the parent's vectors, instead of all sizes.

    Raises:
        InputError: if ``x`` is out of range or not possible, naming the nearest that is.
    """
    x_max = n_ions / units
    if not 0 <= x <= x_max + 1e-9:
        raise InputError(
            f"x = {x:g} in {parent.get_chemical_formula()}; want 0 to {x_max:g}, the ions per host unit that it holds"
        )
    given = None if supercell is None else round(float(np.linalg.det(supercell)))
    sizes = [given] if given else list(range(1, max(1, max_atoms // len(parent)) + 1))
    for cells in sizes:
        kept = x * units * cells
        # Values typed with three digits (0.333) mean the fraction next to them.
        if abs(kept - round(kept)) < 2e-3 * units * cells and abs(kept - round(kept)) < 0.1:
            ions = round(kept)
            return [Size(m, ions * m // cells) for m in sizes if m >= cells and ions * m % cells == 0]
    finest = max(sizes, key=lambda cells: (-_gap(x, units * cells), -cells))
    nearest = round(x * units * finest) / (units * finest)
    grown = "the given supercell" if supercell is not None else f"max_atoms = {max_atoms}"
    raise InputError(
        f"x = {x:g} cannot be reached within {grown}; nearest is x = {nearest:.6g}, or allow a larger cell"
    )


def checked_supercell(supercell: Sequence[Sequence[int]]) -> IntArray:
    """Return a supercell given by a user as a matrix, vectors as rows.

    Raises:
        InputError: if it is not three whole-number rows of positive volume.
    """
    rows = [list(row) for row in supercell]
    matrix = np.array(rows, dtype=np.int64) if {len(row) for row in rows} == {3} else np.zeros((0, 3), dtype=np.int64)
    if matrix.shape != (3, 3) or round(float(np.linalg.det(matrix))) < 1:
        raise InputError(f"supercell {rows} is not right-handed; want three rows, volume > 0")
    return matrix


def _gap(x: float, units: int) -> float:
    return abs(x - round(x * units) / units)


def left_sites(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return where ions were, from ``info`` or tags: ``ion`` and ``vacancies``, plain; empty where both are not there.

    A vacancy is a site in fractional coordinates: with the ion there the structure is its host again.
    """
    ion = info.get("ion")
    try:
        sites = np.asarray(info.get("vacancies"), dtype=float)
    except (TypeError, ValueError):
        return {}
    known = isinstance(ion, str) and ion in atomic_numbers
    if not known or sites.ndim != 2 or sites.shape[1] != 3 or len(sites) == 0 or not np.isfinite(sites).all():
        return {}
    return {"ion": str(ion), "vacancies": sites.tolist()}
