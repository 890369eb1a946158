"""Errors of a run against its ``teacher``, beside those that the potential's card states."""

from __future__ import annotations

from collections.abc import Sequence

from atomsim.report.blocks import Block, Cell, Column, Notice, Table
from atomsim.store.records import Record
from atomsim.tasks.teacher import flags_of

KEYS = (
    ("energy_MAE_meV_per_atom", "energy, MAE (meV/atom)"),
    ("forces_MAE_meV_per_A", "forces, MAE (meV/Å)"),
    ("stress_MAE_GPa", "stress, MAE (GPa)"),
)


def teacher_tables(records: Sequence[Record]) -> list[Block]:
    """Return the table of errors; none where no run had a teacher."""
    judged = [r for r in records if r.values.get("teacher", {}).get("frames")]
    if not judged:
        return []
    columns = [Column("Run"), Column("Teacher"), Column("frames", "d")]
    columns += [Column(title, ".3g") for _, title in KEYS] + [Column(f"card: {title}", ".3g") for _, title in KEYS]
    rows: list[list[Cell]] = []
    for record in judged:
        found = record.values["teacher"]
        row: list[Cell] = [record.label, found["name"], found["frames"], *(found[key] for key, _ in KEYS)]
        rows.append([*row, *(found["card"].get(key) for key, _ in KEYS)])
    beyond = frozenset(n for n, r in enumerate(judged) if r.values["teacher"]["beyond_card"])
    caption = (
        "Frames at equal intervals of each run, labelled by the teacher. The card's errors are the largest of its "
        "domains; marked: beyond them."
    )
    return [Table("teacher", "Against the teacher", columns, rows, caption, flagged=beyond)]


def teacher_flags(record: Record) -> list[str]:
    """Return the flags of a record that are its teacher's."""
    return flags_of(record.values["teacher"]) if "teacher" in record.values else []


def other_notices(step: str, records: Sequence[Record]) -> tuple[Notice, ...]:
    """Warn of what else is flagged: compositions that are not neutral, cells that are too small."""
    own = [(r.label, [f for f in r.values.get("flags", ()) if f not in teacher_flags(r)]) for r in records]
    lines = [f"{label}: {'; '.join(found)}" for label, found in own if found]
    return (Notice("warning", f"{step}: before you trust it", "", lines),) if lines else ()


def teacher_notices(step: str, records: Sequence[Record]) -> tuple[Notice, ...]:
    """Warn of errors beyond the card's."""
    lines = [f"{r.label}: {flag}" for r in records for flag in teacher_flags(r)]
    return (Notice("warning", f"{step}: the potential is off its teacher", "", lines),) if lines else ()
