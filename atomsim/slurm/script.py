"""The text of job scripts. Nothing here touches Slurm or a file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atomsim.slurm.options import slurm_time
from atomsim.slurm.profile import Allocation, Cluster

RETRIES = 3
"""A planner that is killed is begun again so often within its job."""
DEAF = "trap '' USR1"
"""A warning that comes before Python listens would kill it, which looks like a worker that never started; the worker
keeps its own clock."""


@dataclass(frozen=True)
class ArrayJob:
    """One job array: a run of chunks of one round."""

    token: str
    """Unique name of this submission; what Slurm calls the job, and what the ledger knows it by."""
    step: str
    """Folder of the step."""
    round: int
    first: int
    """Chunk of its first worker."""
    chunks: int
    exclude: tuple[str, ...] = ()
    """Nodes to keep away from."""


@dataclass(frozen=True)
class PlannerJob:
    """The job that continues when arrays have ended."""

    token: str
    after: tuple[str, ...]
    """Job ids that it waits for; it looks in the ledger, so a wrong one does no harm."""
    delay_s: int = 0
    """Least delay of the job, s."""


def elements(chunks: int, workers_per_job: int) -> int:
    """Number of array elements that so many chunks take."""
    return -(-chunks // workers_per_job)


def array_script(cluster: Cluster, job: ArrayJob, run: Path) -> str:
    """Return the script of a job array.

    Python replaces the shell (``exec``): a shell with traps loses warnings. With several workers
    in one job, ``srun`` starts them, each with a GPU of its own; the warning then goes to the steps.
    """
    slurm = cluster.slurm
    count = elements(job.chunks, slurm.workers_per_job)
    parallel = slurm.workers_per_job > 1
    warning = int(cluster.worker.stop_before_s)
    lines = [
        *_common(cluster, job.token, run, slurm.partition, slurm.walltime),
        f"--array=0-{count - 1}%{min(cluster.limits.max_running, count)}",
        f"--output={_quoted(_logs(run))}/%x-%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal={'' if parallel else 'B:'}USR1@{warning}",
        f"--ntasks={slurm.workers_per_job}",
        f"--cpus-per-task={slurm.cores_per_worker}",
        *_gpus(slurm),
        *_if(parallel, "--nodes=1"),
        *_if(slurm.memory_per_worker_MB, f"--mem={slurm.memory_per_worker_MB * slurm.workers_per_job}M"),
        *_if(slurm.constraint, f"--constraint={slurm.constraint}"),
        *_if(job.exclude, f"--exclude={','.join(job.exclude)}"),
        *slurm.options,
    ]
    words = ["worker", str(run), "--step", job.step, "--round", str(job.round), "--first", str(job.first)]
    words += ["--chunks", str(job.chunks), "--token", job.token]
    start = f"{_python(cluster)} {shlex.join(words)}"
    if parallel:
        # since 22.05 steps do not inherit --cpus-per-task
        steps = f"srun --kill-on-bad-exit=0 --ntasks={slurm.workers_per_job} --cpus-per-task={slurm.cores_per_worker}"
        start = f"{steps}{_each(slurm)} {start}"
    return _script(cluster, lines, f"exec {start}", DEAF)


def planner_script(cluster: Cluster, job: PlannerJob, run: Path) -> str:
    """Return the script of the job that continues when arrays have ended, however they ended."""
    partition = cluster.planner.partition or cluster.slurm.partition
    lines = [
        *_common(cluster, job.token, run, partition, cluster.planner.walltime),
        f"--output={_quoted(_logs(run))}/%x.log",
        "--open-mode=append",
        "--requeue",
        *_if(job.after, f"--dependency=afterany:{':'.join(job.after)}"),
        *_if(job.delay_s, f"--begin=now+{job.delay_s}"),
        "--ntasks=1",
        *_if(cluster.planner.memory_MB, f"--mem={cluster.planner.memory_MB}M"),
        *cluster.planner.options,
    ]
    command = f"{_python(cluster)} {shlex.join(['resume', str(run), '--token', job.token])}"
    body = f"for attempt in $(seq {RETRIES}); do\n  {command} && exit 0\n  sleep 20\ndone\nexit 1"
    return _script(cluster, lines, body)


def _common(cluster: Cluster, token: str, run: Path, partition: str, walltime: str) -> list[str]:
    return [
        f"--job-name={token}",
        f"--comment={token}",
        f"--partition={partition}",
        *_if(cluster.slurm.account, f"--account={cluster.slurm.account}"),
        *_if(cluster.slurm.qos, f"--qos={cluster.slurm.qos}"),
        f"--time={slurm_time(walltime)}",
        f"--chdir={_quoted(str(run))}",
    ]


def _gpus(slurm: Allocation) -> tuple[str, ...]:
    """Return how a job asks for its GPUs at this site."""
    if not slurm.gpus_per_worker or slurm.gpu_request == "none":
        return ()
    kind = f"{slurm.gpu_type}:" if slurm.gpu_type else ""
    if slurm.gpu_request == "gres":
        return (f"--gres=gpu:{kind}{slurm.workers_per_job}",)
    count = 1 if slurm.gpu_request == "gpus-per-task" else slurm.workers_per_job
    return (f"--{slurm.gpu_request}={kind}{count}",)


def _each(slurm: Allocation) -> str:
    """Return what gives each of a job's workers a GPU of its own, and keeps early warnings from it."""
    by_number = slurm.gpus_per_worker and slurm.gpu_request == "none"  # Slurm knows of no GPUs
    own = "export CUDA_VISIBLE_DEVICES=$SLURM_LOCALID; " if by_number else ""
    option = " --gpus-per-task=1" if slurm.gpus_per_worker and not by_number else ""
    return f"""{option} bash -c {shlex.quote(f'{DEAF}; {own}exec "$@"')} worker"""


def _script(cluster: Cluster, options: Sequence[str], body: str, *first: str) -> str:
    head = "".join(f"#SBATCH {option}\n" for option in options)
    threads = cluster.slurm.cores_per_worker if cluster.worker.device == "cuda" else 1
    settings = f"export OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads} PYTHONUNBUFFERED=1"
    setup = "".join(line + "\n" for line in (*first, *cluster.environment.setup))
    return f"#!/bin/bash -l\n{head}\n{setup}{settings}\n{body}\n"


def _python(cluster: Cluster) -> str:
    python = cluster.environment.python or sys.executable
    return f"{shlex.quote(python)} -P -m atomsim.cli"


def _logs(run: Path) -> str:
    # Slurm reads % in a file name as a mark of its own
    return str(run / "slurm" / "logs").replace("%", "%%")


def _quoted(path: str) -> str:
    """Quote a path for a line of sbatch options, which knows double quotes and backslashes."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _if(condition: object, *options: str) -> tuple[str, ...]:
    return options if condition else ()
