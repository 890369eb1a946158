"""The part of an ``md`` step: a table of trajectories; temperature, pressure and energy against time."""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.report.blocks import Block, Cell, Chart, Column, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.teacher import other_notices, teacher_notices, teacher_tables
from atomsim.store.records import Record

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHOWN = len(COLORS)
"""Trajectories in a figure."""


def md_part(step: str, records: Sequence[Record]) -> Part:
    """Report the trajectories of one ``md`` step."""
    columns = [
        Column("Trajectory"), Column("Status"), Column("T bath (K)", "g"), Column("T (K)", ".1f"),
        Column("P (GPa)", ".3f"), Column("V (Å³)", ".1f"), Column("time (ps)", "g"), Column("frames", "d"),
        Column("drift (meV/atom/ps)", ".4f"), Column("time (s)", ".1f"),
    ]  # fmt: skip
    keys = ("temperature_mean_K", "pressure_mean_GPa", "volume_mean_A3", "duration_ps", "frames")
    rows: list[list[Cell]] = [
        [
            r.label, r.status, r.tags.get("temperature_K"), *(r.values.get(k) for k in keys),
            r.values.get("drift_meV_per_atom_per_ps"), r.run.get("wall_s"),
        ]
        for r in records
    ]  # fmt: skip
    bad = frozenset(k for k, r in enumerate(records) if not r.good)
    caption = "Means leave out the first fifth. The drift is that of the conserved quantity of the ensemble."
    blocks: list[Block] = [Table("trajectories", "", columns, rows, caption, flagged=bad)]
    drawn = [r for r in records if r.values.get("series")]
    if drawn:
        blocks.append(_chart(drawn))
    blocks += teacher_tables(records)
    notices = (*other_notices(step, records), *teacher_notices(step, records))
    return Part((), notices, (Section(step, f"Molecular dynamics · {step}", blocks),))


def _chart(records: Sequence[Record]) -> Chart:
    panels = [
        Panel("T (K)", _series(records, "temperature_K")),
        Panel("P (GPa)", _series(records, "pressure_GPa")),
        Panel("U (eV/atom)", _series(records, "potential_eV", per_atom=True)),
        Panel("conserved (eV/atom)", _series(records, "conserved_eV", per_atom=True)),
    ]
    more = f" The first {SHOWN} of {len(records)} trajectories." if len(records) > SHOWN else ""
    caption = f"Temperature, pressure, potential energy and conserved quantity.{more}"
    return Chart("md", "", "time (ps)", panels, caption, height=820, wide=True)


def _series(records: Sequence[Record], key: str, *, per_atom: bool = False) -> list[Series]:
    found = []
    for record, color in zip(records, COLORS, strict=False):
        series, scale = record.values["series"], record.values["n_atoms"] if per_atom else 1
        name = record.label if key == "temperature_K" else ""
        values = [v / scale for v in series[key]]
        found.append(Series(name, series["time_ps"], values, "line", color, width=1.2))
    return found
