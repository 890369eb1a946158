"""Mean squared displacements: unwrapping, the drift of the framework, and all time origins by FFT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atomsim.errors import InputError

FloatArray = NDArray[np.float64]

MAX_STEP = 0.25
"""Largest fractional step from frame to frame with which a wrapped trajectory can be unwrapped."""


def unwrapped(positions: NDArray[np.floating], cells: FloatArray) -> FloatArray:
    """Join frames that were wrapped into the cell by the nearest image of each step, Å, (n_frames, n_atoms, 3).

    Args:
        positions: Å, (n_frames, n_atoms, 3).
        cells: lattice vectors as rows, Å, (n_frames, 3, 3).

    Raises:
        InputError: if an atom moves a quarter of the cell or more in a step, so that its image is not certain.
    """
    fractional = np.einsum("tax,txk->tak", positions, np.linalg.inv(cells))
    steps = np.diff(fractional, axis=0)
    steps -= np.round(steps)
    if steps.size and (largest := float(np.abs(steps).max())) >= MAX_STEP:
        frame, atom, _ = np.unravel_index(int(np.abs(steps).argmax()), steps.shape)
        raise InputError(
            f"wrapped trajectory: atom {atom} moves {largest:.2f} of the cell from frame {frame} to the next, wanted "
            f"less than {MAX_STEP}; write frames more often, or unwrapped ones"
        )
    path = np.concatenate([fractional[:1], fractional[:1] + np.cumsum(steps, axis=0)])
    return np.asarray(np.einsum("tax,txk->tak", path, cells))


def at_mean_cell(positions: NDArray[np.floating], cells: FloatArray) -> FloatArray:
    """Take unwrapped positions of a changing cell to its mean: fractional coordinates times the mean cell, Å.

    An atom far from the origin would else seem to move whenever the cell does (von Bülow, Bullerjahn & Hummer 2020,
    J. Chem. Phys. 153, 021101).
    """
    if np.ptp(cells, axis=0).max() == 0:
        return np.asarray(positions, dtype=np.float64)
    return np.asarray(np.einsum("tax,txk,kc->tac", positions, np.linalg.inv(cells), cells.mean(axis=0)))


def without_drift(positions: NDArray[np.floating], framework: NDArray[np.bool_]) -> FloatArray:
    """Subtract the displacement of the framework's mean position from all atoms, Å.

    Raises:
        InputError: if no atom is of the framework.
    """
    if not framework.any():
        raise InputError("no framework is left: found 0 atoms that stay; name fewer mobile species")
    moved = np.asarray(positions, dtype=np.float64)
    centre = moved[:, framework].mean(axis=1, keepdims=True)
    return np.asarray(moved - (centre - centre[:1]))


def msd_by_atom(positions: NDArray[np.floating]) -> FloatArray:
    """Mean squared displacement of each atom at every lag, averaged over all time origins, Å², (n_frames, n_atoms).

    ⟨|r(k+m) − r(k)|²⟩ = S₁(m) − 2 S₂(m), with S₂ the autocorrelation of positions by FFT and S₁ a running sum: Kneller,
    Keiner, Kneller & Schiller 1995, Comput. Phys. Commun. 91, 191, Sec. 3.

    Args:
        positions: unwrapped, Å, (n_frames, n_atoms, 3).
    """
    centred = np.asarray(positions, dtype=np.float64)
    centred = centred - centred.mean(axis=0)  # keeps digits: only differences count
    n = len(centred)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size, axis=0)
    power = (spectrum.real**2 + spectrum.imag**2).sum(axis=2)
    correlation = np.fft.irfft(power, size, axis=0)[:n]
    squares = (centred**2).sum(axis=2)
    ends = np.zeros((n, squares.shape[1]))
    ends[1:] = np.cumsum(squares[:-1] + squares[:0:-1], axis=0)
    pairs = (n - np.arange(n))[:, None]
    found = (2.0 * squares.sum(axis=0) - ends - 2.0 * correlation) / pairs
    found[0] = 0.0
    return np.asarray(np.maximum(found, 0.0))


def lags_of(n_frames: int, last: int, per_doubling: int = 2) -> NDArray[np.int64]:
    """Return lags from 1 to ``last`` frames, equally spaced in their logarithm."""
    last = max(1, min(last, n_frames - 1))
    count = 1 + int(np.ceil(per_doubling * np.log2(last)))
    return np.unique(np.round(np.geomspace(1, last, max(count, 1))).astype(np.int64))
