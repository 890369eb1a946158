"""One superlattice of a host: its ion sites, their symmetry, their Coulomb energy, and what makes orderings alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray

from atomsim.structures.charges import FormalCharges
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.structures.orderings import BoolArray
from atomsim.structures.supercells import expand, site_permutations
from atomsim.structures.superlattices import Superlattice, translation_permutations
from atomsim.types import FloatArray, IntArray

REACH_A, WIDTH_A, BINS = 8.0, 0.3, 40
"""Longest ion–ion distance, smearing and number of bins of the histograms that say how alike orderings are, Å."""


@dataclass(frozen=True, eq=False)
class HostLattice:
    """Lattice that all compositions of one supercell share."""

    superlattice: Superlattice
    atoms: Atoms
    parent_index: IntArray
    """Atom of the parent that each atom is an image of, (n_atoms,)."""
    sites: IntArray
    """Atoms that are ions, (n_sites,)."""
    permutations: IntArray
    """Symmetry operations on the sites, (n_operations, n_sites)."""
    translations: IntArray
    """Those of them that are translations of the parent, (n_cells, n_sites)."""
    ewald: NDArray[np.float64]
    charges: FormalCharges
    """Formal charges of the parent, with all its ions."""

    @classmethod
    def build(cls, parent: Atoms, ion: str, superlattice: Superlattice, charges: FormalCharges) -> HostLattice:
        """Build the supercell with all its ions, and what is known of it.

        Args:
            parent: host with all ions.
            ion: element that leaves.
            superlattice: of the parent.
            charges: formal charges of the parent.
        """
        atoms, parent_index = expand(parent, superlattice.matrix)
        sites = np.flatnonzero(np.array(atoms.get_chemical_symbols()) == ion)
        return cls(
            superlattice=superlattice,
            atoms=atoms,
            parent_index=parent_index,
            sites=sites,
            permutations=site_permutations(atoms, sites),
            translations=translation_permutations(atoms.get_scaled_positions()[sites], parent_index[sites]),
            ewald=ewald_matrix(atoms),
            charges=charges,
        )

    @cached_property
    def pairs(self) -> FloatArray:
        """Histogram of each pair of sites, all images, over distances up to ``REACH_A``, (n_sites, n_sites, BINS)."""
        return _pair_histograms(self.atoms[self.sites])

    def coulomb(self, n_ions: int) -> tuple[FloatArray, FloatArray, float]:
        """Return Q, l and E₀ of ``s Q s + l s + E₀`` over the ion sites, for a neutral cell of ``n_ions``."""
        symbols = self.atoms.get_chemical_symbols()
        ion_charge = self.charges.by_element[symbols[self.sites[0]]]
        charges = self.charges.after(ion_charge * (len(self.sites) - n_ions), Counter(symbols))
        host = np.array([charges.get(symbol, 0.0) for symbol in symbols])
        host[self.sites] = 0.0
        quadratic = ion_charge**2 * self.ewald[np.ix_(self.sites, self.sites)]
        linear = 2 * ion_charge * self.ewald[self.sites] @ host
        return quadratic, linear, float(host @ self.ewald @ host)

    def descriptor(self, occupied: BoolArray) -> FloatArray:
        """Return the histogram of ion–ion distances per ion, which is the same in every supercell, (n, BINS)."""
        filled = occupied.astype(float)
        histogram: FloatArray = np.einsum("oi,ijb,oj->ob", filled, self.pairs, filled, optimize=True)
        return np.asarray(histogram / np.maximum(filled.sum(axis=1), 1)[:, None])


def _pair_histograms(ions: Atoms) -> FloatArray:
    """Smeared distances between sites, images included, weighted by 1/distance² as shells grow."""
    i, j, distance = primitive_neighbor_list("ijd", ions.pbc, ions.cell.array, ions.positions, REACH_A)
    centres = np.linspace(0.0, REACH_A, BINS)
    smeared = np.exp(-0.5 * ((distance[:, None] - centres) / WIDTH_A) ** 2) / distance[:, None] ** 2
    pairs = np.zeros((len(ions), len(ions), BINS))
    np.add.at(pairs, (i, j), smeared)
    return pairs
