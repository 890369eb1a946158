"""Average intercalation voltages and gravimetric capacities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from atomsim.analysis.hull import SAME_X, Hull
from atomsim.errors import InputError
from atomsim.units import FARADAY_MAH


@dataclass(frozen=True)
class VoltageStep:
    """The average voltage while the ion content falls from ``x_high`` to ``x_low`` on charge."""

    x_high: float
    """Ions per host unit before."""
    x_low: float
    """Ions per host unit after."""
    voltage: float
    """Average voltage against the ion's metal, V."""


def average_voltage(
    x_high: float, energy_high_eV: float, x_low: float, energy_low_eV: float, ion_energy_eV: float, charge: int = 1
) -> float:
    """Return the average voltage between two compositions, V against the ion's metal.

    V = −[E(x₁) − E(x₂) − (x₁ − x₂) E_ion] / [z (x₁ − x₂)], Aydinol et al. 1997, Phys. Rev. B 56, 1354,
    Eqs. 1–4; volume and entropy terms (some 10 meV) are left out, as there.

    Args:
        x_high: ions per host unit of the ion-rich composition.
        energy_high_eV: its energy, eV per host unit.
        x_low: ions per host unit of the ion-poor composition.
        energy_low_eV: its energy, eV per host unit.
        ion_energy_eV: energy of the metal, eV per atom, from the same potential.
        charge: charge of the ion in e.

    Raises:
        InputError: if ``x_high`` is not above ``x_low``.
    """
    dx = x_high - x_low
    if dx < SAME_X:
        raise InputError(f"a voltage needs x_high > x_low; found {x_high:g} and {x_low:g}")
    return -(energy_high_eV - energy_low_eV - dx * ion_energy_eV) / (charge * dx)


def voltage_steps(
    x: Sequence[float], energy_eV: Sequence[float], ion_energy_eV: float, charge: int = 1
) -> list[VoltageStep]:
    """Return the average voltage between neighbouring compositions, ion-rich first (as on charge).

    Args:
        x: ions per host unit, each once, any order, (n,).
        energy_eV: energies, eV per host unit, (n,).
        ion_energy_eV: energy of the metal, eV per atom.
        charge: charge of the ion in e.

    Raises:
        InputError: if an x occurs twice.
    """
    order = sorted(range(len(x)), key=lambda k: -x[k])
    return [
        VoltageStep(x[i], x[j], average_voltage(x[i], energy_eV[i], x[j], energy_eV[j], ion_energy_eV, charge))
        for i, j in pairwise(order)
    ]


def hull_voltage(hull: Hull, x_high: float, x_low: float, ion_energy_eV: float, charge: int = 1) -> float:
    """Return the average voltage of the stable phases between any two x of a hull, V.

    Raises:
        InputError: if an x lies outside the hull.
    """
    return average_voltage(x_high, hull.energy(x_high), x_low, hull.energy(x_low), ion_energy_eV, charge)


def ions_below(steps: Sequence[VoltageStep], cutoff_V: float) -> float:
    """Return how many ions per host unit leave up to a cutoff voltage, from the ion-rich end on."""
    taken = 0.0
    for step in sorted(steps, key=lambda s: -s.x_high):
        if step.voltage > cutoff_V:
            break
        taken += step.x_high - step.x_low
    return taken


def specific_capacity(electrons: float, formula: str) -> float:
    """Return n F / M in mAh per gram of ``formula``.

    Args:
        electrons: electrons per formula unit.
        formula: the formula unit, fractions allowed: ``Li2Ru0.8S0.2O3.2``.

    Raises:
        InputError: if the formula cannot be read.
    """
    return electrons * FARADAY_MAH / molar_mass_g_per_mol(formula)


def molar_mass_g_per_mol(formula: str) -> float:
    """Return the molar mass of a formula, g/mol.

    Raises:
        InputError: if the formula cannot be read.
    """
    from pymatgen.core import Composition  # heavy to import, and most callers of this module need none of it

    try:
        return float(Composition(formula).weight)
    except (ValueError, KeyError) as error:
        raise InputError(f"cannot read the formula {formula!r}; write it like Li2RuO3 or Li2Ru0.8S0.2O3.2") from error
