"""Records written by many workers: one file per chunk and attempt, fenced so that no zombie counts.

A step that runs on a cluster keeps, beside ``tasks.jsonl``::

    rounds/001.jsonl                  manifest: a header, then one chunk of tasks a line; never changed
    chunks/001-00007.a001.claim.json  who took chunk 7 of round 1 first
    chunks/001-00007.a001.jsonl       what that attempt has done, written by it alone
    chunks/001-00007.a001.beat.json   that it is alive, and counts up to a length of its file
    chunks/001-00007.a001.end.json    how it ended
    chunks/001-00007.evals/           what its attempts evaluated, or the states that they saved, while tasks are
                                      left (``checkpoint``, ``store.state``)

Two rules make any overlap of attempts harmless. A claim *seals* the files of the chunk's earlier
attempts: it names how many of their bytes count, and whatever a zombie adds later is ignored by
every reader. A manifest seals all files of earlier rounds in the same way. So what counts is
decided by files that are created once, whole, by ``link`` (which works on NFS and Lustre, where
locks may not), and every task has one record: the first valid one that is not sealed off.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomsim.errors import AtomsimError, InputError
from atomsim.io.files import publish
from atomsim.store.records import Record, TornLineError, from_line
from atomsim.store.rounds import key_of, known_chunks, read_header, rounds

LOCAL = "records.jsonl"
"""Records that ``atomsim run`` writes on one machine; they fill what chunks left."""
STALE_S = 120.0
"""A view of a network file system may be so old; NFS keeps one for up to a minute."""
CLAIM = re.compile(r"(\d{3}-\d{5})\.a(\d{3})\.claim\.json")


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
        """Beginning of its files' names."""
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
    """Take a chunk: every earlier attempt at it is sealed at the length that its file has now.

    Raises:
        AtomsimError: if this node does not come to see what others wrote.
    """
    deadline = time.monotonic() + STALE_S
    while True:
        before = attempts(step, key).get(key, [])
        content = dict(who) | {"seals": _sealed(step, before)}
        attempt = Attempt(key, before[-1].number + 1 if before else 1, content)
        if publish(step / f"{attempt.stem}.claim.json", json.dumps(content) + "\n"):
            return attempt
        # Another was faster, or this node's view of the folder is old (NFS); links are never old.
        if time.monotonic() > deadline:
            raise AtomsimError(f"{step / attempt.stem} is taken, but not to be seen from here; 'atomsim resume' later")
        time.sleep(0.2)


def checkpoints(step: Path, key: str) -> Path:
    """Return the folder where a chunk's attempts keep their evaluations, and the states of tasks."""
    return step / "chunks" / f"{key}.evals"


def earlier_checkpoints(step: Path, round_number: int, tasks: Set[str]) -> list[Path]:
    """Return where workers of earlier rounds left what they evaluated for any of these tasks.

    Other packages may answer otherwise, so rounds of other versions do not count; nor does what was
    answered for a task before a person asked for another try.
    """
    headers = {number: read_header(step, number) for number in rounds(step) if number <= round_number}
    versions = headers[round_number].job.get("versions")
    since = {task: number for number, header in headers.items() for task in header.discards}
    found = []
    for number, header in headers.items():
        if number == round_number or header.job.get("versions") != versions:
            continue
        for chunk in known_chunks(step, number):
            mine = tasks & set(chunk.tasks)
            if mine and all(since.get(task, 0) <= number for task in mine):
                found.append(checkpoints(step, key_of(number, chunk.number)))
    return [folder for folder in found if folder.is_dir()]


def got_on(step: Path, key: str) -> bool:
    """True if attempts at a chunk left evaluations or states for others to continue from."""
    kept = checkpoints(step, key)
    try:
        return any(path.stat().st_size > 0 for kind in ("*.evals", "*.state") for path in kept.glob(kind))
    except FileNotFoundError:  # whoever wrote it is done with it
        return True


def forget_checkpoints(step: Path) -> None:
    """Remove what was kept for tasks under way, once none is."""
    for folder in (step / "chunks").glob("*.evals"):
        shutil.rmtree(folder, ignore_errors=True)


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
            except InputError:  # sound, and of a later atomsim
                raise
            except (TornLineError, ValueError):
                yield start, None


def done_before(step: Path, attempt: Attempt) -> set[str]:
    """Return the tasks that earlier attempts at a chunk have finished."""
    found: set[str] = set()
    for name, length in lengths(step, attempts(step, attempt.key)).items():
        found |= {record.task for _, record in ledger_lines(step / name, length) if record is not None}
    return found


@dataclass(frozen=True)
class StepRecords:
    """Records of a step that count, from wherever they were written."""

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
