"""Tasks and records of a step, counted from files that are as short as can be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from atomsim.store.claims import LOCAL, Attempt, ledger_lines, lengths, read_step
from atomsim.store.rounds import Manifest, key_of, known_chunks, task_spans


def count_tasks(path: Path) -> int | None:
    """Number of a step's tasks; None until they are known."""
    try:
        with (path / "tasks.jsonl").open(encoding="utf-8") as file:
            return int(json.loads(file.readline())["tasks"])
    except (OSError, ValueError, KeyError):
        return None


def count_statuses(
    path: Path, tried: Mapping[str, Sequence[Attempt]], headers: Sequence[Manifest]
) -> tuple[dict[str, int], dict[str, int]]:
    """Count records by status, and by chunk of the newest round.

    A ledger's counts are taken from its worker's last word where that is about all the bytes that
    count; else the ledger is read. Where tasks may have several records, or records no task any
    more, everything is read.
    """
    local = path / LOCAL
    if any(h.discards for h in headers) or (headers and local.exists()) or not headers or _replanned(path, headers):
        done = read_step(path).done
        now = _task_ids(path)
        done = done if now is None else {task: done[task] for task in done.keys() & now}
        counts = Counter(r.status for r in done.values())
        return dict(sorted(counts.items(), key=lambda i: (-i[1], i[0]))), _by_chunk(path, headers, set(done))
    total: Counter[str] = Counter()
    chunks: dict[str, int] = {}
    by_name = {a.ledger: a for each in tried.values() for a in each}
    for name, length in lengths(path, tried).items():
        attempt = by_name[name]
        report = attempt.read(path, "end") or attempt.read(path, "beat") or {}
        if report.get("bytes") == length:
            counts = Counter(report["counts"])
        else:
            counts = Counter(r.status for _, r in ledger_lines(path / name, length) if r is not None)
        total += counts
        chunks[attempt.key] = chunks.get(attempt.key, 0) + counts.total()
    return dict(sorted(total.items(), key=lambda i: (-i[1], i[0]))), chunks


def _replanned(path: Path, headers: Sequence[Manifest]) -> bool:
    """True if tasks were written after the first round was planned, as after a retry of what they come from."""
    try:
        return 0 < headers[0].opened < (path / "tasks.jsonl").stat().st_mtime
    except OSError:
        return False


def _task_ids(path: Path) -> set[str] | None:
    """Return the tasks of a step; None if they are not known."""
    try:
        return set(task_spans(path))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _by_chunk(path: Path, headers: Sequence[Manifest], done: set[str]) -> dict[str, int]:
    if not headers:
        return {}
    number = headers[-1].round
    return {key_of(number, c.number): sum(t in done for t in c.tasks) for c in known_chunks(path, number)}
