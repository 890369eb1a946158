"""Charts as PNG and SVG files, by matplotlib, for slides and papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atomsim.io.files import make_folder_in, replacing
from atomsim.report.blocks import Chart, Panel, Series
from atomsim.report.style import GREY, INK, span

PIXELS_PER_INCH = 100
RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#5B6670",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8ECF0",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "none",  # text stays text, editable in a drawing program
    "svg.hashsalt": "atomsim",  # the same records give the same file
    "savefig.bbox": "tight",
}


def save_figures(chart: Chart, folder: Path, stem: str) -> list[Path]:
    """Draw a chart into ``STEM.png`` and ``STEM.svg``; return their paths.

    No pyplot: no global figure is left behind, and matplotlib's settings are as before.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    make_folder_in(folder.parent, folder)
    paths = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    with mpl.rc_context(RC):
        figure = Figure(figsize=size_of(chart), layout="constrained")
        draw_panels(chart, list(figure.subplots(len(chart.panels), 1, sharex=True, squeeze=False)[:, 0]))
        options: tuple[dict[str, Any], ...] = ({"dpi": 200}, {"metadata": {"Date": None}})
        for path, how in zip(paths, options, strict=True):
            with replacing(path) as unfinished:
                figure.savefig(unfinished, format=path.suffix[1:], **how)
    return paths


def size_of(chart: Chart) -> tuple[float, float]:
    """Return the width and the height of a chart, inches."""
    return 9.0 if chart.wide else 6.2, chart.height / PIXELS_PER_INCH


def draw_panels(chart: Chart, axes: Sequence[Any]) -> None:
    """Draw the panels of a chart on axes that lie above each other, one panel on each as far as there are axes."""
    for panel, axis in zip(chart.panels, axes, strict=False):
        _draw(panel, axis)
    axes[-1].set_xlabel(chart.x_label)
    if chart.x_range:
        axes[-1].set_xlim(*chart.x_range)


def _draw(panel: Panel, axis: Any) -> None:
    for series in panel.series:
        _draw_series(series, axis)
    for line in panel.lines:
        draw = axis.axhline if line.axis == "y" else axis.axvline
        draw(line.at, color=GREY, lw=0.8, ls=":", zorder=0)
        if line.text:
            transform = axis.get_yaxis_transform() if line.axis == "y" else axis.get_xaxis_transform()
            place = (1.0, line.at) if line.axis == "y" else (line.at, 1.0)
            rotation = 0 if line.axis == "y" else 90
            axis.text(
                *place, line.text, transform=transform, ha="right", fontsize=8, color="#5B6670", rotation=rotation,
                va="bottom" if line.axis == "y" else "top",
            )  # fmt: skip
    for label in panel.labels:
        axis.text(label.x, label.y, label.text, color=label.color, fontsize=9, ha=label.anchor, va="bottom")
    axis.set_ylabel(panel.y_label)
    if not panel.y_ticks:
        axis.set_yticks([])
    heights = [y for series in panel.series for y in series.y]
    if panel.y_range:
        axis.set_ylim(*panel.y_range)
    elif heights:
        axis.set_ylim(*span([*heights, *(line.at for line in panel.lines if line.axis == "y")], 0.08))
    if any(series.name for series in panel.series):
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_legend_columns(panel, axis), borderaxespad=0.2)


def _legend_columns(panel: Panel, axis: Any) -> int:
    """Columns of a legend that do not squeeze the axes: some 12 letters an inch, and the line before each name."""
    longest = max(len(series.name) for series in panel.series)
    return max(1, min(3, int(12 * axis.figure.get_figwidth() / (longest + 6))))


def _draw_series(series: Series, axis: Any) -> None:
    label = series.name or None
    if series.style == "area":
        axis.fill_between(series.x, series.y, series.y[0], color=series.color, alpha=0.14, lw=0)
    dashes = "--" if series.dashed else "-"
    face = "white" if series.hollow else series.color
    edge = series.color if series.hollow else "white"
    marker: dict[str, Any] = {"marker": "o", "ms": 5.5, "mfc": face, "mec": edge, "mew": 1.0 if series.hollow else 0.6}
    if series.style == "points":
        axis.plot(series.x, series.y, ls="none", color=series.color, label=label, **marker)
    else:
        marks = marker if series.style == "line+points" else {}
        width = 0.75 * series.width
        axis.plot(series.x, series.y, ls=dashes, color=series.color, lw=width, label=label, **marks)
