"""Decisions about attempts that ended: pure functions from what is on disk to what is done next.

Whoever died may have been killed by its structure (too large for the memory), by its node or by
a person, and without accounting Slurm does not tell. So a death is held against the tasks that
were under way only so far that they are run in ever smaller company. A task is given up, and says
so in its record, once its worker has died ``DEATHS_ALONE`` times with nothing else to do and
nothing left to continue from: a task that gets on between deaths gets there, one that kills does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atomsim.store.claims import Attempt, got_on, lengths
from atomsim.store.rounds import Chunk

DEATHS_ALONE = 3
DEATHS = 20
"""A task that gets on, but dies so often, is given up too: on a device whose answers vary it would get on forever."""
IDLE_ROUNDS = 6
"""So many rounds one after another without any progress end a campaign; isolating a killer takes at most five."""
DIED = frozenset({"hang", "error", "bad_device"})
STOPPED = frozenset({"walltime", "signal", "terminated"})
PLANNERS_CHUNK = 99999
"""Chunk number under which a planner writes records of its own."""


@dataclass(frozen=True)
class Fate:
    """End of an attempt."""

    attempt: Attempt
    end: dict[str, Any] | None
    progress: bool
    """True if it wrote records, or did work that its successor continues."""
    died: bool
    began: bool
    """True if its tasks had begun; a death before that is not theirs."""


@dataclass(frozen=True)
class History:
    """Past attempts of a step."""

    fates: tuple[Fate, ...] = ()
    deaths: dict[str, int] = field(default_factory=dict)
    """Attempts that died with a task under way, by task."""
    deaths_alone: dict[str, int] = field(default_factory=dict)
    """The same where no other task was in the chunk, and the attempt left nothing to continue from."""


def fates(step: Path, tried: Mapping[str, Sequence[Attempt]]) -> list[Fate]:
    """Judge every attempt of rounds that are over."""
    size = lengths(step, tried)
    found = []
    for key, each in tried.items():
        left = got_on(step, key)
        for attempt, later in zip(each, [*each[1:], None], strict=True):
            end = attempt.read(step, "end")
            beat = end or attempt.read(step, "beat") or {}
            worked = bool(beat.get("progress", beat.get("calls")))
            # the same job again: Slurm put it back itself, after a preemption or a node's death
            requeued = later is not None and later.claim["token"] == attempt.claim["token"]
            died = (end is None and not requeued) or (end is not None and end["why"] in DIED)
            stopped = end is None or end["why"] in STOPPED
            progress = size.get(attempt.ledger, 0) > 0 or (stopped and worked and not died) or left
            found.append(Fate(attempt, end, progress, died, bool(beat.get("working"))))
    return found


def judge(
    step: Path,
    tried: Mapping[str, Sequence[Attempt]],
    chunks: Mapping[str, Chunk],
    done: set[str],
    since: Mapping[str, int] | None = None,
) -> History:
    """Hold deaths against the tasks that were under way.

    Args:
        step: folder of the step.
        tried: attempts by chunk key.
        chunks: chunks by key.
        done: tasks that have a record.
        since: round from which on a task's deaths count, where a person asked for another try.
    """
    judged = fates(step, tried)
    deaths: dict[str, int] = {}
    alone: dict[str, int] = {}
    for fate in judged:
        chunk = chunks.get(fate.attempt.key)
        if not fate.died or not fate.began or chunk is None:
            continue
        for task in chunk.tasks:
            if task not in done and fate.attempt.round >= (since or {}).get(task, 0):
                deaths[task] = deaths.get(task, 0) + 1
                if len(chunk.tasks) == 1 and not fate.progress:
                    alone[task] = alone.get(task, 0) + 1
    return History(tuple(judged), deaths, alone)


def given_up(history: History) -> dict[str, str]:
    """Return the tasks that killed too many workers, each with what to tell a person."""
    reasons = {}
    for task, deaths in history.deaths.items():
        alone = history.deaths_alone.get(task, 0)
        if alone >= DEATHS_ALONE or deaths >= DEATHS:
            hosts = sorted({str(f.attempt.claim.get("host")) for f in history.fates if f.died})
            how = f"{alone} times with nothing else to do" if alone >= DEATHS_ALONE else f"{deaths} times"
            reasons[task] = (
                f"its worker died {how} (on {', '.join(hosts[:4])}); too little "
                "memory perhaps: give workers more, then 'atomsim retry'"
            )
    return reasons


def excluded(history: History, round_number: int) -> tuple[str, ...]:
    """Return the nodes whose GPU failed twice in the last round: the next round keeps away from them once."""
    bad = {
        str(f.end["host"])
        for f in history.fates
        if f.end is not None and f.end["why"] == "bad_device" and f.attempt.round == round_number
    }
    return tuple(sorted(bad))


def refusal(history: History, round_number: int) -> str:
    """Return why workers of the last round refused to work; empty if none did."""
    for fate in history.fates:
        if fate.end is not None and fate.end["why"] == "refused" and fate.attempt.round == round_number:
            return str(fate.end.get("message", ""))
    return ""


def idle_rounds(history: History, last_round: int) -> int:
    """Return how many of the last rounds brought nothing, one after another."""
    fruitful = [f.attempt.round for f in history.fates if f.progress]
    return last_round - max(fruitful, default=0)
