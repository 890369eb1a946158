"""Rates: Vineyard's formula on known springs, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import _amu, _e

from atomsim.mep.rates import frequencies, rate, vineyard
from atomsim.units import KB

LI = np.array([3])


def test_the_frequency_of_a_spring_is_that_of_the_textbook():
    found = frequencies(np.diag([1.0, 4.0, -1.0]), LI)
    expected = np.sqrt(1.0 * _e * 1e20 / (6.94 * _amu)) / (2 * np.pi)
    np.testing.assert_allclose(found, [-expected, expected, 2 * expected], rtol=1e-4)


def test_only_the_lost_mode_counts_where_the_others_stay():
    low, high = np.diag([4.0, 2.0, 3.0]), np.diag([-1.0, 2.0, 3.0])
    assert vineyard(low, high, LI) == pytest.approx(frequencies(low, LI)[2], rel=1e-12)


def test_softer_modes_at_the_saddle_raise_the_attempt_frequency():
    low = np.diag([4.0, 2.0, 3.0])
    stiff, soft = vineyard(low, np.diag([-1.0, 2.0, 3.0]), LI), vineyard(low, np.diag([-1.0, 0.5, 3.0]), LI)
    assert soft == pytest.approx(2 * stiff)


@pytest.mark.parametrize(("low", "high"), [([1, 1, 1], [1, 1, 1]), ([1, 1, 1], [-1, -1, 1]), ([-1, 1, 1], [-1, 1, 1])])
def test_there_is_no_rate_without_a_minimum_and_a_first_order_saddle(low, high):
    assert vineyard(np.diag(low).astype(float), np.diag(high).astype(float), LI) is None


def test_the_rate_follows_arrhenius():
    slope = np.log(rate(0.3, 310) / rate(0.3, 300)) / (1 / (KB * 300) - 1 / (KB * 310))
    assert slope == pytest.approx(0.3)
