"""From rates on a periodic network of sites to a diffusivity: exactly, and by kinetic Monte Carlo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp

from atomsim.errors import InputError
from atomsim.mep.rates import DEFAULT_PREFACTOR
from atomsim.types import FloatArray
from atomsim.units import CM2_PER_A2, KB


@dataclass(frozen=True)
class Jump:
    """A jump of a lone carrier from one site to another, in one direction."""

    start: int
    end: int
    displacement: tuple[float, float, float]
    """Å."""
    barrier: float
    """eV."""
    prefactor: float = DEFAULT_PREFACTOR
    """1/s."""

    def rate(self, temperature: float) -> float:
        """Rate by transition-state theory, 1/s; temperature in K."""
        return self.prefactor * float(np.exp(-self.barrier / (KB * temperature)))


@dataclass(frozen=True)
class Diffusivity:
    """Tracer diffusivity of a lone carrier: a vacancy or an interstitial in an otherwise perfect crystal."""

    tensor: FloatArray
    """cm²/s, (3, 3)."""
    temperature: float
    """K."""
    error: float | None = None
    """Standard error of ``mean``, cm²/s; None where it is exact."""

    @property
    def mean(self) -> float:
        """A third of the trace, cm²/s."""
        return float(np.trace(self.tensor)) / 3

    @property
    def principal(self) -> FloatArray:
        """Principal values, cm²/s, ascending, (3,)."""
        return np.asarray(np.linalg.eigvalsh(self.tensor))


def exact_diffusivity(jumps: Sequence[Jump], energies: Sequence[float], temperature: float) -> Diffusivity:
    """Diffusivity of a lone carrier on a periodic network, without sampling.

    With conductances w_ij = p_i Γ_ij, which detailed balance makes symmetric, and g that solves
    Σ_j w_ij (g_j − g_i) = −Σ_j w_ij d_ij, the carrier's position plus g of its site has uncorrelated
    steps, so D = ½ Σ_ij w_ij (d_ij + g_j − g_i)⊗² (as in Trinkle, Philos. Mag. 96, 2714 (2016), Eq. 13).
    Sites that no jump leaves are taken out.

    Args:
        jumps: both directions of every hop.
        energies: of the carrier on each site of the cell, eV; that of a site without jumps is not used.
        temperature: K.

    Raises:
        InputError: if there are no jumps, or they and the energies break detailed balance.
    """
    start, end, step, log_rate = _arrays(jumps, temperature)
    log_weight = log_rate + _log_population(energies, start, temperature)[start]
    scale = log_weight.max()
    weight = np.exp(log_weight - scale)  # in units of the largest
    conductance, drift = np.zeros((len(energies), len(energies))), np.zeros((len(energies), 3))
    apart = start != end  # jumps to a site's own images add nothing, and fast ones would swamp the others' digits
    np.add.at(conductance, (start[apart], end[apart]), weight[apart])
    np.add.at(drift, start[apart], weight[apart, None] * step[apart])
    if not np.allclose(conductance, conductance.T, rtol=1e-6, atol=0):
        raise InputError("jumps break detailed balance; wanted both directions of every hop over one saddle")
    relaxed = _relaxed(conductance, drift)
    effective = step + relaxed[end] - relaxed[start]
    tensor = 0.5 * np.einsum("j,ja,jb->ab", weight, effective, effective)
    return Diffusivity(tensor * np.exp(scale) * CM2_PER_A2, temperature)


def _arrays(
    jumps: Sequence[Jump], temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray, FloatArray]:
    if not jumps:
        raise InputError("no jumps: found an empty network, wanted at least one hop with a barrier")
    if temperature <= 0:
        raise InputError(f"temperature is {temperature:g} K; want more than 0")
    log_rate = np.array([np.log(j.prefactor) - j.barrier / (KB * temperature) for j in jumps])
    step = np.array([j.displacement for j in jumps], dtype=float)
    return np.array([j.start for j in jumps]), np.array([j.end for j in jumps]), step, log_rate


def _log_population(energies: Sequence[float], start: NDArray[np.int64], temperature: float) -> FloatArray:
    """Logarithm of the sites' occupation in equilibrium; sites without jumps are never visited."""
    active = np.unique(start)
    exponent = -np.asarray(energies, dtype=float)[active] / (KB * temperature)
    found = np.full(len(energies), -np.inf)
    found[active] = exponent - logsumexp(exponent)
    return found


def _relaxed(conductance: FloatArray, drift: FloatArray) -> FloatArray:
    """Solve for g, Å, (n_sites, 3); it is free up to a constant in each connected part, so one site of each stays."""
    part = connected_components(conductance > 0, directed=False)[1]
    free = np.setdiff1d(np.arange(len(part)), np.unique(part, return_index=True)[1])
    laplacian = np.diag(conductance.sum(axis=1)) - conductance
    relaxed = np.zeros_like(drift)
    relaxed[free] = np.linalg.solve(laplacian[np.ix_(free, free)], drift[free])
    return relaxed


def simulated_diffusivity(
    jumps: Sequence[Jump],
    energies: Sequence[float],
    temperature: float,
    *,
    walkers: int = 500,
    steps: int = 2000,
    seed: int = 0,
) -> Diffusivity:
    """Diffusivity by kinetic Monte Carlo with independent walkers, and its standard error.

    Residence-time algorithm: Bortz, Kalos, Lebowitz, J. Comput. Phys. 17, 10 (1975). The error
    is the jackknife's over walkers, so it needs no model of correlations; it does not know of
    places that no walker came to: where barriers between cages are high, compare with the exact answer.

    Args:
        jumps: both directions of every hop.
        energies: of the carrier on each site of the cell, eV.
        temperature: K.
        walkers: independent carriers, started from equilibrium.
        steps: jumps of each.
        seed: of the random numbers.
    """
    start, end, step, log_rate = _arrays(jumps, temperature)
    scale = log_rate.max()
    rate = np.exp(log_rate - scale)
    rng = np.random.default_rng(seed)
    table, total = _table(start, rate, len(energies))
    site = rng.choice(len(energies), size=walkers, p=np.exp(_log_population(energies, start, temperature)))
    position, time = np.zeros((walkers, 3)), np.zeros(walkers)
    for _ in range(steps):
        time += rng.exponential(size=walkers) / total[site]
        cumulative, which = table[0][site], table[1][site]
        chosen = which[np.arange(walkers), (cumulative < rng.random(walkers)[:, None]).sum(axis=1)]
        position += step[chosen]
        site = end[chosen]
    spread = np.einsum("wa,wb->wab", position, position)
    tensor = spread.mean(axis=0) / (2 * time.mean())
    left_out = (np.trace(spread.sum(axis=0)) - np.trace(spread, axis1=1, axis2=2)) / (6 * (time.sum() - time))
    error = np.sqrt((walkers - 1) / walkers * ((left_out - left_out.mean()) ** 2).sum())
    unit = np.exp(scale) * CM2_PER_A2
    return Diffusivity(tensor * unit, temperature, float(error * unit))


def _table(
    start: NDArray[np.int64], rate: FloatArray, n_sites: int
) -> tuple[tuple[FloatArray, NDArray[np.int64]], FloatArray]:
    """Rate table of each site: cumulative probabilities of its jumps, their numbers, and the total rate."""
    width = int(np.bincount(start, minlength=n_sites).max())
    cumulative, which = np.full((n_sites, width), 2.0), np.zeros((n_sites, width), dtype=np.int64)
    total: FloatArray = np.bincount(start, weights=rate, minlength=n_sites).astype(float)
    for site in np.unique(start):
        own = np.flatnonzero(start == site)
        cumulative[site, : len(own)] = np.cumsum(rate[own]) / total[site]
        cumulative[site, len(own) - 1] = 2.0
        which[site, : len(own)] = own
    return (cumulative, which), total


def activation_energy(jumps: Sequence[Jump], energies: Sequence[float], temperature: float) -> float:
    """Slope of ln D over −1/kT at a temperature (K), eV; arguments as for ``exact_diffusivity``."""
    low, high = 0.98 * temperature, 1.02 * temperature
    ratio = exact_diffusivity(jumps, energies, high).mean / exact_diffusivity(jumps, energies, low).mean
    return float(np.log(ratio) / (1 / (KB * low) - 1 / (KB * high)))
