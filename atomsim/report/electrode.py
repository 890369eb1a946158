"""The part of an ``electrode`` step: what a chemist came for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atomsim.analysis.hull import SAME_X
from atomsim.analysis.oxygen import CLASSES
from atomsim.report.blocks import Block, Cell, Column, Notice, Number, Section, Table, Text
from atomsim.report.charging import charging_part
from atomsim.report.electrode_charts import capacity_of_one_ion, charts
from atomsim.report.opinions import electrode_opinions
from atomsim.report.parts import Part
from atomsim.report.style import host_label, subscripted
from atomsim.store.records import Record

Values = Mapping[str, Any]

COMPARISON_REMARK = (
    "Published values are compared with, never fitted to. A potential of PBE quality will miss some of them: "
    "PBE lattices are 1–2 % large and PBE voltages of oxides too low (Zhou et al. 2004, Phys. Rev. B 70, 235121); "
    "measured potentials contain polarisation and kinetics that a hull at 0 K does not."
)

TOPICS = {
    "excluded": "Structures left out of hull and voltages",
    "reference": "No reference of the metal",
    "moments": "Magnetic moments do not settle the oxidation state",
    "geometry": "Suspicious geometry",
    "lattice": "Lattice not mapped",
    "vibrations": "Vibrations",
}


def electrode_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``electrode`` step."""
    good = [record for record in records if record.good]
    keys = [step] if len(good) == 1 else [f"{step}-{n}" for n in range(1, len(good) + 1)]
    parts = [_one(key, record.values) for key, record in zip(keys, good, strict=True)]
    if len(good) > 1:  # headlines of several glasses are those of their scatter
        parts = [Part((), p.notices, p.sections) for p in parts]
    parts.insert(0, charging_part(step, good))
    return Part(
        headlines=tuple(h for p in parts for h in p.headlines),
        notices=tuple(n for p in parts for n in p.notices),
        sections=tuple(s for p in parts for s in p.sections),
    )


def _one(step: str, values: Values) -> Part:
    title = host_label(values["formula"], values["ion"])
    blocks: list[Block] = [*charts(values)]
    policy = Text("Energy reference and corrections", values["energy_policy"], listed=True)
    sections = [
        Section(step, f"{title}: {_span(values)}", [*blocks, policy], _lead(values)),
        Section(f"{step}-tables", f"{title}: tables", _tables(values)),
    ]
    if values["comparison"]:
        comparison = Section(
            f"{step}-comparison", "Computed and published", [comparison_table(values)], COMPARISON_REMARK
        )
        sections.insert(1, comparison)
    return Part(tuple(headlines(values)), tuple(_notices(values)), tuple(sections))


def headlines(values: Values) -> list[Number]:
    """Return what one would read out first."""
    capacity, rows = values["capacity"], values["structures"]
    low = sorted((r for r in rows if r["lowest_at_x"]), key=lambda r: -r["x"])
    full, empty = low[0], low[-1]
    found = [
        Number(
            "Capacity, 1 e⁻",
            f"{capacity['one_electron_mAh_per_g']:.0f}",
            "mAh/g",
            f"{capacity['whole_range_mAh_per_g']:.0f} mAh/g for x = {full['x']:g} → {empty['x']:g}",
        )
    ]
    steps = values["voltage"]["hull"]
    if steps:
        weights = [s["x_high"] - s["x_low"] for s in steps]
        mean = sum(s["voltage_V"] * w for s, w in zip(steps, weights, strict=True)) / sum(weights)
        volts = [s["voltage_V"] for s in steps]
        found.append(Number("Mean voltage", f"{mean:.2f}", "V", f"steps from {min(volts):.2f} to {max(volts):.2f} V"))
    if empty is not full:
        change = empty["volume_per_fu_A3"] / full["volume_per_fu_A3"] - 1
        remark = f"{full['volume_per_fu_A3']:.1f} → {empty['volume_per_fu_A3']:.1f} Å³ per formula unit"
        found.append(Number("Volume on charge", f"{100 * change:+.1f}".replace("-", "−"), "%", remark))
    found += [*_layer_headline(values), *_oxygen_headline(rows)]
    return found


def _layer_headline(values: Values) -> list[Number]:
    for entry in values["comparison"]:
        if entry["quantity"] == "layer_spacing" and entry["computed"] is not None:
            remark = f"published {entry['reference']:g} Å ({100 * entry['deviation'] / entry['reference']:+.1f} %)"
            return [Number("Layer spacing, pristine", f"{entry['computed']:.3f}", "Å", remark)]
    return []


def _oxygen_headline(rows: Sequence[Values]) -> list[Number]:
    low = [r for r in rows if r["lowest_at_x"] and r["shortest_OO_A"] is not None]
    if not low:
        return []
    shortest = min(low, key=lambda r: r["shortest_OO_A"])
    length = shortest["shortest_OO_A"]
    kind = next((name for name, (start, end) in CLASSES.items() if start <= length < end), "lattice")
    remark = f"at x = {shortest['x']:g}, {kind}; lowest structures"
    return [Number("Shortest O–O", f"{length:.2f}", "Å", remark)]


def comparison_table(values: Values) -> Table:
    """Computed beside published, with deviation and source."""
    columns = [
        Column("Quantity"),
        Column("Computed", "#.4g"),
        Column("Published", "g"),
        Column("Unit"),
        Column("Deviation", "+#.3g"),
        Column("Deviation (%)", "+.1f"),
        Column("Remark"),
        Column("Source"),
    ]
    rows: list[list[Cell]] = []
    for entry in values["comparison"]:
        deviation: Cell = entry["deviation"]
        percent = None if deviation is None else 100 * entry["deviation"] / entry["reference"]
        if entry["agrees"] is not None:
            deviation = "agrees" if entry["agrees"] else "differs"
        computed = "—" if entry["computed"] is None else entry["computed"]
        values_of_entry = [entry["what"], computed, entry["reference"], entry["unit"], deviation, percent]
        rows.append([*values_of_entry, entry["note"], entry["citation"]])
    return Table("comparison", "", columns, rows)


def _tables(values: Values) -> list[Block]:
    tables: list[Block] = [structures_table(values), voltage_table(values), *_vibrations(values)]
    tables += electrode_opinions(values)
    if values["excluded"]:
        rows = [[e["label"], e["status"], e["reason"]] for e in values["excluded"]]
        columns = [Column("Structure"), Column("Status"), Column("Reason")]
        tables.append(Table("excluded", "Excluded from hull and voltages", columns, rows))
    return [*tables, xrd_export(values)]


def _vibrations(values: Values) -> list[Block]:
    found = values.get("vibrational")
    if not found:
        return []
    kelvin = f"{found['temperature_K']:g} K"
    columns = [
        Column("x from", "g"),
        Column("x to", "g"),
        Column("without vibrations (V)", ".3f"),
        Column(f"{kelvin} (V)", ".3f"),
        Column("change (mV)", "+.0f"),
    ]
    rows: list[list[Cell]] = [
        [s["x_high"], s["x_low"], s["at_rest_V"], s["voltage_V"], 1e3 * (s["voltage_V"] - s["at_rest_V"])]
        for s in found["voltage"]
    ]
    caption = "Harmonic, at the volumes of 0 K, zero-point energy included; configurational entropy is not in it."
    return [Table("vibrations", f"Voltages with vibrations at {kelvin}", columns, rows, caption=caption)]


def structures_table(values: Values) -> Table:
    """Every structure that took part."""
    metals = sorted({m for r in values["structures"] for m in r["shells"]})
    heads = [("Structure", ""), ("x", "g"), ("f.u. in the cell", "g"), ("E (eV/f.u.)", ".4f")]
    heads += [("formation (eV/f.u.)", ".4f"), ("above hull (meV/atom)", ".1f"), ("V (Å³/f.u.)", ".2f")]
    heads += [(f"{axis} (Å)", ".3f") for axis in "abc"] + [(f"{angle} (°)", ".2f") for angle in "αβγ"]
    heads += [("d layer (Å)", ".3f"), ("slab (Å)", ".3f"), ("gap (Å)", ".3f"), ("2θ layer (°)", ".2f")]
    heads += [("space group, 0.01 Å", ""), ("0.1 Å", ""), ("shortest O–O (Å)", ".3f")]
    heads += [(f"O–O {name}", "d") for name in CLASSES] + [(f"O–O {name} per f.u.", ".3g") for name in CLASSES]
    for m in metals:
        heads += [(f"CN {m}", ".2f"), (f"{m}–X (Å)", ".3f"), (f"distortion {m}", ".4f"), (f"|m| {m} (μB)", ".3f")]
        heads += [(f"{m} state, moments", ".2f"), (f"{m} state, bond valence", ".2f")]
    heads += [("|m| O (μB)", ".3f"), ("state, charge balance", ".2f"), ("verdict", ""), ("multiplicity", "d")]
    rows = [_structure_row(r, metals) for r in values["structures"]]
    marked = frozenset(k for k, r in enumerate(values["structures"]) if r["on_hull"])
    return Table(
        "structures",
        "All structures",
        [Column(title, form) for title, form in heads],
        rows,
        caption="Marked: on the hull. Lattice in the parent's setting; O–O counts are pairs in the cell, whose "
        "sizes differ, and pairs per formula unit (f.u.).",
        flagged=marked,
    )


def _structure_row(r: Values, metals: Sequence[str]) -> list[Cell]:
    lattice, layer, oxidation = r["lattice"] or {}, r["layer"] or {}, r["oxidation"]
    moments = oxidation["moments_muB"] or {}
    row: list[Cell] = [r["label"], r["x"], r["host_units"], r["energy_per_fu_eV"], r["formation_eV_per_fu"]]
    row += [r["above_hull_meV_per_atom"], r["volume_per_fu_A3"]]
    row += [lattice.get(key) for key in ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")]
    row += [layer.get(key) for key in ("d_A", "slab_A", "gap_A", "two_theta_deg")]
    row += [r["space_group"]["0.01"], r["space_group"]["0.1"], r["shortest_OO_A"]]
    row += [r["OO_counts"][name] for name in CLASSES]
    row += [r["OO_counts"][name] / r["host_units"] for name in CLASSES]
    for m in metals:
        shell = r["shells"].get(m, {})
        row += [shell.get("coordination"), shell.get("mean_length_A"), shell.get("distortion"), moments.get(m)]
        row += [oxidation["from_moments"].get(m, {}).get("state"), oxidation["bond_valence"].get(m)]
    return [*row, moments.get("O"), oxidation["charge_balance"], oxidation["verdict"], r["multiplicity"]]


def voltage_table(values: Values) -> Table:
    """Both voltage curves."""
    columns = [Column("Curve"), Column("x from", "g"), Column("x to", "g"), Column("V", ".3f")]
    columns.append(Column("mAh/g at the end", ".0f"))
    per_ion = capacity_of_one_ion(values)
    rows: list[list[Cell]] = [
        [name, s["x_high"], s["x_low"], s["voltage_V"], (values["x_max"] - s["x_low"]) * per_ion]
        for name, key in (("along the hull", "hull"), ("between neighbouring x", "neighbours"))
        for s in values["voltage"][key]
    ]
    return Table("voltage", "Voltages", columns, rows)


def xrd_export(values: Values) -> Table:
    """Bragg peaks of the lowest structures, for plotting elsewhere."""
    rows: list[list[Cell]] = [
        [p["label"], p["x"], angle, intensity]
        for p in values["xrd"]["patterns"]
        for angle, intensity in zip(p["two_theta_deg"], p["intensity"], strict=True)
    ]
    columns = [Column("Structure"), Column("x"), Column("2θ (°)"), Column("intensity")]
    return Table("xrd", "Bragg peaks", columns, rows, shown=False)


def _covered(values: Values) -> tuple[float, float]:
    """Highest and lowest x that a structure was found at."""
    found = [float(r["x"]) for r in values["structures"]]
    return max(found), min(found)


def _span(values: Values) -> str:
    high, low = _covered(values)
    whole = high >= values["x_max"] - SAME_X and low <= SAME_X
    return "from full to empty" if whole else f"from x = {high:g} to x = {low:g}"


def _lead(values: Values) -> str:
    vertices = ", ".join(f"{v['x']:g}" for v in sorted(values["hull"], key=lambda v: -v["x"]))
    high, low = _covered(values)
    lost = ["the full host"] * (high < values["x_max"] - SAME_X) + ["the empty host"] * (low > SAME_X)
    missing = f" No usable structure of {' and of '.join(lost)}: the hull ends before it." if lost else ""
    return (
        f"{len(values['structures'])} relaxed structures of {subscripted(values['formula'])} at "
        f"{len(values['lowest'])} compositions; phases on the hull at x = {vertices}.{missing}"
    )


def _notices(values: Values) -> list[Notice]:
    excluded = [f"{e['label']}: {e['reason']}" for e in values["excluded"]]
    found = []
    for note in values["notes"]:
        details = excluded if note["topic"] == "excluded" else ()
        found.append(Notice("warning", TOPICS.get(note["topic"], note["topic"]), _sentence(note["text"]), details))
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
