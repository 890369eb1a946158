"""Where diffusion begins: the local exponent of the mean squared displacement, free of what vibrations add.

An ion in a cage first flies, t², and is then held, t⁰. Where one turns into the other the exponent passes 1 with a
small error, since vibrations are many, and means nothing. So where the motion below ``VIBRATION_FS`` is no
diffusion, no lag below it counts; hops alone, seen every few picoseconds or made by a model, have none to leave out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atomsim.analysis.displacements import LAST_LAG, Displacements, errors_of
from atomsim.analysis.hop_count import VIBRATION_FS
from atomsim.analysis.msd import lags_of

LAG_RATIO = 2
"""Ratio of the lags t, 2t, 4t from which an exponent is taken."""
LOWEST, HIGHEST = 0.85, 1.15
"""A local exponent outside is not diffusion, unless the data leave it open."""
EXCLUDED = 0.6
"""Sub-diffusion that the data must exclude by ``SURELY`` standard errors."""
SURELY = 3.5


@dataclass(frozen=True)
class Exponent:
    """Local exponent at one lag."""

    lag: int
    """Shortest of the three lags, frames."""
    value: float
    """NaN where the displacement does not grow."""
    error: float

    @property
    def diffusive(self) -> bool:
        """True if the exponent is 1 within its error, and the motion no sub-diffusion."""
        return self.value >= LOWEST and self.value - SURELY * self.error > EXCLUDED and not self.surely_above

    @property
    def outside(self) -> bool:
        """True if it is more than two standard errors outside that of diffusion."""
        return self.value - 2.0 * self.error > HIGHEST or self.value + 2.0 * self.error < LOWEST

    @property
    def surely_below(self) -> bool:
        """True if the growth is slower than diffusion beyond doubt."""
        return self.value + 3.0 * self.error < LOWEST

    @property
    def surely_above(self) -> bool:
        """True if the growth is faster than diffusion beyond doubt."""
        return self.value - 3.0 * self.error > HIGHEST


def exponents(found: Displacements, interval_fs: float) -> list[Exponent]:
    """Local exponents at all lags that count and leave room for four times as much; none in too short a run."""
    last = found.n_lags // LAG_RATIO**2
    every = [exponent_at(found, int(lag)) for lag in lags_of(found.steps + 1, last)]
    first = math.ceil(VIBRATION_FS / interval_fs - 1e-9)
    if not any(e.outside for e in every if e.lag < first):
        return every
    return [exponent_at(found, int(lag)) for lag in fit_lags(first, last)] if first <= last else []


def shortest_run_fs(interval_fs: float) -> float:
    """Return the length of the shortest run that has an exponent beyond vibrations, fs."""
    return LAST_LAG * LAG_RATIO**2 * math.ceil(VIBRATION_FS / interval_fs - 1e-9) * interval_fs


def exponent_at(found: Displacements, lag: int) -> Exponent:
    """Exponent α of c + A t^α from three lags t, 2t, 4t: 2^α = (M(4t) − M(2t))/(M(2t) − M(t)), whatever c is."""
    lags = lag * np.array([1, LAG_RATIO, LAG_RATIO**2])
    if lags[-1] > found.n_lags:
        return Exponent(lag, float("nan"), float("inf"))
    first, second, third = found.mean[lags - 1]
    near, far = second - first, third - second
    if near <= 0 or far <= 0:
        return Exponent(lag, float("nan"), float("inf"))
    weights = np.array([1 / near, -1 / near - 1 / far, 1 / far]) / np.log(LAG_RATIO)
    slope = (third - first) / (lags[2] - lags[0])
    error = max(errors_of(found, lags, weights, slope).values())
    return Exponent(lag, float(np.log(far / near) / np.log(LAG_RATIO)), error)


def start_of_diffusion(found: list[Exponent]) -> Exponent | None:
    """Return the first lag from which on the exponent is that of diffusion, or None."""
    for k, begin in enumerate(found):
        if begin.diffusive and not any(later.surely_below for later in found[k + 1 :]):
            return begin
    return None


def fit_lags(lag: int, last: int) -> NDArray[np.int64]:
    """Return lags from one to the last, equally spaced in their logarithm."""
    lags = lags_of(last + 1, last)
    return np.unique(np.concatenate([[lag], lags[lags > lag]])).astype(np.int64)
