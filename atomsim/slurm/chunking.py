"""Cuts tasks into chunks: each about as long as a job should work, and enough of them for all GPUs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from atomsim.slurm.profile import Cluster
from atomsim.slurm.script import elements
from atomsim.store.records import Task
from atomsim.store.rounds import Chunk
from atomsim.tasks.kind import StepKind

SHORTEST_S = 120.0
"""Shorter chunks would spend their time on loading a model."""
SUSPECTS = (None, 8, 1)
"""Most tasks in a chunk whose tasks were under way in 0, 1, 2 or more workers that died."""


def plan_chunks(
    tasks: Sequence[Task],
    spans: Mapping[str, tuple[int, int]],
    kind: StepKind,
    settings: BaseModel,
    cluster: Cluster,
    seconds_per_atom: float,
    suspicion: Mapping[str, int] | None = None,
) -> list[Chunk]:
    """Cut tasks into chunks, the order of tasks kept.

    Args:
        tasks: what is pending.
        spans: where each task's line is in ``tasks.jsonl``, by id.
        kind: the step's kind, which knows what a task costs.
        settings: the step's settings.
        cluster: says how long a worker works and how many there may be.
        seconds_per_atom: a worker's time for one unit of cost, s: for relaxing one atom.
        suspicion: workers that died while a task was under way; suspects go to small chunks, so
            that a structure that kills its worker is alone in the end.
    """
    suspicion = suspicion or {}
    costs = {task.id: kind.cost(task, settings) * seconds_per_atom for task in tasks}
    aim = aim_s(sum(costs.values()), len(tasks), cluster)
    groups: list[list[Task]] = []
    spent, level_before = 0.0, -1
    for task in sorted(tasks, key=lambda t: _level(t, suspicion)):
        level, cost = _level(task, suspicion), costs[task.id]
        most = SUSPECTS[level]
        full = most is not None and bool(groups) and len(groups[-1]) >= most
        if not groups or level != level_before or full or spent + cost / 2 > aim:
            groups.append([])
            spent = 0.0
        groups[-1].append(task)
        spent, level_before = spent + cost, level
    return [
        Chunk(
            number=n,
            tasks=tuple(t.id for t in group),
            spans=_joined([spans[t.id] for t in group]),
            cost_s=round(sum(costs[t.id] for t in group), 3),
        )
        for n, group in enumerate(groups)
    ]


def aim_s(total_s: float, tasks: int, cluster: Cluster) -> float:
    """Return how long a chunk should take: bounded by the walltime, short enough to occupy all workers."""
    longest = cluster.worker.chunk_s or cluster.work_s / 2
    workers = cluster.limits.max_running * cluster.slurm.workers_per_job
    shortest = min(SHORTEST_S, longest)
    count = max(math.ceil(total_s / longest), min(workers, math.ceil(total_s / shortest)), 1)
    return total_s / min(count, max(tasks, 1))


def arrays(chunks: int, cluster: Cluster) -> tuple[tuple[int, int], ...]:
    """Return (first chunk, chunks) of each job array, within the site's limits."""
    limits, parallel = cluster.limits, cluster.slurm.workers_per_job
    size = max(1, min(limits.max_array_size, limits.max_submitted - cluster.own_jobs)) * parallel
    found = tuple((first, min(size, chunks - first)) for first in range(0, chunks, size))
    assert all(elements(count, parallel) <= limits.max_array_size for _, count in found)
    return found


def _level(task: Task, suspicion: Mapping[str, int]) -> int:
    return min(suspicion.get(task.id, 0), len(SUSPECTS) - 1)


def _joined(spans: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join what is adjacent."""
    joined: list[tuple[int, int]] = []
    for offset, length in spans:
        if joined and sum(joined[-1]) == offset:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((offset, length))
    return tuple(joined)
