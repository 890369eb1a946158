"""The part of an ``interface`` step: mutual energies against the mixing ratio, equations, electronic conductors."""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.interfaces.conductors import known_gaps
from atomsim.interfaces.record import Condition, from_values
from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.style import along
from atomsim.store.records import Record

LEAD = (
    "Hull of the given phases over the mixing ratio of two in contact (Zhu, He & Mo 2016). The mutual energy leaves "
    "out what each phase does by itself. Open interfaces are per atom that is not exchanged. Thermodynamics of bulk "
    "phases: how fast, and which layers, is not in it."
)


def interface_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``interface`` step."""
    known = [(r, [from_values(kept) for kept in r.values["conditions"]]) for r in records if r.good]
    blocks: list[Block] = [_summary(known)]
    blocks += [_chart(n, r, found) for n, (r, found) in enumerate(known)]
    blocks += [_kinks(known), _gaps(known)]
    flagged = [f"{r.label}: {flag}" for r, _ in known for flag in r.values["flags"]]
    notices = [Notice("note", f"{step}: flags", "", flagged)] if flagged else []
    return Part(tuple(_headlines(known)), tuple(notices), (Section(step, "Interfaces", blocks, LEAD),))


def _headlines(known: Sequence[tuple[Record, list[Condition]]]) -> list[Number]:
    return [
        Number(r.label, f"{1000 * r.values['mutual_eV_per_atom']:.0f}", "meV/atom", r.values["equation"])
        for r, _ in known[:4]
    ]


def _summary(known: Sequence[tuple[Record, list[Condition]]]) -> Table:
    columns = [
        Column("Interface"), Column("Condition"), Column("Lowest mutual energy (eV/atom)", "+.4f"),
        Column("at x", ".3f"), Column("Reaction there"), Column("Conductors, mean over equilibria"),
        Column("Conductors at the minimum"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for record, found in known:
        for c in found:
            least = c.found.minimum
            rows.append([
                record.label, c.name, least.mutual_eV_per_atom, least.x, least.equation, c.conductors.text,
                c.at_minimum.text,
            ])  # fmt: skip
    caption = "Mole fraction of products with a gap below the limit; an interval where a product's gap is not known."
    return Table("interfaces", "", columns, rows, caption)


def _chart(number: int, record: Record, found: Sequence[Condition]) -> Chart:
    series = [
        Series(
            c.name, [k.x for k in c.found.kinks], [k.mutual_eV_per_atom for k in c.found.kinks], "line+points", color,
            hover=[k.equation for k in c.found.kinks],
        )
        for c, color in zip(found, along(len(found)), strict=True)
    ]  # fmt: skip
    title = f"x {record.tags['first']} + (1 − x) {record.tags['second']}"
    panel = Panel("mutual energy (eV/atom)", series, [Line("y", 0.0)])
    return Chart(f"interface-{number + 1}", title, "x, by atoms", [panel], x_range=(0.0, 1.0))


def _kinks(known: Sequence[tuple[Record, list[Condition]]]) -> Table:
    columns = [
        Column("Interface"), Column("Condition"), Column("x", ".4f"), Column("Formula units of the first", ".4f"),
        Column("Mutual (eV/atom)", "+.4f"), Column("Total (eV/atom)", "+.4f"), Column("Reaction"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [r.label, c.name, k.x, k.ratio, k.mutual_eV_per_atom, k.total_eV_per_atom, k.equation]
        for r, found in known
        for c in found
        for k in c.found.kinks
    ]
    return Table(
        "kinks", "Kinks", columns, rows, "Mixing ratios at which the products change, the pure phases included."
    )


def _gaps(known: Sequence[tuple[Record, list[Condition]]]) -> Table:
    """Products with their gaps and sources."""
    names = sorted({n for _, found in known for c in found for k in c.found.kinks for n in k.products})
    table = known_gaps()
    rows: list[list[Cell]] = []
    for name in names:
        gap = table.get(name)
        if gap is None:
            rows.append([name, "unknown", None])
        else:
            rows.append([name, f"{'≥ ' if gap.at_least else ''}{gap.gap_eV:g}", gap.source])
    columns = [Column("Product"), Column("Gap (eV)"), Column("Source")]
    return Table("gaps", "Band gaps of the products, as shipped", columns, rows, "Gaps given in the step go before.")
