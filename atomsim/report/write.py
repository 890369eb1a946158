"""Writes the report of a run: one page, the figures as files, the tables as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomsim.io.files import write_atomically
from atomsim.report.blocks import Chart, Section, Table
from atomsim.report.html import page
from atomsim.report.mpl_chart import save_figures
from atomsim.report.scene_records import starts_of, with_views
from atomsim.report.species import with_species
from atomsim.report.steps import (
    came_apart_notices,
    convergence_headline,
    order_of,
    part_of,
    potential_notices,
    provenance_section,
    timing_section,
)
from atomsim.store.records import Record


def write_report(run_dir: Path, campaign_info: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> Path:
    """Write ``report.html``, ``figures/`` (PNG, SVG) and ``exports/`` (CSV) of a run.

    Args:
        run_dir: folder of the run; made if it is not there.
        campaign_info: what ``run.json`` says (``title``, ``potential``, ``versions``, ``created`` …) and
            ``campaign_toml``, the campaign's text; every key may be absent.
        records: records by the step's name; steps may be empty, and of any kind.

    Returns:
        Path of the page, which needs no network and no other file.

    Raises:
        AtomsimError: if a file cannot be written.
    """
    steps = sorted(records, key=lambda step: order_of(records[step]))
    starts = starts_of(run_dir, records)
    shown = {p for found in records.values() for r in found if r.kind == "relax" for p in r.parents}
    parts = [
        with_views(
            with_species(step, part_of(step, found), found, run_dir),
            found,
            starts,
            run_dir,
            shown_later=bool(found) and found[0].task in shown,
        )
        for step, found in ((step, records[step]) for step in steps)
    ]
    sections = [s for part in parts for s in part.sections]
    sections += [timing_section(records), provenance_section(campaign_info, records)]
    notices = [n for part in parts for n in part.notices]
    notices += came_apart_notices(records, starts)
    notices += potential_notices(campaign_info, records)
    files = [*_write_figures(run_dir, sections), *_write_tables(run_dir, sections)]
    text = page(
        title=str(campaign_info.get("title") or campaign_info.get("name") or run_dir.name),
        subtitle=_subtitle(campaign_info, records),
        headlines=[*(h for part in parts for h in part.headlines), *convergence_headline(records)],
        notices=sorted(notices, key=lambda n: n.level != "warning"),
        sections=sections,
        files=[path.relative_to(run_dir).as_posix() for path in files],
    )
    target = run_dir / "report.html"
    write_atomically(target, text)
    return target


def csv_text(table: Table) -> str:
    """Return a table as CSV, all digits kept."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.title for column in table.columns])
    writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)
    return out.getvalue()


def _write_figures(run_dir: Path, sections: Sequence[Section]) -> list[Path]:
    charts = [(section, block) for section in sections for block in section.blocks if isinstance(block, Chart)]
    return [
        p for section, chart in charts for p in save_figures(chart, run_dir / "figures", f"{section.key}-{chart.key}")
    ]


def _write_tables(run_dir: Path, sections: Sequence[Section]) -> list[Path]:
    paths = []
    for section in sections:
        for table in (block for block in section.blocks if isinstance(block, Table)):
            path = run_dir / "exports" / f"{section.key}-{table.key}.csv"
            write_atomically(path, csv_text(table))
            paths.append(path)
    return paths


def _subtitle(info: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> str:
    potential = info.get("potential") or {}
    total = sum(len(found) for found in records.values())
    good = sum(r.good for found in records.values() for r in found)
    words = [f"potential {potential['name']}" if potential.get("name") else "", f"{good} of {total} records good"]
    words.append(f"started {info['created']}" if info.get("created") else "")
    return " · ".join(word for word in words if word)
