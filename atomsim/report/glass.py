"""The parts of ``amorphize`` and ``glass`` steps: densities, verdicts, g(r), S(q), and Nagao's numbers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from atomsim.report.teacher import other_notices, teacher_notices, teacher_tables
from atomsim.store.records import Record

COLORS = (BLUE, VERMILION, GREEN, PURPLE, "#E69F00", "#56B4E9")
SHOWN = len(COLORS)
NAGAO = "Nagao et al. 2020, Sci. Adv. 6, eaax7236"
MELT_LEAD = (
    "Ions packed by ionic distances, melted in their cell, quenched and annealed at constant pressure, then relaxed. A "
    "quench of some picoseconds is far faster than any experiment: densities are lower bounds, disorder an upper one."
)
GLASS_LEAD = (
    "A verdict is glass only where no flag is up. Densities and energies count from the cheapest mixture of crystals "
    "of the same potential, as a potential's own error of volume cancels there."
)


def amorphize_part(step: str, records: Sequence[Record]) -> Part:
    """Report the glasses of one ``amorphize`` step."""
    columns = [
        Column("Glass"), Column("Status"), Column("atoms", "d"), Column("start (g/cm³)", ".2f"),
        Column("relaxed (g/cm³)", ".2f"), Column("E (eV/atom)", ".4f"), Column("pressure (GPa)", ".3f"),
        Column("quench (K/ps)", ".0f"), Column("steps", "d"), Column("time (s)", ".0f"),
    ]  # fmt: skip
    keys = (
        "n_atoms", "start_density_g_per_cm3", "density_g_per_cm3", "energy_per_atom_eV", "pressure_GPa",
        "quench_rate_K_per_ps", "steps",
    )  # fmt: skip
    rows: list[list[Cell]] = [
        [r.label, r.status, *(r.values.get(k) for k in keys), r.run.get("wall_s")] for r in records
    ]
    bad = frozenset(k for k, r in enumerate(records) if not r.good)
    blocks: list[Block] = [Table("glasses", "", columns, rows, "", flagged=bad)]
    drawn = [r for r in records if r.values.get("series")]
    if drawn:
        blocks.append(_melt_chart(drawn))
    blocks += teacher_tables(records)
    return Part(
        (),
        (*other_notices(step, records), *teacher_notices(step, records)),
        (Section(step, f"Melt and quench · {step}", blocks, MELT_LEAD),),
    )


def _melt_chart(records: Sequence[Record]) -> Chart:
    def series(key: str, named: bool) -> list[Series]:
        found = []
        for record, color in zip(records, COLORS, strict=False):
            known, per = record.values["series"], record.values["n_atoms"] if key == "potential_eV" else 1
            values = [v / per for v in known[key]]
            found.append(Series(record.label if named else "", known["time_ps"], values, "line", color, width=1.2))
        return found

    panels = [Panel("T (K)", series("temperature_K", True)), Panel("U (eV/atom)", series("potential_eV", False))]
    caption = "Temperature and potential energy from the melt to the end of the anneal."
    return Chart("melt", "", "time (ps)", panels, caption, height=520, wide=True)


def glass_part(step: str, records: Sequence[Record]) -> Part:
    """Report the verdicts of one ``glass`` step."""
    judged = [r for r in records if "verdict" in r.values]
    if not judged:
        return Part()
    blocks: list[Block] = [_verdicts(judged), _reasons(judged), _pair_chart(judged), _scattering_chart(judged)]
    blocks += [c for c in (_density_chart(judged), _nagao(judged)) if c is not None]
    section = Section(step, f"Glass or not · {step}", blocks, GLASS_LEAD)
    return Part(tuple(_headlines(judged)), tuple(_notices(step, judged)), (section,))


def _headlines(records: Sequence[Record]) -> list[Number]:
    glasses = [r for r in records if r.values["verdict"] in ("glass", "composite")]
    found = [Number("Glasses", f"{len(glasses)} of {len(records)}", "", "without a flag, or with a grain in them")]
    ratios = [r.values["density_ratio"] for r in glasses if "density_ratio" in r.values]
    if ratios:
        low, high = min(ratios), max(ratios)
        found.append(Number("Density against crystals", f"{low:.2f}–{high:.2f}", "", "of the same potential"))
    return found


def _notices(step: str, records: Sequence[Record]) -> list[Notice]:
    flagged = [r for r in records if r.values["verdict"] != "glass"]
    if not flagged:
        return []
    lines = [f"{r.label}: {r.values['verdict']}; {'; '.join(r.values['reasons'][:2])}" for r in flagged]
    return [Notice("warning", f"{step}: {len(flagged)} of {len(records)} are no plain glass", "", lines)]


def _verdicts(records: Sequence[Record]) -> Table:
    unit = next((k.removesuffix("_whole") for r in records for k in r.values if k.endswith("_whole")), "")
    centres = sorted(
        {k.removesuffix("_coordination") for r in records for k in r.values if k.endswith("_coordination")}
    )
    metals = [c for c in centres if len(c) <= 2 and c != "running"]
    columns = [
        Column("Structure"), Column("Verdict"), Column("density (g/cm³)", ".2f"), Column("of the crystals", ".3f"),
        Column("above crystals (meV/atom)", ".0f"), Column(f"whole {unit}" if unit else "whole units"),
        *(Column(f"{c}–X", ".2f") for c in metals), Column("shortest O–O (Å)", ".2f"), Column("crystallinity", ".2f"),
        Column("halo FWHM (° 2θ)", ".1f"), Column("cell's own width (°)", ".1f"), Column("pressure (GPa)", ".2f"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in records:
        v = r.values
        above = v.get("above_crystals_eV_per_atom")
        whole = f"{v[unit + '_whole']} of {v[unit + '_total']}" if unit and f"{unit}_whole" in v else None
        rows.append([
            r.label, v["verdict"], v.get("density_g_per_cm3"), v.get("density_ratio"),
            None if above is None else 1000 * above, whole, *(v.get(f"{c}_coordination") for c in metals),
            v.get("oo_shortest_A"), v.get("crystallinity"), v.get("halo_fwhm_deg"), v.get("halo_resolution_deg"),
            v.get("pressure_GPa"),
        ])  # fmt: skip
    bad = frozenset(k for k, r in enumerate(records) if r.values["verdict"] not in ("glass", "composite"))
    caption = (
        "X: all anions within 1.25 of the sum of ionic radii. A halo no wider than the cell's own width says nothing."
    )
    return Table("verdicts", "", columns, rows, caption, flagged=bad)


def _reasons(records: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = [[r.label, reason] for r in records for reason in r.values["reasons"]]
    return Table("reasons", "Reasons and remarks", [Column("Structure"), Column("Reason")], rows, shown=bool(rows))


def _pair_chart(records: Sequence[Record]) -> Chart:
    first = records[0].values
    bonds = [p for p in first["g"] if "O" in p.split("-") and p != "O-O"][:3] + [p for p in ("O-O",) if p in first["g"]]
    chosen = bonds or list(first["g"])[:4]
    panels = [
        Panel(f"g {pair.replace('-', '–')}", _lines(records, "r_A", ("g", pair), n == 0))
        for n, pair in enumerate(chosen)
    ]
    caption = f"Partial pair distributions. {_of_all(records)}"
    return Chart("pairs", "", "r (Å)", panels, caption, height=190 * len(panels) + 100, wide=True)


def _scattering_chart(records: Sequence[Record]) -> Chart:
    panel = Panel("S(q), X-rays", _lines(records, "q_per_A", ("S_xray",), True), lines=[Line("y", 1.0)])
    caption = f"Faber–Ziman structure factor at the wave vectors of each cell. {_of_all(records)}"
    return Chart("scattering", "", "q (1/Å)", [panel], caption, wide=True)


def _of_all(records: Sequence[Record]) -> str:
    return f"The first {SHOWN} of {len(records)} structures." if len(records) > SHOWN else ""


def _lines(records: Sequence[Record], x: str, keys: tuple[str, ...], named: bool) -> list[Series]:
    found = []
    for record, color in zip(records, COLORS, strict=False):
        values: Any = record.values
        for key in keys:
            values = values.get(key, {})
        known = [(a, b) for a, b in zip(record.values[x], values, strict=False) if b is not None]
        xs, ys = [a for a, _ in known], [b for _, b in known]
        found.append(Series(record.label if named else "", xs, ys, "line", color, width=1.3))
    return found


def _density_chart(records: Sequence[Record]) -> Chart | None:
    known = [r for r in records if "density_ratio" in r.values and "above_crystals_eV_per_atom" in r.values]
    if not known:
        return None
    series = [
        Series(r.label, [r.values["density_ratio"]], [1000 * r.values["above_crystals_eV_per_atom"]], "points", color)
        for r, color in zip(known, [*COLORS, *[GREY] * len(known)], strict=False)
    ]
    panel = Panel("above crystals (meV/atom)", series)
    caption = "Each glass against the cheapest mixture of crystals of the same potential."
    return Chart("density", "", "density / that of the crystals", [panel], caption, x_range=(0.7, 1.05))


def _nagao(records: Sequence[Record]) -> Table | None:
    """Compare with the powder of Nagao, where the structures hold its elements."""
    ours = [r for r in records if {"Li", "Ru", "S", "O"} == set(r.atoms.symbols) and "density_ratio" in r.values]
    if not ours:
        return None
    densities = [r.values["density_g_per_cm3"] for r in ours]
    ratios = [r.values["density_ratio"] for r in ours]
    crystals = ours[0].values.get("crystals_density_g_per_cm3")
    span = f"{min(densities):.2f}–{max(densities):.2f}"
    rows: list[list[Cell]] = [
        ["Density of the powder (g/cm³)", span, "4.35",
         "4.35 is within 1 % what a mixture of the crystals has: the powder is mostly crystalline, so judge the ratio"],
        ["Density / that of the crystals", f"{min(ratios):.2f}–{max(ratios):.2f}", "1.00",
         f"crystals of this potential: {crystals:.2f} g/cm³" if crystals else ""],
        ["Density of the pellet (g/cm³)", "–", "2.78",
         "64 % of the powder: a third of a pellet is pores, which no cell here has"],
        ["Activation energy of Li conduction (eV)", "atomsim diffusion", "0.39",
         "of the pellet, grain boundaries and pores included"],
        ["Conductivity at 25 °C (S/cm)", "atomsim diffusion", "6.3e-7",
         "means D(298 K) of some 3e-12 cm²/s: 0.24 Å² in 100 ps at 800 K, which few trajectories resolve"],
    ]  # fmt: skip
    columns = [Column("Quantity"), Column("here"), Column("measured"), Column("remark")]
    return Table("nagao", f"Beside {NAGAO}", columns, rows, "Measured values are never inputs.")
