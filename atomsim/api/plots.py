"""Figures of results: matplotlib axes with units on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.views import figure
from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from atomsim.api.migrated import Migration

ELECTRODE = ("voltage", "hull", "lattice", "layers", "oxygen", "shortest", "moments", "oxidation", "xrd")
"""Kinds of figures of an electrode."""
ARRHENIUS_K = np.linspace(250.0, 1000.0, 26)


def chosen(kind: Any, kinds: tuple[str, ...]) -> str:
    """Return a kind of figure.

    Raises:
        InputError: if there is none of that name.
    """
    if kind not in kinds:
        raise InputError(f"kind: found {kind!r}, wanted {' or '.join(kinds)};{nearest(str(kind), kinds)}".rstrip(";"))
    return str(kind)


def migration(found: Migration, ax: Axes, kind: str) -> Axes:
    """Draw barriers, paths or an Arrhenius plot.

    Raises:
        InputError: where there is nothing of that kind.
    """
    kind = chosen(kind, ("barriers", "paths", "arrhenius"))
    if kind == "paths":
        from atomsim.report.barriers_charts import profile

        for n, path in enumerate(p for p in found.hops if p.barrier_eV is not None):
            ax.plot(*profile(path.record), f"C{n}", label=path.record.tags["hop"])
            ax.plot(path.lengths_A, path.energies_eV - path.energies_eV[0], f"oC{n}")
        ax.set_xlabel("length of the path, Å")
        ax.set_ylabel("energy over the start, eV")
        ax.legend()
        return ax
    if kind == "arrhenius":
        values = [found.diffusivity(t) for t in ARRHENIUS_K]
        if any(v is None or v.mean <= 0 for v in values):
            raise InputError(f"no Arrhenius plot: {found.why_no_diffusivity or 'the diffusivity is 0'}")
        ax.semilogy(1000 / ARRHENIUS_K, [v.mean for v in values if v is not None])
        ax.set_xlabel("1000 K / T")
        ax.set_ylabel("diffusivity, cm²/s")
        return ax
    names = [p.record.tags["hop"] for p in found.hops]
    for n, path in enumerate(found.hops):
        if path.barrier_eV is not None:
            ax.hlines(path.barrier_eV, n - 0.4, n + 0.4, color="C0" if path.ok else "0.6")
    for d, threshold in found.percolation.threshold_eV.items():
        if threshold is not None:
            ax.axhline(threshold, color=f"C{d}", ls="--", label=f"{d}D")
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_ylabel("barrier, eV")
    if any(t is not None for t in found.percolation.threshold_eV.values()):
        ax.legend()
    return ax


def electrode(found: Any, ax: Axes | None, kind: str) -> Axes:
    """Draw a chart of an electrode, as its report has it; on axes that are given, the first panel.

    Raises:
        InputError: for another kind, or where there is nothing of it.
    """
    from atomsim.report import electrode_charts
    from atomsim.report.mpl_chart import draw_panels, size_of

    kind = chosen(kind, ELECTRODE)
    if not found.ok:
        raise InputError(f"nothing to draw: {found.message}")
    if kind == "voltage" and not found.voltages:
        raise InputError("no voltages: there is no relaxed reference; give reference=")
    chart = {c.key: c for c in electrode_charts.charts(found.record.values)}.get(kind)
    if chart is None:
        raise InputError(f"nothing to draw of kind {kind!r}: the structures or their potential have none of it")
    if ax is not None:
        draw_panels(chart, [ax])
        return ax
    drawn = figure()
    drawn.set_size_inches(*size_of(chart))
    panels = list(drawn.subplots(len(chart.panels), 1, sharex=True, squeeze=False)[:, 0])
    draw_panels(chart, panels)
    first: Axes = panels[0]
    return first
