"""Which of two hosts an ion moves faster in: said where intervals lie apart, refused where they overlap."""

from __future__ import annotations

from math import exp, inf

import pytest

from atomsim.analysis.diffusion import Diffusion
from atomsim.analysis.diffusivity_order import BARRIER_ERROR_EV, interval_of_hops, interval_of_run, order
from atomsim.analysis.published import published_diffusivity
from atomsim.report.diffusivity_order import order_of_hops
from atomsim.units import KB


def run(d=None, error=None, bound=None):
    return Diffusion(1000.0, d, error, None if d else "3 hops", bound)


def test_hosts_further_apart_than_their_errors_are_ordered():
    fast, slow = interval_of_run("A", run(2e-5, 3e-6)), interval_of_run("B", run(4e-6, 1e-6))
    assert order([slow, fast]) == ["A > B: resolved, the intervals lie apart"]


def test_overlapping_intervals_are_refused():
    assert "not resolved" in order([interval_of_run("A", run(2e-5, 8e-6)), interval_of_run("B", run(1e-5, 2e-6))])[0]


def test_a_refused_diffusivity_still_ranks_below_what_exceeds_its_bound():
    bounded, unbounded = interval_of_run("B", run(bound=1e-7)), interval_of_run("B", run())
    fast = interval_of_run("A", run(2e-5, 3e-6))
    assert order([bounded, fast])[0].startswith("A > B: resolved")
    assert "not resolved" in order([unbounded, fast])[0]


def test_the_interval_of_hops_is_an_error_of_the_activation_energy():
    found = interval_of_hops("A", 1e-8, temperature_K=300.0)
    factor = exp(BARRIER_ERROR_EV / (KB * 300.0))
    assert (found.high / found.value, found.value / found.low) == pytest.approx((factor, factor))


def test_hops_without_a_barrier_leave_the_interval_open_above():
    fast, slow = interval_of_hops("A", 1e-3), interval_of_hops("B", 1e-9, "2 of 5 hops have no barrier")
    assert slow.high == inf
    assert "not resolved" in order([fast, slow])[0]
    assert "A > B: resolved" in order([interval_of_hops("A", 1e-3, "1 hop"), interval_of_hops("B", 1e-9)])[0]


def test_all_pairs_are_told():
    hosts = [interval_of_hops(name, value) for name, value in (("A", 1e-3), ("B", 1e-9), ("C", 1e-15))]
    assert len(order(hosts)) == 3


def test_the_measured_range_goes_by_the_elements():
    assert published_diffusivity("Li", {"Mo", "S"}) == published_diffusivity("Li", {"Li", "Mo", "S"})
    assert published_diffusivity("Li", {"Mo", "S"})["low"] > published_diffusivity("Li", {"Ti", "S"})["high"]
    assert published_diffusivity("Li", {"Mo", "O"}) is None
    assert published_diffusivity("Na", {"Mo", "S"}) is None


def test_the_table_says_what_was_measured_and_how_far_off():
    network = {"missing": 0, "network_hops": 1, "left_out": 0, "ion": "Li", "networks": [{}]}
    hosts = [network | {"host": h, "diffusivity_300K_cm2_per_s": d} for h, d in (("Mo6S8", 9.8e-6), ("TiS2", 5e-9))]
    table = order_of_hops(hosts, {"Mo6S8": {"Mo", "S"}, "TiS2": {"Ti", "S"}})
    assert [(row[1], row[-1]) for row in table.rows] == [("Mo6S8", pytest.approx(2.0)), ("TiS2", 0.0)]
    assert "Mo6S8 and TiS2: not resolved" in table.caption
    assert order_of_hops(hosts[:1], {}) is None
