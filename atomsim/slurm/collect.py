"""Exports of a run's records. The ledger stays the truth; these files can be deleted and made again."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atomsim.errors import InputError
from atomsim.io.files import make_folder_in, replacing, write_atomically
from atomsim.store.artifacts import FOLDER, KEY, artifacts_of
from atomsim.store.records import Record
from atomsim.store.run_folder import read_run

FORMATS = ("csv", "db", "parquet")
LONGEST_CELL = 1000
"""Characters of a CSV cell; longer contents go to ``records.nested.jsonl``. Excel cuts cells at 32,767."""


def collect(run: Path, formats: Sequence[str] = ("csv", "db")) -> list[Path]:
    """Write all records of a run as a table and as an ASE database.

    What is too long for a cell of ``records.csv`` goes to ``records.nested.jsonl``, one record a line.

    Args:
        run: folder of a run, submitted or local, finished or not.
        formats: of ``csv``, ``db`` (ASE's SQLite) and ``parquet`` (needs pyarrow).

    Raises:
        InputError: if a format is unknown or its package is missing.
        AtomsimError: if the run's folder cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"unknown format {name!r}; wanted some of {', '.join(FORMATS)}")
    if "parquet" in formats and find_spec("pyarrow") is None:
        raise InputError("Parquet needs the package pyarrow, which is not here; 'pip install pyarrow', or use csv")
    _, steps = read_run(run)
    records = [record for each in steps.values() for record in each]
    folder = run / "exports"
    make_folder_in(run, folder)
    writers = {"csv": _write_csv, "db": _write_db, "parquet": _write_parquet}
    written = []
    for name in formats:
        path = folder / f"records.{name}"
        with replacing(path) as unfinished:
            writers[name](unfinished, records)
        written.append(path)
        if name == "csv":
            written += _write_nested(folder / "records.nested.jsonl", records)
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
    large = {f"artifact.{name}": f"{FOLDER}/{record.task}/{a['file']}" for name, a in artifacts_of(record).items()}
    values = {key: value for key, value in record.values.items() if key != KEY} | large
    for prefix, content in (("tag.", record.tags), ("", values)):
        for key, value in content.items():
            row[prefix + key] = value if isinstance(value, str | int | float | bool) else json.dumps(value)
    return row


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    return list(columns)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > LONGEST_CELL


def _write_nested(path: Path, records: Sequence[Record]) -> list[Path]:
    """Write what was too long for a cell, with what finds its row: step, label, task."""
    lines = []
    for record in records:
        contents = {"tag." + key: value for key, value in record.tags.items()} | record.values
        row = row_of(record)
        long = {key: contents.get(key, row[key]) for key in row if _is_long(row[key])}
        if long:
            identity = {"step": record.step, "label": record.label, "task": record.task}
            lines.append(json.dumps(identity | long) + "\n")
    if not lines:
        path.unlink(missing_ok=True)
        return []
    write_atomically(path, "".join(lines))
    return [path]


def _write_csv(path: Path, records: Sequence[Record]) -> None:
    rows = [
        {key: "in records.nested.jsonl" if _is_long(value) else value for key, value in row_of(record).items()}
        for record in records
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(rows))
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, records: Sequence[Record]) -> None:
    import pandas

    rows = [row_of(record) for record in records]
    pandas.DataFrame(rows, columns=_columns(rows)).to_parquet(path)


IDENTITY = ("step", "label", "task", "status")
"""Keys of a row that say which record it is."""


def _searchable(record: Record) -> dict[str, float]:
    """Return the numbers among tags and values under names that ASE can select by.

    Names that ASE keeps for itself get ``tag_`` or ``value_`` in front.
    """
    from ase.db.core import reserved_keys
    from ase.formula import Formula

    found: dict[str, float] = {}
    for prefix, content in (("value_", record.values), ("tag_", record.tags)):
        for key, value in content.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            name = re.sub(r"\W", "_", key, flags=re.ASCII)
            try:
                Formula(name, strict=True)
                taken = True
            except ValueError:
                taken = name in {*reserved_keys, *IDENTITY, *found} or not name[:1].isalpha()
            found[prefix + name if taken else name] = value
    return found


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
                key_value_pairs=_searchable(record)
                | {
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
