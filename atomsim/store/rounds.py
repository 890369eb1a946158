"""Rounds of a step on a cluster: which tasks each worker is to run, in a file that never changes.

::

    rounds/001.jsonl    manifest: a header, then one chunk of tasks a line
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atomsim.errors import AtomsimError, InputError
from atomsim.io.files import publish
from atomsim.store.records import Task


@dataclass(frozen=True)
class Chunk:
    """Tasks that one worker runs, one chunk a line of a manifest."""

    number: int
    tasks: tuple[str, ...]
    """Their ids."""
    spans: tuple[tuple[int, int], ...]
    """(offset, length) of their lines in ``tasks.jsonl``, bytes."""
    cost_s: float = 0.0
    """Estimated time on one worker, s."""


@dataclass(frozen=True)
class Manifest:
    """The header of a round: all that a worker must know but its chunk's tasks."""

    round: int
    job: dict[str, Any]
    """Kind, settings, context, engine, potential and versions of the step."""
    chunks: int
    """Number of chunks."""
    pieces: tuple[tuple[int, int], ...]
    """(first chunk, chunks) of each job array that the round is submitted as."""
    workers_per_element: int = 1
    """Chunks that one array element runs side by side."""
    seals: dict[str, int] = field(default_factory=dict)
    """Bytes that count of each ledger of earlier rounds; what is not named counts nothing."""
    discards: tuple[str, ...] = ()
    """Tasks whose earlier records no longer count (``atomsim retry``)."""
    why: str = ""
    """Reason for this round, in words."""
    opened: float = 0.0
    """When, ``time.time()``."""


def key_of(round_number: int, chunk: int) -> str:
    """Return the name that a chunk's files start with."""
    return f"{round_number:03d}-{chunk:05d}"


def write_manifest(step: Path, manifest: Manifest, chunks: Sequence[Chunk]) -> bool:
    """Open a round; False if another planner has opened it."""
    lines = [json.dumps([c.number, c.cost_s, c.spans, c.tasks], separators=(",", ":")) for c in chunks]
    body = "".join(line + "\n" for line in lines)
    header = asdict(manifest) | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    return publish(step / "rounds" / f"{manifest.round:03d}.jsonl", json.dumps(header) + "\n" + body)


def rounds(step: Path) -> list[int]:
    """Numbers of a step's rounds, sorted."""
    folder = step / "rounds"
    return sorted(int(p.stem) for p in folder.glob("[0-9]*.jsonl")) if folder.is_dir() else []


def read_header(step: Path, round_number: int) -> Manifest:
    """Read the first line of a manifest.

    Raises:
        InputError: if there is none, or it is damaged; it says which records count, so nothing continues without it.
    """
    path = step / "rounds" / f"{round_number:03d}.jsonl"
    try:
        with path.open("rb") as file:  # the decoder of a text file reads ahead, into what may be damaged
            content = json.loads(file.readline())
        content.pop("sha256")
        lists = {"pieces": tuple(tuple(p) for p in content["pieces"]), "discards": tuple(content["discards"])}
        return Manifest(**content | lists)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the header of {path} cannot be read ({error}); restore it, or submit into a new folder"
        ) from error


def read_chunks(step: Path, round_number: int) -> list[Chunk]:
    """Read the chunks of a round.

    Raises:
        AtomsimError: if the manifest is not what was written.
    """
    path = step / "rounds" / f"{round_number:03d}.jsonl"
    head, _, body = path.read_bytes().partition(b"\n")
    # the checksum is searched for, as the header itself may be what is damaged
    if f'"sha256": "{hashlib.sha256(body).hexdigest()}"'.encode() not in head:
        raise AtomsimError(f"{path} is damaged (its checksum differs); 'atomsim resume' plans anew")
    rows = [json.loads(line) for line in body.splitlines()]
    return [Chunk(n, tuple(tasks), tuple((a, b) for a, b in spans), cost) for n, cost, spans, tasks in rows]


def known_chunks(step: Path, round_number: int) -> list[Chunk]:
    """Read the chunks of a round; none if its manifest is damaged, as nobody knows them any more."""
    try:
        return read_chunks(step, round_number)
    except AtomsimError:
        return []


def read_tasks(step: Path, chunk: Chunk) -> list[Task]:
    """Read a chunk's tasks, and nothing else of ``tasks.jsonl``.

    Raises:
        AtomsimError: if they are not the tasks that were planned.
    """
    lines: list[bytes] = []
    with (step / "tasks.jsonl").open("rb") as file:
        for offset, length in chunk.spans:
            file.seek(offset)
            lines += file.read(length).splitlines()
    try:
        rows = [json.loads(line) for line in lines]
    except ValueError:
        rows = []
    if [row["id"] for row in rows] != list(chunk.tasks):
        raise AtomsimError(f"{step / 'tasks.jsonl'} is not what chunk {chunk.number} was planned from; plan anew")
    return [Task(**row | {"parents": tuple(row["parents"])}) for row in rows]


def task_spans(step: Path) -> dict[str, tuple[int, int]]:
    """Return (offset, length) of every task's line in ``tasks.jsonl``, by id, in order."""
    spans: dict[str, tuple[int, int]] = {}
    offset = 0
    with (step / "tasks.jsonl").open("rb") as file:
        for number, line in enumerate(file):
            if number:  # the first line is the header
                # keys are sorted: "id" comes before anything long but the kind
                found = re.search(rb'"id": "([0-9a-f]{16})"', line[:200])
                spans[found[1].decode() if found else json.loads(line)["id"]] = (offset, len(line))
            offset += len(line)
    return spans
