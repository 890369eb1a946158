"""O–O pairs: how short, and which species a length names.

Bond lengths: O₂ 1.21 Å, superoxide O₂⁻ 1.33 Å, peroxide O₂²⁻ 1.49 Å (Cotton & Wilkinson, Advanced
Inorganic Chemistry); peroxo-like (O₂)ⁿ⁻ in charged Li-rich oxides up to about 2.4 Å (McCalla et al.
2015, Science 350, 1516). The borders lie halfway between the first three.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from matscipy.neighbours import neighbour_list

from atomsim.analysis.framework import CENTRES

OXYGEN = 8
PAIR_CUTOFF = 3.2
"""Longest O–O pair counted, Å: the edges of an MO₆ octahedron (2.6–3.0 Å) lie within."""

UNIT_BOND_A = 1.8
"""Longest bond of an oxygen to the centre of its polyanion, Å: S–O 1.5, P–O 1.5, Si–O 1.6."""

CLASSES: dict[str, tuple[float, float]] = {
    "O2": (0.0, 1.27),
    "superoxide": (1.27, 1.41),
    "peroxide": (1.41, 1.65),
    "peroxo-like": (1.65, 2.4),
    "lattice": (2.4, PAIR_CUTOFF),
}
"""Half-open ranges [from, to) of the O–O length in Å."""

MOMENTS: dict[str, tuple[float, float]] = {
    "O2": (0.5, 1.1),
    "superoxide": (0.2, 0.7),
    "peroxide": (0.0, 0.25),
}
"""Moments per atom that fit a species, μB: two, one and no unpaired electrons on two atoms, less what a sphere of a
charge-density analysis leaves out."""


@dataclass(frozen=True)
class Species:
    """Kind of an O–O pair by its length, and agreement of its moments."""

    name: str
    """One of ``CLASSES``, or ``apart`` beyond the last."""
    length: float
    """Å."""
    moment: float | None
    """Mean magnitude of the two moments, μB; None where the potential has none."""
    agrees: bool | None
    """True if the moment is in the range of this species; None where there is nothing to compare."""

    @property
    def words(self) -> str:
        """The name, with what the moments say against it."""
        if self.agrees is None or self.agrees:
            return self.name
        return f"{self.name} by length, not by moment ({self.moment:.2f} μB per O)"


def species_of(length: float, moments: tuple[float, float] | None = None) -> Species:
    """Name a pair by its length (Å) and, where there are any, the moments of its atoms (μB)."""
    name = next((n for n, (low, high) in CLASSES.items() if low <= length < high), "apart")
    moment = None if moments is None else 0.5 * (abs(moments[0]) + abs(moments[1]))
    fits = MOMENTS.get(name)
    agrees = None if moment is None or fits is None else fits[0] <= moment <= fits[1]
    return Species(name, length, moment, agrees)


@dataclass(frozen=True)
class OxygenPairs:
    """All periodic O–O pairs within a cutoff, each once, shortest first."""

    first: np.ndarray
    """Atom index, (n_pairs,), int."""
    second: np.ndarray
    """Atom index, (n_pairs,), int; may equal ``first`` where an atom meets its own image."""
    length: np.ndarray
    """Distance, Å, (n_pairs,)."""

    @property
    def shortest(self) -> float | None:
        """Shortest distance, Å; None without a pair within the cutoff."""
        return float(self.length[0]) if len(self.length) else None

    def counts(self) -> dict[str, int]:
        """Number of pairs in each of ``CLASSES``."""
        return {
            name: int(np.count_nonzero((self.length >= low) & (self.length < high)))
            for name, (low, high) in CLASSES.items()
        }

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Number of pairs between consecutive ``edges`` (Å), (len(edges) − 1,)."""
        return np.histogram(self.length, bins=edges)[0]


def oxygen_pairs(atoms: Atoms, cutoff: float = PAIR_CUTOFF) -> OxygenPairs:
    """Find every O–O pair shorter than ``cutoff`` (Å), periodic images included."""
    i, j, d, shift = neighbor_list("ijdS", atoms, {("O", "O"): cutoff})
    # Each pair is listed from both sides; an atom and its own image as +S and −S.
    forward = (shift[:, 0] > 0) | ((shift[:, 0] == 0) & ((shift[:, 1] > 0) | ((shift[:, 1] == 0) & (shift[:, 2] > 0))))
    keep = (i < j) | ((i == j) & forward)
    i, j, d = i[keep], j[keep], d[keep]
    order = np.lexsort((j, i, d))
    return OxygenPairs(i[order], j[order], d[order])


def between_units(atoms: Atoms, pairs: OxygenPairs) -> OxygenPairs:
    """Return the pairs that are no edge of one polyanion: the O–O of a sulfate, 2.4 Å, is none; an O–O bond stays."""
    reach = {(centre, "O"): UNIT_BOND_A for centre in CENTRES & set(atoms.symbols)}
    i, j = neighbour_list("ij", atoms, reach) if reach else (np.zeros(0, int), np.zeros(0, int))
    centre = atoms.numbers[i] != OXYGEN
    owners: dict[int, set[int]] = {}
    for c, o in zip(i[centre].tolist(), j[centre].tolist(), strict=True):
        owners.setdefault(o, set()).add(c)
    both = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    apart = np.array([not owners.get(a, set()) & owners.get(b, set()) for a, b in both], dtype=bool)
    keep = apart | (pairs.length < CLASSES["peroxo-like"][0])
    return OxygenPairs(pairs.first[keep], pairs.second[keep], pairs.length[keep])


@dataclass(frozen=True)
class SpeciesCounts:
    """Oxygen pairs of one structure, or of the frame of a trajectory that has the shortest."""

    shortest_A: float | None
    """Shortest O–O distance, edges of one polyanion left out; None without a pair within the cutoff."""
    counts: dict[str, int]
    """Pairs of each of ``CLASSES`` per cell; of a trajectory the most in any frame."""
    frames: int
    dimer_frames: int
    """Frames with an O–O bond: O2, superoxide or peroxide by length."""
    longest: int = 0
    """Consecutive frames in which one and the same O–O bond was there, the most of any."""


BONDS = ("O2", "superoxide", "peroxide")


def species_counts(frames: Iterable[Atoms], cutoff: float = PAIR_CUTOFF) -> SpeciesCounts:
    """Count oxygen species by length in one structure or along a trajectory, whose frames are held one at a time."""
    shortest: float | None = None
    most = dict.fromkeys(CLASSES, 0)
    number = bonded = longest = 0
    lived: dict[tuple[int, int], int] = {}
    for atoms in frames:
        pairs = between_units(atoms, oxygen_pairs(atoms, cutoff))
        near = pairs.length < CLASSES["peroxo-like"][0]
        lived = {
            pair: lived.get(pair, 0) + 1
            for pair in zip(pairs.first[near].tolist(), pairs.second[near].tolist(), strict=True)
        }
        longest = max([longest, *lived.values()])
        counts = pairs.counts()
        number += 1
        bonded += any(counts[name] for name in BONDS)
        most = {name: max(most[name], counts[name]) for name in most}
        if pairs.shortest is not None:
            shortest = pairs.shortest if shortest is None else min(shortest, pairs.shortest)
    return SpeciesCounts(shortest, most, number, bonded, longest)
