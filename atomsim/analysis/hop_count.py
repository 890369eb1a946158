"""Counting hops along a trajectory, and what a small number of them bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

HOP_A = 1.5
"""An ion has hopped when its position, vibrations taken out, is this far from its anchor, Å: half of a usual hop."""
VIBRATION_FS = 300.0
"""Time in which vibrations are over, fs: median positions over it are compared, and no shorter lag shows diffusion.

With lags t, 2t and 4t an ion that rattles with a period of 2 ps or less is seen to be held. Li in oxides has 0.1 ps, in
the large cages of LiMo6S8 at 1000 K some 1 ps.
"""
TYPICAL_HOP_A = 3.0
"""Length of a hop in a bound at least, Å."""


@dataclass(frozen=True)
class Hops:
    """Hops of all ions."""

    number: int
    mean_square_A2: float
    """Mean squared length, Å²; 0 where there was none."""

    @classmethod
    def of(cls, replicas: Sequence[Hops]) -> Hops:
        """Return the hops of several replicas together."""
        number = sum(h.number for h in replicas)
        squares = sum(h.number * h.mean_square_A2 for h in replicas)
        return cls(number, squares / number if number else 0.0)

    def upper_diffusivity(self, n_ions: int, length_fs: float) -> float:
        """Return the upper bound of D at 95 % by Poisson's law, Å²/fs: n hops of length a give D = n a²/(6 N t)."""
        square = max(self.mean_square_A2, TYPICAL_HOP_A**2)
        most = 0.5 * stats.chi2.ppf(0.95, 2 * (self.number + 1))
        return float(most * square / (6.0 * n_ions * length_fs))


def count_hops(ions: NDArray[np.floating], interval_fs: float) -> Hops:
    """Count the hops of ions, Å, (n_frames, n_ions, 3): each is from an anchor, which then moves along."""
    smooth = _settled(ions, max(1, round(VIBRATION_FS / interval_fs)))
    anchor, number, squares = smooth[0].copy(), 0, 0.0
    for now in smooth[1:]:
        away = ((now - anchor) ** 2).sum(axis=1)
        hopped = away > HOP_A**2
        if hopped.any():
            number += int(hopped.sum())
            squares += float(away[hopped].sum())
            anchor[hopped] = now[hopped]
    return Hops(number, squares / number if number else 0.0)


def _settled(paths: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Running median over so many frames, taken twice in each such time: it keeps a hop sharp, as a mean does not."""
    width = min(width, max(1, len(paths) // 4)) | 1  # odd: the median of an even number is between two places
    windows = np.lib.stride_tricks.sliding_window_view(paths, width, axis=0)[:: max(1, width // 2)]
    return np.asarray(np.median(windows, axis=-1), dtype=np.float64)
