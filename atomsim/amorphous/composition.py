"""Composition of a glass: a formula or a mixture of formulas, as whole atoms in a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from atomsim.errors import InputError, check_whole
from atomsim.structures.charges import ANIONS, HIGHEST, formal_charges, held_charges
from atomsim.types import IntArray

LARGEST_DENOMINATOR = 64
SAME = 1e-3
"""Difference up to which an amount is a fraction with a small denominator."""
MAX_ATOMS = 100_000


@dataclass(frozen=True)
class Composition:
    """Whole atoms of each element in one cell."""

    name: str
    """The formula, or the mixture as ``0.8 Li2RuO3 + 0.2 Li2SO4``."""
    counts: Mapping[str, int]
    """Atoms of each element."""
    mixture: Mapping[str, float]
    """Formula units of each part for one formula unit of the whole."""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return sum(self.counts.values())

    @property
    def symbols(self) -> list[str]:
        """Symbol of each atom, elements together."""
        return [symbol for symbol, n in self.counts.items() for _ in range(n)]

    @property
    def numbers(self) -> IntArray:
        """Atomic number of each atom, (n_atoms,)."""
        return np.array([atomic_numbers[s] for s in self.symbols], dtype=np.int64)

    @property
    def mass(self) -> float:
        """Mass of the cell, u."""
        return float(atomic_masses[self.numbers].sum())

    @property
    def formula(self) -> str:
        """Formula of the cell."""
        return "".join(f"{symbol}{n}" for symbol, n in self.counts.items())

    @cached_property
    def charges(self) -> dict[str, float]:
        """Formal charge of each element, e: common states that are neutral together, or each its usual one."""
        found = formal_charges(Atoms(self.symbols))
        if found is not None:
            return dict(found.by_element)
        usual = held_charges(Atoms(self.symbols))
        return {s: float(usual.get(s, ANIONS.get(s, 3))) for s in self.counts}

    @property
    def warning(self) -> str:
        """Note where no common oxidation states make it neutral; else empty."""
        if formal_charges(Atoms(self.symbols)) is not None:
            return ""
        return f"{self.name} is not neutral in common oxidation states: correct the formula, unless that is meant"

    @property
    def is_oxidised(self) -> frozenset[str]:
        """Non-metals that are cations here, such as the sulfur of sulfate."""
        return frozenset(s for s in self.counts if s in HIGHEST and self.charges.get(s, 0) > 0)


def composition(given: str | Mapping[str, float], n_atoms: int) -> Composition:
    """Return a formula, or a mixture of formulas, as whole atoms.

    Args:
        given: ``"Li2Ru0.8S0.2O3.2"`` or ``{"Li2RuO3": 0.8, "Li2SO4": 0.2}``.
        n_atoms: number of atoms.

    Raises:
        InputError: if it is no formula, or not whole at this number of atoms; the nearest sizes are named.
    """
    check_whole("n_atoms", n_atoms, f"a whole number of atoms, 2 to {MAX_ATOMS}", low=2, high=MAX_ATOMS)
    parts = _parts(given)
    name = given if isinstance(given, str) else " + ".join(f"{w:g} {f}" for f, w in parts.items())
    amounts: dict[str, Fraction] = {}
    for formula, weight in parts.items():
        for symbol, amount in _elements(formula).items():
            amounts[symbol] = amounts.get(symbol, Fraction(0)) + amount * _fraction(weight, name)
    smallest = _whole(amounts)
    unit = sum(smallest.values())
    if n_atoms % unit:
        below, above = n_atoms // unit * unit, (n_atoms // unit + 1) * unit
        sizes = " or ".join(str(n) for n in (below, above) if n)
        raise InputError(
            f"found {n_atoms} atoms of {name}, which is whole in multiples of {unit}; the nearest sizes are {sizes}"
        )
    return Composition(str(name), {s: n * (n_atoms // unit) for s, n in smallest.items()}, parts)


def _parts(given: Any) -> dict[str, float]:
    if isinstance(given, str) and given.strip():
        return {given.strip(): 1.0}
    if isinstance(given, Mapping) and given:
        for formula, weight in given.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not (number and math.isfinite(weight) and weight >= 0):
                raise InputError(f"found {weight!r} of {formula} in a mixture, wanted its share, a number of 0 or more")
        kept = {str(f): float(w) for f, w in given.items() if w > 0}
        if kept:
            return kept
    raise InputError(
        f"found {given!r}, wanted a formula, such as 'Li2Ru0.8S0.2O3.2', or a mixture, such as "
        "{'Li2RuO3': 0.8, 'Li2SO4': 0.2}"
    )


def _elements(formula: str) -> dict[str, Fraction]:
    from pymatgen.core import Composition as Parsed

    try:
        found = {str(element): float(n) for element, n in Parsed(formula).items()}
    except Exception as error:
        raise InputError(f"found {formula!r}, wanted a formula such as Li2SO4 ({error})") from error
    unknown = sorted(set(found) - set(atomic_numbers))
    if unknown or not found or min(found.values()) <= 0:
        raise InputError(f"found {formula!r}, wanted a formula of elements, such as Li2SO4")
    return {symbol: _fraction(n, formula) for symbol, n in found.items()}


def _fraction(value: float, name: str) -> Fraction:
    for denominator in range(1, LARGEST_DENOMINATOR + 1):
        number = round(value * denominator)
        if abs(value - number / denominator) < SAME * max(value, 1e-9) / 2:
            return Fraction(number, denominator)
    raise InputError(
        f"found {value:g} in {name}, which is no fraction with a denominator up to {LARGEST_DENOMINATOR}; round it"
    )


def _whole(amounts: Mapping[str, Fraction]) -> dict[str, int]:
    common = reduce(math.lcm, (a.denominator for a in amounts.values()), 1)
    counts = {s: int(a * common) for s, a in amounts.items() if a}
    divisor = reduce(math.gcd, counts.values())
    return {s: n // divisor for s, n in counts.items()}
