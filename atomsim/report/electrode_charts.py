"""Charts of an electrode: everything against the ion content x, charge running to the right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atomsim.analysis.oxygen import CLASSES
from atomsim.analysis.xrd import Pattern, angles_shown
from atomsim.report.blocks import Chart, Label, Line, Panel, Series
from atomsim.report.style import BLUE, GREEN, GREY, INK, PURPLE, VERMILION, along, host_label, span

Values = Mapping[str, Any]
PROFILE_FWHM = 0.25
"""Degrees; width of the simulated lines."""
OPEN = "Line: the lowest structure at each x; open points: the other orderings."
HISTOGRAM_SIGMA = 0.02
"""Å; width that an O–O length is drawn with."""
HISTOGRAM_FROM_A = 0.75
"""Where O–O lengths begin: left of any bond, so that the names of the curves stand free."""


def charts(values: Values) -> list[Chart]:
    """Return the charts that an electrode's values allow, in the order of the report."""
    made = [
        hull_chart(values),
        voltage_chart(values),
        lattice_chart(values),
        layer_chart(values),
        oxygen_histogram(values),
        shortest_chart(values),
        moments_chart(values),
        oxidation_chart(values),
        xrd_chart(values),
    ]
    return [chart for chart in made if chart is not None]


def hull_chart(values: Values) -> Chart:
    """Formation energy of every structure, and the lower hull."""
    rows = values["structures"]
    vertices = sorted(values["hull"], key=lambda v: v["x"])
    others = [r for r in rows if not r["on_hull"]]
    stable = [r for r in rows if r["on_hull"]]
    series = [
        Series("hull", [v["x"] for v in vertices], [v["formation_eV_per_fu"] for v in vertices], "line", BLUE),
        Series("above the hull", *_xy(others, "formation_eV_per_fu"), color=GREY, hollow=True, hover=_hover(others)),
        Series("on the hull", *_xy(stable, "formation_eV_per_fu"), color=BLUE, hover=_hover(stable)),
    ]
    return Chart(
        "hull",
        "Formation energy",
        _x_label(values),
        [Panel("formation energy (eV per formula unit)", series)],
        caption="Relative to the mixture of the two ends; each point is one relaxed ordering. Others may lie lower.",
        x_range=_x_range(values),
    )


def voltage_chart(values: Values) -> Chart | None:
    """Average voltages along the hull and between neighbouring x, with measured potentials."""
    steps, neighbours = values["voltage"]["hull"], values["voltage"]["neighbours"]
    if not steps:
        return None
    per_ion = capacity_of_one_ion(values)
    along_hull, between = _step_hover(steps, values), _step_hover(neighbours, values)
    series = [
        Series("between neighbouring x", *_stairs(neighbours), "line", GREY, 1.5, dashed=True, hover=between),
        Series("along the hull", *_stairs(steps), "line", BLUE, 3.0, hover=along_hull),
    ]
    labels = []
    means = [e for e in values["comparison"] if e["quantity"] == "mean_voltage"]
    for n, entry in enumerate(e for e in means if isinstance(e["reference"], float)):  # a window is no line
        at = entry["at"]
        name = "measured" if n == 0 else ""
        series.append(Series(name, [at["x_high"], at["x_low"]], [entry["reference"]] * 2, "line", VERMILION, 2.0))
        labels.append(Label(at["x_high"], entry["reference"], f" {entry['reference']:g} V", VERMILION))
    caption = f"Against {values['ion']} metal from the same potential; x falling by 1 is {per_ion:.0f} mAh/g."
    if labels:
        caption += " Measured: upper ends of the transitions on charge, see the comparison."
    charge = {1: "⁺", 2: "²⁺", 3: "³⁺"}[values.get("charge", 1)]
    panel = Panel(f"voltage (V vs {values['ion']}{charge}/{values['ion']})", series, labels=labels)
    return Chart("voltage", "Voltage on charge", _x_label(values), [panel], caption, _x_range(values))


def lattice_chart(values: Values) -> Chart:
    """Volume and lattice parameters of the lowest structures in the parent's setting."""
    rows = values["structures"]
    low = _lowest(values)
    panels = [Panel("V (Å³ per f.u.)", _cloud(rows, low, "volume_per_fu_A3", BLUE))]
    mapped = [r for r in low if r["lattice"]]
    mapped = [r for r in mapped if r["parent"] == mapped[0]["parent"]]  # others have another setting
    if mapped:
        colors = {"a_A": BLUE, "b_A": GREEN, "c_A": VERMILION}
        parameters = [_relative(mapped, key, color) for key, color in colors.items()]
        panels.append(Panel("change of a, b, c (%)", parameters, [Line("y", 0.0)]))
    caption = f"{OPEN} a, b, c in the parent's setting."
    return Chart("lattice", "Lattice", _x_label(values), panels, caption, _x_range(values), height=520)


def layer_chart(values: Values) -> Chart | None:
    """Spacing and angle of the layer reflection."""
    rows = [r for r in values["structures"] if r["layer"]]
    low = [r for r in _lowest(values) if r["layer"]]
    if not low:
        return None
    flat = [{**r, **r["layer"]} for r in rows]
    flat_low = [{**r, **r["layer"]} for r in low]
    radiation = values["xrd"]["radiation"]
    hkl = "".join(str(h) for h in low[0]["layer"]["hkl"])
    published = [e for e in values["comparison"] if e["quantity"] == "layer_spacing"]
    lines = [Line("y", e["reference"], f"measured, {_place(e)}: {e['reference']:g} Å") for e in published]
    panels = [
        Panel(f"d({hkl}) (Å)", _cloud(flat, flat_low, "d_A", BLUE), lines),
        Panel(f"2θ({hkl}) (°), {radiation}", _cloud(flat, flat_low, "two_theta_deg", VERMILION)),
    ]
    caption = f"The ({hkl}) plane of the parent followed through every supercell; {radiation}. {OPEN}"
    return Chart("layers", "Layer spacing", _x_label(values), panels, caption, _x_range(values), height=520)


def oxygen_histogram(values: Values) -> Chart | None:
    """O–O lengths of the lowest structure at each x, one above the other."""
    low = [r for r in _lowest(values) if r["shortest_OO_A"] is not None]
    if not low:
        return None
    edges = np.asarray(values["OO_histogram_edges_A"])
    middle = (edges[:-1] + edges[1:]) / 2
    grid = np.linspace(HISTOGRAM_FROM_A, edges[-1], 490)
    # Gaussians of unit area, so that a curve integrates to pairs per formula unit.
    kernel = np.exp(-0.5 * ((grid[:, None] - middle) / HISTOGRAM_SIGMA) ** 2) / (HISTOGRAM_SIGMA * np.sqrt(2 * np.pi))
    curves = [kernel @ np.asarray(r["OO_histogram_per_fu"]) for r in low]
    borders = [Line("x", low_edge, name) for name, (low_edge, _) in CLASSES.items() if low_edge > 0]
    panel = _ridges(grid, curves, [f"x = {r['x']:g}" for r in low], "O–O pairs per f.u. and Å (stacked)", borders)
    caption = "Lowest structure at each x. Dotted: lower borders of the length classes; O₂ lies left of the first."
    return Chart(
        "oxygen", "O–O lengths", "O–O length (Å)", [panel], caption, (HISTOGRAM_FROM_A, float(edges[-1])), height=520
    )


def shortest_chart(values: Values) -> Chart | None:
    """Shortest O–O of every structure and the number of short pairs."""
    rows = [r for r in values["structures"] if r["shortest_OO_A"] is not None]
    low = [r for r in _lowest(values) if r["shortest_OO_A"] is not None]
    if not low:
        return None
    short = {name: CLASSES[name][1] for name in ("O2", "superoxide", "peroxide", "peroxo-like")}
    borders = [Line("y", top, f"↓ {name}") for name, top in short.items()]
    counted = [{**r, "short": sum(r["OO_counts"][c] for c in short) / r["host_units"]} for r in rows]
    counted_low = [r for r in counted if r["lowest_at_x"]]
    panels = [
        Panel("shortest O–O (Å)", _cloud(rows, low, "shortest_OO_A", PURPLE), borders),
        Panel("pairs < 2.4 Å per f.u.", _cloud(counted, counted_low, "short", PURPLE)),
    ]
    caption = "Below 2.4 Å oxygen atoms bind to each other: the sign of oxygen redox, or of oxygen loss. " + OPEN
    return Chart("shortest", "Shortest O–O", _x_label(values), panels, caption, _x_range(values), height=520)


def moments_chart(values: Values) -> Chart | None:
    """Mean magnetic moments of the metals and of oxygen."""
    rows = [{**r, **r["oxidation"]["moments_muB"]} for r in values["structures"] if r["oxidation"]["moments_muB"]]
    if not rows:
        return None
    low = [r for r in rows if r["lowest_at_x"]]
    metals = sorted({m for r in rows for m in r["shells"]})
    panels = [Panel(f"⟨|m|⟩ {m} (μB)", _cloud(rows, low, m, BLUE)) for m in metals]
    if all("O" in r for r in rows):
        panels.append(Panel("⟨|m|⟩ O (μB)", _cloud(rows, low, "O", VERMILION)))
    caption = f"As the potential predicts them: a proxy of the electrons, learned from structures. {OPEN}"
    height = 260 + 130 * len(panels)
    return Chart("moments", "Magnetic moments", _x_label(values), panels, caption, _x_range(values), height)


def _anions(formula: str) -> str:
    """Name what charge balance takes anions for."""
    held = set(re.findall("[A-Z][a-z]?", formula))
    return next((f"all {a}²⁻" for a in ("O", "S", "Se") if a in held), "usual anions")


def oxidation_chart(values: Values) -> Chart | None:
    """The metal's oxidation state by each estimate."""
    low = [r for r in _lowest(values) if r["oxidation"]["charge_balance"] is not None]
    if not low:
        return None
    balance = [(r["x"], r["oxidation"]["charge_balance"]) for r in low]
    metals = sorted({m for r in low for m in r["shells"]})
    mean = f"mean of {', '.join(metals)}" if len(metals) > 1 else _anions(values["formula"])
    series = [Series(f"charge balance ({mean})", *_columns(balance), "line+points", INK)]
    for metal, color in zip(metals, along(len(metals)) if len(metals) > 1 else [BLUE], strict=True):
        moments = _known([(r["x"], r["oxidation"]["from_moments"].get(metal, {}).get("state")) for r in low])
        valence = _known([(r["x"], r["oxidation"]["bond_valence"].get(metal)) for r in low])
        if moments:
            series.append(Series(f"{metal}, moments", *_columns(moments), "line+points", color, dashed=True))
        if valence:
            series.append(Series(f"{metal}, bond valence", *_columns(valence), "line+points", color, hollow=True))
    miss = ", by more than one for Ru" if "Ru" in metals else ""
    caption = (
        "Independent estimates; one colour for each metal: dashed from moments, open points from bond valence. Bond "
        f"valence is read for its trend, as its absolute value may miss{miss}; where it stops following charge "
        "balance, that hints at the anions giving the electrons. Lowest structure at each x."
    )
    panel = Panel("oxidation state", series)
    title = "Oxidation state of the metal"
    return Chart("oxidation", title, _x_label(values), [panel], caption, _x_range(values), height=520)


def xrd_chart(values: Values) -> Chart | None:
    """Simulated powder patterns, one above the other."""
    patterns = [p for p in values["xrd"]["patterns"] if p["two_theta_deg"]]
    if not patterns:
        return None
    radiation = values["xrd"]["radiation"]
    low, high = angles_shown(radiation)
    grid = np.arange(low, high, 0.05)
    curves = []
    for found in patterns:
        pattern = Pattern(np.asarray(found["two_theta_deg"]), np.asarray(found["intensity"]), radiation)
        curves.append(pattern.profile(grid, PROFILE_FWHM))
    scaled = [curve / curve.max() for curve in curves]
    panel = _ridges(grid, scaled, [f"x = {p['x']:g}" for p in patterns], "intensity (stacked)", [])
    caption = (
        f"Lowest structure at each x, {radiation}, lines {PROFILE_FWHM}° wide; no strain, texture or thermal motion."
    )
    return Chart(
        "xrd", "Powder diffraction", f"2θ (°), {radiation}", [panel], caption, (low, high), height=560, wide=True
    )


def _ridges(
    grid: np.ndarray, curves: Sequence[np.ndarray], names: Sequence[str], y_label: str, lines: Sequence[Line]
) -> Panel:
    """Stack curves upwards in order, each with its name at the left end."""
    step = 0.85 * max(float(curve.max()) for curve in curves)
    series, labels = [], []
    for n, (curve, name, color) in enumerate(zip(curves, names, along(len(curves)), strict=True)):
        lifted = (curve + n * step).round(4).tolist()
        series += [Series("", grid.round(3).tolist(), lifted, style, color, 1.6) for style in ("area", "line")]
        labels.append(Label(float(grid[0]), n * step, f" {name}", color))
    # Names of lines stand at the top: leave them room above the last curve.
    top = (len(curves) - 1) * step + float(curves[-1].max()) + (0.9 if lines else 0.15) * step
    return Panel(y_label, series, lines, labels, y_ticks=False, y_range=(-0.1 * step, top))


def _cloud(rows: Sequence[Values], low: Sequence[Values], key: str, color: str) -> list[Series]:
    """All structures as open points, the lowest at each x as a line."""
    others = [r for r in rows if not r["lowest_at_x"]]
    found = []
    if others:
        found.append(Series("other orderings", *_xy(others, key), color=GREY, hollow=True, hover=_hover(others, key)))
    return [*found, Series("", *_xy(low, key), "line+points", color, hover=_hover(low, key))]


def _lowest(values: Values) -> list[Values]:
    """The lowest structure at each x, ion-rich first."""
    return sorted((r for r in values["structures"] if r["lowest_at_x"]), key=lambda r: -r["x"])


def _xy(rows: Sequence[Values], key: str) -> tuple[list[float], list[float]]:
    return [r["x"] for r in rows], [r[key] for r in rows]


def _relative(rows: Sequence[Values], key: str, color: str) -> Series:
    """A lattice parameter relative to the ion-rich end, %."""
    change = [100 * (r["lattice"][key] / rows[0]["lattice"][key] - 1) for r in rows]
    hover = [
        f"{key[0]} = {r['lattice'][key]:.3f} Å ({c:+.2f} %)<br>x = {r['x']:g}"
        for r, c in zip(rows, change, strict=True)
    ]
    return Series(key[0], [r["x"] for r in rows], change, "line+points", color, hover=hover)


def _known(pairs: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in pairs if y is not None]


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _hover(rows: Sequence[Values], key: str = "above_hull_meV_per_atom") -> list[str]:
    shown = {"above_hull_meV_per_atom": "{:.1f} meV/atom above the hull"}.get(key, "{:.4g}")
    return [f"<b>{r['label']}</b><br>x = {r['x']:g}<br>{shown.format(r[key])}" for r in rows]


def _stairs(steps: Sequence[Mapping[str, float]]) -> tuple[list[float], list[float]]:
    x = [end for s in steps for end in (s["x_high"], s["x_low"])]
    return x, [s["voltage_V"] for s in steps for _ in range(2)]


def _step_hover(steps: Sequence[Mapping[str, float]], values: Values) -> list[str]:
    per_ion = capacity_of_one_ion(values)
    found = []
    for s in steps:
        taken = (values["x_max"] - s["x_low"]) * per_ion
        text = f"<b>{s['voltage_V']:.3f} V</b><br>x = {s['x_high']:g} → {s['x_low']:g}<br>{taken:.0f} mAh/g at its end"
        found += [text, text]
    return found


def capacity_of_one_ion(values: Values) -> float:
    """Capacity of one ion per formula unit, mAh/g."""
    return float(values.get("charge", 1) * values["capacity"]["one_electron_mAh_per_g"])


def _x_label(values: Values) -> str:
    return f"x in {host_label(values['formula'], values['ion'])}   (charge →)"


def _x_range(values: Values) -> tuple[float, float]:
    low, high = span([r["x"] for r in values["structures"]])
    return high, low


def _place(entry: Mapping[str, Any]) -> str:
    x = entry["at"]["x"]
    return "pristine" if x == "full" else f"x = {x:g}"
