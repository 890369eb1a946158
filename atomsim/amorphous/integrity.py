"""Integrity of a glass: rigid units whole, ions mixed, a framework at rest; it is a glass by these beside disorder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from atomsim.amorphous.composition import Composition
from atomsim.amorphous.contacts import CATIONS_NEAR, NEAR, shortest_distances
from atomsim.amorphous.units import UNITS, units_in
from atomsim.analysis.msd import at_mean_cell, msd_by_atom, without_drift
from atomsim.analysis.pair_distribution import bare
from atomsim.analysis.polyhedra import BOND_FACTOR, bonds, coordination_numbers
from atomsim.analysis.scattering import wave_vectors
from atomsim.types import FloatArray, IntArray

OVERLAP = 0.72
"""Distance below which two ions overlap, in the sum of their radii."""
PERMUTATIONS = 1999
SEPARATED_P = 0.002
"""Chance of a random mixture below which cations are unmixed."""
SEPARATED_ORDER = 0.25
"""Least Warren–Cowley order of a separation that counts."""
NEIGHBOUR_A = 6.5
"""Reach of the second cation shell, Å."""
FLOW_A2 = 1.0
"""Mean squared displacement of a framework within half a trajectory from which on it may flow, Å²."""
GROWING = 1.3
"""Ratio of its displacement in a half and in a quarter from which on it does: 2 by diffusion, 1 by vibration."""


@dataclass(frozen=True)
class Units:
    """Rigid units of one kind in a structure or along a trajectory."""

    name: str
    whole: int
    """Centres with as many ligands as they should have, at the end."""
    total: int
    coordination: float
    """Mean number of ligands."""
    broken: int = 0
    """Centres that lost or took a ligand, along the trajectory: times."""
    reformed: int = 0
    """Centres that became whole again: times."""


def composition_of(atoms: Atoms) -> Composition:
    """Return the composition of a structure."""
    counts = {s: int(n) for s, n in atoms.symbols.formula.count().items()}
    return Composition(atoms.get_chemical_formula("metal"), counts, {})


def unit_counts(frames: Sequence[Atoms]) -> list[Units]:
    """Count whole units in the last frame, and how often they broke and formed again since the first."""
    found = []
    last = frames[-1]
    for name in units_in(composition_of(last)):
        unit = UNITS[name]
        reach = {unit.ligand: BOND_FACTOR * unit.bond_A}
        numbers = [coordination_numbers(f, unit.centre, bonds(f, unit.centre, [unit.ligand], reach)) for f in frames]
        whole = np.array(numbers) == unit.n_ligands
        change = np.diff(whole.astype(int), axis=0)
        found.append(
            Units(
                name, int(whole[-1].sum()), whole.shape[1], float(np.mean(numbers[-1])),
                int((change < 0).sum()), int((change > 0).sum()),
            )
        )  # fmt: skip
    return found


def overlaps(atoms: Atoms, what: Composition) -> list[str]:
    """Return pairs of ions that are much nearer than their radii allow, O–O left to those who look for O2."""
    charges = what.charges
    contacts = shortest_distances(charges)
    clean = bare(atoms)
    i, j, d = neighbour_list("ijd", clean, max(contacts.values()))
    symbols = np.array(list(clean.symbols))
    found: dict[tuple[str, str], float] = {}
    for a, b, distance in zip(symbols[i], symbols[j], d, strict=True):
        anions = charges[a] < 0 and charges[b] < 0
        scale = CATIONS_NEAR if charges[a] >= 0 and charges[b] >= 0 else NEAR
        if a <= b and not anions and distance < OVERLAP / scale * contacts[a, b]:
            found[a, b] = min(found.get((a, b), np.inf), float(distance))
    return [f"{a}–{b} {d:.2f} Å" for (a, b), d in sorted(found.items())]


@dataclass(frozen=True)
class Mixing:
    """Mixing of two kinds of framework cations in the cell."""

    species: str
    """The rarer one, against all others."""
    order: float
    """Warren–Cowley parameter of the shell within 6.5 Å: 0 mixed, towards 1 apart, negative alternating."""
    chance: float
    """Part of random exchanges of the cations with as long a wave of concentration."""

    @property
    def separated(self) -> bool:
        """True if they are apart, beyond chance."""
        return self.chance <= SEPARATED_P and self.order > SEPARATED_ORDER


def mixing(atoms: Atoms, what: Composition) -> list[Mixing]:
    """Compare the longest waves of concentration of each framework cation with random exchanges of cations."""
    framework = [s for s, q in what.charges.items() if q > 1.5]
    own = np.isin(list(atoms.symbols), framework)
    cations = bare(atoms)[own]
    symbols = np.array(list(cations.symbols))
    # the rarest first, and of two as many that of the higher charge: a set has another order in every process
    kinds = sorted(set(symbols.tolist()), key=lambda s: (int((symbols == s).sum()), -what.charges[s], s))
    found = []
    for kind in kinds[:-1]:
        marked = symbols == kind
        if 3 <= marked.sum() <= len(marked) - 3:
            found.append(Mixing(kind, _warren_cowley(cations, marked), _chance(cations, marked)))
    return found


def _warren_cowley(cations: Atoms, marked: NDArray[np.bool_]) -> float:
    i, j = neighbour_list("ij", cations, NEIGHBOUR_A)
    other = ~marked[j][marked[i] & (i != j)]
    expected = (~marked).sum() / (len(marked) - 1)
    return float(1.0 - other.mean() / expected) if len(other) else 0.0


def _chance(cations: Atoms, marked: NDArray[np.bool_]) -> float:
    rng = np.random.default_rng(14)
    cell = cations.cell.array
    shortest = 2 * np.pi / np.linalg.norm(cell, axis=1).min()
    indices: IntArray = wave_vectors(cell, 1.5 * shortest)
    phases = np.exp(2j * np.pi * cations.get_scaled_positions(wrap=False) @ indices.T)
    drawn = np.stack([marked, *(rng.permutation(marked) for _ in range(PERMUTATIONS))])
    waves = np.abs((drawn - marked.mean()) @ phases) ** 2
    largest = waves.max(axis=1)
    return float((largest >= largest[0] * (1 - 1e-9)).mean())


def flows(positions: FloatArray, cells: FloatArray, framework: NDArray[np.bool_]) -> tuple[bool, float]:
    """Return whether a framework flows, and its mean squared displacement within half the trajectory, Å².

    Args:
        positions: unwrapped, Å, (n_frames, n_atoms, 3).
        cells: (n_frames, 3, 3).
        framework: atoms whose mean position is at rest in a solid, (n_atoms,).
    """
    if len(positions) < 8 or not framework.any():
        return False, 0.0
    still = without_drift(at_mean_cell(positions, cells), framework)
    grown = msd_by_atom(still[:, framework]).mean(axis=1)
    half, quarter = len(positions) // 2, len(positions) // 4
    ends = float(grown[half]), float(grown[quarter])
    return ends[0] > FLOW_A2 and ends[0] > GROWING * ends[1], ends[0]
