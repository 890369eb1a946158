"""Long-range order of a cell without knowing its lattice: Bragg peaks, symmetry, and which atoms are on the lattice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from matscipy.neighbours import neighbour_list

from atomsim.analysis.pair_distribution import bare
from atomsim.analysis.scattering import densities, wave_vectors
from atomsim.types import FloatArray

Q_RANGE = (1.0, 4.5)
"""Wave numbers of the peaks that are looked at, 1/Å: beyond, displacements wash them out."""
SYMPREC_A = 0.1
"""Tolerance in which a crystal has symmetry that a glass never has, Å."""
LIQUID_PEAK = 3.0
"""Mean of |ρ(k)|²/N at the first maximum of a dense liquid; single wave vectors scatter exponentially about it."""
CHANCE = 4.0
"""−ln of the chance that any wave vector of a glass exceeds the threshold."""
LEAST = 0.12
"""Least |ρ(k)|²/N² of a Bragg peak: half of it is what a grain of a third of the atoms has."""
NEIGHBOUR_A = 4.0
PEAKS = 8
"""Strongest peaks that tell which atoms are on the lattice."""
ON_LATTICE = 0.5
"""Mean phase factor from which on an atom is on the lattice; 0 ± 0.25 in a glass, exp(−q²u²/2) with displacements u."""


@dataclass(frozen=True)
class LatticeOrder:
    """Order of one structure."""

    peak: float
    """Largest |ρ(k)|²/N² of a set of species: 1 for a perfect lattice, about 10/N for a glass."""
    threshold: float
    """Value that a glass of this size stays below."""
    species: tuple[str, ...]
    """Species that the largest peak is of."""
    fraction: float
    """Part of these species that is on the lattice of the strongest peaks."""
    clustering: float
    """Excess of neighbours on the lattice around an atom on it, over those of any atom: a grain."""
    symmetric: bool
    """True if a space group with more than an inversion, or a smaller cell, is found to 0.1 Å."""
    space_group: str | None
    """Its symbol, where it is symmetric."""

    @property
    def ordered(self) -> bool:
        """True if there is a lattice."""
        return self.symmetric or self.peak > self.threshold

    @property
    def large_enough(self) -> bool:
        """True if a lattice with thermal displacements would be seen, if it were one."""
        return self.threshold < 0.6


def lattice_order(atoms: Atoms, anions: Sequence[str] = ("O",)) -> LatticeOrder:
    """Look for a lattice in a periodic structure.

    A Bragg peak is a wave vector whose |ρ(k)|² grows as N², where a glass has N times its structure factor. Of a glass
    the largest of n_k exponentially distributed values is S (ln n_k + 4) with a chance of exp(−4).

    Args:
        atoms: periodic structure.
        anions: species that share a lattice whatever the cations do.
    """
    symmetric, symbol = _symmetry(atoms)
    indices = wave_vectors(atoms.cell.array, Q_RANGE[1])
    length = 2 * np.pi * np.linalg.norm(indices @ np.linalg.inv(atoms.cell.array).T, axis=1)
    indices = indices[length >= Q_RANGE[0]]
    rho = densities(atoms, indices)
    best = LatticeOrder(0.0, 1.0, (), 0.0, 0.0, symmetric, symbol)
    for species in _sets(list(rho), anions):
        number = sum(int((atoms.symbols == s).sum()) for s in species)
        total = np.sum([rho[s] for s in species], axis=0)
        power = np.abs(total) ** 2 / number**2
        threshold = max(LEAST, LIQUID_PEAK * (np.log(max(len(indices), 2)) + CHANCE) / number)
        peak = float(power.max(initial=0.0))
        if peak - threshold > best.peak - best.threshold:
            fraction, clustering = _on_lattice(atoms, species, indices, total, power)
            best = LatticeOrder(peak, float(threshold), species, fraction, clustering, symmetric, symbol)
    return best


def _sets(kinds: list[str], anions: Sequence[str]) -> list[tuple[str, ...]]:
    """Species that may share a lattice: anions, cations, and all."""
    negative = tuple(k for k in kinds if k in anions)
    positive = tuple(k for k in kinds if k not in anions)
    return [s for s in (negative, positive, tuple(kinds)) if s]


def _on_lattice(
    atoms: Atoms, species: Sequence[str], indices: FloatArray, total: np.ndarray, power: FloatArray
) -> tuple[float, float]:
    """Return the part of the atoms whose phases agree with the strongest peaks, and how they cluster."""
    own = np.isin(list(atoms.symbols), list(species))
    fractional = (atoms.positions @ np.linalg.inv(atoms.cell.array))[own]
    strongest = np.argsort(-power)[:PEAKS]
    phases = np.exp(2j * np.pi * fractional @ indices[strongest].T) * np.exp(-1j * np.angle(total[strongest]))
    on = phases.real.mean(axis=1) > ON_LATTICE
    i, j = neighbour_list("ij", bare(atoms)[own], NEIGHBOUR_A)
    beside = float(on[j][on[i]].mean()) if on[i].any() else 0.0
    return float(on.mean()), beside - float(on.mean())


def _symmetry(atoms: Atoms) -> tuple[bool, str | None]:
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC_A)
    except Exception:  # spglib raises of its own kinds where atoms overlap
        return False, None
    if found is None:
        return False, None
    return len(found.rotations) > 2, str(found.international)
