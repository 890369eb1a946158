"""Coordination polyhedra of a disordered structure: numbers, angles, what they share, rings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from atomsim.analysis.pair_distribution import bare
from atomsim.types import FloatArray, IntArray

BOND_FACTOR = 1.25
"""Longest bond, in sums of ionic radii: 2.53 Å for Ru–O, behind the first minimum of g(r)."""
SHARED = ("isolated", "corner", "edge", "face")
"""Names of what two polyhedra share, by the number of anions: 0, 1, 2, 3 or more."""
LONGEST_RING = 12
"""Atoms of the longest ring that is looked for."""


@dataclass(frozen=True)
class Bonds:
    """Directed bonds from centres to anions."""

    centre: IntArray
    """Index of the centre, (n_bonds,)."""
    anion: IntArray
    """Index of the anion, (n_bonds,)."""
    vector: FloatArray
    """From the centre to the anion's image, Å, (n_bonds, 3)."""
    length: FloatArray
    """Å, (n_bonds,)."""
    shift: IntArray
    """Lattice translation of the anion, (n_bonds, 3)."""


def bonds(atoms: Atoms, centre: str, anions: Sequence[str], longest_A: Mapping[str, float]) -> Bonds:
    """Find the bonds of one element to anions.

    Args:
        atoms: periodic structure.
        centre: symbol of the centres.
        anions: symbols of the ligands.
        longest_A: longest bond to each anion, Å.
    """
    clean = bare(atoms)
    symbols = np.array(list(clean.symbols))
    i, j, d, vector, shift = neighbour_list("ijdDS", clean, max(longest_A[a] for a in anions))
    limit = np.array([longest_A.get(s, 0.0) for s in symbols.tolist()])
    keep = (symbols[i] == centre) & np.isin(symbols[j], list(anions)) & (d <= limit[j])
    return Bonds(i[keep], j[keep], vector[keep], d[keep], shift[keep])


def coordination_numbers(atoms: Atoms, centre: str, found: Bonds) -> IntArray:
    """Return the number of anions around each centre, in the order of the atoms, (n_centres,)."""
    counts = np.bincount(found.centre, minlength=len(atoms))
    return np.asarray(counts[np.array(list(atoms.symbols)) == centre])


def angles(found: Bonds) -> FloatArray:
    """Return all angles between two bonds of one centre, degrees."""
    order = np.argsort(found.centre, kind="stable")
    unit = (found.vector / found.length[:, None])[order]
    cuts = np.flatnonzero(np.diff(found.centre[order])) + 1
    parts = []
    for group in np.split(unit, cuts):
        a, b = np.triu_indices(len(group), 1)
        parts.append(np.degrees(np.arccos(np.clip((group[a] * group[b]).sum(axis=1), -1.0, 1.0))))
    return np.concatenate(parts) if parts else np.zeros(0)


def sharing(first: Bonds, second: Bonds) -> dict[str, float]:
    """Return the mean number of polyhedra of the second kind that each of the first shares a corner, edge or face with.

    Args:
        first: bonds of one element.
        second: bonds of the other, or the same.
    """
    by_anion: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for centre, anion, shift in zip(second.centre, second.anion, second.shift, strict=True):
        by_anion.setdefault(int(anion), []).append((int(centre), tuple(int(s) for s in shift)))
    shared: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
    for centre, anion, shift in zip(first.centre, first.anion, first.shift, strict=True):
        for other, there in by_anion.get(int(anion), ()):
            image = tuple(int(s) - t for s, t in zip(shift, there, strict=True))
            if other != centre or any(image):
                shared[int(centre), other, image] += 1
    centres = len(set(first.centre.tolist())) or 1
    kinds = Counter(SHARED[min(n, 3)] for n in shared.values())
    return {name: kinds.get(name, 0) / centres for name in SHARED[1:]}


def ring_counts(atoms: Atoms, centres: Sequence[str], anions: Sequence[str], longest_A: float) -> dict[int, int]:
    """Return the number of shortest-path rings of each length, atoms counted, in the network of bonds.

    Franzblau 1991, Phys. Rev. B 44, 4925, as matscipy computes it: an edge that two octahedra share is a ring of four.

    Args:
        atoms: periodic structure.
        centres: elements of the centres.
        anions: elements between them.
        longest_A: longest bond, Å.
    """
    from matscipy.rings import ring_statistics

    clean = bare(atoms)
    network = clean[np.isin(list(clean.symbols), [*centres, *anions])]
    if not len(network):
        return {}
    reach = {(c, a): longest_A for c in centres for a in anions}
    found = np.asarray(ring_statistics(network, reach, maxlength=LONGEST_RING))
    return {n: int(count) for n, count in enumerate(found) if count}
