"""Verdicts on groups: when an optimization is finished or given up, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from atomsim.batching.capacity import Fault
from atomsim.errors import counted


@dataclass(frozen=True)
class Stop:
    """When a group is finished."""

    fmax: float = 0.05
    """Converged when no residual force (see ``Space.residual``) is larger, eV/Å."""
    max_steps: int = 500
    """Steps after which a group is given up as ``max_steps``."""
    exploded_force: float = 1e4
    """Residual force above which a group is given up as ``exploded``, eV/Å."""
    exploded_volume: float = 3.0
    """Factor of growth or shrinkage of a cell's volume above which likewise, if it goes uphill, comes apart or
    runs into itself: a sound relaxation may go as far, downhill and as one piece (see ``fallen_apart``)."""


def largest(values: Iterable[float]) -> float:
    """The largest; NaN if there is one."""
    found = list(values)
    return math.nan if any(math.isnan(v) for v in found) else max(found)


def growth_factor(now: float, before: float) -> float:
    """Factor by which a volume has grown or shrunk; 1 without a cell."""
    small, large = sorted((now, before))
    if math.isnan(now) or math.isnan(before) or large == 0.0:
        return 1.0
    return large / small if small > 0.0 else math.inf


def verdict(
    steps: int, force: float, grown: float, wrong: str, stop: Stop, fault: Fault | None
) -> tuple[str, str] | None:
    """Return status and message of a group that has ended; None where it continues."""
    if fault is not None:
        return fault.status, fault.message
    if math.isnan(force):
        return (
            "not_a_number",
            f"the potential gave NaN after {counted(steps, 'step')}; look at the start for atoms too close",
        )
    if force > stop.exploded_force:
        return "exploded", (
            f"largest force {force:.3g} eV/Å after {counted(steps, 'step')}; "
            "look at the start for atoms too close, or try another potential"
        )
    if wrong:
        return "exploded", (
            f"volume changed {grown:.2f}-fold and {wrong} after {counted(steps, 'step')}; "
            "start from a cell nearer to the crystal's, fix the cell, or try another potential"
        )
    if force <= stop.fmax:
        return "converged", ""
    if steps >= stop.max_steps:
        return "max_steps", (
            f"largest force {force:.4f} eV/Å after {counted(steps, 'step')}, wanted {stop.fmax}; "
            "raise max_steps and run again"
        )
    return None
