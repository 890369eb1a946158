"""Formal charges: anions by their neighbours, redox-inactive cations held, the others oxidised in a known order.

As many electrons as neutrality demands are taken from the metals, the easiest first. The order is that of the redox
energies of metals in oxides (Goodenough & Kim 2010, Chem. Mater. 22, 587; Melot & Tarascon 2013, Acc. Chem. Res. 46,
1226). Only the order counts. It gives Mn⁴⁺ Co³⁺ Ni²⁺ in Li(Ni,Mn,Co)O₂, where each element's commonest state would not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from matscipy.neighbours import neighbour_list

HELD: dict[str, int] = {
    **dict.fromkeys(("H", "Li", "Na", "K", "Rb", "Cs", "Ag"), 1),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd"), 2),
    **dict.fromkeys(("B", "Al", "Ga", "In", "Sc", "Y"), 3),
    **dict.fromkeys(("La", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu"), 3),
    **dict.fromkeys(("C", "Si", "Ge", "Zr", "Hf", "Th"), 4),
    **dict.fromkeys(("P", "As"), 5),
}
"""Cations with one state only; what H, C, P and As are bonded to may make them others."""

STEPS: tuple[tuple[str, int, int], ...] = (
    ("Ta", 4, 5), ("Hf", 3, 4), ("Zr", 3, 4), ("Ti", 2, 3), ("Nb", 3, 4), ("Ti", 3, 4), ("Nb", 4, 5), ("W", 4, 5),
    ("W", 5, 6), ("Sn", 2, 4), ("Ce", 3, 4), ("Re", 4, 7), ("Cr", 2, 3), ("V", 2, 3), ("Mo", 2, 3), ("Mo", 3, 4),
    ("Sb", 3, 5), ("Mo", 4, 5), ("Mo", 5, 6), ("Fe", 2, 3), ("V", 3, 4), ("V", 4, 5), ("Mn", 2, 3), ("Cu", 1, 2),
    ("Co", 2, 3), ("Os", 3, 4), ("Ir", 3, 4), ("Ru", 2, 3), ("Rh", 2, 3), ("Ru", 3, 4), ("Mn", 3, 4), ("Os", 4, 5),
    ("Ru", 4, 5), ("Ir", 4, 5), ("Bi", 3, 5), ("Pb", 2, 4), ("Ni", 2, 3), ("Rh", 3, 4), ("Pd", 2, 4), ("Pt", 2, 4),
    ("Ru", 5, 6), ("Os", 5, 6), ("Fe", 3, 4), ("Ni", 3, 4), ("Co", 3, 4), ("Ir", 5, 6), ("Cu", 2, 3), ("Cr", 3, 6),
    ("Os", 6, 7), ("Ru", 6, 7), ("Mn", 4, 7),
)  # fmt: skip
"""(element, from, to), the easiest oxidation first; Ni⁴⁺ before Co⁴⁺ (Koyama et al. 2003, J. Power Sources 119, 644),
V⁵⁺ before Mn³⁺ (LiMn²⁺V⁵⁺O₄), Fe³⁺ before V⁴⁺ (Fe₂VO₄), Bi⁵⁺ before Ni³⁺ (Ni²⁺ in BiNiO₃ and Na₃Ni₂BiO₆).
The first state of an element is the lowest that it takes."""

INACTIVE = frozenset({"Ti", "Nb", "W", "Ta", "Zr", "Hf", "Sn"})
"""Metals that give their highest state before any other is oxidised, and are no redox centre beside others."""
BOND = 1.25
"""Atoms nearer than this multiple of the sum of their covalent radii are bonded."""
ANIONS: dict[str, int] = {"N": -3, "O": -2, "S": -2, "Se": -2, "Te": -2, "F": -1, "Cl": -1, "Br": -1, "I": -1}
HIGHEST: dict[str, int] = {"N": 5, "S": 6, "Se": 6, "Te": 6, "Cl": 7, "Br": 7, "I": 7}
"""States of non-metals that are bonded to three or more oxygens: nitrate, sulfate, selenate, perchlorate …"""

PAIRED, PAIRED_BOND = frozenset({"S", "Se"}), 1.15
"""Anions that form pairs and chains, at distances up to this multiple of twice their covalent radius."""
PEROXIDE_A, SUPEROXIDE_A, OXYGEN_A = 1.6, 1.4, 1.26
"""Bonds of O₂²⁻, O₂⁻ and O₂ are shorter than this, Å."""
PROTIC = ("C", "N", "O", "F", "S", "Cl", "Se", "Br")
"""Elements that leave H⁺ to what is bonded to them; other hydrogen is H⁻, as in borohydrides and metal hydrides."""
PNICTOGENS = ("P", "As")
OXIDISING = ("N", "O", "F", "S", "Cl", "Se", "Br", "I")
"""Elements bonded to which phosphorus and arsenic are P⁵⁺; alone they are P³⁻."""
CARBON = (("C", 6), ("N", 7), ("O", 8))
"""Elements whose bonds to carbon decide its charge."""


@dataclass(frozen=True)
class FormalCharges:
    """Formal charge of each element, its atoms' mean, e."""

    by_element: Mapping[str, float]
    source: str
    """``given``, ``moments`` or ``common states``."""
    redox: frozenset[str]
    """Elements whose state changes when ions leave."""

    def after(self, electrons: float, counts: Mapping[str, int]) -> dict[str, float]:
        """Return the charges after the redox elements have lost electrons, the easiest first.

        Args:
            electrons: to take from the cell.
            counts: atoms of each element in the cell.
        """
        charges = dict(self.by_element)
        left = _oxidise(charges, electrons, {s: n for s, n in counts.items() if s in self.redox})
        if (
            abs(left) > 1e-9 and self.redox
        ):  # beyond the highest states it is oxygen that is oxidised: no charge knows whose
            total = sum(counts[s] for s in self.redox)
            for symbol in self.redox:
                charges[symbol] += left / total
        return charges


def formal_charges(
    atoms: Atoms, given: Mapping[str, float] | None = None, states: Mapping[str, float] | None = None
) -> FormalCharges | None:
    """Return formal charges that make a structure neutral, or None where no common states do.

    Args:
        atoms: a structure; what is bonded to what decides about sulfate or sulfide, oxide or peroxide.
        given: states of some elements that the user knows; taken as they are.
        states: states of some elements that moments suggest; taken where they leave the structure neutral.
    """
    counts = Counter(atoms.get_chemical_symbols())
    fixed = _fixed(atoms, counts) | dict(given or {})
    if states:
        suggested = _balanced(counts, fixed | {s: q for s, q in states.items() if s not in (given or {})})
        if suggested is not None:
            return FormalCharges(suggested, "moments", _redox(counts))
    found = _balanced(counts, fixed)
    if found is None:
        return None
    return FormalCharges(found, "given" if given else "common states", _redox(counts))


def held_charges(atoms: Atoms) -> dict[str, float]:
    """Return the charges of all elements but the redox metals, every oxygen O²⁻, e.

    An element without a known state is left out.
    """
    counts = Counter(atoms.get_chemical_symbols())
    highest = {symbol: float(to) for symbol, _, to in STEPS if symbol in INACTIVE}
    held = {s: highest[s] for s in counts if s in INACTIVE and s not in _redox(counts)}
    return _fixed(atoms, counts) | held | ({"O": -2.0} if "O" in counts else {})


def redox_metals(atoms: Atoms) -> list[str]:
    """Return the metals whose state may change, alphabetically: the inactive ones only where there is no other."""
    return sorted(_redox(Counter(atoms.get_chemical_symbols())))


def _redox(counts: Mapping[str, int]) -> frozenset[str]:
    metals = {symbol for symbol, _, _ in STEPS if symbol in counts}
    return frozenset(metals - INACTIVE) or frozenset(metals)


def _fixed(atoms: Atoms, counts: Mapping[str, int]) -> dict[str, float]:
    """Charges of anions and of cations with one state."""
    fixed: dict[str, float] = {s: float(HELD[s]) for s in counts if s in HELD}
    for symbol in counts:
        if symbol in ANIONS:
            fixed[symbol] = _non_metal(symbol, atoms, counts)
    if "C" in counts:
        fixed["C"] = _carbon(atoms)
    if "H" in counts:
        fixed["H"] = float(np.mean(np.where(_bonded("H", PROTIC, atoms, counts) > 0, 1.0, -1.0)))
    for symbol in counts.keys() & set(PNICTOGENS):
        pairs = _pairs(symbol, atoms) if _has_geometry(atoms) else np.zeros(1)  # P-P in P2S6(4-) is P4+
        fixed[symbol] = float(np.mean(np.where(_bonded(symbol, OXIDISING, atoms, counts) > 0, 5.0 - pairs, -3.0)))
    return fixed


def _non_metal(symbol: str, atoms: Atoms, counts: Mapping[str, int]) -> float:
    """Mean charge of a non-metal's atoms from the oxygens around each."""
    if len(atoms) == 1 or not _has_geometry(atoms):
        oxidised = symbol in HIGHEST and counts.get("O", 0) >= 3 * counts[symbol]
        return float(HIGHEST[symbol] if oxidised else ANIONS[symbol])
    if symbol == "O":
        within = [_neighbours("O", "O", atoms, reach) > 0 for reach in (OXYGEN_A, SUPEROXIDE_A, PEROXIDE_A)]
        return float(np.mean(np.select(within, [0.0, -0.5, -1.0], -2.0)))
    if symbol not in HIGHEST:
        return float(ANIONS[symbol])
    near = _bonded(symbol, ("O",), atoms, counts)
    sulfite: np.ndarray | float = float(HIGHEST[symbol] - 2)
    full = 3 if symbol == "N" else 4  # nitrate has as many oxygens as sulfite
    alone: np.ndarray | float = float(ANIONS[symbol])
    if symbol in PAIRED:  # persulfide, as in pyrite; within a chain S0
        pairs = _pairs(symbol, atoms)
        alone, sulfite = np.minimum(pairs - 2.0, 0.0), sulfite + pairs  # thiosulfate holds S(+5) and S(-1)
    return float(np.mean(np.select([near >= full, near == full - 1], [HIGHEST[symbol], sulfite], alone)))


def _carbon(atoms: Atoms) -> float:
    """Mean charge of carbon: carbonate, one less for each bond between carbons (oxalate), cyanide C²⁺ with N³⁻."""
    if not _has_geometry(atoms):
        return float(HELD["C"])
    bonded = {s: _neighbours("C", s, atoms, BOND * float(covalent_radii[6] + covalent_radii[z])) for s, z in CARBON}
    cyanide = (bonded["N"] > 0) & (bonded["O"] == 0)
    return float(np.mean(np.where(cyanide, 2.0, HELD["C"] - bonded["C"])))


def _bonded(symbol: str, others: Sequence[str], atoms: Atoms, counts: Mapping[str, int]) -> np.ndarray:
    """Number of atoms of other elements bonded to each atom of an element; of a mere composition, whether there are."""
    there = [other for other in others if other in counts]
    if not _has_geometry(atoms):
        return np.array([len(there)])
    radius = float(covalent_radii[atomic_numbers[symbol]])
    found = np.zeros(counts[symbol])
    for other in there:
        found += _neighbours(symbol, other, atoms, BOND * (radius + float(covalent_radii[atomic_numbers[other]])))
    return found


def _pairs(symbol: str, atoms: Atoms) -> np.ndarray:
    """Number of atoms of the same element bonded to each atom of an element."""
    return _neighbours(symbol, symbol, atoms, PAIRED_BOND * 2 * float(covalent_radii[atomic_numbers[symbol]]))


def _neighbours(symbol: str, other: str, atoms: Atoms, reach_A: float) -> np.ndarray:
    """Number of atoms of another element within reach of each atom of an element."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.complete(), pbc=atoms.pbc)
    i, j = neighbour_list("ij", bare, reach_A)
    bonded = np.bincount(i[atoms.numbers[j] == atomic_numbers[other]], minlength=len(atoms))
    return np.asarray(bonded[atoms.numbers == atomic_numbers[symbol]])


def _has_geometry(atoms: Atoms) -> bool:
    """True if the atoms have places, and are not a mere composition."""
    return bool(np.ptp(atoms.positions, axis=0).any())


def _balanced(counts: Mapping[str, int], fixed: Mapping[str, float]) -> dict[str, float] | None:
    """Oxidise what is not fixed, from the lowest states on, until the cell is neutral."""
    lowest: dict[str, int] = {}
    for symbol, state, _ in STEPS:
        lowest.setdefault(symbol, state)
    charges: dict[str, float] = {}
    for symbol in counts:
        if symbol not in fixed and symbol not in lowest:
            return None
        charges[symbol] = float(fixed[symbol] if symbol in fixed else lowest[symbol])
    missing = -sum(charges[s] * n for s, n in counts.items())
    free = {s: n for s, n in counts.items() if s not in fixed}
    left = _oxidise(charges, missing, free) if missing > 0 else missing
    return charges if abs(left) < 1e-6 * sum(counts.values()) else None


def _oxidise(charges: dict[str, float], electrons: float, counts: Mapping[str, int]) -> float:
    """Take electrons from elements in the order of ``STEPS``; return those that could not be taken."""
    for symbol, start, end in STEPS:
        if symbol in counts and start - 1e-9 <= charges[symbol] < end:
            taken = min(electrons, (end - charges[symbol]) * counts[symbol])
            charges[symbol] += taken / counts[symbol]
            electrons -= taken
    return electrons
