"""Free energy of a lattice gas against the number of ions: canonical replica exchange, Bennett ratios in between."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from atomsim.lattice_gas.lattice import Supercell
from atomsim.lattice_gas.model import LatticeGas
from atomsim.monte_carlo import QuadraticEnergy, temper
from atomsim.pulse import at_work
from atomsim.types import FloatArray
from atomsim.units import KB

LADDER = 6
"""Temperatures of replica exchange, up to where arrangements are random."""


@dataclass(frozen=True)
class Sampling:
    """Extent of the Monte Carlo."""

    chains: int = 4
    sweeps: int = 200
    """After the burn-in, per number of ions and chain."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FreeEnergies:
    """Configurational free energy of one supercell for every number of ions."""

    cell: Supercell = field(repr=False)
    temperature_K: float
    steps_eV: FloatArray
    """F(n + 1) − F(n), eV, (n_sites,)."""
    sampling_errors_eV: FloatArray
    """Standard errors of the steps between independent chains, eV, (n_sites,)."""
    model_errors_eV: FloatArray
    """Standard errors of the steps by the covariance of the fitted weights, eV, (n_sites,)."""
    scale_reduction: FloatArray
    """Convergence between chains, R̂ of the energy by number of ions, 1 is ideal, (n_sites + 1,)."""

    @property
    def free_energies_eV(self) -> FloatArray:  # noqa: N802 - units are in names
        """F(n) − F(0), eV, (n_sites + 1,)."""
        return np.append(0.0, np.cumsum(self.steps_eV))


def free_energies(model: LatticeGas, cell: Supercell, temperature_K: float, sampling: Sampling) -> FreeEnergies:
    """Sample every number of ions and join neighbours.

    Z(n+1)/Z(n) follows from insertions into all empty sites of arrangements of n ions and removals of all ions from
    those of n + 1, combined as Bennett 1976, J. Comput. Phys. 22, 245 does: each number of ions is sampled alone, so
    that no barrier between phases has to be crossed, and no hysteresis is left.

    Args:
        model: fitted energy.
        cell: supercell that is sampled.
        temperature_K: of the result, K.
        sampling: chains, sweeps, seed.
    """
    quadratic, linear = model.quadratic(cell)
    beta, n_sites = 1 / (KB * temperature_K), cell.n_sites
    energy = _two_species(quadratic, linear)
    samples, scales = [], []
    for n in range(n_sites + 1):
        at_work("numbers of ions sampled", n, n_sites)
        occupied, scale = _arrangements(energy, n_sites, n, temperature_K, sampling)
        samples.append(occupied)
        scales.append(scale)
    own = np.diag(quadratic)
    ratios = np.empty((sampling.chains, n_sites))
    for n in range(n_sites):
        for chain in range(sampling.chains):
            below, above = samples[n][chain], samples[n + 1][chain]
            insertion = (2 * below @ quadratic + linear + own)[below == 0]
            removal = (2 * above @ quadratic + linear - own)[above == 1]
            # the number of pairs (arrangement, site) is (n_sites − n) Ω(n) = (n + 1) Ω(n + 1)
            counted = np.log((n_sites - n) / (n + 1)) / beta
            ratios[chain, n] = bennett(insertion * beta, removal * beta) / beta - counted
    steps = ratios + np.diff(model.polynomial(cell, np.arange(n_sites + 1)))
    terms = np.array([model.terms_of(cell, s.reshape(-1, n_sites)).mean(axis=0) for s in samples])
    change = np.diff(terms, axis=0)
    return FreeEnergies(
        cell=cell,
        temperature_K=temperature_K,
        steps_eV=steps.mean(axis=0),
        sampling_errors_eV=steps.std(axis=0, ddof=1) / np.sqrt(sampling.chains),
        model_errors_eV=np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", change, model.covariance, change), 0)),
        scale_reduction=np.array(scales),
    )


def bennett(forward: FloatArray, reverse: FloatArray) -> float:
    """Return the free energy difference, in units of kT, from works there and from the same works on the way back.

    Args:
        forward: energy changes of the step, sampled before it, kT.
        reverse: energy changes of the same step, sampled after it, kT.
    """
    ratio = np.log(len(forward) / len(reverse))

    def unbalanced(guess: float) -> float:
        return float(expit(guess - forward - ratio).sum() - expit(reverse - guess + ratio).sum())

    low = min(forward.min(), reverse.min()) - abs(ratio) - 50
    high = max(forward.max(), reverse.max()) + abs(ratio) + 50
    return float(brentq(unbalanced, low, high, xtol=1e-10))


def _two_species(quadratic: FloatArray, linear: FloatArray) -> QuadraticEnergy:
    """Express ``s Q s + l s`` over occupation variables of vacancies (species 0) and ions (species 1)."""
    n = len(linear)
    full, sites = np.zeros((n, 2, n, 2)), np.zeros((n, 2))
    full[:, 1, :, 1], sites[:, 1] = quadratic, linear
    return QuadraticEnergy(full.reshape(2 * n, 2 * n), sites.ravel(), 2)


def _arrangements(
    energy: QuadraticEnergy, n_sites: int, n_ions: int, temperature_K: float, sampling: Sampling
) -> tuple[FloatArray, float]:
    """Occupations at the temperature, (n_chains, n_samples, n_sites), and R̂ of their energy."""
    if n_ions in (0, n_sites):
        return np.full((sampling.chains, 1, n_sites), float(n_ions > 0)), 1.0
    start = np.zeros(n_sites, dtype=np.int64)
    start[:n_ions] = 1
    generator = np.random.default_rng([sampling.seed, n_ions])
    drawn = generator.permuted(np.tile(start, (200, 1)), axis=1)
    cold = KB * temperature_K
    hot = max(float(energy.energies(drawn).std()), 2 * cold)
    found = temper(
        energy,
        [np.arange(n_sites)],
        start,
        np.geomspace(cold, hot, LADDER),
        chains=sampling.chains,
        sweeps=sampling.sweeps,
        burn_in=max(10, sampling.sweeps // 4),
        seed=[sampling.seed, n_ions, 1],
    )
    return found.occupations[:, 0].astype(float), float(found.scale_reduction[0])
