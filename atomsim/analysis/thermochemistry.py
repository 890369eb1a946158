"""Oxygen as a reservoir, and measured formation enthalpies to calibrate a potential's oxides with.

Sources: O2 of NIST-JANAF: M. W. Chase, NIST-JANAF Thermochemical Tables, 4th ed., J. Phys. Chem. Ref. Data
Monograph 9 (1998). How a table becomes a chemical potential: Reuter & Scheffler 2001, Phys. Rev. B 65, 035406, Eq. 22.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atomsim.errors import InputError, nearest

KJ_PER_MOL = 96.485332
"""kJ/mol in one eV."""
BOLTZMANN_EV = 8.617333262e-5
"""eV/K."""

O2_TABLE: tuple[tuple[float, float, float], ...] = (
    (100.0, 173.307, -5.779),
    (200.0, 193.485, -2.868),
    (250.0, 199.990, -1.410),
    (298.15, 205.147, 0.0),
    (300.0, 205.329, 0.054),
    (350.0, 209.880, 1.531),
    (400.0, 213.871, 3.025),
    (450.0, 217.445, 4.543),
    (500.0, 220.693, 6.084),
    (600.0, 226.451, 9.244),
    (700.0, 231.466, 12.499),
    (800.0, 235.921, 15.835),
    (900.0, 239.931, 19.241),
    (1000.0, 243.578, 22.703),
    (1100.0, 246.922, 26.212),
    (1200.0, 250.010, 29.761),
    (1300.0, 252.878, 33.344),
    (1400.0, 255.556, 36.957),
    (1500.0, 258.068, 40.599),
)
"""T in K, S° in J/(K mol), H° − H°(298.15 K) in kJ/mol, at 1 bar (NIST-JANAF)."""
O2_FROM_ZERO_K = 8.683
"""H°(298.15 K) − H°(0 K) of O2, kJ/mol (NIST-JANAF)."""

BOND_A = (1.15, 1.30)
"""An O2 of a potential outside this is no molecule to count from, Å."""
BOX_A = 8.0
"""Shortest distance between O2 and its image, Å."""


@dataclass(frozen=True)
class Formation:
    """A measured enthalpy of formation at 298.15 K."""

    kJ_per_mol: float
    """Per formula unit."""
    source: str


MEASURED: dict[str, Formation] = {
    "Li2O": Formation(-597.9, "CRC Handbook of Chemistry and Physics"),
    "Na2O": Formation(-414.2, "CRC Handbook of Chemistry and Physics"),
    "Li2O2": Formation(-634.3, "CRC Handbook of Chemistry and Physics"),
    "RuO2": Formation(-305.0, "CRC Handbook of Chemistry and Physics"),
    "NiO": Formation(-239.3, "Robie, Hemingway 1995, U.S. Geol. Survey Bull. 2131"),
    "CoO": Formation(-237.9, "Robie, Hemingway 1995, U.S. Geol. Survey Bull. 2131"),
    "LiCoO2": Formation(-679.4, "Wang, Navrotsky 2004, Solid State Ionics 166, 167, with Li2O and CoO of this table"),
}
"""By formula."""


def oxygen_potential(temperature_K: float, pressure_bar: float = 1.0) -> float:
    """Return μ_O(T, p) − ½E(O2), eV per atom: what O in O2 gas has beside the energy of the molecule.

    ½[H(T) − H(0) − T S°(T) + kT ln(p/1 bar)], the entropy between tabulated temperatures by interpolation of H and S.

    Raises:
        InputError: for a temperature outside 100 to 1500 K, or a pressure that is not above 0.
    """
    low, high = O2_TABLE[0][0], O2_TABLE[-1][0]
    if not low <= temperature_K <= high:
        raise InputError(f"found {temperature_K:g} K, wanted {low:g} to {high:g} K, where O2 is tabulated")
    if not 0 < pressure_bar < math.inf:
        raise InputError(f"found an O2 pressure of {pressure_bar:g} bar, wanted one above 0")
    temperature, entropy, enthalpy = np.array(O2_TABLE).T
    # S and H are smooth in ln T and T: interpolated so, the error between entries is below 1 meV
    s = float(np.interp(math.log(temperature_K), np.log(temperature), entropy)) / 1000
    h = float(np.interp(temperature_K, temperature, enthalpy)) + O2_FROM_ZERO_K
    gas = BOLTZMANN_EV * temperature_K * math.log(pressure_bar)
    return 0.5 * ((h - temperature_K * s) / KJ_PER_MOL + gas)


def require_molecule(bond_A: float, box_A: float) -> None:
    """Refuse an O2 that energies cannot be counted from.

    Raises:
        InputError: for a bond outside ``BOND_A``, or a box in which it feels its images.
    """
    if not BOND_A[0] <= bond_A <= BOND_A[1]:
        raise InputError(
            f"O2 of this potential has a bond of {bond_A:.3f} Å, wanted {BOND_A[0]} to {BOND_A[1]} Å: "
            "it does not know the molecule; use another potential"
        )
    if box_A < BOX_A:
        raise InputError(f"O2 is {box_A:.1f} Å from its image, wanted {BOX_A:g} Å or more; use a larger box")


def measured_enthalpy(formula: str) -> Formation:
    """Return the measured enthalpy of formation of an oxide.

    Raises:
        InputError: if there is none in the table.
    """
    if formula not in MEASURED:
        hint = nearest(formula, list(MEASURED)) or ""
        raise InputError(
            f"no measured enthalpy of formation for {formula!r};{hint} calibration oxides are {', '.join(MEASURED)}"
        )
    return MEASURED[formula]


@dataclass(frozen=True)
class Calibration:
    """The shift per oxygen that makes formation enthalpies of some oxides the measured ones."""

    errors_eV: Mapping[str, float]
    """Computed minus measured enthalpy of formation of each oxide, eV per O."""

    @property
    def shift(self) -> float:
        """Correction of ½E(O2), eV: the mean of the errors."""
        return float(np.mean(list(self.errors_eV.values())))

    @property
    def spread(self) -> float:
        """Largest difference between two of the errors, eV: what one shift cannot cure."""
        return max(self.errors_eV.values()) - min(self.errors_eV.values())


def formation_enthalpy(energy_eV: float, counts: Mapping[str, int], elements_eV: Mapping[str, float]) -> float:
    """Return the energy of formation of a compound, eV per the atoms counted.

    Energies of 0 K stand for enthalpies of 298 K; for oxides the difference is some 10 meV per atom.

    Args:
        energy_eV: of the compound.
        counts: atoms of each element in it.
        elements_eV: energy of each element, eV per atom; of oxygen ½E(O2).

    Raises:
        InputError: if an element has no energy.
    """
    missing = [e for e in counts if e not in elements_eV]
    if missing:
        raise InputError(f"no energy of elemental {', '.join(missing)}: wanted one from the same potential")
    return energy_eV - sum(n * elements_eV[e] for e, n in counts.items())


def calibrate(errors: Sequence[tuple[str, float, int]]) -> Calibration:
    """Return the calibration from computed formation energies.

    Args:
        errors: formula, computed energy of formation in eV per formula unit, oxygens in it.

    Raises:
        InputError: if nothing was given, or an oxide has no measured enthalpy.
    """
    if not errors:
        raise InputError("a calibration needs an oxide; found none")
    found = {}
    for formula, computed, n_oxygen in errors:
        measured = measured_enthalpy(formula).kJ_per_mol / KJ_PER_MOL
        found[formula] = (computed - measured) / n_oxygen
    return Calibration(found)
