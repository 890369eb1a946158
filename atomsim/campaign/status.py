"""Progress of a run, read from its folder while it runs or after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atomsim.store.artifacts import artifacts_of, problems_of
from atomsim.store.claims import read_step
from atomsim.store.records import count_statuses, total_calls
from atomsim.store.run_folder import RunFolder, read_run


@dataclass(frozen=True)
class StepStatus:
    """Progress of a step."""

    name: str
    kind: str
    tasks: int | None
    """None until its tasks are known."""
    done: int
    good: int
    statuses: dict[str, int]
    force_calls: int
    damaged_lines: int
    """Lines of the ledger that cannot be read; a rerun does their tasks again."""
    artifacts: int = 0
    """Large results that its records name."""
    artifact_bytes: int = 0
    artifact_problems: tuple[str, ...] = ()
    """One line for each file of theirs that is missing or has another size."""


def artifact_problems(path: Path) -> list[str]:
    """Return one line for each artifact file of a run that is missing or has another size.

    Raises:
        InputError: if ``path`` is not the folder of a run.
    """
    records = [record for each in read_run(path)[1].values() for record in each]
    return [line for record in records for line in problems_of(path, record)]


def read_status(path: Path) -> list[StepStatus]:
    """Return the status of every step.

    Raises:
        InputError: if ``path`` is not the folder of a run.
    """
    folder = RunFolder(path)
    found = []
    for step in folder.read_info()["steps"]:
        records, _ = folder.records(step["folder"])
        tasks = folder.read_tasks(step["folder"])
        large = [about for r in records for about in artifacts_of(r).values()]
        found.append(
            StepStatus(
                name=step["name"],
                kind=step["kind"],
                tasks=None if tasks is None else len(tasks),
                done=len(records),
                good=sum(r.good for r in records),
                statuses=count_statuses(records),
                force_calls=total_calls(records),
                damaged_lines=read_step(folder.step(step["folder"])).damaged,
                artifacts=len(large),
                artifact_bytes=sum(about["bytes"] for about in large),
                artifact_problems=tuple(line for r in records for line in problems_of(path, r)),
            )
        )
    return found
