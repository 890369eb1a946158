"""Detailed balance, and replica exchange of binary models against exact enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from atomsim.monte_carlo import (
    QuadraticEnergy,
    metropolis,
    potential_scale_reduction,
    site_pairs,
    standard_error,
    start_replicas,
    temper,
)


def binary(couplings: np.ndarray, fields: np.ndarray | None = None) -> QuadraticEnergy:
    """Energy of pairs of the second species."""
    n = len(couplings)
    quadratic = np.zeros((n, 2, n, 2))
    quadratic[:, 1, :, 1] = couplings
    linear = np.zeros((n, 2))
    linear[:, 1] = 0 if fields is None else fields
    return QuadraticEnergy(quadratic.reshape(2 * n, 2 * n), linear.ravel(), 2)


def square(side: int, coupling: float) -> np.ndarray:
    """Pair matrix of nearest neighbours on a periodic square lattice; each bond counts once in x Q x."""
    sites = np.arange(side * side).reshape(side, side)
    found = np.zeros((side * side, side * side))
    for axis in (0, 1):
        np.add.at(found, (sites.ravel(), np.roll(sites, 1, axis).ravel()), coupling)
    return (found + found.T) / 2


def all_occupations(n: int, filled: int) -> np.ndarray:
    chosen = np.array(list(combinations(range(n), filled)))
    found = np.zeros((len(chosen), n), dtype=np.int64)
    np.put_along_axis(found, chosen, 1, axis=1)
    return found


def test_moves_keep_detailed_balance():
    generator = np.random.default_rng(3)
    couplings = generator.normal(size=(5, 5))
    energy = binary((couplings + couplings.T) / 2, generator.normal(size=5))
    states = all_occupations(5, 2)
    number = {tuple(s): n for n, s in enumerate(states)}
    weight = np.exp(-energy.energies(states) / 2)
    weight /= weight.sum()
    walkers = 20_000
    rates = np.zeros((len(states), len(states)))
    for n, state in enumerate(states):
        start = start_replicas(energy, np.tile(state, (walkers, 1)))
        end = metropolis(energy, start, site_pairs([range(5)]), np.full(walkers, 2.0), 1, generator)
        for other, count in zip(*np.unique(end.occupations, axis=0, return_counts=True), strict=True):
            rates[n, number[tuple(other)]] = count / walkers
    # a state has 3 × 2 neighbours, each proposed once in 10 pairs of sites; σ from flows that balance exactly
    ways = (states @ states.T == 1) / 10
    balanced = ways * np.minimum(weight[:, None], weight)
    sigma = np.sqrt(balanced * weight[:, None] / walkers)
    off = balanced > 0
    flow = weight[:, None] * rates
    deviation = (flow - flow.T)[off] / np.sqrt(sigma**2 + sigma.T**2)[off]
    assert off.sum() == 60
    assert np.abs(deviation).max() < 4
    assert np.sqrt((deviation**2).mean()) == pytest.approx(1, abs=0.3)
    assert (rates[~off & ~np.eye(len(states), dtype=bool)] == 0).all()


def test_changes_of_the_energy_are_those_of_whole_energies():
    generator = np.random.default_rng(1)
    n, k = 9, 3
    matrix = generator.normal(size=(n * k, n * k))
    energy = QuadraticEnergy((matrix + matrix.T) / 2, generator.normal(size=n * k), k, 0.7)
    occupations = generator.permuted(np.tile(np.arange(n) % k, (6, 1)), axis=1)
    start = start_replicas(energy, occupations)
    end = metropolis(energy, start, site_pairs([range(5), range(5, 9)]), np.full(6, 2.0), 200, generator)
    assert (end.occupations != occupations).any()
    assert end.energies == pytest.approx(energy.energies(end.occupations), abs=1e-9)
    assert end.fields == pytest.approx(energy.fields(end.occupations), abs=1e-9)
    assert (start.occupations == occupations).all()
    for group in (slice(0, 5), slice(5, 9)):  # each keeps its own composition
        assert (np.sort(end.occupations[:, group]) == np.sort(occupations[:, group])).all()


@pytest.mark.parametrize("coupling", [0.05, -0.05], ids=["ordering", "clustering"])
def test_energy_and_order_of_binary_lattices_are_the_exact_ones(coupling):
    couplings = square(4, coupling)
    energy, states = binary(couplings), all_occupations(16, 8)
    levels = energy.energies(states)
    temperatures = np.array([0.04, 0.06, 0.09, 0.15])
    bonds = (couplings / coupling > 0).astype(float)
    deviations = []  # of energies, and of Warren–Cowley α = 1 − P(BB) / c², in standard errors
    for seed in range(2):
        found = temper(energy, [range(16)], states[0], temperatures, chains=64, sweeps=50, burn_in=40, seed=seed)
        sampled = found.occupations.astype(float)
        pairs = np.einsum("ctsi,ij,ctsj->cts", sampled, bonds, sampled, optimize=True) / bonds.sum()
        errors = standard_error(pairs.mean(axis=2))
        for t, temperature in enumerate(temperatures):
            weight = np.exp(-(levels - levels.min()) / temperature)
            weight /= weight.sum()
            exact_pairs = weight @ np.einsum("ni,ij,nj->n", states, bonds, states) / bonds.sum()
            deviations.append((found.mean_energies[t] - weight @ levels) / found.energy_errors[t])
            deviations.append((pairs[:, t].mean() - exact_pairs) / errors[t])
        assert (found.scale_reduction < 1.3).all()
        assert (found.swaps > 0.2).all()
    # over many seeds one in twenty lies beyond 2 (benchmarks/RESULTS.md); those of one seed depend on one another
    assert np.sqrt(np.mean(np.square(deviations))) < 2
    assert np.abs(deviations).max() < 3


def test_one_seed_gives_one_sampling():
    energy = binary(square(3, 0.1))
    one, same, other = (
        temper(energy, [range(9)], np.arange(9) % 2, [0.1, 0.2], chains=2, sweeps=20, burn_in=5, seed=s)
        for s in (1, 1, 2)
    )
    assert (one.occupations == same.occupations).all()
    assert (one.occupations != other.occupations).any()


def test_chains_that_disagree_are_seen():
    generator = np.random.default_rng(0)
    agreeing = generator.normal(size=(4, 200))
    assert potential_scale_reduction(agreeing) == pytest.approx(1, abs=0.05)
    assert potential_scale_reduction(agreeing + 3 * np.arange(4)[:, None]) > 2
    assert potential_scale_reduction(np.ones((3, 50))) == 1
    assert np.isnan(potential_scale_reduction(np.ones((3, 2))))
