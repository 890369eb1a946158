"""Charge that a dopant brings, and what pays for it: ions that leave, or host cations that become ions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from atomsim.cations.settings import DopingSettings
from atomsim.errors import InputError
from atomsim.structures.charges import HELD, INACTIVE, STEPS, formal_charges
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.types import FloatArray


def known_charges(host: Atoms, settings: DopingSettings) -> dict[str, float] | None:
    """Formal charges of the host's elements and the dopant; None where they are not known."""
    given = {s: q for s, q in settings.charges.items() if s != settings.dopant}
    known = formal_charges(host, given or None)
    own = settings.charges.get(settings.dopant, dopant_charge(settings.dopant))
    if known is None or own is None:
        return None
    return {**known.by_element, settings.dopant: own}


def dopant_charge(element: str) -> float | None:
    """The one state of an element, or the highest of one that gives it before others are oxidised."""
    if element in HELD:
        return float(HELD[element])
    states = [float(to) for symbol, _, to in STEPS if symbol == element]
    return max(states) if states and element in INACTIVE | {"Mo", "Cr", "V", "Sb"} else None


def excess_charge(settings: DopingSettings, charges: Mapping[str, float] | None, replaced: str) -> float:
    """Charge that one dopant brings, e; 0 where nothing has to pay for it."""
    if settings.compensation == "none":
        return 0.0
    if charges is None:
        raise InputError(
            f"compensation {settings.compensation!r}: the charges of {settings.dopant} and the host are not known; "
            f"give charges = {{ {settings.dopant} = … }}, or compensation = 'none'"
        )
    return charges[settings.dopant] - charges[replaced]


@dataclass(frozen=True)
class Payment:
    """Atoms of an element that are removed, or become ions."""

    element: str = ""
    number: int = 0
    swap: bool = False


def compensate(host: Atoms, settings: DopingSettings, charges: Mapping[str, float] | None, excess: float) -> Payment:
    """Return what pays for an excess of positive charge.

    Raises:
        InputError: if nothing does.
    """
    if settings.compensation == "none" or charges is None or abs(excess) < 1e-9:
        return Payment()
    ion = charges.get(settings.ion)
    counts = host.symbols.formula.count()
    what = f"{settings.dopant} brings {excess:+g} e to {host.get_chemical_formula()}"
    if ion is None:
        raise InputError(
            f"{what}, and there is no {settings.ion} to pay for it; name the ion, or compensation = 'none'"
        )
    if settings.compensation == "remove_ion":
        number = round(excess / ion)
        if excess < 0 or abs(number * ion - excess) > 1e-6 or number >= counts[settings.ion]:
            raise InputError(f"{what}; taking out {settings.ion} cannot balance that, wanted 'none' or 'swap'")
        return Payment(settings.ion, number)
    fitting = []
    for element, available in counts.items():
        gain = charges[element] - ion
        number = round(excess / gain) if gain > 0 else 0
        if number >= 1 and number < available and abs(number * gain - excess) < 1e-6:
            fitting.append((number, element))
    if not fitting:
        raise InputError(
            f"{what}; no host cation swapped for {settings.ion} balances that, wanted compensation 'none' or "
            "'remove_ion'"
        )
    number, element = min(fitting)
    return Payment(element, number, swap=True)


class CoulombEnergy:
    """Coulomb energies of formal charges on a host's sites; None without charges."""

    def __init__(self, host: Atoms, charges: Mapping[str, float] | None) -> None:
        self.charges = charges
        if charges is not None:
            self.matrix = ewald_matrix(host)
            self.host = np.array([charges[s] for s in host.get_chemical_symbols()])

    def of(self, changes: Sequence[Mapping[int, str]]) -> FloatArray | None:
        """Energies of the host with some atoms changed to other elements (an empty word: none), eV."""
        if self.charges is None:
            return None
        q = np.tile(self.host, (len(changes), 1))
        for row, change in zip(q, changes, strict=True):
            for atom, element in change.items():
                row[atom] = self.charges[element] if element else 0.0
        found: FloatArray = np.einsum("ni,ij,nj->n", q, self.matrix, q, optimize=True)
        return found
