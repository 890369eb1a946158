"""Where a submitted campaign stands: from the ledger, and one look at the queue."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atomsim.slurm.accounting import causes
from atomsim.slurm.client import Queued, Slurm, SlurmUnreachableError
from atomsim.slurm.counting import count_statuses, count_tasks
from atomsim.slurm.cures import cure
from atomsim.slurm.journal import Journal
from atomsim.slurm.settings import Settings
from atomsim.slurm.watchdog import BEAT_S
from atomsim.store.claims import Attempt, attempts
from atomsim.store.rounds import Manifest, key_of, known_chunks, read_header, rounds
from atomsim.store.run_folder import RunFolder

QUIET_S = 8 * BEAT_S
"""A running worker not heard of for so long is called silent."""


@dataclass
class ClusterStep:
    """Progress of a step."""

    name: str
    kind: str
    tasks: int | None
    """None until its tasks are known."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Finished tasks by status."""
    running: int = 0
    """Unfinished tasks in chunks that a worker is working on."""
    queued: int = 0
    """Unfinished tasks in chunks whose job is in the queue."""
    waiting: int = 0
    """Unfinished tasks that are in no job now."""
    unknown: int = 0
    """Unfinished tasks of unknown state: Slurm does not answer, or a worker is silent."""
    round: int = 0
    per_hour: float | None = None
    """Tasks finished per hour while workers worked, all workers together."""
    eta_s: float | None = None
    gpu_hours: float = 0.0
    """Time of workers so far, h: of GPUs, or of CPU allocations where workers have none."""
    gpu_hours_left: float | None = None

    @property
    def done(self) -> int:
        """Finished tasks."""
        return sum(self.statuses.values())

    @property
    def good(self) -> int:
        """Tasks that ended well."""
        return self.statuses.get("converged", 0) + self.statuses.get("done", 0)


@dataclass
class ClusterStatus:
    """Where a campaign stands."""

    state: str
    """``running``, ``needs a manual resume``, ``needs attention``; closed: ``finished``, ``cancelled``, ``stopped``."""
    message: str
    steps: list[ClusterStep]
    stuck: list[str]
    """Jobs that may wait for ever, why, and what helps."""
    silent: list[str]
    """Workers that Slurm says are running but that say nothing."""
    died: list[str]
    """Workers of the newest round that exited without a final report; with accounts, Slurm's word for it."""
    unsure: list[str]
    """Submissions of which nobody knows whether Slurm took them."""
    slurm: str
    """``asked``, or why not."""
    time: float

    def to_json(self) -> dict[str, Any]:
        """Return everything, JSON-able."""
        return asdict(self) | {"steps": [asdict(s) | {"done": s.done, "good": s.good} for s in self.steps]}


def read_cluster_status(run: Path, slurm: Slurm | None) -> ClusterStatus:
    """Find out where a campaign stands, with one look at the queue; accounts, where kept, add causes of deaths.

    Args:
        run: folder of the run.
        slurm: asked for its queue; None to read the ledger alone.

    Raises:
        InputError: if this is no run that was submitted.
    """
    journal, folder = Journal(run), RunFolder(run)
    settings = journal.settings()
    queued, slurm_error = _ask(slurm, settings)
    silent: list[str] = []
    dead: list[Attempt] = []
    steps = [_step(folder, about, queued, settings, silent, dead) for about in folder.read_info()["steps"]]
    closed = journal.closed()
    lines = [line for each in (queued or {}).values() for line in each]
    state = closed["why"] if closed else "running" if queued is None else _state(lines)
    tokens = set(queued or ())
    unsure = [s.token for s in journal.submissions() if s.job is None and s.token not in tokens]
    return ClusterStatus(
        state=state,
        message=closed.get("message", "") if closed else journal.complaint(),
        steps=steps,
        stuck=sorted({_stuck(line, run) for line in lines if line.stuck}),
        silent=silent,
        died=[] if state == "cancelled" else _died(dead),  # whoever cancels knows what they died of
        unsure=unsure,
        slurm=slurm_error,
        time=time.time(),
    )


def _state(lines: Sequence[Queued]) -> str:
    watches = [line for line in lines if line.is_watch]
    others = [line for line in lines if not line.is_watch]
    arrays = [line for line in others if not line.is_planner]
    # a planner that waits for what is stuck is stuck too, and one that is stuck leaves nobody to continue
    moving = [line for line in arrays or others if not line.stuck]
    if moving:
        return "running"
    if any(not line.stuck for line in watches):
        return "waits for its watch job; 'atomsim resume' is faster"
    return "needs attention: see what is stuck" if lines else "needs a manual resume: 'atomsim resume'"


def _stuck(line: Queued, run: Path) -> str:
    job = f"{line.job}, {len(line.elements)} elements" if len(line.elements) > 1 else line.ids[0]
    help_ = cure(line.reason, planner=line.is_planner, run=str(run))
    return f"{line.name} ({job}): {line.reason}{help_ and '; '}{help_}"


def _ask(slurm: Slurm | None, settings: Settings) -> tuple[dict[str, list[Queued]] | None, str]:
    """Return this run's part of the queue by token; None if nobody knows."""
    if slurm is None:
        return None, "not asked"
    try:
        lines = slurm.queue()
    except SlurmUnreachableError as error:
        return None, str(error)
    found: dict[str, list[Queued]] = {}
    for line in lines:
        if line.name.startswith(f"as-{settings.run}-"):
            found.setdefault(line.name, []).append(line)
    if not found and settings.owner not in {None, os.getuid()}:
        return None, f"the jobs of {settings.owner_name or settings.owner} are not shown to you, or there are none"
    return found, "asked"


def _died(dead: Sequence[Attempt]) -> list[str]:
    accounts = causes(dead)
    return [
        f"{a.claim['job']} on {a.claim['host']} (chunk {a.key}, attempt {a.number}): "
        f"{accounts.get((a.key, a.number), 'no accounts of it')}"
        for a in dead
    ]


def _step(
    folder: RunFolder,
    about: Mapping[str, Any],
    queued: Mapping[str, Sequence[Queued]] | None,
    settings: Settings,
    silent: list[str],
    dead: list[Attempt],
) -> ClusterStep:
    path = folder.step(about["folder"])
    step = ClusterStep(about["name"], about["kind"], count_tasks(path))
    tried = attempts(path)
    headers = [read_header(path, number) for number in rounds(path)]
    step.statuses, per_chunk = count_statuses(path, tried, headers)
    if not headers or step.tasks is None:
        step.waiting = max(0, (step.tasks or 0) - step.done)
        return step
    step.round = headers[-1].round
    if step.done >= step.tasks:
        _cost(step, path, tried, 0)
        return step
    workers = _place_unfinished(step, path, headers[-1], tried, per_chunk, queued, settings.run, silent, dead)
    _cost(step, path, tried, workers)
    return step


def _place_unfinished(
    step: ClusterStep,
    path: Path,
    header: Manifest,
    tried: Mapping[str, Sequence[Attempt]],
    per_chunk: Mapping[str, int],
    queued: Mapping[str, Sequence[Queued]] | None,
    run: str,
    silent: list[str],
    dead: list[Attempt],
) -> int:
    """Tell where each unfinished task is; return the number of workers at work."""
    state = _chunk_states(header, queued, f"as-{run}-{path.name[:2]}r{header.round:03d}p")
    workers = 0
    for chunk in known_chunks(path, header.round):
        key = key_of(header.round, chunk.number)
        left = len(chunk.tasks) - per_chunk.get(key, 0)
        if left <= 0:
            continue
        last = tried.get(key, [None])[-1]
        ended = last is not None and last.read(path, "end") is not None
        where = state.get(chunk.number, "" if queued is not None else "?")
        at_work = where in {"RUNNING", "?"}
        dead += [a for a in tried.get(key, ()) if not (a is last and at_work) and a.read(path, "end") is None]
        if last is not None and not ended and at_work and not _quiet(path, last):
            step.running += left
            workers += 1
        elif where == "RUNNING" and last is not None and not ended:
            silent.append(f"{last.claim['job']} on {last.claim['host']} (chunk {key})")
            step.unknown += left
        elif where == "?":
            step.unknown += left
        elif where:
            step.queued += left
    assert step.tasks is not None
    step.waiting = max(0, step.tasks - step.done - step.running - step.queued - step.unknown)
    return workers


def _chunk_states(header: Manifest, queued: Mapping[str, Sequence[Queued]] | None, prefix: str) -> dict[int, str]:
    """Return Slurm's state of every chunk of a round that is in the queue."""
    states: dict[int, str] = {}
    parallel = header.workers_per_element
    for token, lines in (queued or {}).items():
        if not token.startswith(prefix):
            continue
        first = header.pieces[int(token.removeprefix(prefix)[:3])][0]
        for line in lines:
            for element in line.elements:
                for chunk in range(first + element * parallel, first + (element + 1) * parallel):
                    states[chunk] = line.state
    return states


def _quiet(path: Path, attempt: Attempt) -> bool:
    try:
        return time.time() - (path / f"{attempt.stem}.beat.json").stat().st_mtime > QUIET_S
    except OSError:
        return True


def _cost(step: ClusterStep, path: Path, tried: Mapping[str, Sequence[Attempt]], workers: int) -> None:
    """Count what was spent, and estimate what is left from it."""
    wall = work = done = 0.0
    for each in tried.values():
        for attempt in each:
            report = attempt.read(path, "end") or attempt.read(path, "beat") or {}
            wall += report.get("wall_s", 0.0)
            work += report.get("work_s", 0.0)
            done += sum(report.get("counts", {}).values())
    step.gpu_hours = wall / 3600
    left = (step.tasks or 0) - step.done
    if done and work and left:
        step.gpu_hours_left = left * work / done / 3600
        if workers:
            step.per_hour = 3600 * workers * done / work
            step.eta_s = left * work / done / workers
