"""Observers of a run, and the summaries that they are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from atomsim.campaign.file import Step
    from atomsim.store.records import Record


@runtime_checkable
class RunObserver(Protocol):
    """Protocol of an observer of a run."""

    def preparing(self, step: Step) -> None:
        """The tasks of a step are looked for, without a force call: enumeration may take long."""
        ...

    def step_started(self, step: Step, total: int, done: int) -> None:
        """A step begins; ``done`` of its ``total`` tasks have records already."""
        ...

    def force_calls(self, number: int) -> None:
        """So many more systems were evaluated."""
        ...

    def task_done(self, record: Record) -> None:
        """A record was written."""
        ...

    def step_finished(self, summary: StepSummary) -> None:
        """A step is complete, or cannot continue."""
        ...


class Silent:
    """Watches and says nothing."""

    def preparing(self, step: Step) -> None:
        """Say nothing."""

    def step_started(self, step: Step, total: int, done: int) -> None:
        """Say nothing."""

    def force_calls(self, number: int) -> None:
        """Say nothing."""

    def task_done(self, record: Record) -> None:
        """Say nothing."""

    def step_finished(self, summary: StepSummary) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class StepSummary:
    """End of a step."""

    name: str
    kind: str
    tasks: int
    done_before: int
    """Tasks that had a record when this run started."""
    good: int
    left_out: tuple[tuple[str, str], ...] = ()
    """``(label, status)`` of input records that were not taken."""
    counts: dict[str, Any] | None = None
    """Result of the kind's ``summarise``."""
    problem: str = ""
    """Reason why the step could not be run; empty where it was."""

    @property
    def ok(self) -> bool:
        """True if every task has a good record."""
        return not self.problem and self.good == self.tasks


@dataclass(frozen=True)
class RunSummary:
    """End of a run."""

    path: Path
    steps: tuple[StepSummary, ...]

    @property
    def ok(self) -> bool:
        """True if every record of every step is good."""
        return all(step.ok for step in self.steps)
