"""Search for the symmetry-distinct orderings of a host, over all superlattices of the sizes that can be enumerated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import comb

import numpy as np
import spglib
from ase import Atoms

from atomsim.pulse import at_work
from atomsim.structures.charges import FormalCharges
from atomsim.structures.host_lattice import HostLattice
from atomsim.structures.hosts import Size
from atomsim.structures.orderings import (
    BoolArray,
    choose,
    coulomb_energy,
    enumerate_orderings,
    random_orderings,
    sample_orderings,
)
from atomsim.structures.superlattices import Superlattice, distinct_superlattices, has_smaller_cell
from atomsim.types import FloatArray, IntArray

SAMPLES = 2000
"""Random orderings drawn per composition where enumeration is not feasible."""
PER_LATTICE = 250
"""Cost of setting up a superlattice, in orderings that could be enumerated meanwhile."""
SAMPLED_LATTICES = 16
"""Most superlattices over which these are spread."""
SYMPREC_A = 1e-3
"""Tolerance of the search for the parent's symmetry, Å."""


@dataclass(frozen=True, eq=False)
class Ordering:
    """One way to leave ions in the host."""

    atoms: Atoms = field(repr=False)
    """The structure, unrelaxed, sites in the parent's order, ions removed; its ``info`` says where they were."""
    x: float
    """Ions per formula unit of the host."""
    index: int
    """Number of this ordering within its ``x``, 0 the lowest in Coulomb energy."""
    ewald_eV: float
    """Coulomb energy of formal charges, eV per cell; per host unit it is comparable at equal ``x``."""
    multiplicity: int
    """Orderings that are equivalent to it by symmetry, in all orientations of its superlattice, itself included."""
    supercell: tuple[tuple[int, int, int], ...]
    """Supercell vectors as rows, in units of the parent's vectors."""
    host_units: int
    """Formula units of the host in the cell."""
    parent_index: IntArray = field(repr=False)
    """Atom of the parent that each atom is an image of, (n_atoms,)."""
    vacancies: tuple[tuple[float, float, float], ...] = ()
    """Sites that the ions left, fractional coordinates: with ions there it is the host again."""


@dataclass(frozen=True)
class Looked:
    """Orderings that one size of supercell adds, those that have a smaller cell left out."""

    cells: int
    """Cells of the parent in the supercell."""
    superlattices: int
    """Superlattices of that size, distinct by symmetry, that were looked at."""
    of_superlattices: int
    """Symmetry-distinct superlattices that there are; more than were looked at only where these are sampled."""
    total: int
    """Ways to leave the ions on the sites, all orientations counted."""
    distinct: int
    """Symmetry-distinct ones: all of them if ``enumerated``, else those that were met."""
    enumerated: bool


@dataclass(frozen=True)
class Counts:
    """Numbers of orderings that exist, were found, and were chosen, at one ``x``."""

    x: float
    total: int
    """Ways to leave the ions on the sites of all superlattices looked at, each way counted once."""
    distinct: int
    """Symmetry-distinct ones: all of them if ``enumerated``, else those that were met."""
    chosen: int
    enumerated: bool
    """True if every ordering of the sizes looked at was; otherwise a random sample and its descents."""
    sizes: tuple[Looked, ...]
    """Sizes of supercells that were looked at, the smallest first."""
    largest_cells: int
    """Largest supercell within the limit of atoms in which this ``x`` is possible, in cells of the parent."""

    @property
    def superlattices(self) -> int:
        """Superlattices looked at, distinct by symmetry."""
        return sum(size.superlattices for size in self.sizes)

    @property
    def coverage(self) -> str:
        """Sizes that were searched and sizes that were not, in words."""
        cells = [size.cells for size in self.sizes]
        lattices = f"{self.superlattices} superlattice{'s' if self.superlattices > 1 else ''}"
        span = f"{cells[0]}" if len(cells) == 1 else f"{cells[0]} to {cells[-1]}"
        how = "all" if self.enumerated else "a sample"
        missing = max(0, sum(size.of_superlattices - size.superlattices for size in self.sizes))
        text = f"{how} of {span} parent cell{'s' if cells[-1] > 1 else ''}, {lattices}"
        text += f" ({missing} more not looked at)" if missing else ""
        beyond = self.largest_cells > cells[-1]
        return text + (f"; up to {self.largest_cells} cells fit max_atoms and were not looked at" if beyond else "")


class OrderingSearch:
    """Looks for the orderings of one host; what compositions share is built once."""

    def __init__(
        self, parent: Atoms, ion: str, units: int, charges: FormalCharges, *, orderings: int, seed: int, limit: int
    ) -> None:
        self.parent, self.ion, self.units = parent, ion, units
        self.n_ions = parent.get_chemical_symbols().count(ion)
        self.orderings, self.seed, self.limit = orderings, seed, limit
        self.charges = charges
        self.lattices: dict[bytes, HostLattice] = {}

    def at(self, sizes: Sequence[Size], given: Superlattice | None) -> tuple[list[Ordering], Counts]:
        """Return the chosen orderings of one composition, and how many there were."""
        searched = [(sizes[0], [given])] if given else _searched(self.parent, self.n_ions, sizes, self.limit)
        met: list[_Met] = []
        looked: list[Looked] = []
        for size, superlattices in searched:
            n_sites = self.n_ions * size.cells
            complete = len(superlattices) * comb(n_sites, size.ions) <= self.limit
            chosen = superlattices if complete else _spread(superlattices, self.seed)
            found = []
            for n, s in enumerate(chosen, 1):
                at_work(f"orderings at x = {_x(size, self.units):.4g} in {size.cells} cells", n, len(chosen))
                samples = SAMPLES // len(chosen)
                found.append(self._orderings(s, size, complete=complete, proper=given is None, samples=samples))
            met += found
            looked.append(_looked(size, len(superlattices), chosen, found, n_sites, complete=complete))
        x = _x(sizes[0], self.units)
        picked = self._picked(met, x)
        return picked, Counts(
            x=x,
            total=sum(size.total for size in looked),
            distinct=sum(size.distinct for size in looked),
            chosen=len(picked),
            enumerated=all(size.enumerated for size in looked),
            sizes=tuple(looked),
            # where all sites are alike no larger cell has another ordering
            largest_cells=sizes[-1].cells if 0 < x < self.n_ions / self.units else sizes[0].cells,
        )

    def random_at(self, sizes: Sequence[Size], given: Superlattice | None) -> tuple[list[Ordering], Counts]:
        """Return random orderings of one composition in its smallest cell, and how many there could have been."""
        size = sizes[0]
        (superlattice, *others) = (
            [given] if given else distinct_superlattices(self.parent.cell.array, _rotations(self.parent), size.cells)
        )
        lattice = self._lattice(superlattice)
        occupied, multiplicity = random_orderings(size.ions, lattice.permutations, count=self.orderings, seed=self.seed)
        quadratic, linear, constant = lattice.coulomb(size.ions)
        energy = coulomb_energy(occupied, quadratic, linear) + constant
        met = _Met(lattice, occupied, energy, multiplicity * superlattice.orientations)
        n_sites = len(lattice.sites)
        every = not others and int(multiplicity.sum()) == comb(n_sites, size.ions)
        looked = _looked(size, 1 + len(others), [superlattice], [met], n_sites, complete=every)
        x = _x(size, self.units)
        order = np.argsort(energy.round(6), kind="stable")
        picked = [self._ordering(met, int(row), index, x) for index, row in enumerate(order)]
        return picked, Counts(x, looked.total, looked.distinct, len(picked), every, (looked,), size.cells)

    def _lattice(self, superlattice: Superlattice) -> HostLattice:
        key = superlattice.matrix.tobytes()
        if key not in self.lattices:
            self.lattices[key] = HostLattice.build(self.parent, self.ion, superlattice, self.charges)
        return self.lattices[key]

    def _orderings(self, superlattice: Superlattice, size: Size, *, complete: bool, proper: bool, samples: int) -> _Met:
        """Return the distinct orderings of one superlattice, those with a smaller cell left out where ``proper``."""
        lattice = self._lattice(superlattice)
        quadratic, linear, constant = lattice.coulomb(size.ions)
        if complete:
            occupied, multiplicity = enumerate_orderings(size.ions, lattice.permutations)
        else:
            occupied, multiplicity = sample_orderings(
                size.ions, lattice.permutations, quadratic, linear, samples=samples, seed=self.seed
            )
        if proper:
            own = ~has_smaller_cell(occupied, lattice.translations)
            occupied, multiplicity = occupied[own], multiplicity[own]
        energy = coulomb_energy(occupied, quadratic, linear) + constant
        return _Met(lattice, occupied, energy, multiplicity * superlattice.orientations)

    def _picked(self, met: Sequence[_Met], x: float) -> list[Ordering]:
        """Choose among the orderings of all superlattices, by energy per host unit, as many of each size of cell."""
        place = np.concatenate([np.full(len(m.energy), n) for n, m in enumerate(met)])
        row = np.concatenate([np.arange(len(m.energy)) for m in met])
        cells = np.array([m.lattice.superlattice.cells for m in met])[place]
        energy = np.concatenate([m.energy for m in met]) / (self.units * cells)
        # Rounding before sorting keeps equal energies in a fixed order on every machine; the smaller cell comes first.
        order = np.argsort(energy.round(6), kind="stable")

        def descriptors(candidates: IntArray) -> FloatArray:
            return np.concatenate(
                [met[place[k]].lattice.descriptor(met[place[k]].occupied[row[k]][None]) for k in candidates]
            )

        of_size = [order[cells[order] == n] for n in np.unique(cells)]
        chosen = np.zeros(len(energy), dtype=bool)
        for found, share in zip(of_size, shares([len(found) for found in of_size], self.orderings), strict=True):
            chosen[found[choose(energy[found], partial(_of, descriptors, found), share)]] = True
        picked = order[chosen[order]]
        return [self._ordering(met[place[k]], int(row[k]), index, x) for index, k in enumerate(picked)]

    def _ordering(self, met: _Met, row: int, index: int, x: float) -> Ordering:
        lattice = met.lattice
        keep = np.ones(len(lattice.atoms), dtype=bool)
        keep[lattice.sites] = met.occupied[row]
        vacancies = tuple((float(a), float(b), float(c)) for a, b, c in lattice.atoms.get_scaled_positions()[~keep])
        atoms = lattice.atoms[keep]
        atoms.info |= {"ion": self.ion, "vacancies": [list(site) for site in vacancies]}
        return Ordering(
            atoms=atoms,
            x=x,
            index=index,
            ewald_eV=round(float(met.energy[row]), 6),
            multiplicity=int(met.multiplicity[row]),
            supercell=tuple((int(a), int(b), int(c)) for a, b, c in lattice.superlattice.matrix),
            host_units=self.units * lattice.superlattice.cells,
            parent_index=lattice.parent_index[keep],
            vacancies=vacancies,
        )


def _searched(parent: Atoms, n_ions: int, sizes: Sequence[Size], limit: int) -> list[tuple[Size, list[Superlattice]]]:
    """Return the sizes to look at and their superlattices: as many as can be enumerated, at least the smallest."""
    rotations = _rotations(parent)
    searched: list[tuple[Size, list[Superlattice]]] = []
    work = 0
    for size in sizes:
        each = comb(n_ions * size.cells, size.ions) + PER_LATTICE
        if searched and work + each > limit:
            break
        lattices = distinct_superlattices(parent.cell.array, rotations, size.cells)
        work += len(lattices) * each
        if searched and work > limit:
            break
        searched.append((size, lattices))
        if size.ions in (0, n_ions * size.cells):  # all sites alike: no larger cell has another ordering
            break
    return searched


def _x(size: Size, units: int) -> float:
    return size.ions / (units * size.cells)


def _rotations(parent: Atoms) -> Sequence[IntArray]:
    cell = (parent.cell.array, parent.get_scaled_positions(), parent.numbers)
    symmetry = spglib.get_symmetry(cell, symprec=SYMPREC_A)
    return [np.eye(3, dtype=np.int64)] if symmetry is None else list(symmetry["rotations"])


@dataclass(frozen=True, eq=False)
class _Met:
    """Distinct orderings that were met in one superlattice."""

    lattice: HostLattice
    occupied: BoolArray
    energy: FloatArray
    multiplicity: IntArray


def _of(descriptors: Callable[[IntArray], FloatArray], found: IntArray, indices: IntArray) -> FloatArray:
    return descriptors(found[indices])


def shares(available: Sequence[int], count: int) -> list[int]:
    """Deal out a number of choices evenly among sizes, the smallest first; what one cannot take goes to the next.

    The lowest Coulomb energies alone would come from the largest cells, which are the most expensive to relax, and
    point charges do not rank orderings so well that small cells could be left out.
    """
    taken = [0] * len(available)
    while sum(taken) < min(count, sum(available)):
        for n, most in enumerate(available):
            if taken[n] < most and sum(taken) < count:
                taken[n] += 1
    return taken


def _spread(superlattices: Sequence[Superlattice], seed: int) -> list[Superlattice]:
    """Return at most ``SAMPLED_LATTICES`` of many superlattices: the most compact ones, and others at random."""
    if len(superlattices) <= SAMPLED_LATTICES:
        return list(superlattices)
    compact = SAMPLED_LATTICES // 2
    others = np.random.default_rng(seed).permutation(len(superlattices) - compact)[: SAMPLED_LATTICES - compact]
    return [superlattices[n] for n in (*range(compact), *(compact + np.sort(others)))]


def _looked(
    size: Size, distinct: int, chosen: Sequence[Superlattice], met: Sequence[_Met], n_sites: int, *, complete: bool
) -> Looked:
    ways = sum(int(m.multiplicity.sum()) for m in met)
    return Looked(
        cells=size.cells,
        superlattices=len(chosen),
        of_superlattices=distinct,
        total=ways if complete else comb(n_sites, size.ions) * sum(s.orientations for s in chosen),
        distinct=sum(len(m.energy) for m in met),
        enumerated=complete,
    )
