"""Which chunk a worker is to take, and where it runs, from what Slurm says in its environment."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atomsim.store.rounds import read_header


@dataclass(frozen=True)
class ChunkAssignment:
    """Which chunk a process is to take, and where it runs."""

    run: Path
    step: str
    """Folder of the step."""
    round: int
    chunk: int
    token: str
    job: str = ""
    """Job to requeue, ``ARRAY_ELEMENT``; empty where siblings share the job."""
    element: str = ""
    """The array element that this process is of, ``ARRAY_ELEMENT``."""
    host: str = ""
    restarts: int = 0
    ends: float | None = None
    """When Slurm ends the job, ``time.time()``, where it says so."""

    @property
    def folder(self) -> Path:
        """Folder of the step."""
        return self.run / "steps" / self.step


def place_of(
    run: Path, step: str, number: int, first: int, chunks: int, token: str, env: Mapping[str, str]
) -> ChunkAssignment | None:
    """Find this process's chunk from what Slurm has put into the environment; None if there is none."""
    element, process = int(env.get("SLURM_ARRAY_TASK_ID", "0")), int(env.get("SLURM_PROCID", "0"))
    parallel = read_header(run / "steps" / step, number).workers_per_element
    chunk = first + element * parallel + process
    if chunk >= first + chunks:
        return None
    array = env.get("SLURM_ARRAY_JOB_ID", "")
    ends = env.get("SLURM_JOB_END_TIME", "")
    return ChunkAssignment(
        run=run,
        step=step,
        round=number,
        chunk=chunk,
        token=token,
        job=f"{array}_{element}" if array and parallel == 1 else "",
        element=f"{array}_{element}" if array else "",
        host=env.get("SLURMD_NODENAME", "") or socket.gethostname(),
        restarts=int(env.get("SLURM_RESTART_COUNT", "0")),
        ends=float(ends) if ends.isdecimal() else None,
    )
