"""The part of a ``coherent`` step: lattice matches, terminations, work of adhesion."""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.report.blocks import Block, Cell, Column, Notice, Number, Section, Table
from atomsim.report.parts import Part
from atomsim.report.style import subscripted
from atomsim.store.records import Record

LEAD = (
    "The film takes the lattice of the substrate. Work of adhesion: both slabs alone minus the interface, all relaxed "
    "in one cell, per area. Strain is on both sides of that difference; slabs keep the composition of their crystals."
)


def coherent_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``coherent`` step."""
    blocks: list[Block] = [_table(records)]
    if records:
        blocks.append(_matches(records[0]))
    flags = [f"{r.label}: {flag}" for r in records for flag in r.values.get("flags", ())]
    notices = [Notice("warning", f"{step}: remarks", "", flags)] if flags else []
    return Part(tuple(_headline(records)), tuple(notices), (Section(step, "Coherent interface", blocks, LEAD),))


def _headline(records: Sequence[Record]) -> list[Number]:
    good = [r for r in records if r.good and "work_J_per_m2" in r.values]
    if not good:
        return []
    best = max(good, key=lambda r: r.values["work_J_per_m2"])
    t = best.tags
    strain = max(t["strain"], key=abs)
    text = (
        f"{_plane(t, 'film')} | {_plane(t, 'substrate')}, {t['film_termination']} | {t['substrate_termination']}, "
        f"strain {100 * strain:+.1f} %, {t['area_A2']:.0f} Å²"
    )
    return [Number("Work of adhesion", f"{best.values['work_J_per_m2']:.2f}", "J/m²", text)]


def _plane(tags: dict[str, object], key: str) -> str:
    hkl = tags[f"{key}_hkl"]
    assert isinstance(hkl, list)
    return f"{subscripted(str(tags[f'{key}_formula']))} ({' '.join(str(h) for h in hkl)})"


def _table(records: Sequence[Record]) -> Table:
    columns = [
        Column("Film"), Column("Substrate"), Column("Termination of the film"), Column("of the substrate"),
        Column("Atoms", "d"), Column("Work of adhesion (J/m²)", ".3f"), Column("Rigid (J/m²)", ".3f"),
        Column("Distance (Å)", ".2f"), Column("Shift"), Column("Spread of shifts (eV)", ".2f"), Column("Status"),
        Column("Force calls", "d"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in records:
        t, v = r.tags, r.values
        shift = ", ".join(f"{s:g}" for s in v.get("shift", ()))
        rows.append([
            _plane(t, "film"), _plane(t, "substrate"), t["film_termination"], t["substrate_termination"],
            v.get("n_atoms"), v.get("work_J_per_m2"), v.get("rigid_J_per_m2"), v.get("distance_A"), shift or None,
            v.get("shift_spread_eV"), r.status, v.get("force_calls"),
        ])  # fmt: skip
    of = records[0].tags["terminations"] if records else 0
    caption = (
        f"{len(records)} of {of} pairs of terminations. Rigid: unrelaxed slabs at the distance they were built with."
    )
    bad = frozenset(n for n, r in enumerate(records) if not r.good)
    return Table("adhesion", "Terminations", columns, rows, caption, flagged=bad)


def _matches(record: Record) -> Table:
    columns = [Column("Area (Å²)", ".1f"), Column("Strain (%)", "+.2f"), Column("and (%)", "+.2f"), Column("Computed")]
    rows: list[list[Cell]] = [
        [area, 100 * one, 100 * other, "yes" if n == 0 else None]
        for n, (area, one, other) in enumerate(record.tags["matches"])
    ]
    caption = "Lattice matches within the strain that is allowed, the smallest area first (Zur & McGill 1984)."
    return Table("lattice-matches", "Lattice matches", columns, rows, caption)
