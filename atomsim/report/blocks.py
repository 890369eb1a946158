"""Parts of a report. Blocks say what to show; the renderers alone know plotly, matplotlib and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from atomsim.report.scenes import Scene

Cell: TypeAlias = str | float | int | bool | None


@dataclass(frozen=True)
class Series:
    """Points or a line in a panel."""

    name: str
    """Name in the legend; empty keeps it out."""
    x: Sequence[float]
    y: Sequence[float]
    style: Literal["points", "line", "line+points", "area"] = "points"
    """``area`` fills down to the first point's y, for stacked profiles."""
    color: str = "#0072B2"
    width: float = 2.0
    dashed: bool = False
    hollow: bool = False
    hover: Sequence[str] = ()
    """One text per point; the coordinates if empty."""


@dataclass(frozen=True)
class Line:
    """A reference across a panel."""

    axis: Literal["x", "y"]
    """Axis on which ``at`` is read: ``y`` gives a horizontal line."""
    at: float
    text: str = ""


@dataclass(frozen=True)
class Label:
    """Words at a point of a panel."""

    x: float
    y: float
    text: str
    color: str = "#444444"
    anchor: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Panel:
    """One plot of a chart; panels lie above each other and share the x axis."""

    y_label: str
    series: Sequence[Series]
    lines: Sequence[Line] = ()
    labels: Sequence[Label] = ()
    y_ticks: bool = True
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """A figure, drawn by plotly in the page and by matplotlib into files."""

    key: str
    """Name of its files, and of its place in the page; unique within a section."""
    title: str
    x_label: str
    panels: Sequence[Panel]
    caption: str = ""
    x_range: tuple[float, float] | None = None
    """From left to right; the first larger than the second turns the axis round."""
    height: int = 420
    wide: bool = False
    """Across the page; otherwise two stand side by side."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and how its numbers are printed (exports keep all digits)."""

    title: str
    format: str = ""
    """Format of floats: ``.3f``, ``+.2f`` …"""


@dataclass(frozen=True)
class Table:
    """A table in the page and as CSV in ``exports/``."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    shown: bool = True
    """False for an export without a place in the page."""
    flagged: frozenset[int] = frozenset()
    """Rows to mark."""


@dataclass(frozen=True)
class Number:
    """A headline: a value that one would read out."""

    label: str
    value: str
    unit: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Notice:
    """Something that a reader must not miss."""

    level: Literal["warning", "note"]
    title: str
    text: str = ""
    details: Sequence[str] = ()
    """Lines that unfold."""


@dataclass(frozen=True)
class Text:
    """Paragraphs, or items of a list."""

    title: str
    paragraphs: Sequence[str]
    listed: bool = False


@dataclass(frozen=True)
class Listing:
    """Text kept line by line: a campaign file."""

    title: str
    text: str


@dataclass(frozen=True)
class StructureView:
    """Crystals in three dimensions, one of them at a time; in the page alone."""

    key: str
    title: str
    scenes: Sequence[Scene]
    caption: str = ""


Block: TypeAlias = Chart | Table | Notice | Text | Listing | StructureView


@dataclass(frozen=True)
class Section:
    """A chapter of the report."""

    key: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    """One sentence under the title."""
