"""Partial pair distributions g(r) with their running coordination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from atomsim.errors import InputError, check_number
from atomsim.types import FloatArray

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairDistribution:
    """Partial pair distributions of one structure, or the mean of several frames."""

    r: FloatArray
    """Middles of the bins, Å, (n_bins,)."""
    g: dict[Pair, FloatArray]
    """g_ab(r), normalised to 1 for the mean density of b around a, (n_bins,) each; both orders of a pair."""
    coordination: dict[Pair, FloatArray]
    """Mean number of b around a up to the outer edge of each bin, (n_bins,) each; N_ab ≠ N_ba."""

    def peak(self, pair: Pair) -> tuple[float, float]:
        """Return place (Å) and height of the highest value of a partial."""
        at = int(self.g[pair].argmax())
        return float(self.r[at]), float(self.g[pair][at])

    def number_within(self, pair: Pair, r_A: float) -> float:
        """Return the mean number of the second species around the first up to a distance."""
        half = 0.5 * (self.r[1] - self.r[0])
        return float(np.interp(r_A, self.r + half, self.coordination[pair]))


def pair_distribution(frames: Atoms | Sequence[Atoms], r_max_A: float = 8.0, bin_A: float = 0.05) -> PairDistribution:
    """Compute partial pair distributions, periodic images included, over frames of one composition.

    g_ab(r) = V N_ab(r) / (N_a N_b · 4π/3 ((r+δ)³ − r³)) with the pairs N_ab of a shell.

    Args:
        frames: one structure or several.
        r_max_A: largest distance, Å; beyond half the cell the images of an atom correlate with themselves.
        bin_A: width of a shell, Å.

    Raises:
        InputError: for a structure that is not periodic in three directions, or lengths that make no sense.
    """
    many = [frames] if isinstance(frames, Atoms) else list(frames)
    check_number("r_max_A", r_max_A, "a distance in Å above 0", above=0.0, high=50.0)
    check_number("bin_A", bin_A, "a width in Å above 0, below r_max_A", above=0.0, high=r_max_A)
    if not many:
        raise InputError("found no structure, wanted one or more for a pair distribution")
    edges = np.arange(0.0, r_max_A + 0.5 * bin_A, bin_A)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    kinds = sorted(set(many[0].symbols))
    pairs = list(product(kinds, kinds))
    g = {pair: np.zeros(len(shells)) for pair in pairs}
    running = {pair: np.zeros(len(shells)) for pair in pairs}
    for atoms in many:
        require_periodic(atoms)
        symbols = np.array(list(atoms.symbols))
        i, j, d = neighbour_list("ijd", bare(atoms), float(edges[-1]))
        for a, b in pairs:
            found = np.histogram(d[(symbols[i] == a) & (symbols[j] == b)], bins=edges)[0]
            n_a, n_b = int((symbols == a).sum()), int((symbols == b).sum())
            g[a, b] += found * atoms.cell.volume / (n_a * n_b * shells) / len(many)
            running[a, b] += np.cumsum(found) / n_a / len(many)
    return PairDistribution(0.5 * (edges[1:] + edges[:-1]), g, running)


def require_periodic(atoms: Atoms) -> None:
    """Refuse what is not periodic in three directions.

    Raises:
        InputError: naming it.
    """
    if not atoms.pbc.all() or atoms.cell.volume <= 0:
        raise InputError(f"{atoms.get_chemical_formula()} is periodic in {int(atoms.pbc.sum())} directions, wanted 3")


def bare(atoms: Atoms) -> Atoms:
    """Return species, positions and cell alone, wrapped."""
    found = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    found.wrap()
    return found
