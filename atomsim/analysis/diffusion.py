"""Tracer diffusivity from trajectories: a number with an error that covers, or the reason why there is none.

The slope is the best linear unbiased one (``slope``) from the start of the diffusive regime (``regime``); its error is
the largest of four estimates, each blind to something (``displacements.errors_of``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomsim.analysis.displacements import Displacements, displacements, errors_of, students_error
from atomsim.analysis.hop_count import Hops, count_hops
from atomsim.analysis.msd import msd_by_atom, without_drift
from atomsim.analysis.regime import (
    Exponent,
    exponents,
    fit_lags,
    shortest_run_fs,
    start_of_diffusion,
)
from atomsim.analysis.slope import covariance_matrix, slope_weights
from atomsim.errors import InputError, check_number, counted
from atomsim.types import FloatArray
from atomsim.units import CM2_PER_A2

CM2_PER_S = CM2_PER_A2 * 1e15
"""One Å²/fs in cm²/s."""
MIN_HOPS = 10
MIN_FRAMES = 40
"""Frames from which on there are lags of one, two and four in half a block."""
FLOW_A = 1.0
"""Root mean square displacement of the framework that grows and is larger than this is flow, Å."""
DRIFT = 40.0
"""Squared displacement of the mean position, over that of as many independent ions, from which on it is a drift."""
AGED = 1.5
"""Ratio of the diffusivities of both halves from which on a run is not stationary, if it is beyond doubt."""


@dataclass(frozen=True)
class Diffusion:
    """Diffusivity of the mobile ions at one temperature."""

    temperature_K: float | None
    D_cm2_per_s: float | None
    """Tracer diffusivity; None where it is refused."""
    error_cm2_per_s: float | None
    """Standard error, the largest of ``errors_cm2_per_s``."""
    refused: str | None
    """Reason why there is no number; None where there is one."""
    upper_bound_cm2_per_s: float | None
    """At 95 %, in place of a refused number; None where nothing bounds it."""
    errors_cm2_per_s: dict[str, float] = field(default_factory=dict)
    """By source: ``analytic``, ``ions``, ``blocks``, ``replicas``."""
    start_fs: float | None = None
    """Lag at which the diffusive regime starts."""
    exponent: float | None = None
    """Local exponent of the mean squared displacement there."""
    exponent_error: float | None = None
    hops: int = 0
    haven_ratio: float | None = None
    """D_tracer/D_σ; None where it is undetermined."""
    haven_error: float | None = None
    ions: int = 0
    frames: int = 0
    length_fs: float = 0.0
    """Length of one replica."""
    replicas: int = 1
    lags_fs: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)
    msd_A2: FloatArray = field(default_factory=lambda: np.empty(0), repr=False)
    """Mean squared displacement at these lags, framework drift removed."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}


def diffusion(
    replicas: Sequence[NDArray[np.floating]],
    interval_fs: float,
    mobile: NDArray[np.bool_],
    *,
    framework: NDArray[np.bool_] | None = None,
    temperature_K: float | None = None,
) -> Diffusion:
    """Measure the tracer diffusivity of the mobile ions.

    Args:
        replicas: unwrapped positions of equivalent runs, Å, each (n_frames, n_atoms, 3).
        interval_fs: time from frame to frame.
        mobile: the ions, (n_atoms,).
        framework: atoms whose mean position is at rest, (n_atoms,); all that are not mobile if not given. In a liquid
            give all atoms: where these flow with the ions no number is refused for it.
        temperature_K: for the result.

    Raises:
        InputError: if arrays do not fit together, or nothing is mobile or left of the framework.
    """
    rest = ~mobile if framework is None else framework
    _check(replicas, interval_fs, mobile, rest)
    paths = [without_drift(r, rest) for r in replicas]
    ions = [p[:, mobile] for p in paths]
    n_frames = len(ions[0])
    seen: dict[str, Any] = {
        "temperature_K": temperature_K,
        "ions": int(mobile.sum()),
        "frames": n_frames,
        "length_fs": (n_frames - 1) * interval_fs,
        "replicas": len(ions),
    }
    if n_frames < MIN_FRAMES:
        few = f"too few frames: {n_frames}, wanted {MIN_FRAMES} or more; run longer or write frames more often"
        return _refused(few, None, seen)
    hops = Hops.of([count_hops(i, interval_fs) for i in ions])
    found = displacements(ions)
    lags = np.arange(1, found.n_lags + 1)
    seen |= {"hops": hops.number, "lags_fs": lags * interval_fs, "msd_A2": found.mean}
    local = exponents(found, interval_fs)
    flows = not bool((rest & mobile).any()) and _flows([p[:, rest] for p in paths], found)
    reason, start = _verdict(hops, found, local, interval_fs, flows=flows)
    if reason or start is None:
        return _refused(reason, _upper_bound(hops, found, seen, interval_fs), seen)
    return _measured(found, start, interval_fs, seen)


def _check(replicas: Sequence[NDArray[Any]], interval_fs: float, mobile: NDArray[Any], rest: NDArray[Any]) -> None:
    check_number("interval_fs", interval_fs, "a time above 0 fs", above=0.0)
    shapes = {r.shape for r in replicas}
    if len(shapes) != 1 or any(len(s) != 3 or s[1] != len(mobile) or s[2] != 3 for s in shapes):
        raise InputError(
            f"found replicas of shapes {sorted(shapes)} and {len(mobile)} atoms; wanted one or more, all alike, "
            "(frames, atoms, 3): analyse runs of other lengths by themselves"
        )
    if not all(np.isfinite(r).all() for r in replicas):
        raise InputError("positions are not all finite numbers; correct the trajectory")
    if not mobile.any():
        raise InputError("no mobile ion: found 0 atoms, wanted one or more; name a species of the trajectory")
    if not rest.any():
        raise InputError("no framework is left: every atom is mobile; name fewer species, or a framework")


def _verdict(
    hops: Hops, found: Displacements, local: list[Exponent], interval_fs: float, *, flows: bool
) -> tuple[str, Exponent | None]:
    """Return why there is no number, or where diffusion starts."""
    if flows:
        return "the framework flows: it moves as the ions do, so that this is no diffusion in a solid", None
    if hops.number < MIN_HOPS:
        kind = (
            "caged: no ion has hopped"
            if hops.number == 0
            else f"{counted(hops.number, 'hop')}, wanted {MIN_HOPS} or more"
        )
        return f"{kind}; run longer or hotter", None
    if not local:
        found_ps, wanted_ps = found.steps * interval_fs / 1000, shortest_run_fs(interval_fs) / 1000
        kind = f"too short to tell diffusion from vibrations: {found_ps:g} ps, wanted {wanted_ps:g} ps or more"
        return f"{kind}; run longer", None
    start = start_of_diffusion(local)
    if any(e.surely_above for e in local[len(local) // 2 :]) or (start is not None and _drifts(found, start)):
        return "drifting: the ions move further together than diffusion takes them", None
    if start is None:
        last = next((e for e in reversed(local) if np.isfinite(e.value)), None)
        what = "does not grow" if last is None else f"grows as t^({last.value:.2f} ± {last.error:.2f})"
        return f"sub-diffusive, or too short to tell: the mean squared displacement {what}; run longer or hotter", None
    if ratio := _aged(found, start):
        return f"not stationary: D of the first half is {ratio:.2g} times that of the second; anneal for longer", None
    return "", start


def _measured(found: Displacements, start: Exponent, interval_fs: float, seen: dict[str, Any]) -> Diffusion:
    lags = fit_lags(start.lag, found.n_lags)
    weights = slope_weights(lags, found.steps)
    slope = float(weights @ found.mean[lags - 1])
    unit = CM2_PER_S / (6.0 * interval_fs)  # ⟨Δr²⟩ = 6 D t
    errors = {k: v * unit for k, v in errors_of(found, lags, weights, slope).items()}
    haven, haven_error = _haven(found, lags, weights, slope, max(errors.values()) / unit)
    return Diffusion(
        D_cm2_per_s=slope * unit,
        error_cm2_per_s=max(errors.values()),
        refused=None,
        upper_bound_cm2_per_s=None,
        errors_cm2_per_s=errors,
        start_fs=start.lag * interval_fs,
        exponent=start.value,
        exponent_error=start.error,
        haven_ratio=haven,
        haven_error=haven_error,
        **seen,
    )


def _refused(reason: str, upper_bound: float | None, seen: dict[str, Any]) -> Diffusion:
    return Diffusion(D_cm2_per_s=None, error_cm2_per_s=None, refused=reason, upper_bound_cm2_per_s=upper_bound, **seen)


def _upper_bound(hops: Hops, found: Displacements, seen: dict[str, Any], interval_fs: float) -> float:
    """Upper bound at 95 %, cm²/s: of few hops by their number, else from the slope at the longest lags, which falls."""
    if hops.number < MIN_HOPS:
        return hops.upper_diffusivity(found.n_ions, seen["length_fs"]) * CM2_PER_S
    lags = fit_lags(max(1, found.n_lags // 4), found.n_lags)
    weights = slope_weights(lags, found.steps)
    slope = max(0.0, float(weights @ found.mean[lags - 1]))
    error = max(errors_of(found, lags, weights, slope).values())
    return (slope + 1.645 * error) * CM2_PER_S / (6.0 * interval_fs)


def _flows(rest: list[FloatArray], found: Displacements) -> bool:
    """True if the framework's own displacement is large and still grows."""
    far = min(4 * found.n_lags, found.steps)
    msd = np.mean([msd_by_atom(r).mean(axis=1) for r in rest], axis=0)
    return bool(msd[far] > FLOW_A**2 and msd[far] > 1.6 * msd[max(1, far // 4)])


def _drifts(found: Displacements, start: Exponent) -> bool:
    """True if the ions' mean position went much further than diffusion would take it.

    N|Δr̄|² is 6Dt on average for independent ions, and some times that where they push one another.
    """
    lags = fit_lags(start.lag, found.n_lags)
    slope = float(slope_weights(lags, found.steps) @ found.mean[lags - 1])
    return found.net > DRIFT * slope * found.steps


def _aged(found: Displacements, start: Exponent) -> float:
    """Return the ratio of the diffusivities of both halves where it is large beyond doubt, else 0."""
    lags = fit_lags(start.lag, found.n_lags)
    weights = slope_weights(lags, found.steps // 2)
    by_ion = np.einsum("l,hli->hi", weights, found.halves[:, lags - 1])
    first, second = by_ion.mean(axis=1)
    variance = weights @ covariance_matrix(lags, found.steps // 2) @ weights / (3.0 * found.n_ions)
    error = max(
        float(np.std(by_ion[0] - by_ion[1], ddof=1) / np.sqrt(found.n_ions)) if found.n_ions > 1 else 0.0,
        float(np.sqrt(variance * (first**2 + second**2))),
    )
    large, small = float(max(first, second)), max(float(min(first, second)), 1e-300)
    return float(first) / max(float(second), 1e-300) if large - small > 5.0 * error and large > AGED * small else 0.0


def _haven(
    found: Displacements, lags: NDArray[np.int64], weights: FloatArray, slope: float, error: float
) -> tuple[float | None, float | None]:
    """Haven ratio D_tracer/D_σ from the displacement of all ions together, and its error; None where it is not known.

    One mean position is a single walk: its error is that of one ion, and relative ones above 0.3 are no ratio.
    """
    collective = float(weights @ found.collective[:, lags - 1].mean(axis=0))
    if collective <= 0:
        return None, None
    single = weights @ covariance_matrix(lags, found.steps) @ weights / (3.0 * len(found.collective))
    relative = max(float(np.sqrt(single)), students_error(found.collective_blocks[:, lags - 1] @ weights) / collective)
    total = float(np.hypot(relative, error / slope))
    return (slope / collective, slope / collective * total) if relative < 0.3 else (None, None)
