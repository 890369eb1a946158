"""Electronic conductors among the products of an interface.

Wu et al., Energy Environ. Sci. 2022, 15 (10.1039/d2ee01067d): products with a gap below 0.5 eV count; their mole
fraction is averaged over all phase equilibria along the mixing ratio.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from atomsim.interfaces.pseudo_binary import Kink

BELOW_EV = 0.5
"""A product with a smaller gap is an electronic conductor."""


@dataclass(frozen=True)
class Gap:
    """Band gap of a phase."""

    gap_eV: float
    source: str
    at_least: bool = False
    """True for a lower bound."""


@dataclass(frozen=True)
class ConductorFraction:
    """Mole fraction of electronic conductors among products; phases without a known gap make it an interval."""

    least: float
    """None of the unknown conducts."""
    most: float
    """All of the unknown conduct."""
    unknown: tuple[str, ...] = ()
    """Products without a known gap."""

    @property
    def text(self) -> str:
        """In per cent, for people."""
        low, high = 100 * self.least, 100 * self.most
        return f"{low:.1f} %" if high - low < 0.05 else f"{low:.1f} to {high:.1f} %"


@cache
def known_gaps() -> Mapping[str, Gap]:
    """Return the shipped table, by reduced formula."""
    text = (resources.files("atomsim.interfaces") / "gaps.toml").read_text(encoding="utf-8")
    return {formula: Gap(**content) for formula, content in tomllib.loads(text).items()}


def conductor_fraction(
    products: Mapping[str, float], gaps: Mapping[str, Gap] | None = None, below_eV: float = BELOW_EV
) -> ConductorFraction:
    """Return the mole fraction of electronic conductors among some products, given in formula units."""
    table = {**known_gaps(), **(gaps or {})}
    total = sum(products.values())
    conducting = sum(n for p, n in products.items() if p in table and _conducts(table[p], below_eV))
    unknown = {p: n for p, n in products.items() if p not in table}
    least = conducting / total if total else 0.0
    return ConductorFraction(least, least + (sum(unknown.values()) / total if total else 0.0), tuple(sorted(unknown)))


def mean_fraction(
    kinks: Iterable[Kink], gaps: Mapping[str, Gap] | None = None, below_eV: float = BELOW_EV
) -> ConductorFraction:
    """Return the mean over phase equilibria, of equal weight; 0 where there is none."""
    found = [conductor_fraction(k.products, gaps, below_eV) for k in kinks]
    if not found:
        return ConductorFraction(0.0, 0.0)
    unknown = tuple(sorted({name for f in found for name in f.unknown}))
    return ConductorFraction(sum(f.least for f in found) / len(found), sum(f.most for f in found) / len(found), unknown)


def _conducts(gap: Gap, below_eV: float) -> bool:
    return gap.gap_eV < below_eV and not gap.at_least
