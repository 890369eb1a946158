"""The part of an ``electrode`` step that is of random removals: distortion, O–O and voltages, with their scatter."""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.analysis.charging import ChargedStructure, ChargeState, Spread, charge_states, charged_from
from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Number, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREEN, VERMILION
from atomsim.store.records import Record

NAGAO_FROM = 0.66
"""Removed Li from which on the Ru–O polyhedra of Nagao's powder distort."""
LEAD = (
    "Ions taken out at random, several times at each x, each relaxed: a mean with its scatter over removals and "
    "glasses stands where a crystal has its lowest ordering."
)
TABLED = (
    ("coordination", "coordination of {}", ".2f"),
    ("mean_length_A", "{}–X (Å)", ".3f"),
    ("distortion", "distortion index of {}", ".4f"),
    ("angle_variance_deg2", "angle variance of six-fold {} (deg²)", ".0f"),
)


def charging_part(step: str, records: Sequence[Record]) -> Part:
    """Report the scatter over removals and glasses of one ``electrode`` step; nothing for a crystal."""
    glasses = [r for r in records if "scatter" in r.values]
    if not glasses:
        return Part()
    found = [charged_from(s) for r in glasses for s in r.values["scatter"]["structures"]]
    states = charge_states(found, float(glasses[0].values["x_max"]))
    blocks: list[Block] = [_states_table(states), *_shell_charts(found, states), _voltages(glasses)]
    title = f"Charging with its scatter · {len(glasses)} glass{'es' if len(glasses) > 1 else ''}"
    return Part(tuple(_headlines(states, glasses)), (), (Section(f"{step}-scatter", title, blocks, LEAD),))


def _text(spread: Spread | None, form: str) -> str:
    if spread is None:
        return "–"
    return f"{spread.mean:{form}}" + ("" if spread.deviation is None else f" ± {spread.deviation:{form}}")


def _headlines(states: Sequence[ChargeState], glasses: Sequence[Record]) -> list[Number]:
    found = []
    for metal in states[0].metals:
        ends = [s.metals[metal].get("distortion") for s in (states[0], states[-1]) if metal in s.metals]
        if len(ends) == 2 and all(ends):
            values = " → ".join(f"{e.mean:.3f}" for e in ends if e is not None)
            remark = f"x = {states[0].x:g} → {states[-1].x:g}, the last of them {_text(ends[-1], '.3f')}"
            found.append(Number(f"Distortion of {metal}–X", values, "", remark))
    mean = Spread.of([m for r in glasses if (m := _mean_voltage(r)) is not None])
    if mean is not None:
        remark = f"between mean energies, {len(glasses)} glass{'es' if len(glasses) > 1 else ''}"
        found.append(Number("Voltage over removals", _text(mean, ".2f"), "V", remark))
    return found


def _mean_voltage(record: Record) -> float | None:
    steps = record.values["scatter"]["voltages"]
    width = sum(s["x_high"] - s["x_low"] for s in steps)
    return sum(s["mean_V"] * (s["x_high"] - s["x_low"]) for s in steps) / width if width else None


def _states_table(states: Sequence[ChargeState]) -> Table:
    metals = list(dict.fromkeys(m for s in states for m in s.metals))
    columns = [Column("x", "g"), Column("removed", ".2f"), Column("structures", "d"), Column("E (eV/f.u.)")]
    columns += [Column(title.format(m)) for m in metals for _, title, _ in TABLED]
    species = list(states[0].OO_per_fu)
    columns += [Column("shortest O–O (Å)", ".2f"), *(Column(f"{s} per f.u.", ".3f") for s in species)]
    rows: list[list[Cell]] = [
        [
            s.x, s.removed, s.structures, _text(s.energy_per_fu_eV, ".3f"),
            *(_text(s.metals.get(m, {}).get(key), form) for m in metals for key, _, form in TABLED),
            s.shortest_OO_A, *(s.OO_per_fu[name] for name in species),
        ]
        for s in states
    ]  # fmt: skip
    caption = (
        "± : standard deviation over structures. Distortion index: Baur 1974; angle variance: Robinson et al. 1971, of "
        "six-fold metals. O–O pairs within one sulfate are not counted."
    )
    return Table("states", "", columns, rows, caption)


def _shell_charts(found: Sequence[ChargedStructure], states: Sequence[ChargeState]) -> list[Chart]:
    charts = []
    x_max = states[0].x / (1.0 - states[0].removed)
    for metal in states[0].metals:
        panels: list[Panel] = []
        for key, label, color in (
            ("distortion", f"distortion index {metal}–X", BLUE),
            ("mean_length_A", f"mean {metal}–X (Å)", VERMILION),
            ("angle_variance_deg2", "angle variance (deg²)", GREEN),
        ):
            points = [(1 - s.x / x_max, getattr(s.metals[metal], key)) for s in found if metal in s.metals]
            known = [(x, y) for x, y in points if y is not None]
            means = [(s.removed, s.metals[metal][key].mean) for s in states if key in s.metals.get(metal, {})]
            if known:
                series = [
                    Series("", [x for x, _ in known], [y for _, y in known], "points", color, hollow=True),
                    Series("", [x for x, _ in means], [y for _, y in means], "line", color),
                ]
                marks = [Line("x", NAGAO_FROM, "66 %")] if metal == "Ru" and not panels else []
                panels.append(Panel(label, series, marks))
        caption = "Open points: relaxed structures; line: their mean."
        if metal == "Ru":
            caption += " Nagao et al. 2020 saw distortion, not bond length, change from 66 % of Li on."
        charts.append(Chart(f"shells-{metal}", "", "removed part of the ions", panels, caption, height=620))
    return charts


def _voltages(glasses: Sequence[Record]) -> Table:
    columns = [
        Column("Glass"), Column("x from", "g"), Column("x to", "g"), Column("V, mean energies", ".3f"),
        Column("scatter over removals (V)", ".3f"), Column("V, lowest energies", ".3f"),
    ]  # fmt: skip
    found = [(r.label, v) for r in glasses for v in r.values["scatter"]["voltages"]]
    rows: list[list[Cell]] = [
        [label, v["x_high"], v["x_low"], v["mean_V"], v["scatter_V"], v["lowest_V"]] for label, v in found
    ]
    for high, low in dict.fromkeys((v["x_high"], v["x_low"]) for _, v in found) if len(glasses) > 1 else ():
        same = [v for _, v in found if (v["x_high"], v["x_low"]) == (high, low)]
        mean, lowest = Spread.of([v["mean_V"] for v in same]), Spread.of([v["lowest_V"] for v in same])
        if mean is not None and lowest is not None:
            rows.append([f"mean of {len(same)}", high, low, mean.mean, None, lowest.mean])
            rows.append(["scatter over glasses", high, low, mean.deviation, None, lowest.deviation])
    return Table("scatter", "Voltages", columns, rows, "Against the ion's metal from the same potential.")
