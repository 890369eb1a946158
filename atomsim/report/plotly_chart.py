"""Charts as plotly figures, for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atomsim.report.blocks import Chart, Panel, Series
from atomsim.report.style import GREY, INK

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
GRID, AXIS = "#E8ECF0", "#B4BDC6"
MODES = {"points": "markers", "line": "lines", "line+points": "lines+markers", "area": "lines"}


def plotly_json(chart: Chart) -> str:
    """Return a chart as plotly JSON (``data`` and ``layout``)."""
    from plotly.graph_objects import Figure

    layout = _layout(chart)
    traces = [_trace(s, k, chart) for k, panel in enumerate(chart.panels) for s in panel.series]
    _name_once(traces)
    for k, panel in enumerate(chart.panels):
        layout["shapes"] += _shapes(panel, k)
        layout["annotations"] += _annotations(panel, k)
    text = Figure(data=traces, layout=layout).to_json(engine="json")
    assert isinstance(text, str)
    return text


def _axis(letter: str, number: int) -> str:
    return letter if number == 0 else f"{letter}{number + 1}"


def _layout(chart: Chart) -> dict[str, Any]:
    shared = {"gridcolor": GRID, "linecolor": AXIS, "showline": True, "zeroline": False, "ticks": "outside"}
    shared |= {"tickcolor": AXIS, "ticklen": 4, "automargin": True, "title": {"standoff": 10}}
    layout: dict[str, Any] = {
        "height": chart.height,
        "margin": {"l": 64, "r": 18, "t": 8, "b": 52},
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "#FFFFFF",
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "#FFFFFF", "bordercolor": AXIS, "font": {"family": FONT, "color": INK}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        "shapes": [],
        "annotations": [],
        "xaxis": shared | {"title": {"text": chart.x_label, "standoff": 10}},
    }
    if chart.x_range:
        layout["xaxis"]["range"] = list(chart.x_range)
    bottom = len(chart.panels) - 1
    layout["xaxis"]["anchor"] = _axis("y", bottom)
    gap = 0.05
    share = (1 - gap * bottom) / len(chart.panels)
    for k, panel in enumerate(chart.panels):
        top = 1 - k * (share + gap)
        layout[_axis("yaxis", k)] = shared | {
            "title": {"text": panel.y_label, "standoff": 8},
            "domain": [max(top - share, 0), top],
            "anchor": "x",
            "showticklabels": panel.y_ticks,
            "showgrid": panel.y_ticks,
            "ticks": "outside" if panel.y_ticks else "",
        }
        if panel.y_range:
            layout[_axis("yaxis", k)]["range"] = list(panel.y_range)
    return layout


def _trace(series: Series, panel: int, chart: Chart) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": series.name,
        "showlegend": bool(series.name),
        "x": list(series.x),
        "y": list(series.y),
        "mode": MODES[series.style],
        "yaxis": _axis("y", panel),
        "line": {"color": series.color, "width": series.width, "dash": "dash" if series.dashed else "solid"},
        "marker": {"color": series.color, "size": 8, "line": {"color": "#FFFFFF", "width": 1}},
    }
    if series.hollow:
        trace["marker"] = {"color": "#FFFFFF", "size": 8, "line": {"color": series.color, "width": 1.5}}
    if series.style == "area":
        trace["x"] = [*series.x, series.x[-1], series.x[0]]
        trace["y"] = [*series.y, series.y[0], series.y[0]]
        trace |= {"fill": "toself", "fillcolor": _transparent(series.color), "hoverinfo": "skip"}
        trace["line"] = {"width": 0}
    elif series.hover:
        trace["text"], trace["hovertemplate"] = list(series.hover), "%{text}<extra></extra>"
    else:
        trace["hovertemplate"] = f"{chart.panels[panel].y_label}: %{{y:.4g}}<br>%{{x:.4g}}<extra></extra>"
    return trace


def _name_once(traces: Sequence[dict[str, Any]]) -> None:
    """Show a name that several panels share once in the legend, for all of them."""
    seen: set[str] = set()
    for trace in traces:
        if trace["name"]:
            trace["legendgroup"] = trace["name"]
            trace["showlegend"] = trace["name"] not in seen
            seen.add(trace["name"])


def _shapes(panel: Panel, number: int) -> list[dict[str, Any]]:
    shapes = []
    for line in panel.lines:
        across: dict[str, Any] = {"type": "line", "line": {"color": GREY, "width": 1, "dash": "dot"}, "layer": "below"}
        if line.axis == "y":
            across |= {"xref": "paper", "x0": 0, "x1": 1, "yref": _axis("y", number), "y0": line.at, "y1": line.at}
        else:
            across |= {"xref": "x", "x0": line.at, "x1": line.at, "yref": f"{_axis('y', number)} domain"}
            across |= {"y0": 0, "y1": 1}
        shapes.append(across)
    return shapes


def _annotations(panel: Panel, number: int) -> list[dict[str, Any]]:
    found = []
    small: dict[str, Any] = {"showarrow": False, "font": {"size": 11, "color": "#5B6670"}}
    for line in panel.lines:
        if line.text and line.axis == "y":
            place: dict[str, Any] = {
                "xref": "paper",
                "x": 1,
                "xanchor": "right",
                "yref": _axis("y", number),
                "y": line.at,
            }
            found.append(small | place | {"yanchor": "bottom", "text": line.text})
        elif line.text:
            place = {"xref": "x", "x": line.at, "yref": f"{_axis('y', number)} domain", "y": 1, "textangle": -90}
            found.append(small | place | {"xanchor": "right", "yanchor": "top", "text": line.text})
    for label in panel.labels:
        place = {"xref": "x", "x": label.x, "yref": _axis("y", number), "y": label.y, "xanchor": label.anchor}
        words = {"text": label.text, "yanchor": "bottom", "showarrow": False}
        found.append(place | words | {"font": {"size": 12, "color": label.color}})
    return found


def _transparent(color: str) -> str:
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"
