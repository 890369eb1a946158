"""A pool of processes that outlives the death of any of them.

Each process (``atomsim.worker.child``) is a fresh interpreter with one thread; tasks go in and
records come out as lines of JSON, so a pool works from scripts, notebooks and the command line
alike, and a process that is killed takes only its own task with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import IO, Any

from atomsim.errors import AtomsimError
from atomsim.records import Task, from_line
from atomsim.tasks.base import record_of
from atomsim.worker.engine import Engine, Job, Outcome

ATTEMPTS = 2
"""How often a task may take its process down before it is given up."""
LEAVE_S = 3.0
"""How long processes may take to write their checkpoints when the work is stopped."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass
class Child:
    """A process of the pool and the task that it holds."""

    process: subprocess.Popen[bytes]
    task: Task | None = None
    attempt: int = 0
    ready: bool = False
    stopping: bool = False

    @property
    def expected(self) -> bool:
        """Whether it will ask for a task once it has started."""
        return not self.ready and not self.stopping

    def send(self, content: dict[str, Any]) -> None:
        """Write one line; a process that has died meanwhile is noticed by its closed pipe."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Let it end: it ends when nothing more can come."""
        self.stopping = True
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


@dataclass
class Pool:
    """State of a running pool."""

    job: Job
    engine: Engine
    log: IO[bytes] | None
    waiting: deque[tuple[Task, int]]
    replies: SimpleQueue[tuple[Child, dict[str, Any] | None]] = field(default_factory=SimpleQueue)
    children: list[Child] = field(default_factory=list)
    failed_starts: int = 0

    def top_up(self) -> None:
        """Start processes while there is more to do than there are processes coming."""
        coming = sum(child.expected for child in self.children)
        while len(self.children) < self.engine.processes and coming < len(self.waiting):
            self.children.append(self._start())
            coming += 1

    def give(self, child: Child) -> None:
        """Give a free process the next task, or let it end."""
        if self.waiting:
            child.task, child.attempt = self.waiting.popleft()
            child.send(asdict(child.task))
        else:
            child.stop()

    def ended(self, child: Child) -> Outcome | None:
        """Deal with a process that is gone: its task is tried again, then given up."""
        self.children.remove(child)
        code = _exit_code(child.process)
        if child.task is None:
            self.failed_starts += not child.ready
            if self.failed_starts > ATTEMPTS:
                raise AtomsimError(f"worker processes do not start ({_ending(code)}); log.txt says why")
            return None
        if child.attempt < ATTEMPTS:
            self.waiting.append((child.task, child.attempt + 1))
            return None
        message = f"its process died {ATTEMPTS} times ({_ending(code)}); too little memory perhaps: use fewer processes"
        return Outcome(record_of(child.task, "crashed", message), 0.0, child.attempt)

    def _start(self) -> Child:
        command = [sys.executable, "-P", "-m", "atomsim.worker.child"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log or subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
            # Ctrl-C is for this process alone; it ends the others.
            start_new_session=True,
        )
        child = Child(process)
        child.send(_job_line(self.job, self.engine))
        threading.Thread(target=_listen, args=(child, self.replies), daemon=True).start()
        return child


def pooled(job: Job, engine: Engine) -> Iterator[Outcome]:
    """Run a job's tasks in ``engine.processes`` processes, yielding outcomes as they come.

    Raises:
        AtomsimError: if processes cannot be started at all.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(job.log.open("ab")) if job.log else None
        pool = Pool(job, engine, log, deque((task, 1) for task in job.tasks))
        stack.callback(_kill, pool)
        left = len(job.tasks)
        while left:
            pool.top_up()
            child, reply = pool.replies.get()
            outcome = _take(pool, child, reply)
            if outcome is not None:
                left -= 1
                yield outcome


def _take(pool: Pool, child: Child, reply: dict[str, Any] | None) -> Outcome | None:
    """Act on one reply of a process; None where it brings no outcome."""
    if reply is None:
        return pool.ended(child)
    if "error" in reply:
        raise AtomsimError(reply["error"])
    if "ready" in reply:
        if reply["ready"] != pool.job.context.potential_sha256:
            raise AtomsimError("the potential's weights changed while it was being loaded; run the same command again")
        child.ready = True
        pool.give(child)
        return None
    if "calls" in reply:
        if pool.job.on_calls:
            pool.job.on_calls(reply["calls"])
        return None
    outcome = Outcome(from_line(reply["record"]), reply["wall_s"], child.attempt)
    child.task = None
    pool.give(child)
    return outcome


def _job_line(job: Job, engine: Engine) -> dict[str, Any]:
    context = asdict(job.context)
    context["base_dir"] = str(context["base_dir"])
    context["elements"] = sorted(context["elements"]) if context["elements"] is not None else None
    return {
        "parent": os.getpid(),
        "engine": asdict(engine),
        "kind": job.kind,
        "settings": job.settings.model_dump(mode="json"),
        "context": context,
    }


def _listen(child: Child, replies: SimpleQueue[tuple[Child, dict[str, Any] | None]]) -> None:
    """Pass on what a process says; None when it has ended."""
    assert child.process.stdout is not None
    for line in child.process.stdout:
        try:
            reply = json.loads(line)
        except ValueError:  # torn by a kill
            break
        replies.put((child, reply))
    replies.put((child, None))


def _kill(pool: Pool) -> None:
    if pool.engine.checkpoints is not None:
        for child in pool.children:
            child.process.terminate()  # it writes its checkpoint and ends
        deadline = time.monotonic() + LEAVE_S
        for child in pool.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
    for child in pool.children:
        child.process.kill()
    for child in pool.children:
        child.process.wait()


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Exit code of a process that has closed its output."""
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def available_cores() -> int:
    """Cores that this process may use, at least 1."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
