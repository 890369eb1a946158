"""The metal–anion shell: lengths, number, distortion, bond valence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.neighborlist import neighbor_list
from matscipy.neighbours import neighbour_list

from atomsim.structures.charges import held_charges

SHELL_CUTOFF = 2.6
"""Å; above every M–O bond of an MO₄ or MO₆ unit (1.7–2.3 Å), below the next shell (≈ 3.3 Å)."""
RADII = {"N": 1.46, "O": 1.40, "F": 1.33, "S": 1.84, "Cl": 1.81, "Se": 1.98, "Br": 1.96, "Te": 2.21, "I": 2.20}
"""Ionic radii of anions with six neighbours, Å: Shannon 1976, Acta Cryst. A 32, 751."""


@dataclass(frozen=True)
class Shell:
    """Anions around all atoms of one metal, averaged over those atoms."""

    element: str
    n_atoms: int
    coordination: float
    """Mean number of neighbours within the cutoff."""
    mean_length: float
    """Mean metal–anion length, Å; NaN without neighbours."""
    distortion: float
    """Mean Baur index Σ|l − ⟨l⟩| / (n ⟨l⟩), Baur 1974, Acta Cryst. B 30, 1195, Eq. 2; 0 for a regular shell."""
    lengths: tuple[float, ...]
    """All lengths, Å, sorted."""


def anions_of(atoms: Atoms) -> list[str]:
    """Return the elements that are anions in a structure, alphabetically: the S of a sulfide, not of a sulfate."""
    charges = held_charges(atoms)
    return sorted(s for s in set(atoms.symbols) if s in RADII and charges.get(s, -1) < 0)


def metal_shell(atoms: Atoms, element: str, anions: Sequence[str] = ("O",), cutoff: float = SHELL_CUTOFF) -> Shell:
    """Measure the anion shell of one element.

    Args:
        atoms: the structure.
        element: symbol of the central atoms.
        anions: symbols of the neighbours that count.
        cutoff: longest bond to oxygen, Å; to another anion it differs by the difference of their radii.
    """
    centres = [k for k, s in enumerate(atoms.symbols) if s == element]
    reach = {(element, a): cutoff + RADII[a] - RADII["O"] for a in anions}
    i, d = neighbor_list("id", atoms, reach) if reach else (np.zeros(0, int), np.zeros(0))
    shells = [d[i == k] for k in centres]
    filled = [s for s in shells if len(s)]
    means = [s.mean() for s in filled]
    baur = [np.abs(s - m).mean() / m for s, m in zip(filled, means, strict=True)]
    return Shell(
        element=element,
        n_atoms=len(centres),
        coordination=float(np.mean([len(s) for s in shells])) if shells else 0.0,
        mean_length=float(np.mean(means)) if filled else float("nan"),
        distortion=float(np.mean(baur)) if filled else float("nan"),
        lengths=tuple(sorted(float(x) for s in filled for x in s)),
    )


def bond_valence_sums(atoms: Atoms, element: str, cutoff: float = 3.2) -> np.ndarray | None:
    """Return the bond-valence sum of each atom of one element, e, (n,).

    Parameters of O'Keeffe & Brese 1991, J. Am. Chem. Soc. 113, 3226, with the exponent that pymatgen
    applies them with (0.31 Å). They assume no oxidation state; the sums follow trends of one metal well,
    their absolute value may miss by more than one (Ru⁴⁺ with six O at 2.01 Å: 2.8).

    Args:
        atoms: the structure.
        element: symbol of the central atoms.
        cutoff: longest bond counted, Å.

    Returns:
        The sums, or None where there are no parameters for an element in the structure.
    """
    from pymatgen.analysis.bond_valence import BV_PARAMS, calculate_bv_sum
    from pymatgen.core import Element

    elements = {z: Element(chemical_symbols[z]) for z in set(atoms.numbers.tolist())}
    if any(e not in BV_PARAMS for e in elements.values()):
        return None
    # a bond's valence falls as exp(−length / 0.31 Å): of one without length pymatgen says it, for each element
    bare = {z: calculate_bv_sum(_Bonded(Element(element)), [_Bonded(e)]) for z, e in elements.items()}
    i, j, d = neighbour_list("ijd", _bare(atoms), cutoff)
    valences = np.array([bare[z] for z in atoms.numbers[j].tolist()]) * np.exp(-d / 0.31)
    here = atoms.numbers == atomic_numbers[element]
    return np.asarray(np.bincount(i, weights=valences, minlength=len(atoms))[here])


@dataclass(frozen=True)
class _Bonded:
    """An atom as pymatgen's bond valence asks for it."""

    specie: Any
    nn_distance: float = 0.0


def _bare(atoms: Atoms) -> Atoms:
    """Species, positions and cell alone, with a vector where a direction that is not periodic has none."""
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.complete(), pbc=atoms.pbc)
