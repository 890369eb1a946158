"""Ordered cells that stand for disorder: quasi-random by pair correlations, ordered by Coulomb energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from atomsim.errors import InputError
from atomsim.monte_carlo import accept
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.types import FloatArray, IntArray

SHELL_WIDTH_A = 0.05
"""Pairs whose distances differ by less belong to one shell, Å."""


@dataclass(frozen=True, eq=False)
class QuasiRandom:
    """A cell whose pair correlations are near those of the random alloy."""

    atoms: Atoms = field(repr=False)
    """The input with its sublattice occupied."""
    shells_A: tuple[float, ...]
    """Distance of each pair shell, Å."""
    excess: tuple[float, ...]
    """Largest difference of a pair's probability from random, in each shell; 0 is ideal."""
    error: float
    """The objective that was minimised: squared differences, each shell weighted by 1/number."""


def quasi_random(
    atoms: Atoms,
    sites: Sequence[int],
    composition: Mapping[str, int],
    *,
    shells: int = 3,
    seed: int = 0,
    steps: int = 20_000,
) -> QuasiRandom:
    """Occupy a sublattice so that its pair correlations are as random as the cell allows.

    A special quasi-random structure (Zunger, Wei, Ferreira & Bernard 1990, Phys. Rev. Lett.
    65, 353) for any number of species: the probability of every pair of species in the first
    shells is brought to the product of their concentrations by simulated annealing of swaps.
    Periodic images count as neighbours, as they are in the crystal that the cell stands for.

    Args:
        atoms: periodic supercell of the average structure.
        sites: atoms of the sublattice to occupy.
        composition: atoms of each species on it; they must fill it.
        shells: neighbour shells that enter, nearest first.
        seed: of the annealing.
        steps: swaps tried.

    Raises:
        InputError: if the composition does not fill the sublattice.
    """
    index = np.asarray(sites, dtype=np.int64)
    start = _fill(len(index), composition)
    distances, neighbours = pair_shells(atoms[index], shells)
    bonds = neighbours.sum(axis=(1, 2)).astype(float)
    fractions = np.array(list(composition.values())) / len(index)
    target = np.outer(fractions, fractions)
    weights = 1 / np.arange(1, shells + 1)

    def difference(species: IntArray) -> FloatArray:
        occupied = np.eye(len(fractions))[species]
        pairs: FloatArray = np.einsum("ia,sij,jb->sab", occupied, neighbours, occupied, optimize=_PATH)
        return np.asarray(pairs / bonds[:, None, None] - target)

    def error(species: IntArray) -> float:
        return float(weights @ (difference(species) ** 2).sum(axis=(1, 2)))

    species, lowest = _anneal(error, start, seed=seed, steps=steps)
    return QuasiRandom(
        atoms=_occupy(atoms, index, species, list(composition)),
        shells_A=tuple(distances),
        excess=tuple(float(e) for e in np.abs(difference(species)).max(axis=(1, 2))),
        error=lowest,
    )


def electrostatic_order(
    atoms: Atoms,
    sites: Sequence[int],
    composition: Mapping[str, int],
    charges: Mapping[str, float],
    *,
    seed: int = 0,
    steps: int = 20_000,
) -> Atoms:
    """Occupy a sublattice with the lowest Coulomb energy of formal charges that annealing finds.

    Args:
        atoms: periodic supercell of the average structure.
        sites: atoms of the sublattice to occupy.
        composition: atoms of each species on it; they must fill it.
        charges: formal charge of every species, those of the other sites included.
        seed: of the annealing.
        steps: swaps tried.

    Raises:
        InputError: if the composition does not fill the sublattice or a charge is missing.
    """
    index = np.asarray(sites, dtype=np.int64)
    start = _fill(len(index), composition)
    symbols = np.array(atoms.get_chemical_symbols())
    rest = np.setdiff1d(np.arange(len(atoms)), index)
    missing = sorted({*composition, *symbols[rest]} - set(charges))
    if missing:
        raise InputError(f"no formal charge of {', '.join(missing)}; give one for every species")
    matrix = ewald_matrix(atoms)
    charge = np.array([charges.get(symbol, 0.0) for symbol in symbols])
    on_sites = np.array([charges[species] for species in composition])

    def energy(species: IntArray) -> float:
        q = charge.copy()
        q[index] = on_sites[species]
        return float(q @ matrix @ q)

    species, _ = _anneal(energy, start, seed=seed, steps=steps)
    return _occupy(atoms, index, species, list(composition))


_PATH = ["einsum_path", (0, 1), (0, 1)]


def _fill(n_sites: int, composition: Mapping[str, int]) -> IntArray:
    if sum(composition.values()) != n_sites or min(composition.values(), default=0) < 1:
        wanted = " ".join(f"{species}{count}" for species, count in composition.items())
        raise InputError(
            f"{wanted} does not fill a sublattice of {n_sites} sites; want counts of 1 or more that add up"
        )
    return np.repeat(np.arange(len(composition)), list(composition.values()))


def pair_shells(sublattice: Atoms, shells: int) -> tuple[list[float], FloatArray]:
    """Return the distance of the first shells and how many neighbours j has i in each, (shells, n, n)."""
    cutoff = 2.0
    while True:
        i, j, distance = neighbor_list("ijd", sublattice, cutoff)
        edges = np.sort(distance)
        starts = np.flatnonzero(np.diff(edges, prepend=-1.0) > SHELL_WIDTH_A)
        # One shell more than wanted, so that the last wanted one is complete.
        if len(starts) > shells:
            break
        cutoff *= 1.3
    number = np.searchsorted(edges[starts], distance + SHELL_WIDTH_A / 10) - 1
    counts = np.zeros((len(starts), len(sublattice), len(sublattice)))
    np.add.at(counts, (number, i, j), 1.0)
    return [float(d) for d in edges[starts][:shells]], counts[:shells]


def _anneal(
    objective: Callable[[IntArray], float], start: IntArray, *, seed: int, steps: int
) -> tuple[IntArray, float]:
    """Minimise over permutations by simulated annealing (Kirkpatrick, Gelatt & Vecchi 1983, Science 220, 671)."""
    generator = np.random.default_rng(seed)
    current = generator.permutation(start)
    value = objective(current)
    best, lowest = current.copy(), value
    # The spread over random arrangements sets the starting temperature, whatever the objective's unit.
    spread = float(np.std([objective(generator.permutation(start)) for _ in range(30)]))
    if spread == 0.0:
        return best, lowest
    for temperature in np.geomspace(spread, 1e-4 * spread, steps):
        a, b = generator.integers(len(current), size=2)
        if current[a] == current[b]:
            continue
        current[a], current[b] = current[b], current[a]
        trial = objective(current)
        if accept(trial - value, float(temperature), generator):
            value = trial
            if value < lowest - 1e-12 * max(1.0, abs(lowest)):
                best, lowest = current.copy(), value
        else:
            current[a], current[b] = current[b], current[a]
    return best, lowest


def _occupy(atoms: Atoms, sites: IntArray, species: IntArray, names: list[str]) -> Atoms:
    occupied: Atoms = atoms.copy()
    symbols = occupied.get_chemical_symbols()
    for site, kind in zip(sites, species, strict=True):
        symbols[site] = names[kind]
    occupied.set_chemical_symbols(symbols)
    return occupied
