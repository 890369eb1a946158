"""A Slurm that lives in a folder: accepts, queues, starts, kills, forgets, and gives ids again.

Workers, planners and submitters are forks of the test's own process, so that a thousand real
SIGKILLs take minutes. Everything that a client sees goes through files, as the client may be killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from atomsim.slurm.chunk_worker import work
from atomsim.slurm.client import Queued, RejectedError, SlurmUnreachableError
from atomsim.slurm.place import place_of
from atomsim.slurm.planner import resume

HELD = "launch failed requeued held"
OPTION = re.compile(r"^#SBATCH --([\w-]+)=(.*)$", re.MULTILINE)


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Clients and the scheduler take turns, as with a real controller; who is killed lets go.

    A record lock, which a fork does not inherit.
    """
    with (root / "lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


@dataclass
class FolderSlurm:
    """The client: what atomsim sees."""

    root: Path
    max_submitted: int = 10**9
    down: bool = False
    longest: ClassVar[float] = float("inf")
    """Time limit of every partition, s."""

    def __post_init__(self) -> None:
        (self.root / "jobs").mkdir(parents=True, exist_ok=True)

    def submit(self, script: Path) -> str:
        self._check()
        text = script.read_text(encoding="utf-8")
        options = dict(OPTION.findall(text))
        count = int(re.match(r"0-(\d+)", options["array"])[1]) + 1 if "array" in options else 0
        after = [i for i in options.get("dependency", "").removeprefix("afterany:").split(":") if i]
        command = next(line for line in text.splitlines() if "atomsim.cli" in line)
        job = {"name": options["job-name"], "after": after, "array": count > 0, "command": command}
        job |= {
            "pending": list(range(max(1, count))),
            "running": [],
            "held": [],
            "restarts": {},
            "time": time.monotonic(),
        }
        with alone(self.root):
            waiting = sum(max(1, len(line.elements)) for line in self._lines())
            if waiting + max(1, count) > self.max_submitted:
                raise RejectedError("sbatch refused: QOSMaxSubmitJobPerUserLimit")
            free = (n for n in itertools.count(1) if not (self.root / "jobs" / f"{n}.json").exists())
            number = str(next(free))
            save(self.root, number, job)
        return number

    def queue(self) -> list[Queued]:
        self._check()
        with alone(self.root):
            return self._lines()

    def _lines(self) -> list[Queued]:
        found = []
        for path in sorted(self.root.glob("jobs/*.json")):
            job = json.loads(path.read_text())
            for state in ("pending", "running", "held"):
                if job[state]:
                    elements = tuple(job[state]) if job["array"] else ()
                    word, reason = ("PENDING", HELD) if state == "held" else (state.upper(), "")
                    found.append(Queued(path.stem, job["name"], word, elements, reason))
        return found

    def knows(self, job: str, name: str) -> bool:
        return any((line.job, line.name) == (job, name) for line in self.queue())

    def longest_s(self, partition: str) -> float:
        return self.longest

    def cancel(self, names: Sequence[str]) -> None:
        self.cancel_lines([line for line in self.queue() if line.name in names])

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        with alone(self.root):
            for line in lines:
                path = self.root / "jobs" / f"{line.job}.json"
                if not path.exists():
                    continue  # it has ended
                job = json.loads(path.read_text())
                if job["name"] != line.name:
                    continue
                for state in ("pending", "running", "held"):
                    job[state] = [e for e in job[state] if line.elements and e not in line.elements]
                save(self.root, line.job, job)

    def requeue(self, job: str) -> bool:
        (self.root / f"requeue-{job}").touch()
        return True

    def _check(self) -> None:
        if (self.root / "down").exists():
            raise SlurmUnreachableError("Slurm's controller does not answer")


def save(root: Path, number: str, job: dict) -> None:
    """Write a job whole or not at all; one with nothing left to do is forgotten."""
    path, temporary = root / "jobs" / f"{number}.json", root / ".job.tmp"
    if not (job["pending"] or job["running"] or job["held"]):
        path.unlink(missing_ok=True)
        return
    temporary.write_text(json.dumps(job))
    temporary.replace(path)


@dataclass
class Process:
    pid: int
    job: str
    element: int
    kind: str
    kill_at: float | None
    tries: int = 1


@dataclass
class Cluster:
    """Runs what was submitted, and does to it what real clusters do."""

    root: Path
    run: Path
    rng: np.random.Generator
    kill: float = 0.0
    """Chance that a process is killed."""
    lifetime_s: float = 0.5
    """Those who are killed are killed at a moment within so long; planners within a quarter of it."""
    zombies: float = 0.0
    """Chance that one who is to be killed lives on, while its job is given to another."""
    lose: float = 0.0
    """Chance that a controller's death loses what was just submitted."""
    slots: int = 2
    starts_planners: bool = True
    starts_watches: bool = True
    n_starting: int = 0
    failing_starts: int = 0
    """So many array elements are held instead of started: their node's prolog fails."""
    processes: list[Process] = field(default_factory=list)
    kills: Counter = field(default_factory=Counter)
    undead: list[int] = field(default_factory=list)
    in_child: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        (self.root / "jobs").mkdir(parents=True, exist_ok=True)

    @property
    def slurm(self) -> FolderSlurm:
        return FolderSlurm(self.root)

    def fork(self, action: Callable[[], object]) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            with (self.root / f"out-{os.getpid()}").open("w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
                self.in_child()
                code = int(action() or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def call(self, action: Callable[[], object], kind: str) -> bool:
        """Run something a person does, perhaps to be killed; True if it ended well."""
        pid, at = self.fork(action), self._fate(kind)
        process = Process(pid, "", 0, kind, at)
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return status == 0
            self._perhaps_kill(process)
            time.sleep(0.005)

    def tick(self) -> bool:
        """Do one round of scheduling; False when there is nothing left to do."""
        with alone(self.root):
            starting = [start for path in sorted(self.root.glob("jobs/*.json")) for start in self._scheduled(path)]
        self.n_starting = 0
        for number, job, element in starting:
            self._start(number, job, element)
        for process in list(self.processes):
            done, status = os.waitpid(process.pid, os.WNOHANG)
            if done:
                self.processes.remove(process)
                self._ended(process, status)
            else:
                self._perhaps_kill(process)
        for pid in list(self.undead):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.undead.remove(pid)
        return bool(self.processes or self.undead) or any(self.root.glob("jobs/*.json"))

    def _scheduled(self, path: Path) -> list[tuple[str, dict, int]]:
        """Elements of a job that start now: its number, itself, which."""
        job = json.loads(path.read_text())
        if self.lose and time.monotonic() - job["time"] < 0.2 and self.rng.random() < self.lose:
            path.unlink()  # accepted, not durable; its id will be given again
            self.kills["controller"] += 1
            return []
        if not job["array"] and not self.starts_planners:
            return []
        busy = self.processes or self.n_starting or not self.starts_watches or self._others_can_start(job)
        if "-watch-" in job["name"] and busy:
            return []  # hours pass only where nothing else happens
        after = (self.root / "jobs" / f"{i}.json" for i in job["after"] if i != path.stem)
        if not job["array"] and any(other.exists() for other in after):
            return []
        found = []
        while job["pending"] and len(self.processes) + self.n_starting < self.slots:
            element = job["pending"].pop(0)
            if job["array"] and self.failing_starts:
                self.failing_starts -= 1
                job["held"].append(element)
                continue
            job["running"].append(element)
            self.n_starting += 1
            found.append((path.stem, job, element))
        save(self.root, path.stem, job)
        return found

    def drain(self, limit_s: float = 900.0) -> None:
        deadline = time.monotonic() + limit_s
        while self.tick():
            assert time.monotonic() < deadline, "the simulated cluster does not come to an end"
            time.sleep(0.02)  # each round costs, while others compute

    def _others_can_start(self, watch: dict) -> bool:
        jobs = [json.loads(path.read_text()) for path in self.root.glob("jobs/*.json")]
        return any(
            job["pending"] and not any((self.root / "jobs" / f"{i}.json").exists() for i in job["after"])
            for job in jobs
            if job["name"] != watch["name"]
        )

    def _start(self, number: str, job: dict, element: int) -> None:
        restarts = job["restarts"].get(str(element), 0)
        token = job["name"]
        if job["array"]:
            words = dict(re.findall(r"--(\w+) (\S+)", job["command"]))
            env = {
                "SLURM_ARRAY_TASK_ID": str(element),
                "SLURM_ARRAY_JOB_ID": number,
                "SLURM_RESTART_COUNT": str(restarts),
            }
            arguments = (words["step"], int(words["round"]), int(words["first"]), int(words["chunks"]), token)
            place = lambda: place_of(self.run, *arguments, env)  # noqa: E731
            pid = self.fork(lambda: work(place(), self.slurm))
        else:
            pid = self.fork(lambda: resume(self.run, self.slurm, token=token) and 0)
        kind = "worker" if job["array"] else "planner"
        self.processes.append(Process(pid, number, element, kind, self._fate(kind), restarts + 1))

    def _ended(self, process: Process, status: int) -> None:
        with alone(self.root):
            path = self.root / "jobs" / f"{process.job}.json"
            if not path.exists():
                return
            job = json.loads(path.read_text())
            with contextlib.suppress(ValueError):
                job["running"].remove(process.element)
            asked = self.root / f"requeue-{process.job}_{process.element}"
            by_node = os.WIFSIGNALED(status) and self.rng.random() < 0.7  # a node died: Slurm requeues
            again = asked.exists() or (process.kind == "worker" and by_node)
            again = again or (process.kind == "planner" and status != 0 and process.tries < 3)
            asked.unlink(missing_ok=True)
            if again:
                job["pending"].append(process.element)
                key = str(process.element)
                job["restarts"][key] = job["restarts"].get(key, 0) + 1
            save(self.root, process.job, job)

    def _fate(self, kind: str) -> float | None:
        if self.rng.random() >= self.kill:
            return None
        return time.monotonic() + self.lifetime_s * self.rng.random() * (1.0 if kind == "worker" else 0.25)

    def _perhaps_kill(self, process: Process) -> None:
        if process.kill_at is not None and time.monotonic() > process.kill_at:
            process.kill_at = None
            if process.kind == "worker" and self.rng.random() < self.zombies:
                self.kills["zombie"] += 1
                self.undead.append(process.pid)
                self.processes.remove(process)
                self._ended(process, signal.SIGKILL)
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
                self.kills[process.kind] += 1


def forget(root: Path) -> None:
    """Remove a simulated cluster."""
    shutil.rmtree(root, ignore_errors=True)
