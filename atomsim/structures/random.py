"""Random structures: exchanged, displaced, compressed, packed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.units import PER_G_CM3

PACKED = 0.80
"""Least distance of a random packing, in sums of covalent radii."""


def permute_species(atoms: Atoms, elements: Sequence[str], rng: np.random.Generator) -> Atoms:
    """Return a copy with the atoms of some elements permuted over their common sites.

    Raises:
        InputError: if an element is absent.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    absent = sorted(set(elements) - set(symbols))
    if absent:
        raise InputError(f"no {', '.join(absent)} in {atoms.get_chemical_formula()} to exchange; correct 'shuffled'")
    sites = np.flatnonzero(np.isin(symbols, list(elements)))
    symbols[sites] = rng.permutation(symbols[sites])
    exchanged: Atoms = atoms.copy()
    exchanged.set_chemical_symbols(list(symbols))
    return exchanged


def packing(numbers: NDArray[np.int64], density_g_per_cm3: float, rng: np.random.Generator) -> Atoms:
    """Return atoms at random in a cube of the given density, pushed apart until none overlap.

    Overlapping pairs (``PACKED``) are moved apart along their connection, half the overlap each, in sweeps.

    Raises:
        InputError: if they do not fit.
    """
    edge = float((atomic_masses[numbers].sum() / (density_g_per_cm3 * PER_G_CM3)) ** (1 / 3))
    atoms = Atoms(numbers, rng.uniform(0, edge, (len(numbers), 3)), cell=[edge] * 3, pbc=True)
    radii = PACKED * covalent_radii[numbers]
    fits = 4 / 3 * np.pi * float((radii**3).sum()) < edge**3
    for _ in range(2000 if fits else 0):
        i, j, distance, vector = neighbor_list("ijdD", atoms, radii)
        if len(i) == 0:
            return atoms
        overlap = radii[i] + radii[j] - distance
        away = -vector / np.maximum(distance, 1e-6)[:, None]
        # every pair is listed twice, once for each of its atoms
        np.add.at(atoms.positions, i, (0.5 * overlap + 0.02)[:, None] * away)
        atoms.positions += rng.normal(0, 0.01, atoms.positions.shape)
    raise InputError(f"{atoms.get_chemical_formula()} overlaps at {density_g_per_cm3:g} g/cm³; lower the density")


def displaced(atoms: Atoms, rattle_A: float, strain: float, rng: np.random.Generator) -> Atoms:
    """Return a copy with normal displacements and a strained cell, no two atoms overlapping.

    Args:
        atoms: structure.
        rattle_A: standard deviation of displacements, Å.
        strain: isotropic part, drawn evenly up to it; the symmetric shear is normal with a third of it.
        rng: source.
    """
    for shrink in 0.8 ** np.arange(20):
        shear = rng.normal(0, strain / 3, (3, 3))
        deformation = np.eye(3) * (1 + rng.uniform(-strain, strain)) + 0.5 * (shear + shear.T)
        moved: Atoms = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + shrink * (deformation - np.eye(3))), scale_atoms=True)
        moved.positions += rng.normal(0, shrink * rattle_A, moved.positions.shape)
        if nearest_pair(moved) > 0.65:
            return moved
    result: Atoms = atoms.copy()
    return result


def compressed(atoms: Atoms, element: str, distance_A: float, rng: np.random.Generator) -> Atoms:
    """Return a copy with two neighbours of an element pushed to a distance, the middle kept."""
    index = np.flatnonzero(atoms.numbers == Atoms(element).numbers[0])
    i, j, distance, vector = neighbor_list("ijdD", atoms[index], 3.6)
    if len(i) == 0:
        result: Atoms = atoms.copy()
        return result
    k = int(rng.integers(len(i)))
    pushed: Atoms = atoms.copy()
    shift = 0.5 * (distance[k] - distance_A) * vector[k] / distance[k]
    if i[k] != j[k]:
        pushed.positions[index[i[k]]] += shift
        pushed.positions[index[j[k]]] -= shift
    return pushed


def nearest_pair(atoms: Atoms) -> float:
    """Return the smallest distance over the sum of covalent radii (Cordero et al. 2008, Dalton Trans. 2832)."""
    i, j, distance = neighbor_list("ijd", atoms, covalent_radii[atoms.numbers])
    if len(i) == 0:
        return 1.0
    return float((distance / (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]])).min())


def dimers(
    symbols: Sequence[str], per_pair: int, from_covalent: float, to_A: float, box_A: float, also: Sequence[str]
) -> list[Atoms]:
    """Return single atoms and pairs of them in an empty box, distances in a geometric series."""
    found = [Atoms(s, cell=[box_A] * 3, pbc=True) for s in symbols]
    for n, a in enumerate(symbols):
        for b in symbols[n:]:
            pair = Atoms([a, b], positions=np.zeros((2, 3)), cell=[box_A] * 3, pbc=True)
            number = per_pair * (4 if a == b and a in also else 1)
            nearest = from_covalent * float(covalent_radii[pair.numbers].sum())
            for distance in np.geomspace(nearest, to_A, number):
                apart = pair.copy()
                apart.positions[1, 0] = distance
                found.append(apart)
    return found
