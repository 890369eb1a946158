"""Atom sites of a CIF: which element, where, and whether it is there at all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.io.cif_block import CifBlock, parse_number

FULL = 1 - 1e-3
"""Occupancy from which a site counts as full."""
TOO_FULL = 1.1
"""Occupancy above which a number is no occupancy: refined ones may exceed 1 by their s.u."""
DUMMIES = {"Va", "Vac", "Vc", "Cg", "Cnt", "Du", "Dum", "Wat", "Hoh", "Ree"}
"""Letters of labels that stand for vacancies, ring centres, other dummies, water and rare earths, never for V, C, …"""
SEVERAL = re.compile(r"H2O|[A-Z][a-z]?[\d.]*\s*[/,:&|;][\s\d.]*[A-Z]|[A-Z][a-z]{3}")
"""Labels of water, of a mixed site (Fe/Mn) and words (Lithium), from which no element is taken."""
HEAVIEST = 83
"""Atomic number up to which capitals in a label are taken for a symbol (CO1 is Co), not beyond (PO1 may be P or Po)."""
KIND = re.compile(r"\d*([A-Za-z]+)(?:\d*\.?\d*[+-]|[+-]\d*\.?\d*|\d*)")
"""A type symbol: an element, perhaps with mass number and charge."""
ORDERED = {None, "0"}
"""Disorder groups of sites that are always there."""


@dataclass(frozen=True)
class Site:
    """One listed site, fully occupied."""

    label: str
    symbol: str
    position: NDArray[np.float64]
    """Coordinates as listed, (3,)."""
    unit: NDArray[np.float64]
    """Unit of the last digit given of each coordinate, (3,)."""
    multiplicity: int | None
    """Atoms in the cell as declared."""


def read_sites(block: CifBlock, formula: Mapping[str, float] | None, coordinates: str = "fract") -> list[Site]:
    """Return the sites of a block.

    Args:
        block: one with atom sites.
        formula: declared formula, which decides where a label may be of two elements.
        coordinates: ``fract`` or ``Cartn``.

    Raises:
        InputError: a site that is partly occupied, disordered, no element or without coordinates.
    """
    columns = [block.column(f"_atom_site_{coordinates}_{axis}") for axis in "xyz"]
    n = len(columns[0] or [])
    labels = block.column("_atom_site_label") or block.column("_atom_site_type_symbol") or [None] * n
    types = block.column("_atom_site_type_symbol") or [None] * n
    occupancies = block.column("_atom_site_occupancy") or [None] * n
    flags = block.column("_atom_site_calc_flag") or [None] * n
    hydrogens = block.column("_atom_site_attached_hydrogens") or [None] * n
    multiplicities = block.column("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
    multiplicities = multiplicities or [None] * n
    for column in (*columns, labels, types, occupancies, flags, hydrogens, multiplicities):
        if column is None or len(column) != n:
            raise InputError(f"{block.where}: columns of _atom_site differ in length; want one loop of all sites")
    _refuse_disorder(block, n)
    sites = []
    for i in range(n):
        if (flags[i] or "").lower() == "dum":  # by the core dictionary a site without an atom
            continue
        label = labels[i] or types[i] or f"{i + 1}"
        _check_occupancy(block, label, occupancies[i])
        if (hydrogens[i] or "0") != "0":
            raise InputError(f"{block.where}: site {label} has {hydrogens[i]} hydrogens that are not listed; add them")
        position, unit = _position(block, label, [(column or [])[i] for column in columns])
        symbol = _symbol(block, label, types[i], formula)
        text = multiplicities[i] or ""
        sites.append(Site(label, symbol, position, unit, int(text) if text.isdecimal() else None))
    return sites


def element(symbol: str) -> str:
    """Return the element of a symbol, which may be D."""
    return "H" if symbol == "D" else symbol


def composition(symbols: Iterable[str]) -> Counter[str]:
    """Return how many atoms there are of each element, deuterium as H."""
    return Counter(element(s) for s in symbols)


def _check_occupancy(block: CifBlock, label: str, text: str | None) -> None:
    if text is None:
        return
    number = parse_number(text)
    if number is None:
        raise InputError(
            f"{block.where}: site {label} has occupancy {text!r}; want a number, and every site full: "
            "make an ordered supercell of a disordered crystal first"
        )
    if number.value < FULL:
        raise InputError(
            f"{block.where}: site {label} has occupancy {number.value:g}; want every site full: "
            "make an ordered supercell first"
        )
    if number.value > TOO_FULL:
        raise InputError(f"{block.where}: site {label} has occupancy {number.value:g}; want 1")


def _refuse_disorder(block: CifBlock, n: int) -> None:
    groups = block.column("_atom_site_disorder_group") or [None] * n
    assemblies = block.column("_atom_site_disorder_assembly") or [None] * n
    alternatives: dict[str | None, set[str]] = {}
    for group, assembly in zip(groups, assemblies, strict=False):
        if group not in ORDERED:
            alternatives.setdefault(assembly, set()).add(str(group))
    for found in alternatives.values():
        if len(found) > 1 or any(g.startswith("-") for g in found):
            named = ", ".join(sorted(found))
            raise InputError(
                f"{block.where}: sites of disorder groups {named}, of which each cell has one; want an ordered "
                "crystal: keep the sites of one group"
            )


def _position(block: CifBlock, label: str, texts: list[str | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    numbers = [None if text is None else parse_number(text) for text in texts]
    for text, number in zip(texts, numbers, strict=True):
        if number is None:
            raise InputError(
                f"{block.where}: site {label} has coordinate {text or '?'!r}; want a number: "
                "complete or remove the site"
            )
    known = [n for n in numbers if n is not None]
    return np.array([n.value for n in known]), np.array([n.unit for n in known])


def _symbol(block: CifBlock, label: str, kind: str | None, formula: Mapping[str, float] | None) -> str:
    if kind is not None:
        match = KIND.fullmatch(kind)
        symbol = match[1].capitalize() if match else ""
        if _known(symbol):
            return symbol
        raise InputError(
            f"{block.where}: site {label} is of type {kind!r}, no element; want one: remove vacancies and dummies"
        )
    candidates = _candidates(label, formula or {})
    if len(candidates) == 1:
        return candidates[0]
    found = f"may be {' or '.join(candidates)}" if candidates else "is of no element"
    raise InputError(f"{block.where}: site {label} {found}; add a column _atom_site_type_symbol")


def _candidates(label: str, formula: Mapping[str, float]) -> list[str]:
    """Return the elements that a label may begin with; capitals are a symbol (CO1: Co) or name a neighbour (HO1)."""
    match = re.match(r"[A-Za-z]+", label)
    letters = match[0] if match else ""
    if letters.capitalize() in DUMMIES or SEVERAL.match(label):
        return []
    two, one = letters[:2].capitalize(), letters[:1].upper()
    candidates = [c for c in dict.fromkeys((two, one)) if _known(c) and (c != "D" or c in formula)]
    declared = [c for c in candidates if element(c) in formula or c in formula]
    if len(declared) == 1:
        return declared
    whole = candidates[:1] == [letters.capitalize()]
    doubtful = letters.isupper() and (one == "H" or atomic_numbers.get(two, 0) > HEAVIEST)
    return candidates[:1] if whole and not doubtful else candidates


def _known(symbol: str) -> bool:
    return symbol == "D" or (symbol in atomic_numbers and symbol != "X")
