"""An ordering problem: sites, the species that share them, and the symmetry that makes arrangements alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import comb, prod

import numpy as np
from ase import Atoms

from atomsim.cations.sublattice import groups_of
from atomsim.structures.supercells import site_permutations
from atomsim.types import FloatArray, IntArray

SYMPREC_A = 1e-3
DUMMIES = (2, 10, 18, 36, 54, 86)
"""Elements that stand for a mixed sublattice in the search for symmetry: noble gases."""


@dataclass(frozen=True, eq=False)
class OrderingProblem:
    """Arrangements of species on sublattices of one cell, each sublattice with its own composition."""

    atoms: Atoms = field(repr=False)
    """The cell as given; its lattice and positions are those of every arrangement before relaxation."""
    sites: IntArray
    """Atoms whose species change, sublattice after sublattice, (n_sites,)."""
    groups: tuple[IntArray, ...]
    """Places in ``sites`` of each sublattice."""
    species: tuple[str, ...]
    start: IntArray
    """Species number of each site as given, (n_sites,)."""
    permutations: IntArray = field(repr=False)
    """Symmetry operations of the lattice with mixed sublattices, on the sites, (n_operations, n_sites)."""

    @classmethod
    def of(cls, atoms: Atoms, names: Sequence[str], ion: str = "Li") -> OrderingProblem:
        """Set up the sublattices of a structure.

        Raises:
            InputError: if a name matches nothing, holds one element, or two share atoms.
        """
        found = groups_of(atoms, names, ion)
        sites = np.concatenate(found)
        symbols = np.array(atoms.get_chemical_symbols())
        species = tuple(dict.fromkeys(sorted(symbols[sites].tolist())))
        mixed = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        numbers = mixed.numbers.copy()
        for dummy, group in zip(DUMMIES, found, strict=False):
            numbers[group] = dummy
        mixed.set_atomic_numbers(numbers)
        ends = np.cumsum([0, *map(len, found)])
        return cls(
            atoms=atoms,
            sites=sites,
            groups=tuple(np.arange(a, b) for a, b in pairwise(ends)),
            species=species,
            start=np.array([species.index(s) for s in symbols[sites]], dtype=np.int64),
            permutations=site_permutations(mixed, sites, SYMPREC_A),
        )

    @property
    def n_arrangements(self) -> int:
        """Arrangements, those alike by symmetry counted each."""
        return prod(_multinomial(self.start[group]) for group in self.groups)

    def made(self, occupation: IntArray) -> Atoms:
        """Return the cell with an arrangement, unrelaxed."""
        atoms = Atoms(self.atoms.numbers, self.atoms.positions, cell=self.atoms.cell, pbc=self.atoms.pbc)
        symbols = atoms.get_chemical_symbols()
        for site, kind in zip(self.sites, occupation, strict=True):
            symbols[int(site)] = self.species[int(kind)]
        atoms.set_chemical_symbols(symbols)
        return atoms

    def canonical(self, occupations: IntArray) -> IntArray:
        """Return of each arrangement the image under symmetry that comes first, (n, n_sites)."""
        best = np.array(occupations, dtype=np.int64)
        if not len(best):
            return best
        for permutation in self.permutations:
            image = np.empty_like(best)
            image[:, permutation] = occupations
            difference = image - best
            first = np.argmax(difference != 0, axis=1)
            smaller = difference[np.arange(len(best)), first] < 0
            best[smaller] = image[smaller]
        return best

    def multiplicity(self, occupation: IntArray) -> int:
        """Number of distinct arrangements that are alike by symmetry to one, itself included."""
        images = np.empty(self.permutations.shape, dtype=np.int64)
        np.put_along_axis(images, self.permutations, np.broadcast_to(occupation, images.shape), axis=1)
        return len(np.unique(images, axis=0))

    def all_arrangements(self) -> IntArray:
        """Every arrangement, (n_arrangements, n_sites): only where there are few."""
        found = np.zeros((1, len(self.start)), dtype=np.int64)
        for group in self.groups:
            own = np.array(list(_arrangements(Counter(self.start[group].tolist()), len(group))), dtype=np.int64)
            found = np.repeat(found, len(own), axis=0)
            found[:, group] = np.tile(own, (len(found) // len(own), 1))
        return found

    def random(self, n: int, generator: np.random.Generator) -> IntArray:
        """Random arrangements, (n, n_sites)."""
        found = np.tile(self.start, (n, 1))
        for group in self.groups:
            found[:, group] = generator.permuted(found[:, group], axis=1)
        return found

    def neighbours(self, shells: int) -> tuple[list[float], FloatArray]:
        """Distances of pair shells and how often site j is in a shell of site i, Å, (shells, n_sites, n_sites)."""
        from atomsim.structures.disorder import pair_shells

        return pair_shells(self.atoms[self.sites], shells)


def _multinomial(species: IntArray) -> int:
    left, found = len(species), 1
    for count in Counter(species.tolist()).values():
        found *= comb(left, count)
        left -= count
    return found


def _arrangements(counts: Counter[int], length: int) -> Iterator[tuple[int, ...]]:
    """All sequences with given counts of each species, in lexicographic order."""
    if length == 0:
        yield ()
        return
    for kind in sorted(counts):
        if counts[kind]:
            rest = counts.copy()
            rest[kind] -= 1
            for tail in _arrangements(rest, length - 1):
                yield (kind, *tail)
