"""Actions on a campaign on a cluster: cancel, read logs, choose what to retry."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atomsim.errors import InputError, counted, nearest
from atomsim.slurm.accounting import causes
from atomsim.slurm.client import Slurm
from atomsim.slurm.journal import Journal
from atomsim.store.claims import Attempt, attempts, ledger_lines
from atomsim.store.records import Record
from atomsim.store.rounds import key_of, known_chunks, rounds
from atomsim.store.run_folder import RunFolder

LAST_LINES = 15
PATIENCE_S = 15.0
"""Time for which ``cancel`` waits for jobs to leave the queue."""
LOOK_S = 0.5


@dataclass(frozen=True)
class Cancelled:
    """Result of cancelling a campaign's jobs."""

    names: tuple[str, ...]
    """Tokens that were in the queue."""
    left: tuple[str, ...]
    """Jobs that are in the queue all the same."""
    ending: int
    """Jobs that Slurm is ending just now."""


def cancel(run: Path, slurm: Slurm) -> Cancelled:
    """End a campaign's jobs; what is finished stays. Afterwards look at the queue: scancel says nothing of what it did.

    Raises:
        InputError: if this was not submitted, or is somebody else's.
        SlurmUnreachableError: if Slurm does not answer.
    """
    journal = Journal(run)
    settings = journal.settings()
    settings.refuse_others(run)
    # first, so that neither workers nor planners put anything back
    if (journal.closed() or {"why": ""})["why"] != "finished":
        journal.close("cancelled")
    deadline = time.monotonic() + PATIENCE_S
    names: set[str] = set()
    while True:
        lines = [line for line in slurm.queue() if line.name.startswith(f"as-{settings.run}-")]
        alive = [line for line in lines if line.state != "COMPLETING"]
        if not alive or (names and time.monotonic() > deadline):
            break
        names |= {line.name for line in alive}
        slurm.cancel(sorted({line.name for line in alive}))
        time.sleep(LOOK_S)
    left = tuple(f"{line.name} ({', '.join(line.ids[:3])}: {line.state})" for line in alive)
    RunFolder(run).say(f"cancelled {counted(len(names), 'submission')}; left in the queue: {', '.join(left) or 'none'}")
    return Cancelled(tuple(sorted(names)), left, sum(len(line.ids) for line in lines) - sum(len(a.ids) for a in alive))


@dataclass(frozen=True)
class TaskLog:
    """Records and logs of a task."""

    label: str
    task: str
    step: str
    record: Record | None
    attempts: tuple[dict[str, Any], ...]
    """Where it was tried, and how that ended."""
    lines: tuple[str, ...]
    """The lines of logs that matter."""


def task_log(run: Path, word: str) -> TaskLog:
    """Collect what is known of a task, given by its label, ``step/label`` or id.

    Raises:
        InputError: if there is no such task, or there are several.
    """
    folder, journal = RunFolder(run), Journal(run)
    found = []
    labels = []
    for about in folder.read_info()["steps"]:
        for task in folder.read_tasks(about["folder"]) or []:
            labels.append(task.label)
            if word in (task.label, task.id, f"{about['name']}/{task.label}"):
                found.append((about, task))
    if not found:
        raise InputError(
            f"no task {word!r} in {run};{nearest(word, labels)} the file tasks.jsonl of each step lists them"
        )
    if len(found) > 1:
        names = ", ".join(f"{about['name']}/{task.label}" for about, task in found[:4])
        raise InputError(f"{word!r} is a task of several steps; wanted one of {names}")
    about, task = found[0]
    path = folder.step(about["folder"])
    record = folder.done(about["folder"]).get(task.id)
    tried, lines = [], []
    by_key = attempts(path)
    here = [a for number in rounds(path) for a in _attempts_at(path, number, task.id, by_key)]
    accounts = causes([a for a in here if a.read(path, "end") is None])
    for attempt in here:
        end = attempt.read(path, "end") or {}
        wrote = any(r is not None and r.task == task.id for _, r in ledger_lines(path / attempt.ledger))
        tried.append(
            {
                "chunk": attempt.key,
                "attempt": attempt.number,
                "job": attempt.claim.get("job", ""),
                "host": attempt.claim.get("host", ""),
                "ended": end.get("why", "no word"),
                "message": end.get("message", "") or accounts.get((attempt.key, attempt.number), ""),
                "wrote the record": wrote,
            }
        )
        log = journal.path / "logs" / f"{about['folder']}-{attempt.key}.a{attempt.number:03d}.log"
        lines += _lines_about(log, task.label)
    return TaskLog(task.label, task.id, about["name"], record, tuple(tried), tuple(lines[-LAST_LINES:]))


def _attempts_at(path: Path, number: int, task: str, by_key: Mapping[str, Sequence[Attempt]]) -> Sequence[Attempt]:
    """Return the attempts at the chunk of a round that has a task."""
    keys = [key_of(number, chunk.number) for chunk in known_chunks(path, number) if task in chunk.tasks]
    return [attempt for key in keys for attempt in by_key.get(key, ())]


def _lines_about(log: Path, label: str) -> list[str]:
    """Return the complaint about a task: its line and the last lines of the traceback under it."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found: list[str] = []
    heads = [n for n, line in enumerate(lines) if re.match(r"\d{4}-\d\d-\d\dT", line)]
    for n, head in enumerate(heads):
        if f" {label} of step " in lines[head]:
            end = heads[n + 1] if n + 1 < len(heads) else len(lines)
            body = lines[head + 1 : end]
            found += [lines[head], *body[-4:]]
    return found


def to_retry(run: Path, statuses: Sequence[str], steps: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the tasks with records of these statuses, by step folder.

    Raises:
        InputError: if a step is unknown.
    """
    folder = RunFolder(run)
    about = folder.read_info()["steps"]
    names = [step["name"] for step in about]
    for name in steps or []:
        if name not in names:
            raise InputError(f"no step {name!r} in {run};{nearest(name, names)} steps are {', '.join(names)}")
    found: dict[str, list[str]] = {}
    for step in about:
        if steps is not None and step["name"] not in steps:
            continue
        records, _ = folder.records(step["folder"])
        tasks = [r.task for r in records if not r.good and (not statuses or r.status in statuses)]
        if tasks:
            found[step["folder"]] = tasks
    return found
