"""Ion sites of a host, their symmetry-distinct pairs, and both in any superlattice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import spglib
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list

from atomsim.errors import InputError
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.structures.supercells import expand
from atomsim.structures.symmetrise import symmetrised
from atomsim.types import FloatArray, IntArray

SAME_SITE_A = 0.5
"""Farthest that a vacancy of an ordering may be from the ion site that it empties, Å."""


@dataclass(frozen=True, eq=False)
class IonLattice:
    """Ion sites of one cell of a host, with the orbits of sites and of pairs under its space group."""

    host: Atoms = field(repr=False)
    """One cell with all its ions, in its space group."""
    ion: str
    sites: IntArray
    """Atoms that are ions, (n_sites,)."""
    site_orbits: IntArray
    """Orbit of each site, (n_sites,)."""
    pairs: IntArray = field(repr=False)
    """Ordered pairs of sites within the cutoff: first, second, and the cell of the second, (n_pairs, 5)."""
    pair_orbits: IntArray = field(repr=False)
    """Orbit of each pair, the shortest first, (n_pairs,)."""
    distances_A: FloatArray
    """Length of each orbit of pairs, Å, (n_pair_orbits,)."""
    space_group: str

    @classmethod
    def of(cls, host: Atoms, ion: str, cutoff_A: float) -> IonLattice:
        """Find sites, pairs and their orbits.

        Args:
            host: one cell with all its ions; noise is taken out of it first.
            ion: the element.
            cutoff_A: longest pair, Å.

        Raises:
            InputError: if the host has no such ion, or no pair of ions within the cutoff.
        """
        clean = symmetrised(host)
        atoms = clean.atoms
        sites = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == ion)
        if not len(sites):
            raise InputError(f"no {ion} in {host.get_chemical_formula()}; wanted the host with all its ions")
        fractional = atoms.get_scaled_positions(wrap=False)[sites]
        i, j, cell, distance = primitive_neighbor_list(
            "ijSd", (True, True, True), atoms.cell.array, atoms.positions[sites], cutoff_A
        )
        if not len(i):
            raise InputError(f"no two {ion} sites within {cutoff_A:g} Å; wanted a longer cutoff_A")
        pairs = np.column_stack([i, j, cell])
        images = _images(atoms, fractional, symprec=max(1e-3, clean.symprec_A if clean.noise_A < 1e-6 else 1e-3))
        orbits, lengths = _pair_orbits(pairs, distance, images)
        site_orbits = np.unique(np.array([site for site, _, _ in images]).min(axis=0), return_inverse=True)[1]
        return cls(atoms, ion, sites, site_orbits, pairs, orbits, lengths, clean.space_group)

    def supercell(self, matrix: IntArray) -> Supercell:
        """Build a superlattice of the sites, rows of the matrix in units of the host's vectors."""
        matrix = np.asarray(matrix, dtype=np.int64)
        expanded, parent = expand(self.host, matrix)
        sites = np.flatnonzero(np.isin(parent, self.sites))
        own = np.searchsorted(self.sites, parent[sites])
        fractional = self.host.get_scaled_positions(wrap=False)
        inverse = np.linalg.inv(matrix)
        # the cell of the host in which each site stands, and what a cell is called whatever vectors are added to it
        cells = np.rint(expanded.get_scaled_positions(wrap=False)[sites] @ matrix - fractional[parent[sites]])
        index = {(int(s), *_name(c, inverse)): n for n, (s, c) in enumerate(zip(own, cells, strict=True))}
        counts = np.zeros((len(self.distances_A), len(sites), len(sites)))
        by_first: dict[int, list[int]] = {}
        for p, first in enumerate(self.pairs[:, 0].tolist()):
            by_first.setdefault(first, []).append(p)
        for n, (s, c) in enumerate(zip(own.tolist(), cells, strict=True)):
            for p in by_first.get(s, ()):
                _, second, *shift = self.pairs[p].tolist()
                counts[self.pair_orbits[p], n, index[(second, *_name(c + shift, inverse))]] += 0.5
        return Supercell(self, expanded[sites], self.site_orbits[own], counts)


@dataclass(frozen=True, eq=False)
class Supercell:
    """Ion sites of one superlattice."""

    lattice: IonLattice = field(repr=False)
    atoms: Atoms = field(repr=False)
    """The sites alone, all occupied."""
    orbits: IntArray
    """Orbit of each site, (n_sites,)."""
    pairs: FloatArray = field(repr=False)
    """Half the number of bonds between two sites by orbit, (n_pair_orbits, n_sites, n_sites), symmetric."""

    @property
    def n_sites(self) -> int:
        """Number of ion sites."""
        return len(self.atoms)

    @property
    def cells(self) -> int:
        """Cells of the host in it."""
        return self.n_sites // len(self.lattice.sites)

    @cached_property
    def repulsion(self) -> FloatArray:
        """Coulomb energy of unit charges on the sites in a uniform background, eV, (n_sites, n_sites)."""
        return ewald_matrix(self.atoms)

    def occupation(self, vacancies: FloatArray) -> FloatArray:
        """Return 1 where an ion is and 0 where one left, (n_sites,).

        Args:
            vacancies: fractional coordinates of the sites that ions left, (n, 3).

        Raises:
            InputError: if a vacancy is not on a site, or two are on one.
        """
        occupied = np.ones(self.n_sites)
        own = self.atoms.get_scaled_positions(wrap=False)
        for vacancy in np.asarray(vacancies, float).reshape(-1, 3):
            offset = own - vacancy
            offset -= np.rint(offset)
            distance = np.linalg.norm(offset @ self.atoms.cell.array, axis=1)
            nearest = int(distance.argmin())
            if distance[nearest] > SAME_SITE_A or not occupied[nearest]:
                raise InputError(
                    f"vacancy at {np.round(vacancy, 3).tolist()}: {distance[nearest]:.2f} Å from the nearest "
                    f"{self.lattice.ion} site of the host that is not empty; wanted orderings of this host"
                )
            occupied[nearest] = 0
        return occupied


def _name(cell: FloatArray, inverse: FloatArray) -> tuple[int, int, int]:
    """Name of a cell that is the same for all its translations by the superlattice (millionths of its vectors)."""
    fractional = np.asarray(cell, float) @ inverse
    a, b, c = (np.rint((fractional - np.floor(fractional + 1e-6)) * 1e6).astype(int)).tolist()
    return a, b, c


def _images(atoms: Atoms, fractional: FloatArray, symprec: float) -> list[tuple[IntArray, IntArray, IntArray]]:
    """Operations on the sites: the site that each goes to, the cell in which that stands, and the rotation."""
    symmetry = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec)
    assert symmetry is not None
    found = []
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        moved = fractional @ rotation.T + translation
        offset = moved[:, None] - fractional[None]
        to_site = np.linalg.norm((offset - np.rint(offset)) @ atoms.cell.array, axis=2).argmin(axis=1)
        cell = np.rint(moved - fractional[to_site]).astype(np.int64)
        found.append((to_site, cell, np.asarray(rotation, dtype=np.int64)))
    return found


def _pair_orbits(
    pairs: IntArray, distance: FloatArray, images: list[tuple[IntArray, IntArray, IntArray]]
) -> tuple[IntArray, FloatArray]:
    """Orbits of pairs under all operations and under exchange of the two sites, the shortest first."""
    i, j, shift = pairs[:, 0], pairs[:, 1], pairs[:, 2:]
    best: IntArray | None = None
    for site, cell, rotation in images:
        first, second = site[i], site[j]
        between = shift @ rotation.T + cell[j] - cell[i]
        for row in (np.column_stack([first, second, between]), np.column_stack([second, first, -between])):
            best = row if best is None else _smaller(best, row)
    assert best is not None
    distinct, orbits = np.unique(best, axis=0, return_inverse=True)
    orbits = orbits.ravel()
    lengths = np.array([distance[orbits == n].mean() for n in range(len(distinct))])
    order = np.argsort(lengths.round(4), kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[orbits], lengths[order]


def _smaller(one: IntArray, other: IntArray) -> IntArray:
    """Row by row the lexicographically smaller of two, (n, 5)."""
    different = one != other
    column = different.argmax(axis=1)
    rows = np.arange(len(one))
    keep: IntArray = np.where((other[rows, column] < one[rows, column])[:, None], other, one)
    return keep
