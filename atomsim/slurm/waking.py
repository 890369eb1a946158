"""The second way to be woken: the last worker at work looks whether anybody will continue after it.

A planner waits for its arrays to end, and there are arrays that never do: an element whose node could not
start it is held for ever. Nor does every planner start: its walltime may be above its partition's. So a worker
that ends, and sees no other one at work, looks once at the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from atomsim.slurm.client import Queued, Slurm
from atomsim.slurm.journal import Journal
from atomsim.slurm.place import ChunkAssignment
from atomsim.slurm.settings import Settings
from atomsim.slurm.watchdog import BEAT_S
from atomsim.store.claims import attempts


@dataclass(frozen=True)
class Waking:
    """Duties of the last worker."""

    cancel: tuple[Queued, ...]
    """Elements that a node could not start: a planner that waits for them waits for ever."""
    plan: bool
    """True if nobody else will plan."""


def judge_queue(lines: Sequence[Queued], run: str, ended: Set[str], *, planners_start: bool = True) -> Waking:
    """Decide from the queue what a worker that ends leaves to do.

    Args:
        lines: the queue.
        run: short id of the run.
        ended: array elements that have sent their last report, this worker's among them; Slurm may not know it yet.
        planners_start: whether planner jobs are within their partition's limits; one that waits for its
            arrays does not say so itself.
    """
    mine = [line for line in without(lines, ended) if line.name.startswith(f"as-{run}-")]
    failed = tuple(line for line in mine if line.launch_failed)
    # a watch job that waits is a net for what nobody else notices, and may wait for hours
    able = [line for line in mine if not line.stuck and not (line.is_watch and line.state == "PENDING")]
    planners = [
        line for line in able if line.is_watch or (line.is_planner and (planners_start or line.state != "PENDING"))
    ]
    # others that wait will look themselves when they end
    workers = [line for line in able if not line.is_planner and not line.is_watch]
    return Waking(failed, not planners and not workers)


def without(lines: Sequence[Queued], ended: Set[str]) -> list[Queued]:
    """Return the queue without the array elements that are about to leave it."""
    left = []
    for line in lines:
        gone = {i for i in line.ids if i in ended} if line.elements and line.state != "PENDING" else set()
        elements = tuple(e for e in line.elements if f"{line.job}_{e}" not in gone)
        if elements or not gone:
            left.append(replace(line, elements=elements))
    return left


@dataclass(frozen=True)
class Aside:
    """A Slurm as a worker sees it that plans: what has sent its last report, as this worker has, counts as ended."""

    slurm: Slurm
    ended: Set[str]

    def submit(self, script: Path) -> str:
        """Submit a job script."""
        return self.slurm.submit(script)

    def queue(self) -> list[Queued]:
        """Return the queue without those that have ended."""
        return without(self.slurm.queue(), self.ended)

    def knows(self, job: str, name: str) -> bool:
        """True if a job has not ended; of arrays like this worker's the queue tells which elements are left."""
        if any(element.startswith(f"{job}_") for element in self.ended):
            return any(line.job == job and line.name == name for line in self.queue())
        return self.slurm.knows(job, name)

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel jobs by their names."""
        self.slurm.cancel(names)

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        """Cancel what lines of the queue stand for."""
        self.slurm.cancel_lines(lines)

    def requeue(self, job: str) -> bool:
        """Put a running job back into the queue."""
        return self.slurm.requeue(job)

    def longest_s(self, partition: str) -> float:
        """Time limit of a partition, s."""
        return self.slurm.longest_s(partition)


def wake(
    place: ChunkAssignment, journal: Journal, settings: Settings, slurm: Slurm, say: Callable[[str], None]
) -> None:
    """See to it that somebody continues after this worker; what fails here is left to a person."""
    if journal.closed() is not None or not settings.profile.planner.submits:
        return
    from atomsim.slurm.planner import resume

    try:
        if others_at_work(place):
            return
        ended = ended_elements(place) | {place.element or place.job}
        partition, walltime_s = settings.profile.planner_limits
        starts = slurm.longest_s(partition) >= walltime_s
        found = judge_queue(slurm.queue(), settings.run, ended, planners_start=starts)
        if found.cancel:
            slurm.cancel_lines(found.cancel)
            ids = ", ".join(i for line in found.cancel for i in line.ids)
            say(f"cancelled, as no node could start them: {ids}; their work goes to the next round")
        if found.plan:
            say("no planner is in the queue that could start: this worker plans")
            resume(place.run, Aside(slurm, ended), token=place.token)
    except Exception as error:  # the chunk is done: nothing here may look like its failure
        say(f"nobody was woken: {error}")


def ended_elements(place: ChunkAssignment) -> set[str]:
    """Return the array elements of the round whose workers have all sent their last report."""
    ended: set[str] = set()
    alive: set[str] = set()
    for each in attempts(place.folder).values():
        last = each[-1]
        if last.round == place.round:
            element = str(last.claim.get("element") or last.claim.get("job", ""))
            (alive if last.read(place.folder, "end") is None else ended).add(element)
    return ended - alive


def others_at_work(place: ChunkAssignment) -> bool:
    """True if another worker of the round is alive by its heartbeat."""
    for each in attempts(place.folder).values():
        last = each[-1]
        if last.round != place.round or last.chunk == place.chunk or last.read(place.folder, "end") is not None:
            continue
        try:
            if time.time() - (place.folder / f"{last.stem}.beat.json").stat().st_mtime < 4 * BEAT_S:
                return True
        except OSError:
            continue
    return False
