"""The part of an ``isotherm`` step: voltage against ion content at temperature, beside the hull at 0 K."""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.report.blocks import Block, Cell, Chart, Column, Notice, Number, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.style import along
from atomsim.store.records import Record

LEAD = (
    "A lattice gas of ions and vacancies, fitted to the relaxed orderings and sampled at every content: the curve in "
    "equilibrium, without hysteresis. Configurations only, no vibrations. Errors are those of fit and sampling; the "
    "potential's own comes on top."
)


def isotherm_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``isotherm`` step."""
    good = [r for r in records if r.good]
    if not good:
        return Part((), (), ())
    blocks: list[Block] = [_chart(good), _table(good)]
    flagged = [f"{r.label}: {flag}" for r in good for flag in r.values["flags"]]
    notices = (Notice("warning", f"{step}: flags", "", flagged),) if flagged else ()
    return Part((_headline(good[0]),), notices, (Section(step, "Voltage at temperature", blocks, LEAD),))


def _headline(record: Record) -> Number:
    v = record.values
    remark = f"fitted to {v['orderings']} orderings, ± {v['leave_one_out_meV_per_site']:.0f} meV per ion site left out"
    span = f"{max(v['voltage_V']):.2f} to {min(v['voltage_V']):.2f}"
    return Number(f"Voltage at {record.label}", span, "V", remark)


def _chart(records: Sequence[Record]) -> Chart:
    stairs_x = [x for s in records[0].values["hull"] for x in (s["x_high"], s["x_low"])]
    stairs_y = [v for s in records[0].values["hull"] for v in (s["voltage_V"], s["voltage_V"])]
    series = [Series("hull, 0 K", stairs_x, stairs_y, "line", "#888888", dashed=True)]
    for record, color in zip(records, along(len(records)), strict=True):
        v = record.values
        hover = [
            f"x = {x:.3f}: {u:.3f} ± {e:.3f} V" for x, u, e in zip(v["x"], v["voltage_V"], v["error_V"], strict=True)
        ]
        series.append(Series(record.label, v["x"], v["voltage_V"], "line+points", color, hover=hover))
    ion = records[0].values["ion"]
    panel = Panel(f"V against {ion}", series)
    top = max(stairs_x)
    caption = "Errors of single points are in the table."
    return Chart("isotherm", "Voltage at temperature", f"x, {ion} per formula unit", [panel], caption, (top, 0.0))


def _table(records: Sequence[Record]) -> Table:
    columns = [Column("Temperature"), Column("x", ".3f"), Column("V", ".3f"), Column("± (V)", ".3f")]
    rows: list[list[Cell]] = [
        [r.label, x, v, e]
        for r in records
        for x, v, e in zip(r.values["x"], r.values["voltage_V"], r.values["error_V"], strict=True)
    ]
    return Table("isotherm", "Voltages", columns, rows)
