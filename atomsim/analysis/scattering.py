"""Structure factors of a periodic cell at its own wave vectors, Faber–Ziman partials, and the X-ray halo.

Faber & Ziman 1965, Philos. Mag. 11, 153: A_ab(q) = 1 + (S_ab(q) − δ_ab)/√(c_a c_b), with Ashcroft and
Langreth's S_ab(q) = ⟨ρ_a ρ_b*⟩/√(N_a N_b). Nothing is cut off at half the cell, as a Fourier transform
of g(r) would be; what a cell cannot resolve is less than 2π/L apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms

from atomsim.analysis.pair_distribution import Pair, require_periodic
from atomsim.types import FloatArray, IntArray

CHUNK = 2048
"""Wave vectors at once."""
CU_KA_A = 1.5418
"""Wavelength of Cu Kα, Å."""
FIRST_Q = (1.0, 4.0)
"""Where the main halo of an oxide lies, 1/Å."""


@dataclass(frozen=True)
class StructureFactor:
    """Partial and X-ray structure factors against q."""

    q: FloatArray
    """Wave number, 1/Å, (n_q,)."""
    faber_ziman: dict[Pair, FloatArray]
    """A_ab(q), (n_q,) each, pairs in alphabetical order."""
    xray: FloatArray
    """Total S(q) of X-rays: Σ c_a c_b f_a f_b A_ab / (Σ c_a f_a)², (n_q,)."""
    resolution: float
    """2π/L of the cell, 1/Å: structure that is nearer together is not told apart."""

    def halo(self) -> Halo | None:
        """Return the main maximum of the X-ray structure factor; None where there is none."""
        return halo_of(self.q, self.xray, self.resolution)


@dataclass(frozen=True)
class Halo:
    """Main maximum of S(q)."""

    q: float
    """1/Å."""
    height: float
    two_theta: float
    """Degrees, for Cu Kα."""
    fwhm_degrees: float
    """Width at half its height above 1, degrees of 2θ; NaN where the maximum does not fall so far."""
    resolution_degrees: float
    """Width that the size of the cell alone gives a sharp line, degrees of 2θ."""


def wave_vectors(cell: FloatArray, q_max: float) -> IntArray:
    """Return one of each pair ±k of the cell's wave vectors up to q_max, in units of the reciprocal cell, (n, 3)."""
    largest = np.ceil(q_max * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in largest), indexing="ij"), axis=-1).reshape(-1, 3)
    h, k, m = grid.T
    half = (h > 0) | ((h == 0) & ((k > 0) | ((k == 0) & (m > 0))))
    grid = grid[half]
    length = 2 * np.pi * np.linalg.norm(grid @ np.linalg.inv(cell).T, axis=1)
    result: IntArray = grid[length <= q_max]
    return result


def densities(atoms: Atoms, indices: IntArray) -> dict[str, np.ndarray]:
    """Return ρ_a(k) = Σ exp(i k·r) over the atoms of each species, complex, (n_k,) each."""
    symbols = np.array(list(atoms.symbols))
    fractional = atoms.positions @ np.linalg.inv(atoms.cell.array)
    found = {}
    for a in sorted(set(symbols.tolist())):
        # exp(i k·r) is a product of three powers, one for each axis: ten times cheaper than an exponential of each pair
        x, y, z = (_powers(fractional[symbols == a, n], indices[:, n]) for n in range(3))
        parts = [indices[n : n + CHUNK].T for n in range(0, len(indices), CHUNK)]
        found[a] = np.concatenate([(x[h] * y[k] * z[m]).sum(axis=1) for h, k, m in parts] or [np.zeros(0)])
    return found


def _powers(fractional: FloatArray, orders: IntArray) -> np.ndarray:
    """Return exp(2πi n x) for n up to the largest order and, at the end as negative indices, down to its negative."""
    largest = int(np.abs(orders).max(initial=0))
    n = np.concatenate([np.arange(largest + 1), np.arange(-largest, 0)])
    return np.asarray(np.exp(2j * np.pi * n[:, None] * fractional[None]))


def structure_factor(
    frames: Atoms | Sequence[Atoms], q_max: float = 8.0, q_step: float = 0.05, smear: float = 0.3
) -> StructureFactor:
    """Compute partial and X-ray structure factors, the mean over frames and directions.

    Args:
        frames: one periodic structure or several of one composition.
        q_max: largest wave number, 1/Å.
        q_step: grid, 1/Å.
        smear: standard deviation of the Gaussian that averages over wave vectors, in 2π/L.

    Raises:
        InputError: for a structure that is not periodic in three directions.
    """
    many = [frames] if isinstance(frames, Atoms) else list(frames)
    first = many[0]
    for atoms in many:
        require_periodic(atoms)
    symbols = list(first.symbols)
    kinds = sorted(set(symbols))
    share = {a: symbols.count(a) / len(symbols) for a in kinds}
    q = np.arange(q_step, q_max + 0.5 * q_step, q_step)
    pairs = [(a, b) for n, a in enumerate(kinds) for b in kinds[n:]]
    sums, weights = {pair: np.zeros(len(q)) for pair in pairs}, np.zeros(len(q))
    resolution = float(np.mean([2 * np.pi / a.cell.volume ** (1 / 3) for a in many]))
    for atoms in many:
        indices = wave_vectors(atoms.cell.array, q_max + 3 * smear * resolution)
        length = 2 * np.pi * np.linalg.norm(indices @ np.linalg.inv(atoms.cell.array).T, axis=1)
        rho = densities(atoms, indices)
        kernel = _Kernel(q, length, smear * resolution)
        weights += kernel.sum(np.ones(len(length)))
        for a, b in pairs:
            norm = len(atoms) * np.sqrt(share[a] * share[b])
            sums[a, b] += kernel.sum((rho[a] * rho[b].conj()).real / norm)
    partial = {
        (a, b): 1.0 + (sums[a, b] / np.maximum(weights, 1e-300) - (a == b)) / np.sqrt(share[a] * share[b])
        for a, b in pairs
    }
    known = weights > 0.3 * len(many)  # below the first wave vector there is nothing to average
    partial = {pair: np.where(known, values, np.nan) for pair, values in partial.items()}
    return StructureFactor(q, partial, _xray(q, partial, share), resolution)


class _Kernel:
    """Sums over wave vectors that are near each q, with Gaussian weights."""

    def __init__(self, q: FloatArray, length: FloatArray, width: float) -> None:
        fine = 0.1 * width
        self.bins = np.arange(0.0, length.max(initial=1.0) + fine, fine)
        self.which = np.digitize(length, self.bins) - 1
        middles = self.bins + 0.5 * fine
        self.matrix = np.exp(-0.5 * ((q[:, None] - middles[None]) / width) ** 2)

    def sum(self, values: FloatArray) -> FloatArray:
        """Return Σ w(q − |k|) values(k) on the grid of q."""
        return np.asarray(self.matrix @ np.bincount(self.which, values, minlength=len(self.bins)))


def _xray(q: FloatArray, partial: dict[Pair, FloatArray], share: dict[str, float]) -> FloatArray:
    f = {a: form_factor(a, q) for a in share}
    mean = sum(share[a] * f[a] for a in share)
    total = np.zeros(len(q))
    for (a, b), values in partial.items():
        total += (1 if a == b else 2) * share[a] * share[b] * f[a] * f[b] * values
    return np.asarray(total / mean**2)


def form_factor(symbol: str, q: FloatArray) -> FloatArray:
    """Return the X-ray form factor of a free atom, electrons, as pymatgen tabulates it."""
    atomic_number, table = _parameters(symbol)
    s2 = (q / (4 * np.pi)) ** 2
    decay = sum(a * np.exp(-b * s2) for a, b in table)
    return np.asarray(atomic_number - 41.78214 * s2 * decay)


@lru_cache(maxsize=128)
def _parameters(symbol: str) -> tuple[int, tuple[tuple[float, float], ...]]:
    from ase.data import atomic_numbers
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    return atomic_numbers[symbol], tuple((float(a), float(b)) for a, b in ATOMIC_SCATTERING_PARAMS[symbol])


def halo_of(q: FloatArray, values: FloatArray, resolution: float) -> Halo | None:
    """Return the main maximum of a structure factor between 1 and 4 1/Å."""
    inside = (q >= FIRST_Q[0]) & (q <= FIRST_Q[1]) & np.isfinite(values)
    if not inside.any():
        return None
    at = int(np.flatnonzero(inside)[values[inside].argmax()])
    height = float(values[at])
    half = 1.0 + 0.5 * (height - 1.0)
    below = np.flatnonzero(values < half)
    left, right = below[below < at], below[below > at]
    width = float("nan")
    if height > 1 and len(left) and len(right):
        ends = [_crossing(q, values, n, m, half) for n, m in ((left[-1], left[-1] + 1), (right[0] - 1, right[0]))]
        width = _two_theta(ends[1]) - _two_theta(ends[0])
    place = float(q[at])
    sharp = _two_theta(place + 0.5 * resolution) - _two_theta(place - 0.5 * resolution)
    return Halo(place, height, _two_theta(place), width, sharp)


def _crossing(q: FloatArray, values: FloatArray, n: int, m: int, level: float) -> float:
    slope = values[m] - values[n]
    return float(q[n] + (q[m] - q[n]) * (level - values[n]) / slope) if slope else float(q[n])


def _two_theta(q: float) -> float:
    return float(2 * np.degrees(np.arcsin(np.clip(q * CU_KA_A / (4 * np.pi), -1.0, 1.0))))
