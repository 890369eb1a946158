"""Thermal properties of harmonic vibrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import kB
from scipy.constants import e, h
from scipy.interpolate import CubicHermiteSpline

from atomsim.errors import InputError
from atomsim.types import FloatArray

H_EV_PER_THZ = h / e * 1e12
"""Planck's constant, eV/THz."""
LEAST_THZ = 0.01
"""Frequencies below count as translations, or as imaginary, and are left out."""


@dataclass(frozen=True, eq=False)
class Thermal:
    """Free energy, entropy and heat capacity at constant volume against temperature, each per atom."""

    temperature_K: FloatArray
    """(n,), ascending."""
    free_energy_eV_per_atom: FloatArray
    """F(T), zero-point energy included, (n,)."""
    entropy_eV_per_K_per_atom: FloatArray
    """S(T), (n,)."""
    heat_capacity_eV_per_K_per_atom: FloatArray
    """Cv(T), (n,)."""
    left_out: float
    """Share of the modes left out, as they are imaginary; their part of F is not known."""

    @property
    def zero_point_eV_per_atom(self) -> float:  # noqa: N802 - units in names
        """Zero-point energy."""
        return float(self.free_energy_eV_per_atom[0]) if self.temperature_K[0] == 0.0 else float("nan")

    def at(self, temperature_K: float) -> tuple[float, float, float]:
        """Return F (eV), S (eV/K) and Cv (eV/K), each per atom; F between the temperatures by its slope, which is −S.

        Raises:
            InputError: for a temperature beyond those computed.
        """
        t = self.temperature_K
        if not t[0] <= temperature_K <= t[-1]:
            raise InputError(
                f"temperature_K = {temperature_K:g}: vibrations were computed from {t[0]:g} to {t[-1]:g} K; "
                "raise t_max_K"
            )
        f, slope = self.free_energy_eV_per_atom, -self.entropy_eV_per_K_per_atom
        free = float(CubicHermiteSpline(t, f, slope)(temperature_K)) if len(t) > 1 else float(f[0])
        rows = (self.entropy_eV_per_K_per_atom, self.heat_capacity_eV_per_K_per_atom)
        entropy, capacity = (float(np.interp(temperature_K, t, row)) for row in rows)
        return free, entropy, capacity


def thermal(frequencies_THz: FloatArray, weights: FloatArray, temperature_K: FloatArray, n_atoms: int) -> Thermal:
    """Return the thermal properties of harmonic modes (Maradudin, Montroll & Weiss 1963, chapter II).

    Args:
        frequencies_THz: at the q points of a mesh, (n_q, 3 n_atoms); imaginary ones negative.
        weights: of the q points, (n_q,).
        temperature_K: (n,).
        n_atoms: atoms in the primitive cell.
    """
    share = weights / weights.sum()
    real = frequencies_THz > LEAST_THZ
    energy = H_EV_PER_THZ * frequencies_THz[real]
    of_mode = np.broadcast_to(share[:, None], frequencies_THz.shape)[real]
    rows = np.array([_at(energy, of_mode, float(t)) for t in temperature_K]) / n_atoms
    imaginary = (frequencies_THz < -LEAST_THZ) * share[:, None]
    return Thermal(
        np.asarray(temperature_K, dtype=np.float64),
        rows[:, 0],
        rows[:, 1],
        rows[:, 2],
        float(imaginary.sum() / frequencies_THz.shape[1]),
    )


def _at(energy: FloatArray, weight: FloatArray, temperature_K: float) -> tuple[float, float, float]:
    """F (eV), S (eV/K) and Cv (eV/K) of all modes at one temperature."""
    zero_point = 0.5 * float(weight @ energy)
    if temperature_K <= 0.0:
        return zero_point, 0.0, 0.0
    x = energy / (kB * temperature_K)
    missing = -np.expm1(-x)  # 1 − exp(−x)
    occupation = np.exp(-x) / missing
    free = zero_point + kB * temperature_K * float(weight @ np.log(missing))
    entropy = kB * float(weight @ (x * occupation - np.log(missing)))
    capacity = kB * float(weight @ (x**2 * occupation / missing))
    return free, entropy, capacity
