"""Energy of ions on the sites of a host: polynomial in x, sites, pairs and a screened repulsion, fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from atomsim.errors import InputError
from atomsim.lattice_gas.lattice import IonLattice, Supercell
from atomsim.types import FloatArray, IntArray

PENALTIES = tuple(10.0**p for p in np.arange(-5, 2.1, 0.5))
"""Penalties on standardised terms among which the leave-one-out error chooses."""
POWERS = (0, 1, 2, 3)
"""Powers of x, in eV per cell of the host; 0 and 1 are not penalised, as two end members fix them."""
SURPLUS = 4
"""Orderings wanted at least beyond the free terms."""


@dataclass(frozen=True)
class Datum:
    """One relaxed ordering."""

    matrix: IntArray
    """Its superlattice, rows in units of the host's vectors."""
    vacancies: FloatArray
    """Fractional coordinates of the sites that ions left, (n, 3)."""
    energy_eV: float
    """Energy of the whole cell, relaxed."""


@dataclass(frozen=True, eq=False)
class LatticeGas:
    """A fitted energy of ions and vacancies."""

    lattice: IonLattice = field(repr=False)
    terms: tuple[str, ...]
    weights: FloatArray
    """eV per unit of each term, (n_terms,)."""
    covariance: FloatArray = field(repr=False)
    """Covariance of the weights, eV², (n_terms, n_terms)."""
    rms_error_eV: float
    """Leave-one-out error, eV per cell of the host."""
    left_out_eV: FloatArray = field(repr=False)
    """Energy of each ordering predicted without it, minus the relaxed one, eV per cell of the host, (n_data,)."""
    x: FloatArray = field(repr=False)
    """Share of sites occupied in each ordering, (n_data,)."""

    def terms_of(self, cell: Supercell, occupations: FloatArray) -> FloatArray:
        """Values of all terms, extensive, (n, n_terms), from occupations (n, n_sites)."""
        return terms_of(cell, np.atleast_2d(occupations))

    def quadratic(self, cell: Supercell) -> tuple[FloatArray, FloatArray]:
        """Return Q and l of ``s Q s + l s``, all of the energy that tells arrangements of one x apart, eV."""
        n_orbits = _n_orbits(cell)
        first = len(POWERS)
        sites, repulsion, pairs = np.split(self.weights[first:], [n_orbits - 1, n_orbits])
        linear = np.append(sites, 0.0)[cell.orbits]
        quadratic = repulsion[0] * cell.repulsion + np.einsum("p,pij->ij", pairs, cell.pairs)
        return quadratic, linear

    def polynomial(self, cell: Supercell, n_ions: FloatArray | IntArray) -> FloatArray:
        """Energy that depends on the number of ions alone, eV."""
        values: FloatArray = _powers(cell, np.asarray(n_ions, float)) @ self.weights[: len(POWERS)]
        return values


def fit(lattice: IonLattice, data: Sequence[Datum]) -> LatticeGas:
    """Fit the energy to relaxed orderings, per cell of the host.

    Ridge regression on standardised terms. The residual without each datum is r / (1 − h) with the hat matrix'
    diagonal h (Allen 1974, Technometrics 16, 125); the penalty is that of the least leave-one-out error.

    Args:
        lattice: sites and pairs.
        data: relaxed orderings, at three ion contents or more.

    Raises:
        InputError: if the orderings are too few, or of too few contents, to tell an error from them.
    """
    cells: dict[bytes, Supercell] = {}
    rows, targets, x = [], [], []
    for datum in data:
        matrix = np.asarray(datum.matrix, dtype=np.int64)
        key = matrix.tobytes()
        if key not in cells:
            cells[key] = lattice.supercell(matrix)
        cell = cells[key]
        occupied = cell.occupation(datum.vacancies)
        rows.append(terms_of(cell, occupied[None])[0] / cell.cells)
        targets.append(datum.energy_eV / cell.cells)
        x.append(occupied.mean())
    contents = len(np.unique(np.round(x, 6)))
    if contents < 3 or len(data) < len(POWERS) + SURPLUS:
        raise InputError(
            f"found {len(data)} relaxed orderings at {contents} ion contents; wanted at least "
            f"{len(POWERS) + SURPLUS} at three or more: delithiate to more x, with more orderings"
        )
    values, target = np.array(rows), np.array(targets)
    weights, covariance, rms, left_out = _ridge(values, target)
    return LatticeGas(lattice, _names(lattice), weights, covariance, rms, left_out, np.array(x))


def terms_of(cell: Supercell, occupations: FloatArray) -> FloatArray:
    """Values of all terms, extensive, (n, n_terms)."""
    s = np.asarray(occupations, float)
    own = s @ (cell.orbits[:, None] == np.arange(_n_orbits(cell) - 1))
    repulsion = np.einsum("ni,ij,nj->n", s, cell.repulsion, s)[:, None]
    pairs = np.einsum("ni,pij,nj->np", s, cell.pairs, s, optimize=True)
    return np.concatenate([_powers(cell, s.sum(axis=1)), own, repulsion, pairs], axis=1)


def _powers(cell: Supercell, n_ions: FloatArray) -> FloatArray:
    share = n_ions / cell.n_sites
    return cell.cells * np.stack([share**p for p in POWERS], axis=-1)


def _n_orbits(cell: Supercell) -> int:
    return int(cell.lattice.site_orbits.max()) + 1


def _names(lattice: IonLattice) -> tuple[str, ...]:
    powers = [f"x^{p}" for p in POWERS]
    sites = [f"site {n + 1}" for n in range(int(lattice.site_orbits.max()))]
    pairs = [f"pair at {d:.2f} Å" for d in lattice.distances_A]
    return (*powers, *sites, "repulsion", *pairs)


def _ridge(values: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray, float, FloatArray]:
    """Weights, their covariance, the leave-one-out error and residuals."""
    free = 2  # x^0 and x^1
    scale = values[:, free:].std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(1, np.abs(values[:, free:]).max(axis=0)), scale, np.inf)
    mean = values[:, free:].mean(axis=0)
    design = np.column_stack([values[:, :free], (values[:, free:] - mean) / scale])
    ridge = np.diag(np.append(np.zeros(free), np.ones(values.shape[1] - free)))
    best = None
    for penalty in PENALTIES:
        inverse = np.linalg.pinv(design.T @ design + penalty * len(target) * ridge, hermitian=True)
        hat = np.einsum("ni,ij,nj->n", design, inverse, design)
        solution = inverse @ design.T @ target
        residual = (design @ solution - target) / np.maximum(1 - hat, 1e-3)
        rms = float(np.sqrt((residual**2).mean()))
        if best is None or rms < best[0] * (1 - 1e-9):
            best = rms, solution, inverse, residual
    assert best is not None
    rms, solution, inverse, residual = best
    to_raw = np.eye(values.shape[1])
    to_raw[free:, free:] = np.diag(1 / scale)
    to_raw[0, free:] = -mean / scale
    return to_raw @ solution, rms**2 * to_raw @ inverse @ to_raw.T, rms, residual
