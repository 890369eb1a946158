"""Energy of an arrangement: Coulomb energy of formal charges with a fitted dielectric constant, pair and site terms.

Fitted by ridge regression to relaxed energies, with the leave-one-out error in closed form. The point charges carry the
long range, so that few pair shells are enough and 10 to 40 relaxations fix them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from atomsim.cations.problem import OrderingProblem
from atomsim.errors import InputError
from atomsim.monte_carlo import QuadraticEnergy
from atomsim.monte_carlo.energy import one_hot
from atomsim.structures.charges import formal_charges
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.types import FloatArray, IntArray

PENALTIES = tuple(10.0**p for p in np.arange(-4, 3.1, 0.5))
"""Penalties on the standardised pair and site terms among which the leave-one-out error chooses."""


@dataclass(frozen=True, eq=False)
class Features:
    """Terms of the model, each quadratic in the occupation variables."""

    names: tuple[str, ...]
    quadratic: FloatArray = field(repr=False)
    """(n_features, n_sites × n_species, n_sites × n_species)."""
    linear: FloatArray = field(repr=False)
    """(n_features, n_sites × n_species)."""
    n_species: int
    charges: Mapping[str, float] | None
    """Formal charges of the first term, e; None where none make the cell neutral, and there is no such term."""

    def of(self, occupations: IntArray) -> FloatArray:
        """Values of all terms, (n, n_features)."""
        x = one_hot(occupations, self.n_species)
        found: FloatArray = np.einsum("ni,fij,nj->nf", x, self.quadratic, x, optimize=True) + x @ self.linear.T
        return found

    def energy(self, weights: FloatArray, constant: float = 0.0) -> QuadraticEnergy:
        """Return the energy with these weights, eV."""
        quadratic = np.einsum("f,fij->ij", weights, self.quadratic)
        return QuadraticEnergy(quadratic, weights @ self.linear, self.n_species, constant)


@dataclass(frozen=True, eq=False)
class ArrangementModel:
    """A fitted model of the energies of arrangements."""

    features: Features = field(repr=False)
    weights: FloatArray
    """Weights of the terms, (n_features,): the first is 1/ε for the Coulomb energy, the others eV per pair or site."""
    constant: float
    """eV."""
    left_out: FloatArray = field(repr=False)
    """Energies of the fitted arrangements, each predicted without itself, eV, (n_data,)."""
    rms_error: float
    """Leave-one-out error: root mean square of ``left_out`` − relaxed, eV per cell."""
    penalty: float
    covariance: FloatArray = field(repr=False)
    """Covariance of the weights and the constant, eV², (n_features + 1, n_features + 1)."""

    @property
    def energy(self) -> QuadraticEnergy:
        """The model as an energy for Monte Carlo, eV."""
        return self.features.energy(self.weights, self.constant)

    def predict(self, occupations: IntArray) -> tuple[FloatArray, FloatArray]:
        """Energies and their standard deviations by the fit, eV, (n,) each."""
        values = np.column_stack([self.features.of(occupations), np.ones(len(occupations))])
        energy = values @ np.append(self.weights, self.constant)
        variance = np.einsum("ni,ij,nj->n", values, self.covariance, values)
        return energy, np.sqrt(np.maximum(variance, 0) + self.rms_error**2)


def make_features(problem: OrderingProblem, shells: int, charges: Mapping[str, float] | None = None) -> Features:
    """Set up the terms: Coulomb energy, pairs of unlike species in each shell, species on inequivalent sites.

    Args:
        problem: sites and species.
        shells: pair shells.
        charges: formal charges of some elements, e; the others follow from common states and neutrality.

    Raises:
        InputError: if given charges leave the cell charged.
    """
    known = formal_charges(problem.atoms, charges)
    if known is None and charges:
        raise InputError(
            f"charges {dict(charges)} leave {problem.atoms.get_chemical_formula()} charged whatever the common states "
            "of the others are; correct them, or give all"
        )
    n, k = len(problem.sites), len(problem.species)
    terms: list[tuple[str, FloatArray, FloatArray]] = []
    none = np.zeros(n * k)
    if known is not None:
        terms.append(("Coulomb", *_coulomb(problem, known.by_element)))
    distances, counts = problem.neighbours(shells)
    for distance, shell in zip(distances, counts, strict=True):
        for a, b in combinations(range(k), 2):
            pair = np.zeros((n, k, n, k))
            pair[:, a, :, b] = pair[:, b, :, a] = (shell + shell.T) / 4  # both directions count one bond
            name = f"{problem.species[a]}–{problem.species[b]} at {distance:.2f} Å"
            terms.append((name, pair.reshape(n * k, n * k), none))
    empty = np.zeros((n * k, n * k))
    for orbit in _orbits(problem):
        for a in range(k):
            point = np.zeros((n, k))
            point[orbit, a] = 1
            terms.append((f"{problem.species[a]} on site {problem.sites[orbit[0]]}", empty, point.ravel()))
    return Features(
        names=tuple(name for name, _, _ in terms),
        quadratic=np.stack([q for _, q, _ in terms]),
        linear=np.stack([row for _, _, row in terms]),
        n_species=k,
        charges=None if known is None else dict(known.by_element),
    )


def _coulomb(problem: OrderingProblem, charges: Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
    """Coulomb energy of the moving species with each other and with the rest, eV."""
    n, k = len(problem.sites), len(problem.species)
    matrix = ewald_matrix(problem.atoms)
    rest = np.array([charges[s] for s in problem.atoms.get_chemical_symbols()])
    rest[problem.sites] = 0
    own = np.array([charges[s] for s in problem.species])
    quadratic = np.einsum("ij,a,b->iajb", matrix[np.ix_(problem.sites, problem.sites)], own, own)
    linear = 2 * np.einsum("i,a->ia", matrix[problem.sites] @ rest, own)
    return quadratic.reshape(n * k, n * k), linear.ravel()


def _orbits(problem: OrderingProblem) -> list[IntArray]:
    """Sites of sublattices that symmetry parts into several orbits, all but the last orbit of each."""
    found = []
    for group in problem.groups:
        left, orbits = set(group.tolist()), []
        while left:
            orbit = np.unique(problem.permutations[:, min(left)])
            orbits.append(orbit)
            left -= set(orbit.tolist())
        found += orbits[:-1]
    return found


def fit(features: Features, occupations: IntArray, energies: Sequence[float]) -> ArrangementModel:
    """Fit the weights to relaxed energies.

    Ridge regression on standardised terms; constant and Coulomb term are not penalised. The residual without each
    datum is r / (1 − h) with the hat matrix' diagonal h (Allen 1974, Technometrics 16, 125), and the penalty is
    the one of least leave-one-out error.

    Args:
        features: terms of the model.
        occupations: fitted arrangements, (n_data, n_sites).
        energies: relaxed energies, eV per cell.
    """
    values, target = features.of(occupations), np.asarray(energies, float)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    used = scale > 1e-9 * np.maximum(1, np.abs(mean))
    scale = np.where(used, scale, 1.0)
    design = np.column_stack([(values - mean) / scale * used, np.ones(len(target))])
    free = np.ones(design.shape[1])
    free[-1] = 0
    if features.charges is not None:
        free[0] = 0
    best = None
    for penalty in PENALTIES:
        inverse = np.linalg.pinv(design.T @ design + penalty * np.diag(free), hermitian=True)
        hat = np.einsum("ni,ij,nj->n", design, inverse, design)
        solution = inverse @ design.T @ target
        residual = (target - design @ solution) / np.maximum(1 - hat, 1e-6)
        rms = float(np.sqrt((residual**2).mean()))
        if best is None or rms < best[0] * (1 - 1e-9):
            best = rms, penalty, solution, inverse, residual
    assert best is not None
    rms, penalty, solution, inverse, residual = best
    # back from standardised terms
    to_raw = np.zeros((len(mean) + 1, len(mean) + 1))
    to_raw[:-1, :-1] = np.diag(used / scale)
    to_raw[-1, :-1], to_raw[-1, -1] = -mean / scale * used, 1
    raw = to_raw @ solution
    return ArrangementModel(
        features=features,
        weights=raw[:-1],
        constant=float(raw[-1]),
        left_out=target - residual,
        rms_error=rms,
        penalty=penalty,
        covariance=rms**2 * to_raw @ inverse @ to_raw.T,
    )


def rank_correlation(one: Sequence[float] | FloatArray, other: Sequence[float] | FloatArray) -> float:
    """Spearman's rank correlation; NaN where one of the two does not vary."""
    a, b = (np.argsort(np.argsort(np.asarray(x), kind="stable")).astype(float) for x in (one, other))
    if len(a) < 2 or np.ptp(np.asarray(one)) == 0 or np.ptp(np.asarray(other)) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
