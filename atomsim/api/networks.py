"""Percolation of the hops of a host, as ``atomsim.migration`` returns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Percolation:
    """Dimensions in which hops connect the crystal, and the energy to which a carrier must be lifted for each."""

    dimensions: int | None
    """Dimensions that the hops with a barrier connect; None where none has one."""
    threshold_eV: Mapping[int, float | None]
    """Lowest energy that connects 1, 2 and 3 dimensions, over the lowest site; None where it is not reached."""
    upper_bound: bool
    """A hop without a barrier might be an easier way."""
    missing: str = ""
    """Which hops are not known, in words."""


@dataclass(frozen=True)
class Network:
    """Percolation and diffusion by one mechanism."""

    mechanism: str
    percolation: Percolation
    summary: Mapping[str, Any] = field(repr=False)
    """The same as in the report, with its keys."""


def percolation(found: Mapping[str, Any]) -> Percolation:
    """Return the percolation that a summary of the report says."""
    from atomsim.hopping.summary import missing_hops

    missing = missing_hops(found) if "missing" in found else "no hop has a barrier"
    thresholds = {d: found.get(f"threshold_{d}D_eV") for d in (1, 2, 3)}
    return Percolation(found.get("dimensions"), thresholds, bool(missing), missing)
