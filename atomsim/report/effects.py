"""The part of an ``effects`` step: hops, oxygen vacancies and migrating metals with and without a dopant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.cations.doped import Paired
from atomsim.cations.effects import (
    EventPair,
    barriers_by_surroundings,
    counted,
    event_differences,
    event_pairs,
    words,
)
from atomsim.report.blocks import Block, Cell, Chart, Column, Notice, Number, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREY, VERMILION
from atomsim.store.records import Record

WORDS = {
    "hop resolved_eV": "hop: kinetically resolved barrier",
    "hop barrier_eV": "hop: barrier from the lower end",
    "vacancy removal_eV": "oxygen vacancy: energy of removal",
    "migration reaction_eV": "metal in the tetrahedron above the octahedron",
    "migration barrier_eV": "its barrier from the lower end",
}
NAMES = {"hop": "Hops", "vacancy": "Vacancies", "migration": "Migrations"}
LEAD = (
    "Each event is computed with the same atoms in the crystal without the dopant and in that with it. The kinetically "
    "resolved barrier is that of the saddle above the mean of both ends, so that it has no direction. Barriers count "
    "with a proven saddle on both sides only; of vacancies, E(without O) − E(intact), the gas drops out of the "
    "difference. Li3>Li5: atom 3 goes to the place of atom 5, counted from 0 in the crystal without the dopant."
)


def effects_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``effects`` step."""
    differences, pairs = event_differences(records), event_pairs(records)
    blocks: list[Block] = [_difference_table(differences)]
    chart = _chart(pairs)
    blocks += [chart] if chart is not None else []
    blocks += [_surroundings_table(records), _pair_table(pairs)]
    blocks = [b for b in blocks if not (isinstance(b, Table) and not b.rows)]
    left = [f"{p.host}, {p.name}: {p.problem}" for p in pairs if not p.complete]
    remarks = [f"{r.label}: {flag}" for r in records for flag in r.values.get("flags", ())]
    notices = [Notice("warning", f"{step}: {len(left)} pairs are not compared", "", left)] if left else []
    notices += [Notice("note", f"{step}: remarks", "", remarks)] if remarks else []
    return Part(
        tuple(_headlines(records, differences)),
        tuple(notices),
        (Section(step, f"With and without the dopant · {step}", blocks, LEAD),),
    )


def _headlines(records: Sequence[Record], differences: Sequence[Paired]) -> list[Number]:
    known = {p.what: p for p in sorted(differences, key=lambda p: (p.site.startswith("near"), p.n))}
    numbers = []
    for event, complete, of in counted(records):
        what = {"hop": "hop resolved_eV", "vacancy": "vacancy removal_eV", "migration": "migration reaction_eV"}[event]
        if what in known:
            p = known[what]
            name = f"{NAMES[event]}, with − without"
            whole = f"{complete} of {of} pairs are complete"
            if np.isfinite(p.low):
                text = f"{p.low:+.2f} to {p.high:+.2f}, {p.site}, x = {p.x:.3g}, {p.n} pairs: {_resolved(p)}; {whole}"
                numbers.append(Number(name, f"{p.mean:+.2f}", "eV", text))
            else:
                numbers.append(Number(name, "too few pairs", "", whole))
    return numbers


def _difference_table(differences: Sequence[Paired]) -> Table:
    columns = [
        Column("Quantity"), Column("Where"), Column("x", ".3g"), Column("Pairs", "d"), Column("Without (eV)", ".3f"),
        Column("Change (eV)", "+.3f"), Column("Standard error (eV)", ".3f"), Column("95 % from (eV)", "+.3f"),
        Column("to (eV)", "+.3f"), Column("Resolved"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            WORDS[p.what], p.site, p.x, p.n, p.undoped, p.mean, _finite(p.error), _finite(p.low), _finite(p.high),
            _resolved(p),
        ]
        for p in differences
    ]  # fmt: skip
    caption = "With minus without, pair by pair; intervals by resampling crystals and their pairs. Without: mean."
    return Table("event-differences", "Paired differences", columns, rows, caption)


def _chart(pairs: Sequence[EventPair]) -> Chart | None:
    """Barriers of hops without and with the dopant."""
    known = [(p, v) for p in pairs if p.event == "hop" for v in (p.values("resolved_eV"),) if v is not None]
    if len(known) < 2:
        return None
    series = []
    for name, near, color in (("dopant at the bottleneck", True, VERMILION), ("elsewhere", False, BLUE)):
        own = [(p, v) for p, v in known if p.near is near]
        hover = [f"{p.name}, x = {p.x:g}, {words(p.around)}" for p, _ in own]
        if own:
            series.append(Series(name, [v[0] for _, v in own], [v[1] for _, v in own], "points", color, hover=hover))
    ends = [min(min(v) for _, v in known), max(max(v) for _, v in known)]
    series.append(Series("no change", ends, ends, "line", GREY, dashed=True))
    caption = "Kinetically resolved, of hops whose saddles are proven on both sides."
    panel = Panel("with it (eV)", series)
    return Chart("event-barriers", "Barriers of hops", "without the dopant (eV)", [panel], caption)


def _surroundings_table(records: Sequence[Record]) -> Table:
    columns = [
        Column("Metals at the bottleneck"), Column("Crystal"), Column("Hops", "d"), Column("Mean (eV)", ".3f"),
        Column("Lowest (eV)", ".3f"), Column("Highest (eV)", ".3f"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [b.around, b.side, b.n, b.mean_eV, b.low_eV, b.high_eV] for b in barriers_by_surroundings(records)
    ]
    caption = "Proven saddles, also of hops that are proven on one side alone."
    return Table("surroundings", "Kinetically resolved barriers by surroundings", columns, rows, caption)


def _pair_table(pairs: Sequence[EventPair]) -> Table:
    columns = [
        Column("Crystal"), Column("x", ".3g"), Column("Event"), Column("Dopant at (Å)", ".2f"),
        Column("Metals there, with the dopant"), Column("Quantity"), Column("Without (eV)", ".3f"),
        Column("With (eV)", ".3f"), Column("Change (eV)", "+.3f"), Column("Status"), Column("Force calls", "d"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for p in pairs:
        key = {"hop": "resolved_eV", "vacancy": "removal_eV", "migration": "reaction_eV"}[p.event]
        sides = [r.values.get(key) if r.good else None for r in (p.undoped, p.doped)]
        both = p.values(key)
        calls = sum(int(r.values.get("force_calls", 0)) for r in (p.undoped, p.doped))
        rows.append([
            p.host, p.x, p.name, p.distance_A, words(p.around), WORDS[f"{p.event} {key}"], *sides,
            None if both is None else both[1] - both[0], "both" if p.complete else p.problem, calls,
        ])  # fmt: skip
    bad = frozenset(n for n, p in enumerate(pairs) if not p.complete)
    return Table("event-pairs", "Events", columns, rows, flagged=bad)


def _resolved(p: Paired) -> str:
    if not np.isfinite(p.low):
        return "too few pairs"
    return "resolved" if p.resolved else "no difference resolved"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
