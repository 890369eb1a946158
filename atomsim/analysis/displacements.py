"""Squared displacements of mobile ions, ready for linear estimates: by ion, block of time, replica, collectively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from atomsim.analysis.msd import msd_by_atom
from atomsim.analysis.slope import covariance_matrix
from atomsim.types import FloatArray

BLOCKS = 5
LAST_LAG = 10
"""Lags go up to the length divided by this: half of a block of time."""


@dataclass(frozen=True)
class Displacements:
    """Mean squared displacements at lags from 1 to ``n_lags`` frames."""

    steps: int
    """Steps from frame to frame in a replica."""
    by_ion: FloatArray
    """Å², (n_lags, n_ions of all replicas)."""
    blocks: FloatArray
    """Displacements in consecutive parts of the time, ions and replicas averaged, Å², (BLOCKS, n_lags)."""
    halves: FloatArray
    """Displacements in the first and second half of the time, by ion, Å², (2, n_lags, n_ions)."""
    replicas: FloatArray
    """Å², (n_replicas, n_lags)."""
    collective: FloatArray
    """Displacement of the ions' mean position, times the number of ions, Å², (n_replicas, n_lags)."""
    collective_blocks: FloatArray
    """The same of parts of the time, replicas averaged, Å², (BLOCKS, n_lags)."""
    net: float
    """The same from the first to the last frame, replicas averaged, Å²."""

    @property
    def mean(self) -> FloatArray:
        """Over ions and replicas, Å², (n_lags,)."""
        return np.asarray(self.by_ion.mean(axis=1))

    @property
    def n_lags(self) -> int:
        """Longest lag in frames."""
        return len(self.by_ion)

    @property
    def n_ions(self) -> int:
        """Ions of all replicas."""
        return int(self.by_ion.shape[1])


def displacements(ions: Sequence[FloatArray]) -> Displacements:
    """Measure squared displacements of the same ions in replicas of one length, each Å, (n_frames, n_ions, 3)."""
    n_frames, n_ions, _ = ions[0].shape
    lags = max(1, n_frames // LAST_LAG)

    def at_lags(paths: FloatArray) -> FloatArray:
        return msd_by_atom(paths)[1 : lags + 1]

    def parts(number: int) -> list[list[FloatArray]]:
        return [[np.asarray(part) for part in np.array_split(r, number)] for r in ions]

    def together(paths: FloatArray) -> FloatArray:
        return np.asarray(n_ions * at_lags(paths.mean(axis=1, keepdims=True))[:, 0])

    fifths = parts(BLOCKS)
    return Displacements(
        steps=n_frames - 1,
        by_ion=np.concatenate([at_lags(r) for r in ions], axis=1),
        blocks=np.mean([[at_lags(p).mean(axis=1) for p in r] for r in fifths], axis=0),
        halves=np.concatenate([[at_lags(p) for p in r] for r in parts(2)], axis=2),
        replicas=np.array([at_lags(r).mean(axis=1) for r in ions]),
        collective=np.array([together(r) for r in ions]),
        collective_blocks=np.mean([[together(p) for p in r] for r in fifths], axis=0),
        net=float(np.mean([n_ions * ((r[-1] - r[0]).mean(axis=0) ** 2).sum() for r in ions])),
    )


def errors_of(found: Displacements, lags: NDArray[np.int64], weights: FloatArray, slope: float) -> dict[str, float]:
    """Standard errors of a linear combination of mean squared displacements, by their source.

    ``analytic`` is that of independent Gaussian steps; ``ions`` the jackknife over ions, which for a mean is the usual
    standard error; ``blocks`` and ``replicas`` are Student's, widened to cover as 1σ does with so few values. Each is
    blind to something: the first to hops and correlation, the second to ions that move together, the others to what is
    slower than they are long.

    Args:
        found: the displacements.
        lags: frames, (n,).
        weights: of the values at these lags, (n,).
        slope: of the mean squared displacement, Å² for a lag of one, which scales the analytic error.
    """
    at = lags - 1
    # three directions of variance slope/3 each for n_ions ions
    variance = float(weights @ covariance_matrix(lags, found.steps) @ weights) * slope**2 / (3.0 * found.n_ions)
    errors = {"analytic": max(variance, 0.0) ** 0.5}
    if found.n_ions > 1:
        values = weights @ found.by_ion[at]
        errors["ions"] = float(values.std(ddof=1) / np.sqrt(found.n_ions))
    errors["blocks"] = students_error(found.blocks[:, at] @ weights)
    if len(found.replicas) > 1:
        errors["replicas"] = students_error(found.replicas[:, at] @ weights)
    return errors


def students_error(values: FloatArray) -> float:
    """Half the width of Student's interval of the mean that covers as often as ±1σ of a normal distribution."""
    n = len(values)
    width: float = stats.t.ppf(float(stats.norm.cdf(1.0)), n - 1)
    return float(width * np.std(np.asarray(values), ddof=1) / np.sqrt(n))
