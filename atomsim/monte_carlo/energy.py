"""Energy of an occupation of sites, quadratic in the occupations: point and pair terms of any range."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from atomsim.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class QuadraticEnergy:
    """Energy ``x Q x + l x + c`` of occupation variables x, which are 1 where a site holds a species and else 0.

    Coulomb energies of point charges and pair interactions of any range are of this form.
    """

    quadratic: FloatArray = field(repr=False)
    """Q, symmetric, eV, (n_sites × n_species, n_sites × n_species), species running faster."""
    linear: FloatArray = field(repr=False)
    """l, eV, (n_sites × n_species,)."""
    n_species: int
    constant: float = 0.0
    """c, eV."""

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.linear) // self.n_species

    def energies(self, occupations: IntArray) -> FloatArray:
        """Energies of occupations given as species numbers, eV, (n,), from (n, n_sites)."""
        x = one_hot(occupations, self.n_species)
        found: FloatArray = np.einsum("ni,ni->n", x @ self.quadratic, x) + x @ self.linear + self.constant
        return found

    def fields(self, occupations: IntArray) -> FloatArray:
        """Derivatives 2 Q x + l of the energies, eV, (n, n_sites × n_species)."""
        found: FloatArray = 2 * one_hot(occupations, self.n_species) @ self.quadratic + self.linear
        return found


def one_hot(occupations: IntArray, n_species: int) -> FloatArray:
    """Occupation variables of species numbers, (n, n_sites × n_species), from (n, n_sites)."""
    x: FloatArray = np.eye(n_species)[np.asarray(occupations)]
    return x.reshape(len(x), -1)
