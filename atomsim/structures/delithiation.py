"""Removes mobile ions from a host: supercells, distinct orderings, and a choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.structures.electrostatics import ewald_matrix, formal_charges, redox_elements
from atomsim.structures.hosts import host_units, reachable_supercell
from atomsim.structures.orderings import (
    Candidates,
    FloatArray,
    IntArray,
    choose,
    coulomb_energy,
    enumerate_orderings,
    sample_orderings,
)
from atomsim.structures.supercells import expand, site_permutations

SAMPLES = 2000
"""Random orderings drawn per composition where enumeration is not feasible."""


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
    """Coulomb energy of formal charges, eV per cell; comparable at equal ``x`` and supercell only."""
    multiplicity: int
    """Orderings of this supercell that are equivalent to it by symmetry, itself included."""
    supercell: tuple[tuple[int, int, int], ...]
    """Supercell vectors as rows, in units of the parent's vectors."""
    host_units: int
    """Formula units of the host in the cell."""
    parent_index: IntArray = field(repr=False)
    """Atom of the parent that each atom is an image of, (n_atoms,)."""
    vacancies: tuple[tuple[float, float, float], ...] = ()
    """Sites that the ions left, fractional coordinates: with ions there it is the host again."""


@dataclass(frozen=True)
class Counts:
    """How many orderings there are, were found, and were chosen, at one ``x``."""

    x: float
    total: int
    """All ways to leave the ions on the sites: a binomial coefficient."""
    distinct: int
    """Symmetry-distinct ones: all of them if ``enumerated``, else those that were met."""
    chosen: int
    enumerated: bool
    """Whether every ordering was looked at; otherwise a random sample and its descents."""
    sites: int
    """Ion sites in the supercell."""
    operations: int
    """Symmetry operations of the supercell that act differently on the ion sites."""


@dataclass(frozen=True, eq=False)
class Delithiation:
    """Orderings of a host at several compositions, as ``delithiate`` chose them."""

    parent: Atoms = field(repr=False)
    ion: str
    x_max: float
    """Ions per host unit of the parent."""
    orderings: tuple[Ordering, ...]
    """In the order of the requested ``x``, each by Coulomb energy."""
    counts: tuple[Counts, ...]

    def tags(self, ordering: Ordering, parent_name: str) -> dict[str, Any]:
        """Return the facts of an ordering that go with it from record to report."""
        return {
            "parent": parent_name,
            "ion": self.ion,
            "x": ordering.x,
            "x_max": self.x_max,
            "host_units": ordering.host_units,
            "ordering": ordering.index,
            "multiplicity": ordering.multiplicity,
            "ewald_eV": ordering.ewald_eV,
            "supercell": [list(row) for row in ordering.supercell],
            "vacancies": [list(site) for site in ordering.vacancies],
        }


def delithiate(
    parent: Atoms,
    ion: str,
    x: Sequence[float],
    *,
    host_unit: str | int | None = None,
    orderings: int = 4,
    max_atoms: int = 200,
    supercell: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    enumerate_limit: int = 50_000,
) -> Delithiation:
    """Choose symmetry-distinct orderings of the ions left in a host at each composition.

    All orderings are enumerated where there are at most ``enumerate_limit``; otherwise random
    ones are drawn and some followed downhill in Coulomb energy. Of the distinct ones, those of
    low Coulomb energy and those unlike the rest are chosen (``orderings.choose``). Charges are
    formal; as ions leave, the charge of the host's transition metals rises uniformly.

    Args:
        parent: host with all ions, a periodic cell; its atoms' order is kept.
        ion: element to remove, ``"Li"``.
        x: ions per host unit to keep, each from 0 to what the parent holds.
        host_unit: formula of one unit of the host without ions (``"RuO3"``), or the number of
            units in the parent; by default its reduced formula.
        orderings: how many to choose at each ``x``.
        max_atoms: largest supercell to build, atoms of the fully occupied cell; ignored with ``supercell``.
        supercell: supercell vectors as rows in units of the parent's, used for every ``x``; by
            default the smallest, most compact one in which each ``x`` is possible.
        seed: of the sampling; unused where all orderings are enumerated.
        enumerate_limit: most orderings to enumerate.

    Returns:
        The chosen orderings and how many there were. The same input gives the same answer.

    Raises:
        InputError: if the ion is not in the parent, an ``x`` is out of range or cannot be
            reached, or the host unit does not divide the host.
    """
    if orderings < 1:
        raise InputError(f"orderings = {orderings}; want at least 1")
    n_ions = parent.get_chemical_symbols().count(ion)
    if n_ions == 0:
        found = ", ".join(dict.fromkeys(parent.get_chemical_symbols()))
        raise InputError(f"no {ion} in {parent.get_chemical_formula()}; choose the ion from {found}")
    units = host_units(parent, ion, host_unit)
    chosen: list[Ordering] = []
    counts: list[Counts] = []
    charges = formal_charges(parent)
    lattices: dict[bytes, _Lattice] = {}
    for value in x:
        matrix, kept = reachable_supercell(parent, n_ions, units, float(value), max_atoms, supercell)
        key = matrix.tobytes()
        if key not in lattices:
            lattices[key] = _Lattice.build(parent, ion, matrix, charges)
        at_x, count = _at_composition(
            lattices[key], kept, units, orderings=orderings, seed=seed, enumerate_limit=enumerate_limit
        )
        chosen += at_x
        counts.append(count)
    return Delithiation(parent.copy(), ion, n_ions / units, tuple(chosen), tuple(counts))


@dataclass(frozen=True, eq=False)
class _Lattice:
    """What all compositions of one supercell share."""

    ion: str
    atoms: Atoms
    parent_index: IntArray
    matrix: IntArray
    sites: IntArray
    permutations: IntArray
    ewald: NDArray[np.float64]
    distances: NDArray[np.float64]
    ion_charge: float
    host_charge: NDArray[np.float64]
    redox: NDArray[np.bool_]

    @classmethod
    def build(cls, parent: Atoms, ion: str, matrix: IntArray, charges: dict[str, float] | None) -> _Lattice:
        atoms, parent_index = expand(parent, matrix)
        symbols = np.array(atoms.get_chemical_symbols())
        sites = np.flatnonzero(symbols == ion)
        # Without a neutral assignment the ions still repel one another, in a uniform background.
        known = charges or {ion: 1.0}
        host_charge = np.array([0.0 if symbol == ion else known.get(symbol, 0.0) for symbol in symbols])
        return cls(
            ion=ion,
            atoms=atoms,
            parent_index=parent_index,
            matrix=matrix,
            sites=sites,
            permutations=site_permutations(atoms, sites),
            ewald=ewald_matrix(atoms),
            distances=atoms[sites].get_all_distances(mic=True),
            ion_charge=known[ion],
            host_charge=host_charge,
            redox=np.isin(symbols, sorted(redox_elements(parent, ion))) & (charges is not None),
        )

    def coulomb(self, n_ions: int) -> tuple[FloatArray, FloatArray, float]:
        """Return Q, l and E₀ of ``s Q s + l s + E₀`` over the ion sites, for a neutral cell of ``n_ions``."""
        host = self.host_charge.copy()
        if self.redox.any():
            host[self.redox] += self.ion_charge * (len(self.sites) - n_ions) / self.redox.sum()
        quadratic = self.ion_charge**2 * self.ewald[np.ix_(self.sites, self.sites)]
        linear = 2 * self.ion_charge * self.ewald[self.sites] @ host
        return quadratic, linear, float(host @ self.ewald @ host)


def _at_composition(
    lattice: _Lattice, n_ions: int, units: int, *, orderings: int, seed: int, enumerate_limit: int
) -> tuple[list[Ordering], Counts]:
    quadratic, linear, constant = lattice.coulomb(n_ions)
    total = comb(len(lattice.sites), n_ions)
    if total <= enumerate_limit:
        occupied, multiplicity = enumerate_orderings(n_ions, lattice.permutations)
    else:
        occupied, multiplicity = sample_orderings(
            n_ions, lattice.permutations, quadratic, linear, samples=SAMPLES, seed=seed
        )
    energy = coulomb_energy(occupied, quadratic, linear) + constant
    # Rounding before sorting keeps equal energies in a fixed order on every machine.
    order = np.argsort(energy.round(6), kind="stable")
    candidates = Candidates(occupied[order], energy[order], multiplicity[order], total <= enumerate_limit)
    cells = round(abs(float(np.linalg.det(lattice.matrix))))
    x = n_ions / (units * cells)
    picked = choose(candidates, lattice.distances, orderings)
    counts = Counts(
        x=x,
        total=total,
        distinct=len(energy),
        chosen=len(picked),
        enumerated=candidates.complete,
        sites=len(lattice.sites),
        operations=len(lattice.permutations),
    )
    return [
        _ordering(lattice, candidates, int(pick), index, x, units * cells) for index, pick in enumerate(picked)
    ], counts


def _ordering(lattice: _Lattice, candidates: Candidates, pick: int, index: int, x: float, host_units: int) -> Ordering:
    keep = np.ones(len(lattice.atoms), dtype=bool)
    keep[lattice.sites] = candidates.occupied[pick]
    vacancies = tuple((float(a), float(b), float(c)) for a, b, c in lattice.atoms.get_scaled_positions()[~keep])
    atoms = lattice.atoms[keep]
    atoms.info |= {"ion": lattice.ion, "vacancies": [list(site) for site in vacancies]}
    return Ordering(
        atoms=atoms,
        x=x,
        index=index,
        ewald_eV=round(float(candidates.energy[pick]), 6),
        multiplicity=int(candidates.multiplicity[pick]),
        supercell=tuple((int(a), int(b), int(c)) for a, b, c in lattice.matrix),
        host_units=host_units,
        parent_index=lattice.parent_index[keep],
        vacancies=vacancies,
    )
