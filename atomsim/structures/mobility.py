"""Which element of a crystal can be its mobile ion, and which one holds the framework together."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from atomsim.errors import InputError
from atomsim.structures.charges import BOND, formal_charges

MOBILE = frozenset({"H", "Li", "Na", "K", "Rb", "Cs", "Ag", "Cu", "Mg", "Ca", "Zn", "Al"})
"""Cations that are known to move in solids."""
NON_METALS = frozenset({"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Te", "I"})
"""Elements between which a short distance is a covalent bond."""
HIGH_CHARGE = 4.0
"""A cation of this formal charge, e, or more is bound by every anion around it; nothing could balance its vacancy."""


def require_mobile(host: Atoms, ion: str) -> None:
    """Refuse an ion that is part of the framework: covalently bonded in a polyanion or molecule, or highly charged.

    Args:
        host: crystal with its ions.
        ion: element that is to move or to leave.

    Raises:
        InputError: saying what holds it.
    """
    if ion in MOBILE or ion not in host.symbols:
        return
    name = host.get_chemical_formula("metal", empirical=True)
    if partners := _bonded(host, ion):
        raise InputError(
            f"{ion} is bonded to {partners} in {name}: it is part of a polyanion or molecule, no mobile ion; "
            f"{_instead(host)}"
        )
    charges = formal_charges(host)
    if charges is not None and charges.by_element[ion] >= HIGH_CHARGE:
        raise InputError(
            f"{ion} holds the framework of {name} together (formal charge {charges.by_element[ion]:+.2g}), no mobile "
            f"ion; {_instead(host)}"
        )


def mobility_note(host: Atoms, ion: str) -> str:
    """Return what to know of an ion that seldom moves, or an anion, one sentence; empty for those that do move."""
    if ion in MOBILE or ion not in host.symbols:
        return ""
    if ion in NON_METALS:
        name = host.get_chemical_formula("metal", empirical=True)
        return f"{ion} is an anion of {name}: computed as asked, its vacancies without a charge"
    return f"{ion} is not known as a mobile ion: computed as asked"


def _bonded(host: Atoms, ion: str) -> str:
    """Non-metals that a non-metal is covalently bonded to, by element; empty for an isolated anion or a metal."""
    if ion not in NON_METALS:
        return ""
    bare = Atoms(host.numbers, host.positions, cell=host.cell, pbc=host.pbc)
    number = atomic_numbers[ion]
    others = [int(z) for z in np.unique(host.numbers) if chemical_symbols[z] in NON_METALS]
    reach = {(number, z): float(BOND * (covalent_radii[number] + covalent_radii[z])) for z in others}
    i, j = neighbor_list("ij", bare, reach)
    return ", ".join(sorted({chemical_symbols[z] for z in bare.numbers[j[bare.numbers[i] == number]]}))


def _instead(host: Atoms) -> str:
    known = [s for s in dict.fromkeys(host.symbols) if s in MOBILE]
    choice = f"choose the ion from {', '.join(known)}" if known else "choose another ion"
    return f"{choice}; 'atomsim neb' computes any single path"
