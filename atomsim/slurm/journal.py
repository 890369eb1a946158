"""Memory of a run on a cluster, beside its records: settings, submissions, who plans.

::

    slurm/settings.json              engine, cluster profile, versions; how to plan
    slurm/jobs/TOKEN.json            the intent to submit, durable before sbatch is called
    slurm/jobs/TOKEN.sh              the script
    slurm/jobs/TOKEN.accepted.json   the id that Slurm gave
    slurm/plans/0007.json            the seventh planner; .done.json when it has finished
    slurm/closed.json                why nothing more is submitted: finished, cancelled, stopped
    slurm/reopened.json              when a person last resumed it all the same
    slurm/complaint.json             what the last planner failed with, until one succeeds
    slurm/logs/                      what jobs print

A job is known by its token, never by its id: ids that a controller lost are given again.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atomsim.errors import AtomsimError, InputError, InUseError
from atomsim.io.files import publish, write_atomically
from atomsim.slurm.script import ArrayJob, PlannerJob
from atomsim.slurm.settings import Settings

LEASE_S = 90.0
"""A planner that has not been heard of for so long is taken for dead."""


@dataclass(frozen=True)
class Submission:
    """An intent to submit, and what came of it."""

    token: str
    kind: str
    """``array`` or ``planner``."""
    content: dict[str, Any]
    job: str | None
    """Id that Slurm gave; None where nobody lived to write it down, empty where it was not in the queue then."""
    time: float

    def is_piece(self, step: str, round_number: int, first: int) -> bool:
        """True if it submits these chunks."""
        about = (self.content.get("step"), self.content.get("round"), self.content.get("first"))
        return self.kind == "array" and about == (step, round_number, first)


@dataclass(frozen=True)
class Journal:
    """The folder ``slurm/`` of a run."""

    run: Path

    @property
    def path(self) -> Path:
        """Where it all is."""
        return self.run / "slurm"

    @property
    def exists(self) -> bool:
        """True if this run was ever submitted."""
        return (self.path / "settings.json").exists()

    def write_settings(self, settings: Settings) -> None:
        """Write or replace the settings."""
        (self.path / "logs").mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "settings.json", json.dumps(asdict(settings), indent=2) + "\n")

    def settings(self) -> Settings:
        """Read the settings.

        Raises:
            InputError: if this run was not submitted.
        """
        try:
            return Settings(**json.loads((self.path / "settings.json").read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise InputError(f"{self.run} was not submitted to a cluster; 'atomsim submit' does that") from error
        except PermissionError:  # somebody else's: submitting again is no cure
            raise
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{self.path / 'settings.json'} cannot be read ({error}); submit again") from error

    def owner(self) -> int:
        """User id whose jobs these are; this process's own for runs that do not say it."""
        owner = self.settings().owner
        return os.getuid() if owner is None else owner

    def intend(self, token: str, job: ArrayJob | PlannerJob, script: str) -> Path:
        """Write down that a job is about to be submitted; return its script."""
        kind = "array" if isinstance(job, ArrayJob) else "planner"
        content = {"kind": kind, "time": time.time(), "content": asdict(job)}
        path = self.path / "jobs" / f"{token}.sh"
        write_atomically(path, script)
        if not publish(path.with_suffix(".json"), json.dumps(content) + "\n"):
            raise AtomsimError(f"token {token} is taken: another planner is at work; run 'atomsim status'")
        return path

    def accepted(self, token: str, job: str) -> None:
        """Write down the id that Slurm gave; empty if it does not know the job."""
        publish(self.path / "jobs" / f"{token}.accepted.json", json.dumps({"job": job, "time": time.time()}) + "\n")

    def submissions(self) -> list[Submission]:
        """Return every intent, in the order of time."""
        found = []
        for path in (self.path / "jobs").glob("*.json"):
            if path.name.endswith(".accepted.json"):
                continue
            content = json.loads(path.read_text(encoding="utf-8"))
            accepted = path.with_suffix(".accepted.json")
            job = json.loads(accepted.read_text(encoding="utf-8"))["job"] if accepted.exists() else None
            found.append(Submission(path.stem, content["kind"], content["content"], job, content["time"]))
        return sorted(found, key=lambda s: (s.time, s.token))

    def close(self, why: str, message: str = "") -> None:
        """Write down that nothing more is to be submitted."""
        content = {"why": why, "message": message, "time": time.time()}
        write_atomically(self.path / "closed.json", json.dumps(content) + "\n")

    def closed(self) -> dict[str, Any] | None:
        """Return why nothing more is submitted; None while the campaign continues."""
        try:
            content = json.loads((self.path / "closed.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def reopen(self) -> None:
        """Let planners continue; what failed before a person asked for this is not held against what comes."""
        write_atomically(self.path / "reopened.json", json.dumps({"time": time.time()}) + "\n")
        (self.path / "closed.json").unlink(missing_ok=True)

    def reopened(self) -> float:
        """Return when a person last resumed this campaign, ``time.time()``; 0 if never."""
        try:
            return float(json.loads((self.path / "reopened.json").read_text(encoding="utf-8"))["time"])
        except (OSError, ValueError, KeyError):
            return 0.0

    def complain(self, message: str) -> None:
        """Write down what a planner failed with; empty once one has succeeded."""
        path = self.path / "complaint.json"
        if message:
            write_atomically(path, json.dumps({"message": message, "time": time.time()}) + "\n")
        else:
            path.unlink(missing_ok=True)

    def complaint(self) -> str:
        """Return what the last planner failed with; empty if it did not."""
        try:
            return str(json.loads((self.path / "complaint.json").read_text(encoding="utf-8"))["message"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    @contextlib.contextmanager
    def planning(self, wait_s: float = LEASE_S + 30.0) -> Iterator[Lease]:
        """Be the one planner of this run.

        Two planners at once would do no harm, as chunks are fenced, but would waste a cluster's time.

        Raises:
            InUseError: if another one is at work.
        """
        deadline = time.monotonic() + wait_s
        while True:
            number, holder = self._last_lease()
            if holder is None:
                lease = Lease(self.path / "plans" / f"{number + 1:04d}.json")
                me = os.getpid()
                content = {"host": socket.gethostname(), "pid": me, "birth": _birth(me), "time": time.time()}
                if publish(lease.path, json.dumps(content) + "\n"):
                    break
                continue
            if time.monotonic() > deadline:
                raise InUseError(f"{self.run} is being planned by {holder}; wait for it, then 'atomsim status'")
            time.sleep(0.5)
        threading.Thread(target=lease.keep, daemon=True).start()
        try:
            yield lease
        finally:
            lease.over.set()
            publish(lease.path.with_suffix(".done.json"), json.dumps({"time": time.time()}) + "\n")

    def _last_lease(self) -> tuple[int, str | None]:
        """Return the number of the last lease, and who holds it, if anybody alive does."""
        numbers = sorted(int(p.stem) for p in (self.path / "plans").glob("[0-9]*[0-9].json") if p.stem.isdecimal())
        if not numbers:
            return 0, None
        path = self.path / "plans" / f"{numbers[-1]:04d}.json"
        if path.with_suffix(".done.json").exists():
            return numbers[-1], None
        holder = json.loads(path.read_text(encoding="utf-8"))
        gone = time.time() - path.stat().st_mtime > LEASE_S
        if holder["host"] == socket.gethostname() and holder["birth"]:
            gone = gone or _birth(holder["pid"]) != holder["birth"]
        return numbers[-1], None if gone else f"process {holder['pid']} on {holder['host']}"


@dataclass(frozen=True)
class Lease:
    """The right to plan, for as long as no later lease exists."""

    path: Path
    over: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Say now and then that this planner is alive."""
        while not self.over.wait(LEASE_S / 6):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def renew(self) -> None:
        """Say that this planner is alive.

        Raises:
            AtomsimError: if another one has taken over.
        """
        later = self.path.with_name(f"{int(self.path.stem) + 1:04d}.json")
        if later.exists():
            raise AtomsimError("another planner has taken over; run 'atomsim status'")
        os.utime(self.path)


def _birth(pid: int) -> str:
    """Return what tells a process from a later one with its number; empty if it does not live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]  # state; start time since boot (proc(5), fields 3 and 22)
