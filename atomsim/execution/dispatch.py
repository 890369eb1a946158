"""Runs a job where it belongs: in this process, in a pool of processes on a CPU, or on several GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from atomsim.execution.job import Engine, Job, TaskOutcome, batched, serial
from atomsim.execution.pool import pooled
from atomsim.store.provenance import describe, versions
from atomsim.store.records import Record, Task, task_id
from atomsim.tasks import packages_of

if TYPE_CHECKING:
    from atomsim.models.interface import Potential


def run_job(job: Job, engine: Engine, potential: Potential | None) -> Iterator[Record]:
    """Run every task of a job; yield each record, with its provenance, as soon as it is there.

    On a CPU every process evaluates one system at a time on one thread, so that a result does
    not depend on scheduling, on the number of processes or on an interruption. Of several GPUs
    each has a process of its own.
    """
    from atomsim.execution.machine import allotted_gpus  # torch is imported only where it is needed

    job = job.keeping(engine.places(job.kind, potential))
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


def _stamp(outcome: TaskOutcome, task: Task, job: Job, potential: Potential | None) -> Record:
    """Add provenance, equal in every run, and the circumstances of this one."""
    provenance: dict[str, Any] = {
        "versions": versions() | packages_of(job.kind),
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
    record = outcome.record
    return replace(record, provenance=record.provenance | provenance, run=record.run | circumstances)
