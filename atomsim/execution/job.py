"""A job: the tasks of one step, run in this process, one by one or in batches.

Whatever happens to one task stays with that task: an exception or a dead process becomes a
record that says so, and the other tasks' records are what they would have been without it.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from atomsim.errors import AtomsimError, InputError, StorageError
from atomsim.models.shared import Shared
from atomsim.store.provenance import versions
from atomsim.store.records import Record, Task, record_of, task_id, to_line
from atomsim.store.storage import Places, Storage
from atomsim.tasks import kind_of, packages_of
from atomsim.tasks.base import Context, Inputs

if TYPE_CHECKING:
    from atomsim.batch import Batch, Evaluation
    from atomsim.models.interface import Potential

LOADER = "atomsim.models.load:load_potential"
REPORT_S = 0.5
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Engine:
    """With which potential, where and with how many processes tasks are run."""

    potential: str = "chgnet-0.3.0"
    """Name of a card, or path of a .model file."""
    device: str = "auto"
    dtype: str | None = None
    processes: int = 1
    """Processes on a CPU, one thread each; 0 runs everything in this one, for debugging. GPUs have one each."""
    trust_file: bool = False
    """Load a .model file that no card pins; such a file can run any code."""
    loader: str = LOADER
    """``module:function`` that makes the potential, in this process and in the others."""
    checkpoints: str | None = None
    """Folder where evaluations are kept, so that an interrupted task resumes (``execution.checkpoint``)."""
    checkpoints_before: tuple[str, ...] = ()
    """Folders of those who ran the same tasks earlier; read, never written."""
    checkpoint_s: float = 30.0
    """Interval of checkpoints, s."""
    replay: bool = True
    """Keep evaluations there; not for kinds that keep their state instead (``for_kind``)."""
    run: str | None = None
    """Folder of the run, for artifacts; None keeps them for as long as this process lives."""
    writer: str = "local"
    """Which attempt at its tasks this is."""

    def for_kind(self, kind: str) -> Engine:
        """Return the engine for tasks of a kind: those that keep their state have no evaluations kept."""
        return replace(self, replay=not getattr(kind_of(kind), "KEEPS_STATE", False))

    def places(self, kind: str, potential: Potential | None) -> Places:
        """Return where tasks of a kind keep their state and artifacts."""
        identity = task_id(versions() | packages_of(kind), str(getattr(potential, "dtype", "")))
        states = None if self.checkpoints is None or self.replay else Path(self.checkpoints)
        return Places(
            run=None if self.run is None else Path(self.run),
            states=states,
            earlier=tuple(Path(folder) for folder in self.checkpoints_before),
            writer=self.writer,
            identity=identity,
            interval_s=self.checkpoint_s,
        )

    def load(self) -> Potential:
        """Build the potential.

        Raises:
            InputError: if there is no such potential, or it must not be loaded, or has no identity.
        """
        from atomsim.models.interface import refuse_unidentified  # torch is imported only where it is needed

        module, _, function = self.loader.partition(":")
        build: Callable[..., Potential] = getattr(import_module(module), function)
        potential = build(self.potential, device=self.device, dtype=self.dtype, trust_file=self.trust_file)
        refuse_unidentified(potential)
        if self.checkpoints is None or not self.replay:
            return potential
        from atomsim.execution.checkpoint import Remembering

        before = [Path(folder) for folder in self.checkpoints_before]
        return Remembering(potential, Path(self.checkpoints), self.checkpoint_s, before)


@dataclass(frozen=True)
class Job:
    """The tasks of one step, all that is needed to run them, and where to write complaints."""

    kind: str
    settings: BaseModel
    tasks: Sequence[Task]
    context: Context
    inputs: Inputs
    log: Path | None = None
    on_calls: Callable[[int], None] | None = None
    """Receiver of the number of systems evaluated, now and then while tasks run."""
    shared: Shared = field(default_factory=Shared, compare=False)
    """Results that tasks need together, computed once in this process."""

    def keeping(self, places: Places) -> Job:
        """Return the job with its tasks' states and artifacts in these places."""
        return replace(self, context=replace(self.context, kept=Storage(places)))


class EvaluationCounter:
    """Counter of evaluations that were not reported yet."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self.report = report
        self.calls = 0
        self.made = 0
        """All since the last record."""
        self.reported = time.monotonic()

    def add(self, calls: int) -> None:
        """Count; report at most twice a second."""
        self.calls += calls
        self.made += calls
        if time.monotonic() - self.reported > REPORT_S:
            self.flush()

    def flush(self) -> None:
        """Report what was not reported yet; also that it was nothing, as that is a sign of life."""
        calls, self.calls, self.reported = self.calls, 0, time.monotonic()
        self.report(calls)

    def since_record(self) -> int:
        """Report, and return the number of evaluations since the last record."""
        self.flush()
        made, self.made = self.made, 0
        return made


class Counted:
    """A potential that counts the systems it has evaluated; those remembered do not count."""

    def __init__(self, potential: Potential, tally: EvaluationCounter) -> None:
        self.potential = potential
        self.tally = tally

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate and count."""
        remembered = getattr(self.potential, "replayed", 0)
        evaluation = self.potential(batch)
        self.tally.add(batch.n_systems - (getattr(self.potential, "replayed", 0) - remembered))
        return evaluation

    @cached_property
    def double(self) -> Counted:
        """The same potential in float64, counted together with this one; AttributeError where there is none."""
        return Counted(self.potential.double, self.tally)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        """Everything else is the potential's."""
        return getattr(self.potential, name)


@dataclass(frozen=True)
class TaskOutcome:
    """A record, and what differs from run to run."""

    record: Record
    wall_s: float
    attempt: int = 1
    evaluations: int = 0
    """Systems that its process evaluated for it, or, in a batch, since the record before."""


def serial(job: Job, potential: Potential | None) -> Iterator[TaskOutcome]:
    """Run tasks one after another in this process."""
    for task in job.tasks:
        yield guarded(job, task, potential)


def batched(job: Job, potential: Potential) -> Iterator[TaskOutcome]:
    """Run all tasks together; if that fails, those without a record one by one."""
    start, seen = time.monotonic(), set()
    tally = EvaluationCounter(job.on_calls or _ignore)
    model = Counted(potential, tally)
    try:
        for record in kind_of(job.kind).run(job.tasks, job.settings, job.inputs, job.context, model, job.shared):
            seen.add(record.task)
            yield TaskOutcome(_noted(finite(record), job), time.monotonic() - start, evaluations=tally.since_record())
    except StorageError:
        raise
    except Exception:
        _complain(job, "the batch failed; its unfinished tasks are run one by one")
    for task in job.tasks:
        if task.id not in seen:
            yield guarded(job, task, potential)


def guarded(job: Job, task: Task, potential: Potential | None) -> TaskOutcome:
    """Run one task; whatever it raises becomes its record."""
    start = time.monotonic()
    tally = EvaluationCounter(job.on_calls or _ignore)
    model = None if potential is None else Counted(potential, tally)
    try:
        records = list(kind_of(job.kind).run([task], job.settings, job.inputs, job.context, model, job.shared))
        if [r.task for r in records] != [task.id]:
            raise RuntimeError(f"step kind {job.kind} gave {len(records)} records for one task")  # noqa: TRY301
        record = finite(records[0])
    except StorageError:  # there is no room: the task continues where it stands once there is
        raise
    except Exception as error:
        _complain(job, f"{task.label} of step {task.step}")
        record = failed(task, error)
    made = 0 if model is None else tally.since_record()
    if potential is not None and hasattr(potential, "next_task"):  # it keeps checkpoints
        potential.next_task()
    return TaskOutcome(_noted(record, job), time.monotonic() - start, evaluations=made)


def _noted(record: Record, job: Job) -> Record:
    """Add how often a task continued from a saved state, and whether any was damaged."""
    return replace(record, run=record.run | job.context.kept.close(record.task))


def _ignore(calls: int) -> None:
    """Drop the count: nobody asked for it."""


def finite(record: Record) -> Record:
    """Return the record, or one without its numbers if any of them is not a number."""
    try:
        to_line(record)
    except ValueError:
        message = record.message or "a result is not a finite number"
        return replace(record, status="not_a_number", message=message, values={}, structure=None)
    return record


def failed(task: Task, error: Exception) -> Record:
    """Return the record of a task that raised."""
    message = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in message.lower() for words in OUT_OF_MEMORY):
        return record_of(task, "too_large", "not enough memory; use fewer processes or a smaller cell")
    if isinstance(error, AtomsimError):
        return record_of(task, "invalid", message)
    return record_of(task, "crashed", f"{type(error).__name__}: {message or 'no message'}; see log.txt")


def _complain(job: Job, what: str) -> None:
    """Write the current exception where a person will look for it."""
    if job.log is None:
        sys.stderr.write(f"{what}\n{traceback.format_exc()}")
        return
    with job.log.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {what}\n{traceback.format_exc()}")


def check_processes(processes: int) -> int:
    """Return a number of processes that makes sense.

    Raises:
        InputError: if it is negative.
    """
    if processes < 0:
        raise InputError(f"--processes is {processes}, wanted 1 or more (0 runs everything in this process)")
    return processes
