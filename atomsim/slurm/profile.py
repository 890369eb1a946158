"""Cluster profiles: what a chemist must know of a cluster, in one strict TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from atomsim import catalog
from atomsim.errors import InputError, nearest
from atomsim.slurm.options import checked_options, checked_time, seconds_of
from atomsim.tasks.base import StepSettings
from atomsim.tasks.keys import describe_settings, explain

LONGEST_MARGIN = 2 / 3
"""Part of a walltime that ``stop_before_s`` may take: a job must get on between its start and that."""

FEWEST_WITH_WATCH = 5
"""A worker, two planners and two watch jobs."""


class Allocation(StepSettings):
    """Keys of ``[slurm]``: what every element of a job array asks for."""

    partition: str = Field(min_length=1, description="partition to run in ('sinfo' lists them)")
    account: str = Field(default="", description="account to charge; the site's default if empty")
    qos: str = Field(default="", description="quality of service; the site's default if empty")
    constraint: str = Field(default="", description="node features, e.g. a100")
    walltime: str = Field(
        description="time limit of one job, [days-]hours:minutes[:seconds]: '04:00' is four hours, '1-12' 36 hours"
    )
    gpus_per_worker: int = Field(default=1, ge=0, le=1, description="1, or 0 on nodes without GPUs")
    gpu_type: str = Field(default="", description="type of GPU, e.g. a100, where the site wants it named")
    gpu_request: Literal["gres", "gpus", "gpus-per-node", "gpus-per-task", "none"] = Field(
        default="gres",
        description="how jobs ask for GPUs: --gres=gpu:1, --gpus=1, --gpus-per-node=1, --gpus-per-task=1, or not at "
        "all (where the partition gives them, or 'options' asks in another way)",
    )
    workers_per_job: int = Field(
        default=1, ge=1, le=64, description="workers side by side in one job: 4 where a node with 4 GPUs is given whole"
    )
    cores_per_worker: int = Field(default=1, ge=1, description="CPU cores for each worker")
    memory_per_worker_MB: int = Field(default=0, ge=0, description="memory for each worker; the site's default if 0")
    options: list[str] = Field(
        default=[],
        description="more sbatch options: '--exclusive', '--reservation=x', '--exclude=n7', '--mem-per-cpu=4000'",
    )

    @field_validator("walltime")
    @classmethod
    def _time(cls, value: str) -> str:
        return checked_time(value)

    @field_validator("options")
    @classmethod
    def _options(cls, value: list[str]) -> list[str]:
        return checked_options(value)


class Limits(StepSettings):
    """Keys of ``[limits]``: what the site allows, and what is polite."""

    max_array_size: int = Field(
        default=1001, ge=1, description="'scontrol show config | grep MaxArraySize'; indices stay below it"
    )
    max_submitted: int = Field(default=1000, ge=3, description="jobs, array elements counted, submitted at once")
    max_running: int = Field(default=16, ge=1, description="jobs running at once")


class Environment(StepSettings):
    """Keys of ``[environment]``: how a node finds atomsim."""

    setup: list[str] = Field(default=[], description="lines of shell before Python, e.g. 'module load cuda'")
    python: str = Field(
        default="",
        description="Python with atomsim, or a script that starts one in a container; the one that submits if empty",
    )

    @field_validator("python")
    @classmethod
    def _one_program(cls, value: str) -> str:
        if " " in value and not Path(value).exists():
            raise ValueError(
                f"found {value!r}, wanted one program; put such a line into an executable script: #!/bin/bash, then "
                f'exec {value} "$@", and name that'
            )
        return value


class Working(StepSettings):
    """Keys of ``[worker]``: how a worker works."""

    device: Literal["cuda", "cpu"] = Field(default="cuda", description="where forces are computed")
    processes: int = Field(default=1, ge=0, description="processes on a CPU, one thread each")
    checkpoint_s: float = Field(default=30.0, gt=0, description="work that a kill may cost")
    stop_before_s: float = Field(default=120.0, ge=5, description="stop so long before the time limit")
    hang_s: float = Field(default=1800.0, gt=0, description="a worker without any sign of work for so long is ended")
    chunk_s: float = Field(default=0.0, ge=0, description="aim of a chunk; half the walltime if 0")
    seconds_per_atom: float = Field(
        default=0.5, gt=0, description="first guess: a worker's time for one atom of one task; then it is measured"
    )


class Planning(StepSettings):
    """Keys of ``[planner]``: the small job after each step."""

    submits: bool = Field(default=True, description="whether jobs on nodes may sbatch; else 'atomsim resume' by hand")
    partition: str = Field(default="", description="where it runs; the workers' partition if empty")
    walltime: str = Field(default="00:30:00", description="its time limit, as that of [slurm]")
    memory_MB: int = Field(default=0, ge=0, description="its memory; the site's default if 0")
    options: list[str] = Field(
        default=[], description="more sbatch options, e.g. '--mail-type=FAIL', '--mail-user=me@example.org'"
    )
    watch: str = Field(
        default="",
        description="how often a small job looks whether jobs are held or planners lost, [days-]hours:minutes; where "
        "the last job of all is held, nobody else does; no such job if empty",
    )
    notify_command: str = Field(
        default="",
        description="line of shell that a planner job runs once the campaign has ended, stopped or needs a person; it "
        "reads a text, and $ATOMSIM_STATE, $ATOMSIM_MESSAGE and $ATOMSIM_RUN are set, e.g. "
        "'mail -s \"atomsim: $ATOMSIM_STATE\" me@example.org'",
    )

    @field_validator("walltime")
    @classmethod
    def _time(cls, value: str) -> str:
        return checked_time(value)

    @field_validator("watch")
    @classmethod
    def _watch(cls, value: str) -> str:
        return checked_time(value) if value else ""

    @field_validator("options")
    @classmethod
    def _options(cls, value: list[str]) -> list[str]:
        return checked_options(value)


TABLES: dict[str, type[BaseModel]] = {
    "slurm": Allocation,
    "limits": Limits,
    "environment": Environment,
    "worker": Working,
    "planner": Planning,
}


class Cluster(BaseModel, frozen=True):
    """Contents of a cluster profile."""

    name: str
    slurm: Allocation
    limits: Limits
    environment: Environment
    worker: Working
    planner: Planning

    @property
    def walltime_s(self) -> int:
        """Time limit of a job, s."""
        return seconds_of(self.slurm.walltime)

    @property
    def planner_limits(self) -> tuple[str, int]:
        """Partition of planners, and their time limit, s."""
        return self.planner.partition or self.slurm.partition, seconds_of(self.planner.walltime)

    @property
    def own_jobs(self) -> int:
        """Number of jobs kept free beside arrays: a planner or watch at work and the one after it."""
        return 4 if self.planner.watch else 2

    @property
    def work_s(self) -> float:
        """Time that a worker works before it stops by itself, s."""
        return self.walltime_s - self.worker.stop_before_s


def described_keys() -> list[dict[str, str]]:
    """Return table, key, type, default and meaning of everything that a profile may say."""
    return [{"table": table} | row for table, model in TABLES.items() for row in describe_settings(model)]


def read_profile(path: Path | str) -> Cluster:
    """Read and check a profile: a path, or the name of a shipped one.

    Raises:
        InputError: with one line for every problem found.
    """
    path = _find(Path(path))
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the cluster profile {path}: {error}; check the path") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name}: not valid TOML: {error}; correct that line") from error
    return parse_profile(raw, path.stem)


def parse_profile(raw: dict[str, Any], name: str) -> Cluster:
    """Check the content of a profile.

    Raises:
        InputError: with one line for every problem found.
    """
    problems = [
        f"unknown table or key {key!r};{nearest(key, TABLES)} wanted {', '.join(f'[{t}]' for t in TABLES)}"
        for key in raw
        if key not in TABLES
    ]
    tables: dict[str, Any] = {}
    for table, model in TABLES.items():
        try:
            tables[table] = model.model_validate(raw.get(table, {}))
        except ValidationError as error:
            problems += explain(error, model, f"[{table}]")
    if not problems and tables["worker"].device == "cuda" and tables["slurm"].gpus_per_worker == 0:
        problems.append("[worker] device is cuda with [slurm] gpus_per_worker = 0; make one of them fit the other")
    if not problems:
        walltime, margin = tables["slurm"].walltime, tables["worker"].stop_before_s
        if margin > LONGEST_MARGIN * seconds_of(walltime):
            problems.append(
                f"[worker] stop_before_s = {margin:g} leaves too little of [slurm] walltime = {walltime!r}; "
                f"wanted at most {LONGEST_MARGIN * seconds_of(walltime):.0f}, or a longer walltime"
            )
    if not problems and tables["planner"].watch and tables["limits"].max_submitted < FEWEST_WITH_WATCH:
        problems.append(
            f"[limits] max_submitted = {tables['limits'].max_submitted} leaves no room for a worker beside planners "
            f"and [planner] watch; wanted at least {FEWEST_WITH_WATCH}, or no watch"
        )
    if problems:
        raise InputError("\n".join(f"{name}.toml: {problem}" for problem in problems))
    return Cluster(name=name, **tables)


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = catalog.folder("slurm")
    if (shipped / f"{path}.toml").is_file():
        return shipped / f"{path}.toml"
    names = sorted(p.stem for p in shipped.glob("*.toml"))
    raise InputError(
        f"no cluster profile {path};{nearest(str(path), names)} copy one of {', '.join(names)} from {shipped} "
        "and edit it"
    )
