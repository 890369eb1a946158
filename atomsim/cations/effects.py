"""Effects of a dopant on events: paired differences with intervals, and barriers by surroundings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from atomsim.cations.doped import Paired, paired_of
from atomsim.store.records import Record

QUANTITIES: dict[str, tuple[str, ...]] = {
    "hop": ("resolved_eV", "barrier_eV"),
    "vacancy": ("removal_eV",),
    "migration": ("reaction_eV", "barrier_eV"),
}
"""Compared quantities of each kind of event, by the record's key."""
SIDES = ("undoped", "doped")


@dataclass(frozen=True)
class EventPair:
    """One event with and without the dopant."""

    event: str
    name: str
    host: str
    x: float
    near: bool
    distance_A: float
    around: dict[str, int]
    undoped: Record
    doped: Record

    @property
    def complete(self) -> bool:
        """True where both sides were computed: barriers with proven saddles."""
        return self.undoped.good and self.doped.good

    def values(self, key: str) -> tuple[float, float] | None:
        """The value without and with the dopant, eV; None where a side has none."""
        if not self.complete or key not in self.undoped.values or key not in self.doped.values:
            return None
        return float(self.undoped.values[key]), float(self.doped.values[key])

    @property
    def problem(self) -> str:
        """Sides that have no result, and why."""
        return "; ".join(
            f"{side}: {r.status}{f', {r.message}' if r.message else ''}"
            for side, r in zip(SIDES, (self.undoped, self.doped), strict=True)
            if not r.good
        )


@dataclass(frozen=True)
class SurroundingsBarriers:
    """Proven barriers of hops with the same metals at the bottleneck."""

    around: str
    """Metals within ``near_A`` of the middle of the hop, such as ``W1 Mn3 Co1``."""
    side: str
    """``undoped`` or ``doped``."""
    n: int
    mean_eV: float
    low_eV: float
    high_eV: float


def event_pairs(records: Sequence[Record]) -> list[EventPair]:
    """Join the records of both sides, in the order of the tasks."""
    sides: dict[str, dict[str, Record]] = {}
    for r in records:
        sides.setdefault(r.tags["pair"], {})[r.tags["side"]] = r
    found = []
    for own in sides.values():
        if set(own) == set(SIDES):
            t = own["doped"].tags
            found.append(
                EventPair(
                    t["event"], t["name"], t["host"], t["content"], t["near"], t["distance_A"], t["around"],
                    own["undoped"], own["doped"],
                )
            )  # fmt: skip
    return found


def event_differences(records: Sequence[Record]) -> list[Paired]:
    """Return doped − undoped by kind, quantity, ion content and place; ``site`` says near or far from the dopant."""
    pairs = event_pairs(records)
    dopant = next((r.tags["dopant"] for r in records), "")
    found = []
    for event, keys in QUANTITIES.items():
        for key in keys:
            own = [(p, v) for p in pairs if p.event == event for v in (p.values(key),) if v is not None]
            for x in sorted({p.x for p, _ in own}, reverse=True):
                for name, chosen in (("near", True), ("far from", False)):
                    some = [(p, v) for p, v in own if p.x == x and p.near is chosen]
                    if some:
                        values = np.array([v for _, v in some])
                        hosts = [p.host for p, _ in some]
                        site = f"{name} {dopant}"
                        mean = float(values[:, 0].mean())
                        found.append(paired_of(f"{event} {key}", site, x, mean, values[:, 1] - values[:, 0], hosts))
    return found


def barriers_by_surroundings(records: Sequence[Record]) -> list[SurroundingsBarriers]:
    """Return kinetically resolved barriers of hops by the metals at their bottleneck, the lowest first."""
    groups: dict[tuple[str, str], list[float]] = {}
    for r in records:
        if r.tags["event"] == "hop" and r.good and "resolved_eV" in r.values:
            around = words(r.tags["around"])
            groups.setdefault((around, r.tags["side"]), []).append(float(r.values["resolved_eV"]))
    found = [SurroundingsBarriers(a, s, len(v), float(np.mean(v)), min(v), max(v)) for (a, s), v in groups.items()]
    return sorted(found, key=lambda b: (b.mean_eV, b.around))


def words(around: dict[str, int]) -> str:
    """Write surroundings, such as ``W1 Mn3 Co1``; ``none`` where there is no metal."""
    return " ".join(f"{metal}{n}" for metal, n in around.items()) or "none"


def counted(records: Sequence[Record]) -> Iterator[tuple[str, int, int]]:
    """Yield each kind of event, its complete pairs and all of them."""
    pairs = event_pairs(records)
    for event in QUANTITIES:
        own = [p for p in pairs if p.event == event]
        if own:
            yield event, sum(p.complete for p in own), len(own)
