"""The slope of a mean squared displacement by generalized least squares.

Values at different lags come from the same steps and are strongly correlated. For independent Gaussian steps their
covariance is known exactly; its inverse gives the weights of the best linear unbiased estimate (Aitken; for single
particles Bullerjahn, von Bülow & Hummer 2020, J. Chem. Phys. 153, 024116). An intercept takes up what vibrations add.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@lru_cache(maxsize=200_000)
def covariance(n: int, m: int, steps: int) -> float:
    """Covariance of mean squared displacements at two lags of one walk in one dimension, its steps of unit variance.

    Means over all origins of squared sums of n and m of its steps: Cov = 2/(K_n K_m) Σ o², with K the
    number of origins and o the number of steps that two windows share (Isserlis' theorem).
    """
    if n > m:
        n, m = m, n
    origins_n, origins_m = steps - n + 1, steps - m + 1
    offset = np.arange(-(n - 1), m)  # start of the short window after that of the long one
    shared = np.minimum(n, np.minimum(offset + n, m - offset))
    pairs = np.minimum(origins_m, origins_n - offset) - np.maximum(0, -offset)
    return float(2.0 * (shared**2 * np.maximum(pairs, 0)).sum() / origins_n / origins_m)


def covariance_matrix(lags: NDArray[np.int64], steps: int) -> FloatArray:
    """``covariance`` of all pairs of lags, (n_lags, n_lags)."""
    return np.array([[covariance(int(n), int(m), steps) for m in lags] for n in lags])


def slope_weights(lags: NDArray[np.int64], steps: int) -> FloatArray:
    """Weights whose product with the values at these lags is the slope for a lag of one, (n_lags,)."""
    inverse = np.linalg.inv(covariance_matrix(lags, steps))
    design = np.stack([np.ones(len(lags)), lags.astype(float)])
    return np.asarray(np.linalg.solve(design @ inverse @ design.T, design @ inverse)[1])
