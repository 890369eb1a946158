"""Records written by many workers: one file per chunk and attempt, fenced so that no zombie counts.

A step that runs on a cluster keeps, beside ``tasks.jsonl``::

    rounds/001.jsonl                  manifest: a header, then one chunk of tasks a line; never changed
    chunks/001-00007.a001.claim.json  who took chunk 7 of round 1 first
    chunks/001-00007.a001.jsonl       what that attempt has done, written by it alone
    chunks/001-00007.a001.beat.json   that it is alive, and counts up to a length of its file
    chunks/001-00007.a001.end.json    how it ended

Two rules make any overlap of attempts harmless. A claim *seals* the files of the chunk's earlier
attempts: it names how many of their bytes count, and whatever a zombie adds later is ignored by
every reader. A manifest seals all files of earlier rounds in the same way. So what counts is
decided by files that are created once, whole, by ``link`` (which works on NFS and Lustre, where
locks may not), and every task has one record: the first valid one that is not sealed off.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atomsim.errors import AtomsimError, InputError
from atomsim.records import Record, Task, from_line

LOCAL = "records.jsonl"
"""What ``atomsim run`` writes on one machine; its records fill what chunks left."""
LEDGER = re.compile(r"(\d{3})-(\d{5})\.a(\d{3})\.jsonl")
CLAIM = re.compile(r"(\d{3}-\d{5})\.a(\d{3})\.claim\.json")


@dataclass(frozen=True)
class Chunk:
    """Tasks that one worker runs, one chunk a line of a manifest."""

    number: int
    tasks: tuple[str, ...]
    """Their ids."""
    spans: tuple[tuple[int, int], ...]
    """(offset, length) of their lines in ``tasks.jsonl``, bytes."""
    cost_s: float = 0.0
    """How long they are thought to take on one worker, s."""


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
    """Why there is this round, for a person."""


def publish(path: Path, text: str) -> bool:
    """Create a file whole and once; False if it is there already.

    Raises:
        AtomsimError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            # Over NFS a link may be made and its answer lost: then the file has two names.
            if temporary.stat().st_nlink != 2:
                return False
        sync_folder(path.parent)
    except OSError as error:
        raise AtomsimError(f"cannot write {path.name}: {error.strerror}; make room, then 'atomsim resume'") from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        InputError: if there is none.
    """
    path = step / "rounds" / f"{round_number:03d}.jsonl"
    try:
        with path.open(encoding="utf-8") as file:
            content = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); name a folder that 'atomsim submit' wrote") from error
    content.pop("sha256")
    lists = {"pieces": tuple(tuple(p) for p in content["pieces"]), "discards": tuple(content["discards"])}
    return Manifest(**content | lists)


def read_chunks(step: Path, round_number: int) -> list[Chunk]:
    """Read the chunks of a round.

    Raises:
        AtomsimError: if the manifest is not what was written.
    """
    path = step / "rounds" / f"{round_number:03d}.jsonl"
    head, _, body = path.read_text(encoding="utf-8").partition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != json.loads(head)["sha256"]:
        raise AtomsimError(f"{path} is damaged (its checksum differs); 'atomsim retry' plans anew")
    rows = [json.loads(line) for line in body.splitlines()]
    return [Chunk(n, tuple(tasks), tuple((a, b) for a, b in spans), cost) for n, cost, spans, tasks in rows]


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


@dataclass(frozen=True)
class Attempt:
    """One worker's go at a chunk."""

    key: str
    number: int
    claim: dict[str, Any]

    @property
    def round(self) -> int:
        """Round of its chunk."""
        return int(self.key[:3])

    @property
    def chunk(self) -> int:
        """Number of its chunk."""
        return int(self.key[4:])

    @property
    def stem(self) -> str:
        """What its files' names start with."""
        return f"chunks/{self.key}.a{self.number:03d}"

    @property
    def ledger(self) -> str:
        """Its ledger, relative to the step's folder."""
        return self.stem + ".jsonl"

    def read(self, step: Path, what: str) -> dict[str, Any] | None:
        """Read its ``beat`` or ``end``; None if there is none that can be read."""
        try:
            content = json.loads((step / f"{self.stem}.{what}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None


def attempts(step: Path, key: str | None = None) -> dict[str, list[Attempt]]:
    """Return the attempts at every chunk (or one) by chunk key, in order."""
    folder = step / "chunks"
    found: dict[str, list[Attempt]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:  # noqa: PTH208 - names only, of many files
        match = CLAIM.fullmatch(name)
        if match and key in (None, match[1]):
            claim = json.loads((folder / name).read_text(encoding="utf-8"))
            found.setdefault(match[1], []).append(Attempt(match[1], int(match[2]), claim))
    return found


def claim(step: Path, key: str, who: Mapping[str, Any]) -> Attempt:
    """Take a chunk: every earlier attempt at it is sealed at the length that its file has now."""
    while True:
        before = attempts(step, key).get(key, [])
        content = dict(who) | {"seals": _sealed(step, before)}
        attempt = Attempt(key, before[-1].number + 1 if before else 1, content)
        if publish(step / f"{attempt.stem}.claim.json", json.dumps(content) + "\n"):
            return attempt


def superseded(step: Path, attempt: Attempt) -> str:
    """Return why an attempt no longer counts; empty while it does."""
    if (step / f"chunks/{attempt.key}.a{attempt.number + 1:03d}.claim.json").exists():
        return f"attempt {attempt.number + 1} has taken over"
    if (step / "rounds" / f"{attempt.round + 1:03d}.jsonl").exists():
        return f"round {attempt.round + 1} has begun"
    return ""


def _sealed(step: Path, before: Sequence[Attempt]) -> dict[str, int]:
    """Bytes that count of each attempt's file: what the next one sealed, or all of the last."""
    seals: dict[str, int] = dict(before[-1].claim["seals"]) if before else {}
    if before:
        path = step / before[-1].ledger
        seals[before[-1].ledger] = path.stat().st_size if path.exists() else 0
    return seals


def lengths(step: Path, tried: Mapping[str, Sequence[Attempt]] | None = None) -> dict[str, int]:
    """Return how many bytes count of every chunk ledger, in the order in which they count."""
    tried = attempts(step) if tried is None else tried
    found: dict[str, int] = {}
    for each in tried.values():
        found |= _sealed(step, each)
    numbers = rounds(step)
    if numbers:
        newest = read_header(step, numbers[-1])
        for name in found:
            if int(Path(name).name[:3]) < newest.round:
                found[name] = min(found[name], newest.seals.get(name, 0))
    return dict(sorted(found.items()))


def ledger_lines(path: Path, limit: int | None = None) -> Iterator[tuple[int, Record | None]]:
    """Read a ledger's first bytes: (offset, record) of each line, None where it is damaged."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for line in file:
            start, offset = offset, offset + len(line)
            if limit is not None and offset > limit:
                return
            if line == b"\n":
                continue
            try:
                yield start, from_line(line.decode("utf-8", errors="replace"))
            except (AtomsimError, ValueError):
                yield start, None


@dataclass(frozen=True)
class StepRecords:
    """What counts of a step, from wherever it was written."""

    done: dict[str, Record]
    damaged: int
    """Lines that cannot be read; their tasks are pending."""


def read_step(step: Path) -> StepRecords:
    """Return the one record of every finished task, from chunks and from ``records.jsonl``."""
    headers = [read_header(step, number) for number in rounds(step)]
    discards = [(h.round, frozenset(h.discards), h.seals.get(LOCAL, 0)) for h in headers if h.discards]
    done: dict[str, Record] = {}
    damaged = 0
    for name, length in lengths(step).items() if headers else ():
        round_number = int(Path(name).name[:3])
        for _, record in ledger_lines(step / name, length):
            if record is None:
                damaged += 1
            elif not any(later > round_number and record.task in tasks for later, tasks, _ in discards):
                done.setdefault(record.task, record)
    for offset, record in ledger_lines(step / LOCAL):
        if record is None:
            damaged += 1
        elif not any(record.task in tasks and offset < seal for _, tasks, seal in discards):
            done.setdefault(record.task, record)
    return StepRecords(done, damaged)


def seals_for_next(step: Path) -> dict[str, int]:
    """Return what the next manifest must seal: every ledger of this step, as far as it counts."""
    local = step / LOCAL
    return lengths(step) | ({LOCAL: local.stat().st_size} if local.exists() else {})
