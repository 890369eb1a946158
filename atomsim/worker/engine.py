"""Runs the tasks of one step: here, in batches on a GPU, or in a pool of processes on a CPU.

Whatever happens to one task stays with that task: an exception or a dead process becomes a
record that says so, and the other tasks' records are what they would have been without it.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from atomsim.errors import AtomsimError, InputError
from atomsim.models.shared import Shared
from atomsim.records import Record, Task, task_id, to_line
from atomsim.tasks import kind_of
from atomsim.tasks.base import Context, Inputs, record_of

if TYPE_CHECKING:
    from atomsim.batch import Batch, Evaluation
    from atomsim.models.interface import Potential

LOADER = "atomsim.models.load:load_potential"
PACKAGES = ("atomsim", "torch", "chgnet", "mace-torch", "ase", "pymatgen", "numpy", "spglib")
TELL_S = 0.5
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
    """Folder where evaluations are kept, so that an interrupted task goes on (``worker.checkpoint``)."""
    checkpoints_before: tuple[str, ...] = ()
    """Folders of those who ran the same tasks earlier; read, never written."""
    checkpoint_s: float = 30.0
    """How often they are written, s."""

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
        if self.checkpoints is None:
            return potential
        from atomsim.worker.checkpoint import Remembering

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
    """Told how many systems were evaluated, now and then while tasks run."""
    shared: Shared = field(default_factory=Shared, compare=False)
    """What tasks need together, computed once in this process."""


class Tally:
    """Evaluations not told of yet."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self.tell = tell
        self.calls = 0
        self.made = 0
        """All since the last record."""
        self.told = time.monotonic()

    def add(self, calls: int) -> None:
        """Count; tell at most twice a second."""
        self.calls += calls
        self.made += calls
        if time.monotonic() - self.told > TELL_S:
            self.settle()

    def settle(self) -> None:
        """Tell what was not told yet; also that it was nothing, as that is a sign of life."""
        calls, self.calls, self.told = self.calls, 0, time.monotonic()
        self.tell(calls)

    def since_record(self) -> int:
        """Tell, and return what was evaluated since the last record."""
        self.settle()
        made, self.made = self.made, 0
        return made


class Counted:
    """A potential that tells how many systems it has evaluated; those remembered do not count."""

    def __init__(self, potential: Potential, tally: Tally) -> None:
        self.potential = potential
        self.tally = tally

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate and count."""
        remembered = getattr(self.potential, "replayed", 0)
        said = self.potential(batch)
        self.tally.add(batch.n_systems - (getattr(self.potential, "replayed", 0) - remembered))
        return said

    @cached_property
    def double(self) -> Counted:
        """The same potential in float64, counted together with this one; AttributeError where there is none."""
        return Counted(self.potential.double, self.tally)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        """Everything else is the potential's."""
        return getattr(self.potential, name)


@dataclass(frozen=True)
class Outcome:
    """A record, and what differs from run to run."""

    record: Record
    wall_s: float
    attempt: int = 1
    evaluations: int = 0
    """Systems that its process evaluated for it, or, in a batch, since the record before."""


def describe(potential: Potential) -> dict[str, Any]:
    """Return what identifies a potential, JSON-able."""
    return {
        "name": potential.name,
        "sha256": potential.sha256,
        "device": str(potential.device),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "cutoff_A": float(potential.cutoff),
        "elements": sorted(potential.elements),
    }


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run_job(job: Job, engine: Engine, potential: Potential | None) -> Iterator[Record]:
    """Run every task of a job; yield each record, with its provenance, as soon as it is there.

    On a CPU every process evaluates one system at a time on one thread, so that a result does
    not depend on scheduling, on the number of processes or on an interruption. Of several GPUs
    each has a process of its own.
    """
    from atomsim.machine import allotted_gpus  # torch is imported only where it is needed
    from atomsim.worker.pool import pooled

    if potential is None or engine.processes == 0:
        outcomes = serial(job, potential)
    elif potential.device.type != "cuda":
        outcomes = pooled(job, replace(engine, device=str(potential.device)))
    elif len(gpus := allotted_gpus(engine.device)) > 1 and len(job.tasks) > 1:
        outcomes = pooled(job, replace(engine, device="cuda:0"), gpus)
    else:
        outcomes = batched(job, potential)
    tasks = {task.id: task for task in job.tasks}
    for outcome in outcomes:
        yield _stamp(outcome, tasks[outcome.record.task], job, potential)


def serial(job: Job, potential: Potential | None) -> Iterator[Outcome]:
    """Run tasks one after another in this process."""
    for task in job.tasks:
        yield guarded(job, task, potential)


def batched(job: Job, potential: Potential) -> Iterator[Outcome]:
    """Run all tasks together; if that fails, those without a record one by one."""
    start, seen = time.monotonic(), set()
    tally = Tally(job.on_calls or _unheard)
    surface = Counted(potential, tally)
    try:
        for record in kind_of(job.kind).run(job.tasks, job.settings, job.inputs, job.context, surface, job.shared):
            seen.add(record.task)
            yield Outcome(finite(record), time.monotonic() - start, evaluations=tally.since_record())
    except Exception:
        _complain(job, "the batch failed; its unfinished tasks are run one by one")
    for task in job.tasks:
        if task.id not in seen:
            yield guarded(job, task, potential)


def guarded(job: Job, task: Task, potential: Potential | None) -> Outcome:
    """Run one task; whatever it raises becomes its record."""
    start = time.monotonic()
    tally = Tally(job.on_calls or _unheard)
    surface = None if potential is None else Counted(potential, tally)
    try:
        records = list(kind_of(job.kind).run([task], job.settings, job.inputs, job.context, surface, job.shared))
        if [r.task for r in records] != [task.id]:
            raise RuntimeError(f"step kind {job.kind} gave {len(records)} records for one task")  # noqa: TRY301
        record = finite(records[0])
    except Exception as error:
        _complain(job, f"{task.label} of step {task.step}")
        record = failed(task, error)
    made = 0 if surface is None else tally.since_record()
    if potential is not None and hasattr(potential, "next_task"):  # it keeps checkpoints
        potential.next_task()
    return Outcome(record, time.monotonic() - start, evaluations=made)


def _unheard(calls: int) -> None:
    """Nobody listens."""


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


def _stamp(outcome: Outcome, task: Task, job: Job, potential: Potential | None) -> Record:
    """Add provenance, equal in every run, and the circumstances of this one."""
    provenance: dict[str, Any] = {
        "versions": versions(),
        "seed": job.context.seed,
        "settings": job.settings.model_dump(mode="json"),
        "inputs_sha256": task_id(asdict(task)),
    }
    if potential is not None:
        about = describe(potential)
        provenance["potential"] = {"name": about["name"], "sha256": about["sha256"]}
        provenance |= {"device": about["device"], "dtype": about["dtype"]}
        # one potential may be computed in several ways, equal to rounding
        how = {key: getattr(potential, key, "") for key in ("kernel", "kernel_note")}
        provenance |= {key: word for key, word in how.items() if word}
    circumstances = {
        "finished": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "wall_s": round(outcome.wall_s, 3),
        "attempt": outcome.attempt,
    } | ({} if potential is None else {"evaluations": outcome.evaluations})
    return replace(outcome.record, provenance=outcome.record.provenance | provenance, run=circumstances)


def check_processes(processes: int) -> int:
    """Return a number of processes that makes sense.

    Raises:
        InputError: if it is negative.
    """
    if processes < 0:
        raise InputError(f"--processes is {processes}, wanted 1 or more (0 runs everything in this process)")
    return processes
