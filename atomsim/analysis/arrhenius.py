"""Arrhenius' law from diffusivities with errors, the band of what it predicts, and the conductivity from D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from atomsim.errors import InputError
from atomsim.units import KB

ROOM_K = 298.0
ELEMENTARY_CHARGE_C = 1.602176634e-19


@dataclass(frozen=True)
class Arrhenius:
    """ln D = ln D₀ − E_a/k_BT, fitted by weighted least squares."""

    activation_energy_eV: float
    activation_energy_error_eV: float
    """Standard error, widened by Student's factor where the points scatter more than their errors say."""
    ln_D0: float
    """D₀ in cm²/s."""
    covariance: NDArray[np.float64]
    """Covariance of (ln D₀, E_a), the latter in eV, (2, 2)."""
    temperatures_K: NDArray[np.float64]
    chi2_per_degree: float | None
    """χ² of the residuals per degree of freedom; None for two temperatures, whose line has none."""

    def log_diffusivity(self, temperature_K: float) -> tuple[float, float]:
        """Return ln D (D in cm²/s) at a temperature and its standard error."""
        row = np.array([1.0, -1.0 / (KB * temperature_K)])
        value = self.ln_D0 - self.activation_energy_eV / (KB * temperature_K)
        return float(value), float(np.sqrt(row @ self.covariance @ row))

    def diffusivity(self, temperature_K: float = ROOM_K, sigmas: float = 1.0) -> tuple[float, float, float]:
        """Return D and the lower and upper end of its band, cm²/s: symmetric in ln D, so not in D."""
        value, error = self.log_diffusivity(temperature_K)
        low, middle, high = np.exp([value - sigmas * error, value, value + sigmas * error])
        return float(middle), float(low), float(high)

    def extrapolates(self, temperature_K: float = ROOM_K) -> bool:
        """True if a temperature is outside those measured."""
        return not self.temperatures_K.min() <= temperature_K <= self.temperatures_K.max()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON, with D at room temperature and its band."""
        middle, low, high = self.diffusivity()
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()} | {
            "D_298K_cm2_per_s": middle,
            "D_298K_low_cm2_per_s": low,
            "D_298K_high_cm2_per_s": high,
            "extrapolated": self.extrapolates(),
        }


def arrhenius(
    temperatures_K: Sequence[float], D_cm2_per_s: Sequence[float | None], errors_cm2_per_s: Sequence[float | None]
) -> Arrhenius:
    """Fit Arrhenius' law; temperatures whose D was refused (None) are left out.

    The weights are those of ln D, whose error is error/D. Errors estimated from few blocks are themselves uncertain, so
    the covariance is multiplied by χ²/ν where that is above 1, and by Student's factor for ν = n − 2.

    Raises:
        InputError: if fewer than two different temperatures have a diffusivity, or a value is not above 0.
    """
    rows = [
        (t, d, e)
        for t, d, e in zip(temperatures_K, D_cm2_per_s, errors_cm2_per_s, strict=True)
        if d is not None and e is not None
    ]
    if len({t for t, _, _ in rows}) < 2:
        named = ", ".join(f"{t:g} K" for t in sorted({t for t, _, _ in rows})) or "none"
        raise InputError(
            f"Arrhenius' law needs two temperatures with a diffusivity: found {named} of {len(temperatures_K)} given; "
            "add runs at other temperatures, or longer ones where a number was refused"
        )
    if any(not (t > 0 and d > 0 and e > 0 and np.isfinite([t, d, e]).all()) for t, d, e in rows):
        raise InputError("Arrhenius' law needs temperatures, diffusivities and errors above 0; correct the input")
    t, d, e = np.array(rows).T
    design = np.stack([np.ones(len(t)), -1.0 / (KB * t)], axis=1)
    weight = (d / e) ** 2
    covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
    ln_d0, energy = covariance @ design.T @ (weight * np.log(d))
    scale, freedom = 1.0, len(t) - 2
    chi2 = float((weight * (np.log(d) - design @ [ln_d0, energy]) ** 2).sum())
    if freedom > 0:
        factor = float(stats.t.ppf(stats.norm.cdf(1.0), freedom))
        scale = max(1.0, np.sqrt(chi2 / freedom) * factor) ** 2
    return Arrhenius(
        activation_energy_eV=float(energy),
        activation_energy_error_eV=float(np.sqrt(scale * covariance[1, 1])),
        ln_D0=float(ln_d0),
        covariance=scale * covariance,
        temperatures_K=t,
        chi2_per_degree=chi2 / freedom if freedom > 0 else None,
    )


def conductivity(
    D_cm2_per_s: float, ions: int, volume_A3: float, temperature_K: float, charge: float = 1.0, haven_ratio: float = 1.0
) -> float:
    """Return the ionic conductivity σ = n q² D/(k_B T H_R), S/cm: Nernst and Einstein's, where the Haven ratio is 1.

    Args:
        D_cm2_per_s: tracer diffusivity.
        ions: mobile ions in the volume.
        volume_A3: of the cell.
        temperature_K: of D.
        charge: of an ion, in elementary charges.
        haven_ratio: D_tracer/D_σ; 1 where it is undetermined, and then the result is that of independent ions.
    """
    density_per_cm3 = ions / volume_A3 * 1e24
    # q²/k_BT = q e/(k_BT in eV): one e is left for C
    return density_per_cm3 * charge**2 * ELEMENTARY_CHARGE_C / (KB * temperature_K) * D_cm2_per_s / haven_ratio
