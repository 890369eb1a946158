"""Diffusivities of known networks, exact and sampled."""

from __future__ import annotations

import numpy as np
import pytest

from atomsim.errors import InputError
from atomsim.hopping.kinetics import Jump, activation_energy, exact_diffusivity, simulated_diffusivity
from atomsim.units import KB

T = 300.0
STEPS = ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))


def both(start: int, end: int, step, forward: float, backward: float | None = None) -> list[Jump]:
    there = tuple(float(x) for x in step)
    back = tuple(-x for x in there)
    return [Jump(start, end, there, forward), Jump(end, start, back, forward if backward is None else backward)]


def test_a_cubic_lattice_has_d_equal_to_rate_times_length_squared():
    jumps = [j for step in STEPS for j in both(0, 0, step, 0.3)]
    rate = 1e13 * np.exp(-0.3 / (KB * T))
    found = exact_diffusivity(jumps, [0.0], T)
    np.testing.assert_allclose(found.tensor, np.eye(3) * rate * 1e-16, rtol=1e-10, atol=1e-30)
    assert activation_energy(jumps, [0.0], T) == pytest.approx(0.3, abs=1e-6)


def test_a_chain_with_two_barriers_has_the_harmonic_mean_of_its_rates():
    # one dimension, rates a and b in turn over steps of length 1/2: D = 1/4 · 2ab/(a + b) · …, the slow step decides
    jumps = both(0, 1, (0.5, 0, 0), 0.30) + both(1, 0, (0.5, 0, 0), 0.40)
    a, b = (1e13 * np.exp(-e / (KB * T)) for e in (0.30, 0.40))
    wanted = 0.25 * 2 * a * b / (a + b) * 1e-16
    assert exact_diffusivity(jumps, [0.0, 0.0], T).tensor[0, 0] == pytest.approx(wanted, rel=1e-9)
    assert activation_energy(jumps, [0.0, 0.0], T) == pytest.approx(0.40, abs=0.005)


def test_a_trap_slows_diffusion_by_its_occupation():
    # a dead end of depth 0.2 eV beside each site of a chain holds the carrier most of the time
    jumps = both(0, 0, (1.0, 0, 0), 0.3) + both(0, 1, (0, 0.5, 0), 0.1, 0.3)
    free = exact_diffusivity(both(0, 0, (1.0, 0, 0), 0.3), [0.0], T).tensor[0, 0]
    share = 1 / (1 + np.exp(0.2 / (KB * T)))
    found = exact_diffusivity(jumps, [0.0, -0.2], T)
    assert found.tensor[0, 0] == pytest.approx(free * share, rel=1e-9)
    assert abs(found.tensor[1, 1]) < 1e-12 * found.tensor[0, 0]  # a dead end leads nowhere


def test_monte_carlo_agrees_with_the_exact_answer_within_its_own_error():
    energies = [0.0, 0.05]
    jumps = both(0, 1, (0.6, 0.1, 0), 0.30, 0.25) + both(1, 0, (0.4, -0.1, 0), 0.28, 0.33)
    jumps += both(0, 0, (0, 1.0, 0.2), 0.31) + both(1, 1, (0, 0.3, 1.0), 0.29)
    exact, sampled = exact_diffusivity(jumps, energies, T), simulated_diffusivity(jumps, energies, T, steps=500, seed=1)
    assert sampled.error is not None
    assert sampled.mean == pytest.approx(exact.mean, abs=4 * sampled.error)
    assert 0.005 < sampled.error / exact.mean < 0.2
    assert simulated_diffusivity(jumps, energies, T, steps=500, seed=1).mean == sampled.mean
    assert simulated_diffusivity(jumps, energies, T, steps=500, seed=2).mean != sampled.mean


def test_low_temperatures_do_not_underflow():
    jumps = [j for step in STEPS for j in both(0, 0, step, 1.5)]
    cold = exact_diffusivity(jumps, [0.0], 100.0)
    assert np.isfinite(cold.mean)
    assert activation_energy(jumps, [0.0], 100.0) == pytest.approx(1.5, rel=1e-6)


def test_an_empty_network_and_a_bad_temperature_are_refused():
    with pytest.raises(InputError, match="no jumps"):
        exact_diffusivity([], [0.0], T)
    with pytest.raises(InputError, match="temperature"):
        exact_diffusivity(both(0, 0, (1, 0, 0), 0.3), [0.0], 0.0)


def over(start: int, end: int, step, saddle: float, energies) -> list[Jump]:
    return both(start, end, step, saddle - energies[start], saddle - energies[end])


def test_parts_that_are_not_connected_are_weighted_by_boltzmann():
    energies = [0.0, 0.5]
    slow, fast = (over(n, n, (3.0, 0, 0), saddle, energies) for n, saddle in ((0, 0.6), (1, 0.7)))
    alone = [exact_diffusivity(over(0, 0, (3.0, 0, 0), barrier, [0.0]), [0.0], T).mean for barrier in (0.6, 0.2)]
    weight = np.exp(-0.5 / (KB * T))
    wanted = (alone[0] + weight * alone[1]) / (1 + weight)
    assert exact_diffusivity(slow + fast, energies, T).mean == pytest.approx(wanted, rel=1e-9)
    sampled = simulated_diffusivity(slow + fast, energies, T, steps=200)
    assert sampled.mean == pytest.approx(wanted, rel=0.2)


@pytest.mark.parametrize(
    ("first", "second", "high"), [(0.3, 1.2, 0.2), (1.0, 1.05, 0.9), (0.75, 1.4, 0.7), (0.05, 1.6, 0)]
)
def test_a_chain_of_uneven_sites_and_saddles_is_the_resistors_in_series(first, second, high):
    energies = [0.0, high]
    jumps = over(0, 1, (1.5, 0, 0), first, energies) + over(1, 0, (1.5, 0, 0), second, energies)
    resistance = sum(np.exp(saddle / (KB * T)) / 1e13 for saddle in (first, second))
    wanted = 9.0 / ((1 + np.exp(-high / (KB * T))) * resistance) * 1e-16
    assert exact_diffusivity(jumps, energies, T).tensor[0, 0] == pytest.approx(wanted, rel=1e-6)


def test_sites_far_above_the_others_keep_their_digits():
    # a corner of high sites beside a low chain must not disturb it, nor the fast jumps of a cage what leaks from it
    energies = [0.0, 0.7, 0.9, 1.0]
    jumps = over(0, 0, (3.0, 0, 0), 0.5, energies)
    for start, end, saddle in ((0, 1, 0.8), (1, 2, 0.95), (2, 3, 1.05), (3, 1, 1.1)):
        jumps += over(start, end, (1.0, 0.3 * end, 0), saddle, energies)
    free = exact_diffusivity(over(0, 0, (3.0, 0, 0), 0.5, energies), [0.0], T).mean
    assert exact_diffusivity(jumps, energies, T).mean == pytest.approx(free, rel=1e-4)
    assert activation_energy(jumps, energies, T) == pytest.approx(0.5, abs=1e-3)


def test_jumps_against_detailed_balance_are_refused():
    with pytest.raises(InputError, match="detailed balance"):
        exact_diffusivity(both(0, 1, (1, 0, 0), 0.3, 0.2), [0.0, 0.0], T)
