"""Doped against undoped cells: preference at fixed composition, paired differences of layers and of voltages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from atomsim.store.records import Record
from atomsim.structures.charges import HELD
from atomsim.types import FloatArray

RESAMPLES = 2000
FEWEST = 4
"""Values below which resampling gives no interval: with two or three it is far too narrow."""
LAYERS = ("slab_A", "gap_A", "spacing_A", "c_A", "across_A")


@dataclass(frozen=True)
class Preference:
    """One sublattice against the best, at one composition."""

    site: str
    formula: str
    above_eV: float
    """Lowest cell of this sublattice above the lowest of all, eV per cell."""
    paired_eV: tuple[float, ...]
    """The same for each host alone, where it has a cell on the first sublattice too."""
    cells: int
    """Cells that converged."""
    of: int
    """Cells that were computed."""
    exchanged: bool
    """True where the dopant was exchanged with what stands there."""


@dataclass(frozen=True)
class Paired:
    """Mean of paired differences, doped − undoped, with its 95 % bootstrap interval."""

    what: str
    site: str
    x: float
    n: int
    undoped: float
    """Mean over the hosts."""
    mean: float
    error: float
    """Standard error: deviation of the resampled means; of two or three pairs, their deviation over √n."""
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """True where the interval leaves out 0."""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class VoltageShift:
    """Difference of the mean voltage between two ion contents, doped − undoped, with the same arrangements."""

    x_high: float
    x_low: float
    n: int
    """Pairs of arrangements, one at each content."""
    mean_V: float
    low_V: float
    high_V: float


def preferences(records: Sequence[Record]) -> list[Preference]:
    """Return the preference of each sublattice, the best first; cells of other compositions are never compared."""
    found = []
    doped = [r for r in records if r.tags.get("role") == "doped"]
    for formula in dict.fromkeys(r.tags["formula"] for r in doped):
        own = [r for r in doped if r.tags["formula"] == formula]
        good = [r for r in own if r.good]
        if not good:
            continue
        lowest = min(r.values["energy_eV"] for r in good)
        first = _lowest_by_host([r for r in good if not r.tags["donors"]])
        for site in dict.fromkeys(r.tags["site"] for r in own):
            of_site = [r for r in good if r.tags["site"] == site]
            if not of_site:
                continue
            by_host = _lowest_by_host(of_site)
            found.append(
                Preference(
                    site=site,
                    formula=formula,
                    above_eV=min(by_host.values()) - lowest,
                    paired_eV=tuple(e - first[h] for h, e in by_host.items() if h in first),
                    cells=len(of_site),
                    of=sum(r.tags["site"] == site for r in own),
                    exchanged=any(r.tags["donors"] for r in of_site),
                )
            )
    return sorted(found, key=lambda p: (p.formula, p.above_eV))


def _lowest_by_host(records: Sequence[Record]) -> dict[str, float]:
    found: dict[str, float] = {}
    for r in records:
        found[r.tags["host"]] = min(r.values["energy_eV"], found.get(r.tags["host"], np.inf))
    return found


def paired_layers(records: Sequence[Record]) -> list[Paired]:
    """Return the changes of the layers by dopant site and ion content, each doped cell against its own host."""
    hosts = {r.tags["host"]: r for r in records if r.tags.get("role") == "host" and r.good and "layers" in r.values}
    doped = [
        r for r in records
        if r.tags.get("role") == "doped" and r.good and "layers" in r.values and r.tags["host"] in hosts
    ]  # fmt: skip
    found = []
    for site, x in dict.fromkeys((r.tags["site"], r.tags["content"]) for r in doped):
        own = [r for r in doped if (r.tags["site"], r.tags["content"]) == (site, x)]
        for what in LAYERS:
            pairs = [
                (hosts[r.tags["host"]].values["layers"].get(what), r.values["layers"].get(what), r.tags["host"])
                for r in own
            ]
            known = [(a, b - a, h) for a, b, h in pairs if a is not None and b is not None]
            if known:
                differences = np.array([d for _, d, _ in known])
                names = [h for _, _, h in known]
                undoped = float(np.mean([a for a, _, _ in known]))
                found.append(paired_of(what, site, x, undoped, differences, names))
    return found


def paired_of(what: str, site: str, x: float, undoped: float, differences: FloatArray, hosts: Sequence[str]) -> Paired:
    """Return the mean of differences, with its standard error and interval, of as many values as are independent."""
    n, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    low = high = float("nan")
    if n >= FEWEST:
        means, free = resampled_means(differences, hosts), independent(differences, hosts)
        error = float(np.sqrt(free / (free - 1)) * means.std())
        wide = expanded(free)
        low, high = (mean + wide * (q - mean) for q in np.quantile(means, [0.025, 0.975]))
    return Paired(what, site, x, n, undoped, mean, error, float(low), float(high))


def independent(differences: FloatArray, hosts: Sequence[str]) -> float:
    """Return the number of independent values among pairs of some hosts, at most all of them.

    It is that of the hosts where these differ, that of the pairs where they are alike: Satterthwaite 1946, Biometrics
    Bull. 2, 110, of the two parts of the variance of the mean, between hosts beyond chance and within them.
    """
    groups = [differences[[h == name for h in hosts]] for name in dict.fromkeys(hosts)]
    n, number = len(differences), len(groups)
    if number in (1, n):
        return float(n)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (n - number)
    between = sum(len(g) * float((g.mean() - differences.mean()) ** 2) for g in groups) / (number - 1)
    excess = max(between - within, 0.0)
    if excess + within == 0.0:
        return float(n)
    return 1.0 + (excess + within) ** 2 / (excess**2 / (number - 1) + within**2 / (n - number))


def expanded(n: float) -> float:
    """Return the factor by which 95 % percentiles of resampled means of n values are expanded.

    Plain ones of few values are too narrow (four values: a nominal 95 % holds in 80 %): Hesterberg 2015, Am. Stat. 69,
    371.
    """
    return float(np.sqrt(n / (n - 1)) * student_t.ppf(0.975, n - 1) / norm.ppf(0.975))


def resampled_means(differences: FloatArray, hosts: Sequence[str]) -> FloatArray:
    """Means of hosts drawn anew, and of pairs within them (Efron & Tibshirani 1993, ch. 8); seeded."""
    generator = np.random.default_rng(0)
    by_host = [differences[[h == name for h in hosts]] for name in dict.fromkeys(hosts)]
    sizes = np.array([len(d) for d in by_host])
    padded = np.array([np.pad(d, (0, sizes.max() - len(d))) for d in by_host])
    drawn = generator.integers(len(by_host), size=(RESAMPLES, len(by_host), 1))
    within = (generator.random((RESAMPLES, len(by_host), sizes.max())) * sizes[drawn]).astype(int)
    counted = np.arange(sizes.max()) < sizes[drawn]
    means: FloatArray = (padded[drawn, within] * counted).sum(axis=(1, 2)) / counted.sum(axis=(1, 2))
    return means


def voltage_shifts(records: Sequence[Record]) -> list[VoltageShift]:
    """Return by how much the dopant moves the mean voltage between neighbouring ion contents; none for unknown charges.

    With E_W(x) = E(doped) − E(undoped) of one arrangement, the shift is −[E_W(x₁) − E_W(x₂)] / (z Δn): the ion's
    reference drops out. Only cells whose dopants replace atoms without an exchange, and keep all ions, are taken.
    """
    hosts = {r.tags["host"]: r for r in records if r.tags.get("role") == "host" and r.good}
    excess: dict[tuple[float, int], dict[str, float]] = {}
    for r in records:
        t = r.tags
        if (
            t.get("role") != "doped"
            or not r.good
            or t["donors"]
            or t["removed"]
            or t["swapped"]
            or t["host"] not in hosts
        ):
            continue
        gained = r.values["energy_eV"] - hosts[t["host"]].values["energy_eV"]
        own = excess.setdefault((t["content"], t["n_ions"]), {})
        own[t["host"]] = min(gained, own.get(t["host"], np.inf))
    contents = sorted(excess, reverse=True)
    ion = next((r.provenance.get("settings", {}).get("ion", "Li") for r in records), "Li")
    charge = HELD.get(ion, 0)
    found = []
    for high, low in pairwise(contents if charge else ()):
        ions = high[1] - low[1]
        above, below = (np.array(list(excess[c].values())) for c in (high, low))
        shifts = -(above[:, None] - below) / (charge * ions)
        interval = _interval_between(above, below, -1.0 / (charge * ions))
        found.append(VoltageShift(high[0], low[0], int(shifts.size), float(shifts.mean()), *interval))
    return found


def _interval_between(above: FloatArray, below: FloatArray, slope: float) -> tuple[float, float]:
    """95 % interval of slope × (mean above − mean below), both resampled; NaN where an end has few values.

    An end with one arrangement alone, such as all ions, counts as exact.
    """
    ends = (above, below)
    if max(map(len, ends)) < FEWEST or any(1 < len(e) < FEWEST for e in ends):
        return float("nan"), float("nan")
    generator = np.random.default_rng(0)
    high, low = (_spread_means(e, generator) for e in ends)
    bottom, top = sorted(slope * np.quantile(high - low, [0.025, 0.975]))
    return float(bottom), float(top)


def _spread_means(values: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Means of values drawn anew, spread about their mean as far as so few values demand."""
    if len(values) == 1:
        return np.full(RESAMPLES, values[0])
    means = generator.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    spread: FloatArray = values.mean() + expanded(len(values)) * (means - values.mean())
    return spread
