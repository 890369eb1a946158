"""Release of O2 from a charged oxide: the reaction of least energy, and the ion content where it becomes downhill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from atomsim.errors import InputError

SAME_X = 1e-6


@dataclass(frozen=True)
class Phase:
    """A crystal that may be a product."""

    name: str
    counts: dict[str, float]
    """Atoms per formula unit."""
    energy_eV: float
    """Per formula unit."""
    x: float | None = None
    """Ions per formula unit where it is the host at some ion content; None for other oxides."""


@dataclass(frozen=True)
class Release:
    """The reaction host → more lithiated hosts + oxides + O2 of least energy, per formula unit of the host."""

    x: float
    energy_eV: float
    """Reaction energy with O2 at the reservoir's potential, eV."""
    oxygen: float
    """Oxygen atoms that are set free."""
    products: dict[str, float]
    """Formula units of each product, O2 among them."""

    def at(self, oxygen_eV: float) -> Release:
        """Return the same reaction with the potential of O changed by so much, eV per atom."""
        return replace(self, energy_eV=self.energy_eV + self.oxygen * oxygen_eV)


def release_energy(host: Phase, phases: Sequence[Phase], oxygen_eV: float) -> Release | None:
    """Return the release of least energy, or None where no products make up the host's composition with O2 left over.

    Products are hosts of larger x and other phases; a linear program over their amounts.

    Args:
        host: the phase that may give up oxygen.
        phases: all phases.
        oxygen_eV: energy per O of the reservoir, eV: ½E(O2) + μ_O(T, p), corrected or not.
    """
    if host.x is None:
        raise InputError(f"{host.name}: wanted a host with an ion content")
    allowed = [p for p in phases if p.x is None or p.x > host.x + SAME_X]
    elements = sorted({*host.counts, "O", *(e for p in allowed for e in p.counts)})
    gas = Phase("O2", {"O": 2.0}, 2 * oxygen_eV)
    candidates = [*allowed, gas]
    balance = np.array([[p.counts.get(e, 0.0) for p in candidates] for e in elements])
    wanted = np.array([host.counts.get(e, 0.0) for e in elements])
    found = linprog([p.energy_eV for p in candidates], A_eq=balance, b_eq=wanted, bounds=(0, None), method="highs")
    if not found.success or found.x[-1] < SAME_X:
        return None
    amounts = {p.name: float(n) for p, n in zip(candidates, found.x, strict=True) if n > SAME_X}
    return Release(host.x, float(found.fun) - host.energy_eV, 2 * float(found.x[-1]), amounts)


def onset(releases: Sequence[Release]) -> tuple[float, float] | None:
    """Return the two ion contents between which release becomes downhill on charge, (larger, smaller); None if never.

    Where it is downhill at the largest x already both are that x.
    """
    ordered = sorted(releases, key=lambda r: -r.x)
    for n, r in enumerate(ordered):
        if r.energy_eV <= 0:
            return (ordered[n - 1].x if n else r.x, r.x)
    return None
