"""A worker: one process with one GPU (or some cores) that takes a chunk to its end, or to its time's end.

The tasks themselves go through ``execution.dispatch.run_job``, as those of ``atomsim run`` do.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from atomsim.errors import AtomsimError, InputError
from atomsim.execution.dispatch import run_job
from atomsim.execution.job import Engine, Job
from atomsim.slurm.client import Slurm
from atomsim.slurm.journal import Journal
from atomsim.slurm.place import ChunkAssignment
from atomsim.slurm.profile import Cluster
from atomsim.slurm.settings import Settings, engine_of
from atomsim.slurm.waking import wake
from atomsim.slurm.watchdog import BEAT_S, Stopped, Watch
from atomsim.store.claims import Attempt, attempts, checkpoints, claim, done_before, earlier_checkpoints, superseded
from atomsim.store.provenance import versions
from atomsim.store.records import Ledger, Record
from atomsim.store.rounds import Manifest, key_of, read_chunks, read_header, read_tasks, rounds
from atomsim.store.run_folder import RunFolder
from atomsim.store.state import forget_states, saved_by
from atomsim.tasks import kind_of, packages_of
from atomsim.tasks.base import Context

if TYPE_CHECKING:
    from atomsim.models.interface import Potential

DEVICE_FAULTS = (
    "CUDA error",
    "cudaError",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
    "device-side assert",
    "uncorrectable ECC",
    "AcceleratorError",
    "no CUDA-capable device",
    "GPU is lost",
)
"""Errors of a faulty device, whose results are worth nothing any more; the structure is not to blame."""
RESTARTED = "ATOMSIM_RESTARTED"


class BadDeviceError(AtomsimError):
    """The GPU is broken, or this process has broken it."""


class RefusedError(AtomsimError):
    """Refusal to compute: the work is not what was planned, and no work is better than wrong work."""


def work(place: ChunkAssignment, slurm: Slurm) -> int:
    """Take a chunk; return the process's exit code.

    Raises:
        AtomsimError: if records cannot be written.
    """
    journal = Journal(place.run)
    settings = journal.settings()
    header = read_header(place.folder, place.round)
    reason = _nothing_to_do(place, journal)
    if reason:
        _say(f"nothing to do: {reason}")
        return 0
    key = key_of(place.round, place.chunk)
    who = {
        "token": place.token,
        "job": place.job,
        "element": place.element,
        "host": place.host,
        "pid": os.getpid(),
        "restarts": place.restarts,
        "time": time.time(),
    }
    attempt = claim(place.folder, key, who)
    _say(f"chunk {key}, attempt {attempt.number}, on {place.host}")
    cluster = settings.profile
    watch = _watch(place, attempt, cluster)
    watch.hard = lambda: _put_back(place, journal, slurm, watch)
    watch.start()
    return _guarded(place, journal, settings, header, attempt, watch, slurm)


def _guarded(
    place: ChunkAssignment,
    journal: Journal,
    settings: Settings,
    header: Manifest,
    attempt: Attempt,
    watch: Watch,
    slurm: Slurm,
) -> int:
    """Run the chunk; whatever ends it is written down."""
    try:
        _run(place, journal, settings, header, attempt, watch)
    except Stopped as stop:
        watch.finish(str(stop))
        _say(f"stopped: {stop}")
        if not _put_back(place, journal, slurm, watch) and watch.why == "walltime":
            wake(place, journal, settings, slurm, _say)
        return 0
    except RefusedError as error:
        watch.finish("refused", str(error))
        _say(f"error: {error}")
        wake(place, journal, settings, slurm, _say)
        return 2
    except BadDeviceError as error:
        watch.finish("bad_device" if RESTARTED in os.environ else "restart", str(error))
        _say(f"error: {error}")
        if RESTARTED not in os.environ:
            os.environ[RESTARTED] = "1"
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command again
        wake(place, journal, settings, slurm, _say)
        return 1
    except Exception as error:
        watch.finish("error", f"{type(error).__name__}: {error}")
        wake(place, journal, settings, slurm, _say)
        raise
    watch.finish("done")
    shutil.rmtree(checkpoints(place.folder, attempt.key), ignore_errors=True)
    _say(f"done: {watch.tally.counts}")
    wake(place, journal, settings, slurm, _say)
    return 0


def _nothing_to_do(place: ChunkAssignment, journal: Journal) -> str:
    """Return why this chunk needs no work of this process; empty if it does."""
    closed = journal.closed()
    if closed is not None and closed["why"] == "cancelled":
        return "the campaign was cancelled"
    if place.round < rounds(place.folder)[-1]:
        return "a later round has begun"
    before = attempts(place.folder, key_of(place.round, place.chunk)).get(key_of(place.round, place.chunk), [])
    if not before:
        return ""
    last = before[-1]
    end = last.read(place.folder, "end")
    if end is not None and end["why"] == "done":
        return "the chunk is done"
    if end is None and last.claim["token"] != place.token and _fresh(place.folder / f"{last.stem}.beat.json"):
        return f"job {last.claim['job']} is working on it"
    return ""


def _fresh(beat: Path) -> bool:
    try:
        return time.time() - beat.stat().st_mtime < 4 * BEAT_S
    except OSError:
        return False


def _watch(place: ChunkAssignment, attempt: Attempt, cluster: Cluster) -> Watch:
    deadline = time.time() + cluster.work_s
    if place.ends is not None:
        deadline = min(deadline, max(place.ends - cluster.worker.stop_before_s, time.time() + 1.0))
    return Watch(
        step=place.folder,
        attempt=attempt,
        host=place.host,
        deadline=deadline,
        hang_s=cluster.worker.hang_s,
        grace_s=max(2.0, cluster.worker.stop_before_s / 2),
    )


def _run(
    place: ChunkAssignment, journal: Journal, settings: Settings, header: Manifest, attempt: Attempt, watch: Watch
) -> None:
    """Run the tasks of a chunk that have no record yet."""
    try:
        chunk = next(c for c in read_chunks(place.folder, place.round) if c.number == place.chunk)
        tasks = read_tasks(place.folder, chunk)
        kind = kind_of(header.job["kind"])
    except AtomsimError as error:
        raise RefusedError(str(error)) from error
    done = done_before(place.folder, attempt)
    pending = [task for task in tasks if task.id not in done]
    if not pending:
        return
    before = earlier_checkpoints(place.folder, place.round, {task.id for task in pending})
    base = engine_of(settings)
    engine = replace(
        base,
        checkpoints=str(checkpoints(place.folder, attempt.key)),
        checkpoints_before=tuple(str(folder) for folder in before),
        # a worker with little time left must save before it ends, or its successor begins where it did
        checkpoint_s=min(base.checkpoint_s, max(0.0, watch.deadline - time.time()) / 4),
        run=str(place.run),
        writer=_writer(attempt.number),
    ).for_kind(header.job["kind"])
    potential = _load(engine, header, RunFolder(place.run).kinds)
    if not engine.replay:
        watch.left_something = lambda: saved_by(checkpoints(place.folder, attempt.key), _writer(attempt.number))
    watch.begin()
    log = journal.path / "logs" / f"{place.step}-{attempt.key}.a{attempt.number:03d}.log"
    job = Job(
        kind=header.job["kind"],
        settings=kind.Settings.model_validate(header.job["settings"]),
        tasks=pending,
        context=context_from(header),
        inputs={},
        log=log,
        on_calls=watch.worked,
    )
    ledger = Ledger(place.folder / attempt.ledger)
    by_id = {task.id: task for task in tasks}
    try:
        for record in run_job(job, engine, potential):
            task = by_id[record.task]
            _keep(record, kind.cost(task, job.settings), ledger, place, attempt, watch)
    finally:
        if hasattr(potential, "flush"):
            potential.flush()


def _writer(attempt: int) -> str:
    """Return the name that the states saved by an attempt at a chunk go by."""
    return f"a{attempt:03d}"


def _keep(record: Record, cost: float, ledger: Ledger, place: ChunkAssignment, attempt: Attempt, watch: Watch) -> None:
    """Write a record unless the device is faulty or the attempt was superseded."""
    watch.check()
    if not record.good and any(words in record.message for words in DEVICE_FAULTS):
        raise BadDeviceError(f"{record.label}: {record.message}")
    if superseded(place.folder, attempt):
        raise Stopped("fenced")
    run = record.run | {"attempt": attempt.number, "host": place.host, "chunk": attempt.key}
    ledger.append(replace(record, run=run))
    watch.tally.add(record, cost, ledger.path.stat().st_size)
    # of this attempt and those before it: whoever takes over meanwhile keeps what it saved
    mine = [_writer(number) for number in range(1, attempt.number + 1)]
    forget_states(checkpoints(place.folder, attempt.key), record.task, mine)
    if not record.good:
        _say(f"{record.label}: {record.status} {record.message}")


def _load(engine: Engine, header: Manifest, kinds: Iterable[str]) -> Potential:
    """Load the potential, and refuse to work if it or the code is not what was planned with."""
    now, planned = versions() | packages_of(*kinds), header.job["versions"]
    changed = sorted(k for k in now.keys() | planned.keys() if now.get(k) != planned.get(k))
    if changed:
        what = ", ".join(f"{k} is {now.get(k)} here, was {planned.get(k)}" for k in changed)
        raise RefusedError(f"packages on this node differ from those that planned: {what}; use one environment")
    try:
        potential: Potential = engine.load()
    except InputError as error:
        raise RefusedError(str(error)) from error
    except RuntimeError as error:
        if any(words in f"{type(error).__name__}: {error}" for words in DEVICE_FAULTS):
            raise BadDeviceError(str(error).splitlines()[0]) from error
        raise
    wanted = header.job["context"]["potential_sha256"]
    if potential.sha256 != wanted:
        raise RefusedError(
            f"the weights of {potential.name} are {potential.sha256[:12]} here, {wanted[:12]} were planned with; "
            "restore them, or submit into a new folder"
        )
    return potential


def context_from(header: Manifest) -> Context:
    """Return the context of a step as its manifest has it."""
    return Context.from_json(header.job["context"])


def _put_back(place: ChunkAssignment, journal: Journal, slurm: Slurm, watch: Watch) -> bool:
    """Have the job run again if its time was up, it got on, and nobody wants it gone."""
    got_on = watch.progress or watch.tally.counts
    if not (watch.why == "walltime" and place.job and got_on and journal.closed() is None):
        return False
    back = slurm.requeue(place.job)
    _say("put back into the queue" if back else "not put back: the planner will continue")
    return back


def _say(message: str) -> None:
    sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {message}\n")
    sys.stdout.flush()
