"""A pool of processes that outlives the death of any of them.

Each process (``atomsim.execution.child``) is a fresh interpreter with one thread; tasks go in and
records come out as lines of JSON, so a pool works from scripts, notebooks and the command line
alike, and a process that is killed takes only its own task with it.

On a CPU a process holds one task at a time. With several GPUs there is one process each, which
sees its card alone and evaluates a share of the tasks together; the shares shrink as the end
comes near, so that the cards finish at about the same time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import IO, Any

from atomsim.errors import AtomsimError, StorageError
from atomsim.execution.job import Engine, Job, TaskOutcome
from atomsim.execution.machine import ending
from atomsim.store.records import Task, from_line, record_of

ATTEMPTS = 2
"""Crashes of a process after which its task is given up."""
SMALLEST_SHARE = 8
"""Tasks that a GPU is given at least, where there are so many: fewer would not fill it."""
LEAVE_S = 3.0
"""Time for processes to write their checkpoints when the work is stopped."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Slot:
    """Where a process runs: a core of the machine, or a GPU that it has for itself."""

    gpu: str = ""
    """Its ``CUDA_VISIBLE_DEVICES``; empty on a CPU."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a process there."""
        return ONE_THREAD | ({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})


@dataclass
class Child:
    """A process of the pool and the tasks that it holds."""

    process: subprocess.Popen[bytes]
    slot: Slot
    tasks: dict[str, Task] = field(default_factory=dict)
    """Those without a record yet, by id."""
    attempt: int = 0
    ready: bool = False
    stopping: bool = False

    @property
    def expected(self) -> bool:
        """True if it will ask for a task once it has started."""
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
        self.close()

    def close(self) -> None:
        """Close the pipe to it, if it is open."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


@dataclass
class Pool:
    """State of a running pool."""

    job: Job
    engine: Engine
    log: IO[bytes] | None
    free: list[Slot]
    """Places without a process."""
    waiting: deque[tuple[Task, ...]]
    """Tasks that a process may hold together."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Crashes of a process by the task that was alone in it, by id."""
    replies: SimpleQueue[tuple[Child, dict[str, Any] | None]] = field(default_factory=SimpleQueue)
    children: list[Child] = field(default_factory=list)
    failed_starts: int = 0

    def top_up(self) -> None:
        """Start processes while there is more to do than there are processes coming."""
        coming = sum(child.expected for child in self.children)
        while self.free and coming < sum(map(len, self.waiting)):
            self.children.append(self._start(self.free.pop(0)))
            coming += 1

    def give(self, child: Child) -> None:
        """Give a free process the next tasks, or let it end."""
        if not self.waiting:
            child.stop()
            return
        group = self.waiting.popleft()
        share = group[: self._share(len(group)) if child.slot.gpu else 1]
        if len(share) < len(group):
            self.waiting.appendleft(group[len(share) :])
        child.tasks = {task.id: task for task in share}
        child.attempt = max(self.attempts[task.id] for task in share) + 1
        child.send({"tasks": [asdict(task) for task in share]})

    def ended(self, child: Child) -> TaskOutcome | None:
        """Deal with a process that is gone: a task that was alone is tried again, then given up; others part."""
        self.children.remove(child)
        child.close()
        self.free.append(child.slot)
        code, left = _exit_code(child.process), tuple(child.tasks.values())
        if not left:
            self.failed_starts += not child.ready
            if self.failed_starts > ATTEMPTS:
                raise AtomsimError(f"worker processes do not start ({ending(code)}); log.txt says why")
            return None
        if len(left) > 1:  # which of them did it shows when they no longer share a process
            self.waiting.extend((left[: len(left) // 2], left[len(left) // 2 :]))
            return None
        self.attempts[left[0].id] += 1
        if self.attempts[left[0].id] < ATTEMPTS:
            self.waiting.append(left)
            return None
        message = f"its process died {ATTEMPTS} times ({ending(code)}); too little memory perhaps: use fewer processes"
        return TaskOutcome(record_of(left[0], "crashed", message), 0.0, ATTEMPTS)

    def _share(self, waiting: int) -> int:
        """Half of an even split of what is left: guided self-scheduling.

        Polychronopoulos & Kuck, IEEE Trans. Comput. C-36, 1425 (1987), who give a whole one.
        """
        slots = len(self.free) + len(self.children)
        return max(math.ceil(waiting / (2 * slots)), min(SMALLEST_SHARE, math.ceil(waiting / slots)))

    def _start(self, slot: Slot) -> Child:
        command = [sys.executable, "-P", "-m", "atomsim.execution.child"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log or subprocess.DEVNULL,
            env=os.environ | slot.environment,
            # Ctrl-C is for this process alone; it ends the others.
            start_new_session=True,
        )
        child = Child(process, slot)
        child.send(_job_line(self.job, self.engine))
        threading.Thread(target=_listen, args=(child, self.replies), daemon=True).start()
        return child


def pooled(job: Job, engine: Engine, gpus: Sequence[str] = ()) -> Iterator[TaskOutcome]:
    """Run a job's tasks in ``engine.processes`` processes, or in one for each GPU, yielding outcomes as they come.

    Args:
        job: what to run.
        engine: its device is what a process finds there: ``cuda:0`` is its own GPU.
        gpus: ``CUDA_VISIBLE_DEVICES`` of each process; none on a CPU.

    Raises:
        AtomsimError: if processes cannot be started at all.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(job.log.open("ab")) if job.log else None
        slots = [Slot(gpu) for gpu in gpus] or [Slot()] * engine.processes
        groups = [tuple(job.tasks)] if gpus else [(task,) for task in job.tasks]
        pool = Pool(job, engine, log, slots, deque(groups))
        stack.callback(_kill, pool)
        left = len(job.tasks)
        while left:
            pool.top_up()
            child, reply = pool.replies.get()
            outcome = _take(pool, child, reply)
            if outcome is not None:
                left -= 1
                yield outcome


def _take(pool: Pool, child: Child, reply: dict[str, Any] | None) -> TaskOutcome | None:
    """Act on one reply of a process; None where it brings no outcome."""
    if reply is None:
        return pool.ended(child)
    if "error" in reply:
        raise (StorageError if reply.get("storage") else AtomsimError)(reply["error"])
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
    outcome = TaskOutcome(from_line(reply["record"]), reply["wall_s"], child.attempt, reply["made"])
    del child.tasks[outcome.record.task]
    if not child.tasks:
        pool.give(child)
    return outcome


def _job_line(job: Job, engine: Engine) -> dict[str, Any]:
    return {
        "parent": os.getpid(),
        "engine": asdict(engine),
        "kind": job.kind,
        "settings": job.settings.model_dump(mode="json"),
        "context": job.context.to_json(),
    }


def _listen(child: Child, replies: SimpleQueue[tuple[Child, dict[str, Any] | None]]) -> None:
    """Pass on what a process says; None when it has ended."""
    assert child.process.stdout is not None
    with child.process.stdout as output:
        for line in output:
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
        child.close()


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Exit code of a process that has closed its output."""
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def available_cores() -> int:
    """Cores that this process may use, at least 1."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
