"""The few things that Slurm is asked: submit, list, cancel, requeue. Nothing here knows of campaigns."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from atomsim.errors import AtomsimError
from atomsim.slurm.command import SlurmUnreachableError, ask, complaint
from atomsim.slurm.cures import cure
from atomsim.slurm.options import TIME, seconds_of

__all__ = ["Queued", "RealSlurm", "RejectedError", "Slurm", "SlurmUnreachableError", "parse_elements", "parse_line"]

SUBMIT_LIMIT = re.compile(r"SubmitJob|temporarily un(able|available)|too many (jobs|tasks)|MaxJobCount", re.IGNORECASE)
"""Refusals that fewer jobs in the queue would have spared."""
SOME_LIMIT, ITS_NAME = re.compile("job submit limit"), re.compile(r"\b(QOS|Assoc)(Max|Min|Grp)\w+")
"""Words of any limit of an account, and of its name where the site names it."""
STUCK = re.compile(
    r"PartitionNodeLimit|PartitionTimeLimit|PartitionDown|PartitionInactive|PartitionConfig|BadConstraints"
    r"|DependencyNeverSatisfied|JobHeld|held|Invalid(Account|QOS)|ReqNodeNotAvail|AccountNotAllowed|QOSNotAllowed"
    r"|Max\w*PerJob|MinGRES|Grp\w*Minutes|NodeDown|launch failed"
)
"""Reasons for which a pending job may wait for ever."""
CLOSED = re.compile("PartitionDown|PartitionInactive")
"""Those of them that another job of the same partition would share: it starts when the site opens it again."""
ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_ME")
JOB_ID = re.compile(r"^(\d+)(?:;.*)?$")


class RejectedError(AtomsimError):
    """Slurm refused a job."""

    @property
    def by_limit(self) -> bool:
        """True if it may be accepted later, when there are fewer jobs."""
        text = str(self)
        unnamed = SOME_LIMIT.search(text) is not None and ITS_NAME.search(text) is None
        return unnamed or SUBMIT_LIMIT.search(text) is not None


@dataclass(frozen=True)
class Queued:
    """One line of ``squeue``: a job, or the elements of an array that are not yet split off."""

    job: str
    """Id of the job or of the whole array."""
    name: str
    state: str
    """PENDING, RUNNING, COMPLETING …"""
    elements: tuple[int, ...] = ()
    """Array elements that the line stands for; empty for a job that is no array."""
    reason: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        """Job ids in Slurm, one for each of the elements."""
        return tuple(f"{self.job}_{element}" for element in self.elements) or (self.job,)

    @property
    def stuck(self) -> bool:
        """True if it waits for what may never come."""
        return self.state == "PENDING" and STUCK.search(self.reason) is not None

    @property
    def replaceable(self) -> bool:
        """True if it waits for what may never come, and another job in its place need not."""
        return self.stuck and CLOSED.search(self.reason) is None

    @property
    def launch_failed(self) -> bool:
        """True if Slurm could not start it and holds it until it is released by hand."""
        return self.state == "PENDING" and "launch failed" in self.reason.replace("_", " ")

    @property
    def is_planner(self) -> bool:
        """True for a planner's job, by its token."""
        return "-plan-" in self.name

    @property
    def is_watch(self) -> bool:
        """True for the job of ``[planner] watch``: a planner that waits for a time and for no other job."""
        return "-watch-" in self.name


class Slurm(Protocol):
    """Protocol of a scheduler, as the planner uses it."""

    def submit(self, script: Path) -> str:
        """Submit a job script; return the job's id."""
        ...

    def queue(self) -> list[Queued]:
        """Return all of this user's jobs that have not ended."""
        ...

    def knows(self, job: str, name: str) -> bool:
        """True if a job of this id and name has not ended, asked by its id: a list of jobs may be an old one."""
        ...

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel jobs by their names."""
        ...

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        """Cancel what lines of the queue stand for, and nothing else of those names."""
        ...

    def requeue(self, job: str) -> bool:
        """Put a running job back into the queue; False if that is not allowed."""
        ...

    def longest_s(self, partition: str) -> float:
        """Time limit of a partition, or the longest one of a list ``a,b``, s; infinite where it has or tells none."""
        ...


@dataclass(frozen=True)
class RealSlurm:
    """Slurm's own commands."""

    uid: int = field(default_factory=os.getuid)
    """Whose jobs are looked at: names such as LOGNAME need not be the user's."""

    def submit(self, script: Path) -> str:
        """Submit a job script.

        Raises:
            RejectedError: with Slurm's message, and the key of the profile that cures it.
            SlurmUnreachableError: if its controller does not answer, or gives no job id.
        """
        answer = ask(["sbatch", "--parsable", str(script)])
        if answer.returncode:
            reason = complaint(answer.stderr)
            help_ = cure(reason, planner="-plan-" in script.name)
            raise RejectedError(f"sbatch refused {script.name}: {reason}{f'; {help_}' if help_ else ''}")
        found = job_ids(answer.stdout)
        if len(found) > 1:  # a banner of digits alone looks like an id: the job of this name is meant
            with contextlib.suppress(SlurmUnreachableError):
                found = [job for job in found if self.knows(job, script.stem)] or found
        return found[-1]

    def queue(self) -> list[Queued]:
        """List this user's jobs with one ``squeue``.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        answer = ask(["squeue", "--noheader", "--user", str(self.uid), "--format=%F|%K|%T|%j|%r"])
        if answer.returncode:
            raise SlurmUnreachableError(f"squeue fails: {complaint(answer.stderr)}; try again when Slurm answers")
        # a site's banner may stand before the jobs
        lines = (line.strip() for line in answer.stdout.splitlines())
        return [parse_line(line) for line in lines if line.count("|") >= 4 and line.partition("|")[0].isdecimal()]

    def knows(self, job: str, name: str) -> bool:
        """Ask the controller for one job: ``squeue`` is a cache at some sites.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        lines = ask(["scontrol", "--oneliner", "show", "job", job]).stdout.splitlines()
        mine = [line for line in lines if f" JobName={name} " in f"{line} "]
        states = [found[1] for line in mine if (found := re.search(r"\bJobState=(\w+)", line))]
        return any(not state.startswith(ENDED) for state in states)

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel this user's jobs of these names, one name a call: ``scancel --name=a,b`` is one name to Slurm.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        for name in names:
            self._cancel(name)

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        """Cancel what lines of the queue stand for, by id and name: an id alone may be another's by now.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        for name in sorted({line.name for line in lines}):
            ids = [i for line in lines if line.name == name for i in line.ids]
            for first in range(0, len(ids), 50):
                self._cancel(name, ids[first : first + 50])

    def requeue(self, job: str) -> bool:
        """Ask Slurm to run a job again; it ends the running one."""
        try:
            return ask(["scontrol", "requeue", job]).returncode == 0
        except SlurmUnreachableError:
            return False

    def longest_s(self, partition: str) -> float:
        """Ask for MaxTime; a job above it is accepted and waits for ever."""
        limits = []
        for name in partition.split(","):
            found = re.search(r"\bMaxTime=(\S+)", ask(["scontrol", "--oneliner", "show", "partition", name]).stdout)
            limits.append(float(seconds_of(found[1])) if found and TIME.fullmatch(found[1]) else math.inf)
        return max(limits)

    def _cancel(self, name: str, ids: Sequence[str] = ()) -> None:
        answer = ask(["scancel", "--user", str(self.uid), f"--name={name}", *ids])
        if answer.returncode:
            raise SlurmUnreachableError(f"scancel fails: {complaint(answer.stderr)}; try again")


def job_ids(stdout: str) -> list[str]:
    """Return what may be the id in what ``sbatch --parsable`` printed; a site's banner may stand around it.

    Raises:
        SlurmUnreachableError: if there is none: the job may be in the queue all the same.
    """
    found = [match[1] for line in stdout.splitlines() if (match := JOB_ID.match(line.strip()))]
    if not found:
        answer = " ".join(stdout.split())[:80] or "nothing"
        raise SlurmUnreachableError(f"sbatch gave no job id (it said: {answer}); 'atomsim resume' looks for the job")
    return list(dict.fromkeys(found))


def parse_line(line: str) -> Queued:
    """Read a line of ``squeue --format=%F|%K|%T|%j|%r``."""
    job, elements, state, rest = line.split("|", 3)
    name, _, reason = rest.partition("|")
    return Queued(job, name, state, parse_elements(elements), reason)


def parse_elements(text: str) -> tuple[int, ...]:
    """Read array elements as squeue writes them: ``7``, ``3-5,9``, ``0-999%16`` or ``N/A``."""
    found: list[int] = []
    for part in text.strip("[] ").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (not last or last.partition(":")[0].isdecimal()):
            last, _, step = last.partition(":")
            found += range(int(first), int(last or first) + 1, int(step or 1))
    return tuple(found)
