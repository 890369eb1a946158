"""The page: blocks into HTML by a template, everything in one file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atomsim import __version__
from atomsim.report.blocks import Block, Cell, Chart, Column, Notice, Number, Section, StructureView, Table
from atomsim.report.plotly_chart import plotly_json
from atomsim.report.scenes import scenes_json

HERE = Path(__file__).parent
PAPER_COLUMNS = 12
"""As many columns fit onto A4."""
SENTENCE = 40
"""Characters from which a cell is read as a sentence, which wants a column that is not narrow."""


def page(
    title: str,
    subtitle: str,
    headlines: Sequence[Number],
    notices: Sequence[Notice],
    sections: Sequence[Section],
    files: Sequence[str],
) -> str:
    """Return the page as HTML; all text is escaped, plotly's script and the style are inside."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        printed=printed, numeric=numeric, numeric_column=numeric_column, wordy_column=wordy_column,
        printed_parts=printed_parts, signed=signed,
    )  # fmt: skip
    environment.tests.update(shown=_shown)
    charts = {f"{s.key}-{b.key}": plotly_json(b) for s in sections for b in s.blocks if isinstance(b, Chart)}
    views = {f"{s.key}-{b.key}": b.scenes for s in sections for b in s.blocks if isinstance(b, StructureView)}
    return environment.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        headlines=[replace(n, value=signed(n.value), remark=signed(n.remark)) for n in headlines],
        notices=[replace(n, text=signed(n.text), details=[signed(line) for line in n.details]) for n in notices],
        sections=[replace(s, lead=signed(s.lead)) for s in sections if any(_shown(b) for b in s.blocks)],
        files=files,
        version=__version__,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs() if charts else "",
        # "<" could end the script element that the data stand in.
        views={key: scenes_json(scenes) for key, scenes in views.items()},
        viewer=vendored_viewer() if views else "",
        viewer_script=(HERE / "viewer.js").read_text(encoding="utf-8"),
        charts={key: text.replace("<", "\\u003c") for key, text in charts.items()},
    )


def vendored_viewer() -> str:
    """Return 3Dmol's script with its licence, as it stands in a page."""
    folder = HERE / "vendor" / "3dmol"
    licence = (folder / "LICENSE").read_text(encoding="utf-8").replace("*/", "* /")
    # The notice of the licence must go wherever the script goes.
    return f"/*!\n{licence}\n*/\n{(folder / '3Dmol-min.js').read_text(encoding='utf-8')}"


def printed(cell: Cell, column: Column) -> str:
    """Return a cell as text; floats by the column's format, with a true minus sign."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return signed(cell)
    form = column.format or ("d" if isinstance(cell, int) else ".4g")
    return format(cell if form != "d" else int(cell), form).replace("-", "−")


def signed(text: str) -> str:
    """Return text whose negative numbers have a true minus sign; names such as ``x=0.50-00 2-4(-1,0,0)`` stay."""
    return re.sub(r"(?<!\S)-(?=\d)", "−", text)


def numeric(cell: Cell) -> bool:
    """True if a cell is set flush right."""
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def numeric_column(table: Table, number: int) -> bool:
    """True if a heading is set flush right: its first value is a number."""
    return numeric(next((row[number] for row in table.rows if row[number] is not None), None))


def wordy_column(table: Table, number: int) -> bool:
    """True if a column holds sentences."""
    return any(isinstance(row[number], str) and len(str(row[number])) >= SENTENCE for row in table.rows)


def printed_parts(table: Table) -> list[list[int]]:
    """Return the columns of each part that a table too wide for paper is printed in; empty where it fits.

    Every part begins with the first column, which names the rows.
    """
    rest = range(1, len(table.columns))
    if len(table.columns) <= PAPER_COLUMNS:
        return []
    return [[0, *rest[n : n + PAPER_COLUMNS - 1]] for n in range(0, len(rest), PAPER_COLUMNS - 1)]


def _shown(block: Block | Any) -> bool:
    return not (isinstance(block, Table) and not block.shown)
