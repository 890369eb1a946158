"""Spread between potentials, beside the numbers of relaxations and electrodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atomsim.report.blocks import Block, Cell, Column, Notice, Table, Text
from atomsim.store.records import Record

SHOWN = 10
"""Structures that a ranking names."""


def opinion_columns(records: Sequence[Record]) -> tuple[list[Column], list[list[Cell]]]:
    """Columns that a table of relaxations has more where further potentials have judged, and their cells by record."""
    if not any(r.values.get("checked_with") or r.values.get("checks_failed") for r in records):
        return [], [[] for _ in records]
    columns = [
        Column("forces by others, rms (eV/Å)", ".3f"),
        Column("V between potentials (%)", ".2f"),
        Column("not by"),
    ]
    return columns, [_cells(r.values) for r in records]


def _cells(values: Mapping[str, Any]) -> list[Cell]:
    volumes = [c["volume_A3"] for c in values.get("checked_with", {}).values() if "volume_A3" in c]
    volumes = [*volumes, values["volume_A3"]] if volumes and "volume_A3" in values else []
    spread = 100 * (max(volumes) - min(volumes)) * len(volumes) / sum(volumes) if volumes else None
    return [values.get("disagreement_eV_per_A"), spread, ", ".join(values.get("checks_failed", {}))]


NEVER = "Potentials that learned from the same calculations share their errors: a small spread proves nothing."


def ranking_block(
    table: str, title: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]], caption: str = ""
) -> list[Block]:
    """Energies by potential with their spread, the largest first; nothing where one alone was asked.

    Args:
        table: its name.
        title: of the table.
        names: potentials, the first one first.
        rows: ``label``, ``by`` and ``spread_eV``.
        caption: below it.
    """
    if not rows:
        return []
    columns = [Column("Structure"), *(Column(f"{n} (eV)", "+.3f") for n in names), Column("spread (eV)", ".3f")]
    cells: list[list[Cell]] = [
        [row["label"], *(row["by"].get(n) for n in names), row["spread_eV"]] for row in rows[:SHOWN]
    ]
    return [Table(table, title, columns, cells, f"{caption} {NEVER}".strip())]


def unchecked(step: str, records: Sequence[Record]) -> list[Notice]:
    """Name the further potentials that could not judge, each once with its reason."""
    failed = {n: why for r in records for n, why in r.values.get("checks_failed", {}).items()}
    lines = [f"{name}: {why}" for name, why in failed.items()]
    return [Notice("warning", f"{step}: not checked with {', '.join(failed)}", "", lines)] if failed else []


def electrode_opinions(values: Mapping[str, Any]) -> list[Block]:
    """Voltages by each potential, and the structures on which they differ most; nothing where one alone was asked."""
    found = values.get("opinions")
    if not found:
        return []
    names = found["potentials"]
    columns = [
        Column("x from", "g"),
        Column("x to", "g"),
        *(Column(f"{n} (V)", ".3f") for n in names),
        Column("spread (V)", ".3f"),
    ]
    rows: list[list[Cell]] = [
        [s["x_high"], s["x_low"], *(s["by"].get(n) for n in names), s["spread_V"]] for s in found["voltages"]
    ]
    ranked = [
        Column("Structure"),
        Column("x", "g"),
        *(Column(f"{n} (eV/f.u.)", ".3f") for n in names),
        Column("spread", ".3f"),
    ]
    order: list[list[Cell]] = [
        [r["label"], r["x"], *(r["by"].get(n) for n in names), r["spread_eV_per_fu"]] for r in found["ranking"][:SHOWN]
    ]
    return [
        Table("voltages-by-potential", "Voltages by potential", columns, rows),
        Table("disagreement", "Formation energies, largest disagreement first: what to compute by DFT", ranked, order),
        Text("", [NEVER]),
    ]
