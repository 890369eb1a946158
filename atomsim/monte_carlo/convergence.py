"""Convergence between independent chains."""

from __future__ import annotations

import numpy as np

from atomsim.types import FloatArray


def standard_error(means: FloatArray) -> FloatArray:
    """Standard error of a mean over independent chains, from the chains' means, (n_chains, ...) to (...)."""
    chains = len(means)
    if chains < 2:
        return np.full(np.shape(means)[1:], np.nan)
    found: FloatArray = np.std(means, axis=0, ddof=1) / np.sqrt(chains)
    return found


def potential_scale_reduction(samples: FloatArray) -> float:
    """Return R̂ of one quantity over chains, each split into halves; 1 where nothing varies.

    Gelman & Rubin 1992, Statist. Sci. 7, 457; halves as in Gelman et al. 2013, Bayesian Data Analysis, 11.4.

    Args:
        samples: (n_chains, n_samples), at least four samples; NaN with fewer.
    """
    half = samples.shape[1] // 2
    if half < 2:
        return float("nan")
    parts = np.concatenate([samples[:, :half], samples[:, half : 2 * half]])
    within = float(parts.var(axis=1, ddof=1).mean())
    between = float(parts.mean(axis=1).var(ddof=1))
    scale = max(1.0, float(np.abs(parts).max()))
    if within <= (1e-12 * scale) ** 2:
        return 1.0 if between <= (1e-9 * scale) ** 2 else float("inf")
    return float(np.sqrt((half - 1) / half + between / within))
