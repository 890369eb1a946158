"""Order of hosts by the diffusivity of an ion: resolved where the intervals lie apart, refused where they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atomsim.analysis.diffusion import Diffusion
from atomsim.units import KB, ROOM_K

BARRIER_ERROR_EV = 0.1
"""Error of a potential's activation energies that intervals of hops are drawn with: assumed, and no bound. CHGNet 0.3.0
is 0.26 eV below others' DFT for a vacancy in LiCoO2."""
TWO_SIDED_95 = 1.96


@dataclass(frozen=True)
class Interval:
    """Diffusivity of an ion in one host with the interval that it is taken to lie in, cm²/s."""

    host: str
    value: float | None
    """None where only the interval is known."""
    low: float
    high: float
    """Infinite where nothing bounds it."""
    why: str
    """Reason of the width, in words."""


def interval_of_hops(host: str, value: float | None, missing: str = "", temperature_K: float = ROOM_K) -> Interval:
    """Return the interval of a diffusivity that follows from barriers.

    Args:
        host: its name.
        value: diffusivity of a lone carrier, cm²/s; None or 0 where hops do not percolate.
        missing: hops that have no barrier, in words: with them the diffusivity may be any larger one.
        temperature_K: of the diffusivity.
    """
    factor = float(np.exp(BARRIER_ERROR_EV / (KB * temperature_K)))
    known = value or None
    low = 0.0 if known is None else known / factor
    high = float("inf") if missing or known is None else known * factor
    why = f"activation energy ± {BARRIER_ERROR_EV:g} eV"
    return Interval(host, known, low, high, f"{why}; open above: {missing}" if missing else why)


def interval_of_run(host: str, row: Diffusion) -> Interval:
    """Return the interval at 95 % of a diffusivity from dynamics, or below the bound of a refused one."""
    if row.D_cm2_per_s is None or row.error_cm2_per_s is None:
        bound = float("inf") if row.upper_bound_cm2_per_s is None else row.upper_bound_cm2_per_s
        return Interval(host, None, 0.0, bound, f"refused: {row.refused}")
    half = TWO_SIDED_95 * row.error_cm2_per_s
    return Interval(host, row.D_cm2_per_s, max(row.D_cm2_per_s - half, 0.0), row.D_cm2_per_s + half, "statistics, 95 %")


def order(found: Sequence[Interval]) -> list[str]:
    """Say of each pair of hosts which is the faster, or that it is not resolved.

    Args:
        found: one for each host, of one ion at one temperature.
    """
    ranked = sorted(found, key=lambda i: (-(i.value if i.value is not None else i.low), i.host))
    return [_pair(one, other) for n, one in enumerate(ranked) for other in ranked[n + 1 :]]


def _pair(one: Interval, other: Interval) -> str:
    for fast, slow in ((one, other), (other, one)):
        if fast.low > slow.high:
            return f"{fast.host} > {slow.host}: resolved, the intervals lie apart"
    return f"{one.host} and {other.host}: not resolved, the intervals overlap"
