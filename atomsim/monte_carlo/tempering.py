"""Replica exchange: several independent chains, each a ladder of temperatures whose neighbours trade occupations.

Swendsen & Wang 1986, Phys. Rev. Lett. 57, 2607; Hukushima & Nemoto 1996, J. Phys. Soc. Jpn. 65, 1604.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from atomsim.monte_carlo.convergence import potential_scale_reduction, standard_error
from atomsim.monte_carlo.energy import QuadraticEnergy
from atomsim.monte_carlo.metropolis import Replicas, metropolis, site_pairs, start_replicas
from atomsim.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Sampling:
    """Samples of replica exchange after the burn-in."""

    temperatures: FloatArray
    """Temperatures of the ladder, eV, (n_temperatures,)."""
    energies: FloatArray = field(repr=False)
    """eV, (n_chains, n_temperatures, n_samples)."""
    occupations: IntArray = field(repr=False)
    """Species numbers, (n_chains, n_temperatures, n_samples, n_sites)."""
    acceptance: FloatArray
    """Share of unlike exchanges of sites that were accepted, by temperature, over all chains."""
    swaps: FloatArray
    """Share of trades between neighbouring temperatures that were accepted, (n_temperatures − 1,)."""

    @property
    def mean_energies(self) -> FloatArray:
        """Mean energy by temperature, eV."""
        found: FloatArray = self.energies.mean(axis=(0, 2))
        return found

    @property
    def energy_errors(self) -> FloatArray:
        """Standard error of the mean energies from the spread between chains, eV."""
        return standard_error(self.energies.mean(axis=2))

    @property
    def scale_reduction(self) -> FloatArray:
        """Convergence between chains, R̂ of the energy by temperature; 1 is ideal, above 1.1 is not converged."""
        return np.array([potential_scale_reduction(self.energies[:, t]) for t in range(len(self.temperatures))])


def temper(
    energy: QuadraticEnergy,
    groups: Sequence[Sequence[int] | IntArray],
    start: IntArray,
    temperatures: Sequence[float] | FloatArray,
    *,
    chains: int = 4,
    sweeps: int = 400,
    burn_in: int = 100,
    every: int = 1,
    seed: int | Sequence[int] = 0,
) -> Sampling:
    """Sample occupations at fixed composition by replica exchange.

    Every replica starts from another random arrangement, so that chains that agree have forgotten their start.

    Args:
        energy: of occupations.
        groups: sites that exchange their species among each other.
        start: one occupation, whose composition is kept in each group, (n_sites,).
        temperatures: of the ladder, eV.
        chains: independent ladders.
        sweeps: after the burn-in; one sweep tries as many exchanges as sites exchange, then trades neighbours.
        burn_in: sweeps before samples are taken.
        every: sweeps from sample to sample.
        seed: of the random numbers.
    """
    ladder = np.sort(np.asarray(temperatures, dtype=float))
    generator, pairs = np.random.default_rng(seed), site_pairs(groups)
    n_t, n_moving = len(ladder), sum(len(group) for group in groups)
    replicas = start_replicas(energy, _shuffled(np.asarray(start), groups, chains * n_t, generator))
    at = np.tile(ladder, chains)
    tallies = np.zeros((2, max(n_t - 1, 0)))
    energies, occupations = [], []
    for sweep in range(burn_in + sweeps):
        replicas = metropolis(energy, replicas, pairs, at, n_moving, generator)
        replicas = _trade(replicas, ladder, chains, sweep % 2, generator, tallies)
        # sums of changes drift in the last digits; the exact fields cost little
        fresh = start_replicas(energy, replicas.occupations)
        replicas = replace(replicas, energies=fresh.energies, fields=fresh.fields)
        if sweep >= burn_in and (sweep - burn_in) % every == 0:
            energies.append(replicas.energies.reshape(chains, n_t))
            occupations.append(replicas.occupations.reshape(chains, n_t, -1))
    counts = np.stack([replicas.accepted, replicas.tried]).reshape(2, chains, n_t).sum(axis=1)
    return Sampling(
        temperatures=ladder,
        energies=np.stack(energies, axis=2),
        occupations=np.stack(occupations, axis=2),
        acceptance=counts[0] / np.maximum(counts[1], 1),
        swaps=tallies[0] / np.maximum(tallies[1], 1),
    )


def _shuffled(
    start: IntArray, groups: Sequence[Sequence[int] | IntArray], n: int, generator: np.random.Generator
) -> IntArray:
    found = np.tile(start, (n, 1))
    for group in groups:
        sites = np.asarray(group, dtype=np.int64)
        found[:, sites] = generator.permuted(found[:, sites], axis=1)
    return found


def _trade(
    replicas: Replicas,
    ladder: FloatArray,
    chains: int,
    parity: int,
    generator: np.random.Generator,
    tallies: FloatArray,
) -> Replicas:
    """Trade the occupations of neighbouring temperatures with probability min(1, exp(Δβ ΔE))."""
    n_t = len(ladder)
    low = np.arange(parity, n_t - 1, 2)
    if not len(low):
        return replicas
    at = (np.arange(chains)[:, None] * n_t + low).ravel()
    step = np.tile(1 / ladder[low] - 1 / ladder[low + 1], chains)
    gain = step * (replicas.energies[at] - replicas.energies[at + 1])
    traded = np.log1p(-generator.random(len(at))) <= gain
    tallies[0][low] += traded.reshape(chains, -1).sum(axis=0)
    tallies[1][low] += chains
    order = np.arange(chains * n_t)
    ones = at[traded]
    order[ones], order[ones + 1] = ones + 1, ones
    return replace(
        replicas,
        occupations=replicas.occupations[order],
        energies=replicas.energies[order],
        fields=replicas.fields[order],
    )
