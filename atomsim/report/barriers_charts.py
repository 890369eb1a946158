"""Charts of hops: profiles along the paths, percolation, barriers against x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from atomsim.hopping.summary import missing_hops
from atomsim.report.blocks import Chart, Panel, Series
from atomsim.report.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from atomsim.store.records import Record

Summary = Mapping[str, Any]

COLORS = (BLUE, VERMILION, GREEN, PURPLE, GREY)
PER_CHART = 5
MOST_CHARTS = 6
BIN_EV = 0.05


def profile(record: Record, points: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Length (Å) and energy over the start (eV) of a cubic spline through energies and slopes of the images.

    A proven saddle is the highest point of its path; between far images of a bent one the spline would pass it.
    """
    path = record.values["path"]
    length, energy = np.array(path["length_A"]), np.array(path["energy_eV"])
    spline = CubicHermiteSpline(length, energy - energy[0], np.array(path["slope_eV_per_A"]))
    dense = np.linspace(0, length[-1], points)
    return dense, np.minimum(spline(dense), energy.max() - energy[0]) if record.good else spline(dense)


def profile_charts(records: Sequence[Record]) -> list[Chart]:
    """Energy along each path, five hops to a chart, lowest barriers first."""
    drawn = sorted((r for r in records if "path" in r.values), key=lambda r: r.values["barrier_eV"])
    charts = []
    for first in range(0, min(len(drawn), PER_CHART * MOST_CHARTS), PER_CHART):
        series = []
        for record, color in zip(drawn[first : first + PER_CHART], COLORS, strict=False):
            path = record.values["path"]
            energy = [e - path["energy_eV"][0] for e in path["energy_eV"]]
            dense, spline = profile(record)
            series.append(Series(record.label, dense.tolist(), spline.tolist(), "line", color, dashed=not record.good))
            series.append(Series("", path["length_A"], energy, "points", color))
        number = first // PER_CHART + 1
        title = "Energy along the path" + (f" ({number})" if len(drawn) > PER_CHART else "")
        caption = "Points are images, lines a spline through their energies and forces."
        if any(not r.good for r in drawn[first : first + PER_CHART]):
            caption += " Dashed: not to be used."
        panel = Panel("energy (eV)", series)
        charts.append(Chart(f"profiles-{number}", title, "length of the path, all atoms (Å)", [panel], caption))
    return charts


def threshold_chart(hosts: Sequence[Summary]) -> Chart | None:
    """At what barrier one, two and three dimensions are reached; one host only."""
    known = [h for h in hosts if h.get("dimensions")]
    if len(hosts) != 1 or not known:
        return None
    thresholds = [known[0][f"threshold_{d}D_eV"] for d in (1, 2, 3)]
    reached = [(d, t) for d, t in zip((1, 2, 3), thresholds, strict=True) if t is not None]
    levels = [0.0] + [x for _, t in reached for x in (t, t)] + [1.2 * reached[-1][1] + 0.05]
    dimensions = [0.0, 0.0] + [float(x) for d, _ in reached for x in (d, d)]
    panel = Panel("dimensions", [Series("", levels, dimensions, "line", BLUE, 3.0)], y_range=(-0.1, 3.2))
    caption = "Dimensions in which the hops that can be passed connect the crystal, against the highest saddle allowed."
    if missing := missing_hops(known[0]):
        caption += f" Upper bounds: {missing}."
    return Chart("percolation", "Percolation", "energy over the lowest end (eV)", [panel], caption)


def x_chart(hosts: Sequence[Summary]) -> Chart | None:
    """Lowest and percolating barriers against the ion content; hosts with an x only."""
    known = sorted((h for h in hosts if h.get("x") is not None and "lowest_barrier_eV" in h), key=lambda h: h["x"])
    if len({h["x"] for h in known}) < 2:
        return None
    series = []
    for key, name, color in (
        ("lowest_barrier_eV", "lowest barrier", GREY),
        ("threshold_1D_eV", "percolates in 1D", BLUE),
        ("threshold_2D_eV", "percolates in 2D", GREEN),
        ("threshold_3D_eV", "percolates in 3D", VERMILION),
    ):
        points = [(h["x"], h[key]) for h in known if h.get(key) is not None]
        if points:
            series.append(Series(name, [p[0] for p in points], [p[1] for p in points], "line+points", color))
    high, low = known[-1]["x"], known[0]["x"]
    return Chart("x", "Barriers on charge", "x", [Panel("barrier (eV)", series)], x_range=(high, low))


def histogram_chart(records: Sequence[Record]) -> Chart | None:
    """Histogram of barriers, every copy of a hop counted; where there are many."""
    good = [r for r in records if r.good]
    if len(good) < 8:
        return None
    barriers = [r.values["barrier_eV"] for r in good]
    weights = [r.tags["multiplicity"] for r in good]
    edges = np.arange(0, max(barriers) + 2 * BIN_EV, BIN_EV)
    counts = np.histogram(barriers, edges, weights=weights)[0]
    x = np.repeat(edges, 2)[1:-1]
    series = [Series("", x.tolist(), np.repeat(counts, 2).astype(float).tolist(), "line", BLUE)]
    return Chart("histogram", "Barriers of all hops", "barrier (eV)", [Panel("hops per cell", series)])
