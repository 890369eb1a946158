"""The few things that Slurm is asked: submit, list, cancel, requeue. Nothing here knows of campaigns."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atomsim.errors import AtomsimError

TIMEOUT_S = 60
OF_CLIENTS = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
"""Variables that tell Slurm's commands where their cluster is; the others tell of a job."""
LIMIT_WORDS = ("limit", "Limit", "temporarily", "Resource", "too many")
STUCK = re.compile(
    r"PartitionNodeLimit|PartitionTimeLimit|PartitionDown|PartitionInactive|BadConstraints|DependencyNeverSatisfied"
    r"|JobHeld|held|Invalid(Account|QOS)|ReqNodeNotAvail|AccountNotAllowed|QOSNotAllowed|Max\w*PerJob"
    r"|NodeDown|launch failed"
)
"""Reasons for which a pending job may wait for ever."""


class SlurmUnreachableError(AtomsimError):
    """Slurm does not answer; nothing is known, so nothing is decided."""


class RejectedError(AtomsimError):
    """Slurm refused a job."""

    @property
    def by_limit(self) -> bool:
        """Whether it may be accepted later, when there are fewer jobs."""
        return any(word in str(self) for word in LIMIT_WORDS)


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
        """What Slurm calls the job, or each of the elements."""
        return tuple(f"{self.job}_{element}" for element in self.elements) or (self.job,)

    @property
    def stuck(self) -> bool:
        """Whether it waits for what may never come."""
        return self.state == "PENDING" and STUCK.search(self.reason) is not None

    @property
    def launch_failed(self) -> bool:
        """Whether Slurm could not start it and holds it until a person lets it go."""
        return self.state == "PENDING" and "launch failed" in self.reason.replace("_", " ")


class Slurm(Protocol):
    """What the planner asks of a scheduler."""

    def submit(self, script: Path) -> str:
        """Submit a job script; return the job's id."""
        ...

    def queue(self) -> list[Queued]:
        """Return all of this user's jobs that have not ended."""
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


class RealSlurm:
    """Slurm's own commands."""

    def submit(self, script: Path) -> str:
        """Submit a job script.

        Raises:
            RejectedError: with what Slurm said.
            SlurmUnreachableError: if its controller does not answer.
        """
        answer = _ask(["sbatch", "--parsable", str(script)])
        if answer.returncode:
            raise RejectedError(f"sbatch refused {script.name}: {_first_line(answer.stderr)}")
        return answer.stdout.strip().split(";")[0]

    def queue(self) -> list[Queued]:
        """List this user's jobs with one ``squeue``.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        answer = _ask(["squeue", "--noheader", "--user", getpass.getuser(), "--format=%F|%K|%T|%j|%r"])
        if answer.returncode:
            raise SlurmUnreachableError(f"squeue fails: {_first_line(answer.stderr)}; try again when Slurm answers")
        return [parse_line(line) for line in answer.stdout.splitlines() if line.count("|") >= 4]

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel this user's jobs of these names.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        for first in range(0, len(names), 50):
            _cancel(",".join(names[first : first + 50]))

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        """Cancel what lines of the queue stand for, by id and name: an id alone may be another's by now.

        Raises:
            SlurmUnreachableError: if its controller does not answer.
        """
        for name in sorted({line.name for line in lines}):
            ids = [i for line in lines if line.name == name for i in line.ids]
            for first in range(0, len(ids), 50):
                _cancel(name, ids[first : first + 50])

    def requeue(self, job: str) -> bool:
        """Ask Slurm to run a job again; it ends the running one."""
        try:
            return _ask(["scontrol", "requeue", job]).returncode == 0
        except SlurmUnreachableError:
            return False


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


def _cancel(names: str, ids: Sequence[str] = ()) -> None:
    answer = _ask(["scancel", "--user", getpass.getuser(), f"--name={names}", *ids])
    if answer.returncode:
        raise SlurmUnreachableError(f"scancel fails: {_first_line(answer.stderr)}; try again")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for Slurm's commands: that of a planner's own job is not to become its jobs' too.

    sbatch passes everything on, and what the new job does not set itself, such as SLURM_MEM_PER_NODE,
    would hold for the workers that it starts with srun.
    """
    inside = "SLURM_JOB_ID" in environment
    kept = {k: v for k, v in environment.items() if not inside or not k.startswith("SLURM_") or k in OF_CLIENTS}
    return kept | {"SLURM_BITSTR_LEN": "0"}  # or squeue cuts long lists of array elements


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        answer = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=clean_environment(os.environ)
        )
    except FileNotFoundError as error:
        raise SlurmUnreachableError(
            f"no {command[0]!r} on this machine; log in to the cluster, or 'module load slurm', and try again"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmUnreachableError(f"{command[0]} did not answer within {TIMEOUT_S} s; try again later") from error
    words = ("Unable to contact", "Connection refused", "Socket timed out", "Zero Bytes", "communication connection")
    if answer.returncode and any(word in answer.stderr for word in words):
        raise SlurmUnreachableError(
            f"Slurm's controller does not answer ({_first_line(answer.stderr)}); try again later"
        )
    return answer


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (
        lines[-1].removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")
        if lines
        else "no message"
    )
