"""Rates by harmonic transition-state theory."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.mep.path import ReactionPath
from atomsim.models.interface import EnergyModel
from atomsim.optimize.hessian import hessian, partial_hessian, shell
from atomsim.units import HZ, KB

DEFAULT_PREFACTOR = 1e13
"""Attempt frequency that is assumed where none was computed, 1/s."""


def frequencies(hessian: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Frequencies of a Hessian, Hz, ascending; imaginary ones negative.

    Args:
        hessian: eV/Å², (3 n, 3 n).
        numbers: atomic numbers, (n,).
    """
    root = np.sqrt(np.repeat(atomic_masses[numbers], 3))
    values = np.linalg.eigvalsh(0.5 * (hessian + hessian.T) / np.outer(root, root))
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)) * HZ)


def vineyard(
    start: NDArray[np.float64], saddle: NDArray[np.float64], numbers: NDArray[np.int64], *, still: int = 0
) -> float | None:
    """Attempt frequency, Hz: the product of all frequencies at the start over that of the real ones at the saddle.

    Vineyard, J. Phys. Chem. Solids 3, 121 (1957), Eq. 16.

    Args:
        start: Hessian at the minimum, eV/Å², (3 n, 3 n).
        saddle: Hessian at the saddle for the same atoms.
        numbers: their atomic numbers, (n,).
        still: frequencies of each that are none, as of translations or held directions, and left out: the smallest.

    Returns:
        None if the start is no minimum or the saddle not of first order, for these atoms.
    """
    low, high = frequencies(start, numbers), frequencies(saddle, numbers)
    if still:
        low, high = (np.sort(f[np.argsort(np.abs(f))[still:]]) for f in (low, high))
    if len(low) == 0 or low[0] <= 0 or high[0] >= 0 or (len(high) > 1 and high[1] <= 0):
        return None
    return float(np.exp(np.log(low).sum() - np.log(high[1:]).sum()))


def prefactor(
    path: ReactionPath, moving: tuple[int, ...], potential: EnergyModel, capacity: Capacity | None = None
) -> tuple[float | None, int]:
    """Attempt frequency of a path, Hz, and its force calls.

    From partial Hessians at start and saddle, of the atoms that travel and their first shell at the
    saddle; None if these do not show a minimum and a first-order saddle.
    """
    top = path.images[path.highest]
    chosen = shell(top, moving)
    (low, calls), (high, more) = (partial_hessian(a, chosen, potential, capacity) for a in (path.images[0], top))
    still = _held(Batch.pack([top]), chosen)
    return vineyard(low, high, top.numbers[list(chosen)], still=still), calls + more


def full_prefactor(
    path: ReactionPath, potential: EnergyModel, capacity: Capacity | None = None
) -> tuple[float | None, int]:
    """Attempt frequency of a path from the motion of all atoms, Hz, and its force calls.

    In a crystal phonopy's displacements, as few as symmetry leaves, give the Hessians at start and saddle;
    where atoms are held, or something is not periodic, all others are displaced one by one.
    """
    ends = (path.images[0], path.images[path.highest])
    batch = Batch.pack([ends[0]])
    fixed = batch.fixed.numpy()
    if fixed.any() or batch.rule is not None or not ends[0].pbc.all():
        chosen = tuple(int(n) for n in np.flatnonzero(~fixed))
        shifts = int(batch.free_shifts[0].any(dim=1).sum())
        (low, calls), (high, more) = (partial_hessian(a, chosen, potential, capacity) for a in ends)
        still = shifts + _held(batch, chosen)
        return vineyard(low, high, ends[0].numbers[~fixed], still=still), calls + more
    first, second = (hessian(a, potential, capacity=capacity) for a in ends)
    matrices = [h.matrix(cell=False).numpy() for h in (first, second)]
    found = vineyard(matrices[0], matrices[1], ends[0].numbers, still=3)
    return found, first.force_calls + second.force_calls


def _held(batch: Batch, chosen: tuple[int, ...]) -> int:
    """Number of directions along which constraints hold some atoms of one system."""
    return 3 * len(chosen) - int(batch.n_free[list(chosen)].sum())


def rate(barrier: float, temperature: float, attempt: float = DEFAULT_PREFACTOR) -> float:
    """Rate of a hop, 1/s; barrier in eV, temperature in K, attempt frequency in Hz."""
    return attempt * float(np.exp(-barrier / (KB * temperature)))
