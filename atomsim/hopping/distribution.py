"""Distribution of barriers over hops drawn at random, as in a glass, where every hop is another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atomsim.store.records import Record


@dataclass(frozen=True)
class BarrierDistribution:
    """Barriers of both directions of the hops that were computed."""

    drawn: int
    """Hops that were drawn."""
    of: int
    """Hops of the host up to the longest length."""
    good: int
    """Hops with a proven path; the others mostly end in another basin, as a vacancy in a glass often does."""
    mean_eV: float
    deviation_eV: float
    """Sample standard deviation of barriers, both directions."""
    quantiles_eV: tuple[float, float, float, float, float]
    """Lowest, first quartile, median, third quartile, highest."""
    site_deviation_eV: float
    """Root mean square of the energy difference of the two ends."""


def barrier_distribution(records: Sequence[Record]) -> BarrierDistribution | None:
    """Return the distribution of the barriers of one host's hops; None with fewer than two paths.

    Args:
        records: of a ``barriers`` step, of one host.
    """
    good = [r for r in records if r.good]
    if len(good) < 2:
        return None
    forward = np.array([r.values["barrier_eV"] for r in good])
    change = np.array([r.values["reaction_energy_eV"] for r in good])
    both = np.concatenate([forward, forward - change])
    quantiles: Any = tuple(float(q) for q in np.quantile(both, (0.0, 0.25, 0.5, 0.75, 1.0)))
    return BarrierDistribution(
        drawn=len(records),
        of=int(records[0].tags.get("hops_of_host", len(records))),
        good=len(good),
        mean_eV=float(both.mean()),
        deviation_eV=float(both.std(ddof=1)),
        quantiles_eV=quantiles,
        site_deviation_eV=float(np.sqrt((change**2).mean())),
    )
