"""Tasks, records and the append-only ledger: a record's existence is the state.

A record is one line of JSON that carries its own checksum, so a line torn by a kill, a
full disk or a flipped bit is recognised and never read as a result. What a record says
splits in two: everything but ``run`` is a function of the task, the potential and the
machine, and is equal whether the campaign was interrupted or not; ``run`` (times, process,
attempt) is not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ase import Atoms

from atomsim.errors import AtomsimError, InputError
from atomsim.io.atoms_json import atoms_from_json

SCHEMA = 1
GOOD = frozenset({"converged", "done"})
"""Statuses whose values may enter an analysis."""


@dataclass(frozen=True)
class Task:
    """A unit of work: one structure (or none) and what it is, within one step."""

    id: str
    """Content hash of everything that decides the result (see ``task_id``)."""
    step: str
    """Name of the campaign step."""
    kind: str
    """Kind of the step: ``relax``, ``delithiate`` …"""
    label: str
    """Short name for people, unique within the step: ``x=1.50-03``."""
    structure: dict[str, Any] | None = None
    """The structure to work on, as ``atoms_to_json`` gives it."""
    tags: dict[str, Any] = field(default_factory=dict)
    """Facts carried from task to record to report: x, parent, multiplicity …"""
    parents: tuple[str, ...] = ()
    """Ids of the records that this task was made from."""


@dataclass(frozen=True)
class Record:
    """The result of one task, with its provenance."""

    task: str
    """``Task.id``."""
    step: str
    kind: str
    label: str
    status: str
    """``converged``, ``done``, or why not: ``max_steps``, ``saddle``, ``exploded``, ``not_a_number``,
    ``too_large``, ``invalid``."""
    message: str = ""
    """For a person: what went wrong and what to try; empty where nothing did."""
    tags: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    """Results. Units are in the keys: ``energy_eV``, ``fmax_eV_per_A``, ``volume_A3``."""
    structure: dict[str, Any] | None = None
    """Final structure, as ``atoms_to_json`` gives it; per-atom results in ``arrays``."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Potential's name and sha256, versions, device, dtype, seed, hash of inputs."""
    run: dict[str, Any] = field(default_factory=dict)
    """Facts that differ from run to run: start, wall time, attempt, evaluations made."""
    schema: int = SCHEMA

    @property
    def good(self) -> bool:
        """True if the values may enter an analysis."""
        return self.status in GOOD

    @property
    def atoms(self) -> Atoms:
        """The final structure as ASE Atoms.

        Raises:
            AtomsimError: if this record has no structure.
        """
        if self.structure is None:
            raise AtomsimError(f"record {self.label} ({self.task}) of step {self.step!r} has no structure")
        return atoms_from_json(self.structure)

    def outcome(self) -> dict[str, Any]:
        """Everything that must be equal however often the campaign was interrupted."""
        content = asdict(self)
        del content["run"]
        return content


class TornLineError(AtomsimError):
    """A ledger line that is not what was written."""


def task_id(*parts: Any) -> str:
    """Return a 16-digit content hash of JSON-able parts, independent of key order."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_line(record: Record) -> str:
    """Serialise a record as one line of JSON with a checksum, newline included."""
    body = json.dumps(asdict(record), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f'{{"sha256":"{hashlib.sha256(body.encode()).hexdigest()}","record":{body}}}\n'


def from_line(line: str) -> Record:
    """Read a line written by ``to_line``.

    Raises:
        TornLineError: if the line is incomplete or its checksum does not match.
        InputError: if a later atomsim wrote it.
    """
    head, found, body = line.rstrip("\n").partition('","record":')
    if not found or not line.endswith("}\n") or not head.startswith('{"sha256":"'):
        raise TornLineError("incomplete line")
    body = body[:-1]
    if hashlib.sha256(body.encode()).hexdigest() != head.removeprefix('{"sha256":"'):
        raise TornLineError("checksum does not match")
    content = json.loads(body)
    if content.get("schema") != SCHEMA:
        raise InputError(
            f"record {content.get('label')} of step {content.get('step')!r} has schema {content.get('schema')}, this "
            f"atomsim reads {SCHEMA}; use the atomsim that wrote it (run.json names it) or a later one"
        )
    unknown = sorted(content.keys() - {f.name for f in fields(Record)})
    if unknown:
        raise InputError(
            f"record {content.get('label')} of step {content.get('step')!r} has keys that this atomsim does not know "
            f"({', '.join(unknown)}); use the atomsim that wrote it (run.json names it) or a later one"
        )
    content["parents"] = tuple(content["parents"])
    return Record(**content)


class Ledger:
    """The append-only file of one step's records. One writer at a time, any readers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Record]:
        """Return the records by task id; torn lines are skipped, the first of a repeated task wins."""
        records: dict[str, Record] = {}
        for _, record in self._lines():
            if record is not None:
                records.setdefault(record.task, record)
        return records

    def damage(self) -> int:
        """Number of lines that cannot be read (their tasks will be run again)."""
        return sum(record is None for _, record in self._lines())

    def append(self, record: Record) -> None:
        """Write one record durably: it is on disk when this returns.

        Raises:
            AtomsimError: if the disk is full or the file cannot be written; what was
                recorded before stays readable.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        data = to_line(record).encode()
        try:
            with self.path.open("ab") as file:
                # A torn tail must not swallow the line that follows it.
                if file.tell() and not self._ends_with_newline():
                    data = b"\n" + data
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise AtomsimError(
                f"cannot write {self.path.name}: {error.strerror}; finished records are safe, "
                "make room and run the same command again"
            ) from error

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _lines(self) -> Iterator[tuple[str, Record | None]]:
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line == "\n":
                    continue
                try:
                    yield line, from_line(line)
                except InputError:  # sound, and of a later atomsim
                    raise
                except (TornLineError, ValueError):
                    yield line, None


def usable(records: Sequence[Record]) -> list[Record]:
    """Good records that have a structure."""
    return [r for r in records if r.good and r.structure is not None]


def record_of(task: Task, status: str, message: str = "", **content: Any) -> Record:
    """Return a record that carries its task's identity on."""
    return Record(
        task=task.id,
        step=task.step,
        kind=task.kind,
        label=task.label,
        status=status,
        message=message,
        tags=dict(task.tags),
        parents=task.parents,
        **content,
    )


def count_statuses(records: Sequence[Record]) -> dict[str, int]:
    """Number of records of each status, most frequent first, then by name."""
    counts = Counter(r.status for r in records)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def total_calls(records: Iterable[Record]) -> int:
    """Force calls that records took, what several share counted once.

    Every record says what its own part took and what the shared parts took, whoever computed them, so the sum does not
    depend on how tasks were spread. The evaluations that were made stand in each record's ``run``.
    """
    own, shared = 0, {}
    for record in records:
        values = record.values
        own += values.get("force_calls", 0)
        if calls := values.get("host_hessian_force_calls"):
            shared[values.get("host_id", calls)] = calls
        if "intact_force_calls" in values:
            cell = record.step, record.tags.get("host"), "intact", values.get("intact_atoms")
            shared[cell] = values["intact_force_calls"]
        of_host = values.get("shared_force_calls", {"hessian": 0, "ends": {}})
        host = record.tags.get("host")
        shared[host, "hessian"] = of_host["hessian"]
        shared.update({(host, "end", name): calls for name, calls in of_host["ends"].items()})
    return int(own + sum(shared.values()))
