"""Exports of a run's records. The ledger stays the truth; these files can be deleted and made again."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atomsim.errors import InputError
from atomsim.files import replacing
from atomsim.records import Record
from atomsim.worker.folder import read_run

FORMATS = ("csv", "db", "parquet")


def collect(run: Path, formats: Sequence[str] = ("csv", "db")) -> list[Path]:
    """Write all records of a run as a table and as an ASE database.

    Args:
        run: folder of a run, submitted or local, finished or not.
        formats: of ``csv``, ``db`` (ASE's SQLite) and ``parquet`` (needs pyarrow).

    Raises:
        InputError: if a format is unknown or its package is missing.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"unknown format {name!r}; wanted some of {', '.join(FORMATS)}")
    if "parquet" in formats and find_spec("pyarrow") is None:
        raise InputError("Parquet needs the package pyarrow, which is not here; 'pip install pyarrow', or use csv")
    _, steps = read_run(run)
    records = [record for each in steps.values() for record in each]
    folder = run / "exports"
    folder.mkdir(exist_ok=True)
    writers = {"csv": _write_csv, "db": _write_db, "parquet": _write_parquet}
    written = []
    for name in formats:
        path = folder / f"records.{name}"
        with replacing(path) as unfinished:
            writers[name](unfinished, records)
        written.append(path)
    return written


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as one row of a table: identity, tags, values; anything long as JSON."""
    row: dict[str, Any] = {
        "step": record.step,
        "label": record.label,
        "task": record.task,
        "kind": record.kind,
        "status": record.status,
        "message": record.message,
    }
    for prefix, content in (("tag.", record.tags), ("", record.values)):
        for key, value in content.items():
            row[prefix + key] = value if isinstance(value, str | int | float | bool) else json.dumps(value)
    return row


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    return list(columns)


def _write_csv(path: Path, records: Sequence[Record]) -> None:
    rows = [row_of(record) for record in records]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, records: Sequence[Record]) -> None:
    import pandas  # type: ignore[import-untyped]

    rows = [row_of(record) for record in records]
    pandas.DataFrame(rows, columns=_columns(rows)).to_parquet(path)


def _write_db(path: Path, records: Sequence[Record]) -> None:
    """Write structures with their energies and forces, and what to select them by as key-value pairs.

    ASE refuses strings that look like numbers, as labels and one in a thousand task ids do: no
    value here can, whatever it is made of. ``data`` holds the bare ones.
    """
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    with connect(path, type="db", append=False) as database:
        for record in records:
            if record.structure is None:
                continue
            atoms = record.atoms
            arrays = {k: v for k, v in record.structure["arrays"].items() if k in {"forces", "magmoms"}}
            if "energy_eV" in record.values:
                atoms.calc = SinglePointCalculator(atoms, energy=record.values["energy_eV"], **arrays)
            database.write(
                atoms,
                key_value_pairs={
                    "step": f"s-{record.step}",
                    "label": f"{record.step}/{record.label}",
                    "task": f"t-{record.task}",
                    "status": record.status,
                },
                data={
                    "step": record.step,
                    "label": record.label,
                    "task": record.task,
                    "values": record.values,
                    "tags": record.tags,
                },
            )
