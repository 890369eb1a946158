"""The part of a ``diffusion`` step: D with errors or refusals, mean squared displacements, Arrhenius' law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.analysis.arrhenius import ROOM_K
from atomsim.analysis.diffusion import Diffusion
from atomsim.analysis.diffusivities import TracerDiffusivities, fitted_line, format_diffusivity
from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.diffusivity_order import order_of_runs
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREY, VERMILION, along
from atomsim.store.records import Record

LEAD = (
    "Tracer diffusivities with the largest of four errors (analytic, over ions, over blocks of time, over replicas). A "
    "temperature whose ions are caged, sub-diffusive, hop fewer than ten times or move with a flowing framework has no "
    "number but an upper bound at 95 %."
)
NAGAO = "Nagao et al. 2020, Sci. Adv. 6, eaax7236"
NAGAO_ELEMENTS = ["Li", "O", "Ru", "S"]


def diffusion_part(step: str, records: Sequence[Record]) -> Part:
    """Report the diffusivities of one ``diffusion`` step."""
    headlines: list[Number] = []
    sections: list[Section] = []
    for n, record in enumerate(records, 1):
        if not record.good:
            continue
        found = TracerDiffusivities.from_record(record.values)
        blocks: list[Block] = [_table(found), _msd_chart(found)]
        blocks += [b for b in (_arrhenius_chart(found), _law(found), _nagao(found, record)) if b is not None]
        key = step if len(records) == 1 else f"{step}-{n}"
        sections.append(Section(key, f"Diffusion of {found.ion} · {record.label}", blocks, LEAD))
        headlines.append(_headline(found, record.label if len(records) > 1 else ""))
    if (table := order_of_runs(records)) is not None:
        sections.insert(0, Section(f"{step}-order", "Diffusion: materials beside each other", [table]))
    return Part(tuple(headlines), tuple(_notices(step, records)), tuple(sections))


def _headline(found: TracerDiffusivities, label: str) -> Number:
    room, name = found.room_temperature(), f"{label}: " if label else ""
    if room is None:
        numbers = sum(row.refused is None for row in found.rows)
        why = "refused elsewhere, with upper bounds" if numbers else "refused, with upper bounds"
        return Number(f"{name}D of {found.ion}", f"{numbers} of {len(found.rows)}", "temperatures", why)
    low, high, unit = room["conductivity_low_S_per_cm"], room["conductivity_high_S_per_cm"], "S/cm"
    value = room["conductivity_S_per_cm"]
    if value is None:
        low, high, value, unit = room["D_low_cm2_per_s"], room["D_high_cm2_per_s"], room["D_cm2_per_s"], "cm²/s"
    how = "extrapolated, " if room["extrapolated"] else ""
    what = "σ" if unit == "S/cm" else "D"
    return Number(f"{name}{what} of {found.ion} at 298 K", f"{value:.1e}", unit, f"{how}{low:.0e} to {high:.0e}")


def _notices(step: str, records: Sequence[Record]) -> list[Notice]:
    refused = [f"{r.label}: {r.message}" for r in records if r.message]
    excluded = [e["reason"] for r in records for e in r.values.get("excluded", ())]
    found = []
    if refused:
        found.append(Notice("warning", f"{step}: diffusivities refused", "Upper bounds stand in their place.", refused))
    if excluded:
        found.append(Notice("warning", f"{step}: trajectories left out", "", excluded))
    return found


def _table(found: TracerDiffusivities) -> Table:
    columns = [
        Column("T (K)", "g"), Column(f"D of {found.ion}"), Column("D (cm²/s)", ".3e"), Column("error (cm²/s)", ".1e"),
        Column("upper bound, 95 % (cm²/s)", ".1e"), Column("hops", "d"), Column("exponent", ".2f"),
        Column("fit from (ps)", ".2f"), Column("Haven ratio"), Column("σ (S/cm)", ".2e"), Column("replicas", "d"),
        Column("length (ps)", "g"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for row, at in zip(found.rows, found.conditions, strict=True):
        d, t = row.D_cm2_per_s, row.temperature_K
        haven = "undetermined" if row.haven_ratio is None else f"{row.haven_ratio:.2f} ± {row.haven_error:.2f}"
        rows.append([
            t, format_diffusivity(row), d, row.error_cm2_per_s, row.upper_bound_cm2_per_s, row.hops, row.exponent,
            None if row.start_fs is None else row.start_fs / 1000, "" if row.refused else haven,
            None if d is None or t is None else at.conductivity(d, t, row.haven_ratio), row.replicas,
            row.length_fs / 1000,
        ])  # fmt: skip
    bad = frozenset(k for k, row in enumerate(found.rows) if row.refused)
    caption = f"Framework at rest: {', '.join(found.framework)}. σ by Nernst and Einstein; of independent ions where "
    return Table("diffusivities", "", columns, rows, f"{caption}the Haven ratio is undetermined.", flagged=bad)


def _msd_chart(found: TracerDiffusivities) -> Chart:
    series = []
    for row, color in zip(found.rows, along(len(found.rows)), strict=True):
        name = f"{row.temperature_K:g} K" + (" (refused)" if row.refused else "")
        series.append(Series(name, (row.lags_fs / 1000).tolist(), row.msd_A2.tolist(), "points", color, hollow=True))
        if (fit := fitted_line(row)) is not None:
            series.append(Series("", (fit[0] / 1000).tolist(), fit[1].tolist(), "line", color))
    panel = Panel(f"⟨Δr²⟩ of {found.ion} (Å²)", series)
    caption = "Mean squared displacements without the framework's drift; lines: slope 6D from the diffusive regime on."
    return Chart("msd", "", "time (ps)", [panel], caption)


def _arrhenius_chart(found: TracerDiffusivities) -> Chart | None:
    numbers = [row for row in found.rows if row.D_cm2_per_s and row.error_cm2_per_s]
    bounds = [row for row in found.rows if row.refused and row.upper_bound_cm2_per_s]
    if not numbers and not bounds:
        return None
    x = [_inverse(row) for row in numbers]
    series = [Series("D", x, [float(np.log10(row.D_cm2_per_s or 1)) for row in numbers], "points", BLUE)]
    series += [_bar(row) for row in numbers]
    upper = [float(np.log10(row.upper_bound_cm2_per_s or 1)) for row in bounds]
    if bounds:
        series.append(Series("upper bound, 95 %", [_inverse(r) for r in bounds], upper, "points", GREY, hollow=True))
    caption = "Bars: one standard error." if numbers else "Diffusivities are at most these."
    if found.arrhenius is not None:
        series += _band(found, max(_inverse(row) for row in found.rows))
        caption += " Line: weighted fit; dashed: its prediction band (1σ), down to 298 K."
    lines = [Line("x", 1000.0 / ROOM_K, "298 K")] if found.arrhenius is not None else []
    return Chart("arrhenius", "", "1000 K / T", [Panel("log₁₀ D (cm²/s)", series, lines)], caption)


def _inverse(row: Diffusion) -> float:
    return 1000.0 / (row.temperature_K or np.inf)


def _bar(row: Diffusion) -> Series:
    d, error = row.D_cm2_per_s or 0.0, row.error_cm2_per_s or 0.0
    ends = np.log10([max(d - error, 0.05 * d), d + error]).tolist()
    return Series("", [_inverse(row)] * 2, ends, "line", BLUE)


def _band(found: TracerDiffusivities, coldest: float) -> list[Series]:
    assert found.arrhenius is not None
    hottest = min(_inverse(row) for row in found.rows)
    x = np.linspace(hottest, max(coldest, 1000.0 / ROOM_K), 60)
    middle, low, high = np.log10([found.arrhenius.diffusivity(1000.0 / v) for v in x]).T.tolist()
    at = x.tolist()
    edges = [Series("", at, edge, "line", VERMILION, 1.2, dashed=True) for edge in (low, high)]
    return [Series("Arrhenius", at, middle, "line", VERMILION), *edges]


def _law(found: TracerDiffusivities) -> Table | Notice | None:
    law, room = found.arrhenius, found.room_temperature()
    if law is None or room is None:
        return Notice("note", "No Arrhenius fit", found.arrhenius_refused or "") if len(found.rows) > 1 else None
    columns = [
        Column("E_a (eV)", ".3f"), Column("error (eV)", ".3f"), Column("D(298 K) (cm²/s)", ".1e"),
        Column("from", ".1e"), Column("to", ".1e"), Column("σ(298 K) (S/cm)", ".1e"),
        Column("from", ".1e"), Column("to", ".1e"),
    ]  # fmt: skip
    keys = [f"{what}{end}_{unit}" for what, unit in (("D", "cm2_per_s"), ("conductivity", "S_per_cm"))
            for end in ("", "_low", "_high")]  # fmt: skip
    rows: list[list[Cell]] = [[law.activation_energy_eV, law.activation_energy_error_eV, *(room[key] for key in keys)]]
    caption = "298 K is extrapolated: it holds if nothing freezes in between." if room["extrapolated"] else ""
    return Table("law", "Arrhenius' law", columns, rows, caption)


def _nagao(found: TracerDiffusivities, record: Record) -> Table | None:
    """Compare with the pellet of Nagao, where the trajectories hold its elements."""
    if record.values["elements"] != NAGAO_ELEMENTS or found.ion != "Li":
        return None
    law, room = found.arrhenius, found.room_temperature()
    energy = "refused" if law is None else f"{law.activation_energy_eV:.2f} ± {law.activation_energy_error_eV:.2f}"
    sigma = "refused"
    if room is not None:
        low, high = room["conductivity_low_S_per_cm"], room["conductivity_high_S_per_cm"]
        sigma = f"{room['conductivity_S_per_cm']:.1e} ({low:.0e} to {high:.0e})"
    rows: list[list[Cell]] = [
        ["Activation energy of Li conduction (eV)", energy, "0.39", "of a pellet, grain boundaries and pores included"],
        ["Conductivity at 25 °C (S/cm)", sigma, "6.3e-7",
         "a pellet of 64 % of the powder's density; means D(298 K) of some 3e-12 cm²/s"],
    ]  # fmt: skip
    columns = [Column("Quantity"), Column("here"), Column("measured"), Column("remark")]
    return Table("nagao", f"Beside {NAGAO}", columns, rows, "Measured values are never inputs.")
