"""Progress of a verb: a bar where a person looks, events where an object listens, nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from atomsim.errors import InputError, counted

if TYPE_CHECKING:
    from atomsim.campaign.observer import RunObserver
    from atomsim.store.records import Record

LATER_S = 2.0
"""A bar is shown for work that takes longer."""


@runtime_checkable
class Progress(Protocol):
    """Protocol of an object given as ``progress=``."""

    def started(self, step: str, total: int, done: int) -> None:
        """A step begins; ``done`` of its ``total`` results are there already."""

    def evaluations(self, number: int) -> None:
        """So many more systems were evaluated."""

    def finished(self, label: str, status: str) -> None:
        """A result is there."""


class Events:
    """Passes on the events of a run to a ``Progress``."""

    def __init__(self, listener: Progress | None) -> None:
        self.listener = listener

    def preparing(self, step: Any) -> None:
        """Nothing yet."""

    def step_started(self, step: Any, total: int, done: int) -> None:
        """A step begins."""
        if self.listener:
            self.listener.started(step.name, total, done)

    def force_calls(self, number: int) -> None:
        """Systems were evaluated."""
        if self.listener:
            self.listener.evaluations(number)

    def task_done(self, record: Record) -> None:
        """A record is there."""
        if self.listener:
            self.listener.finished(record.label, record.status)

    def step_finished(self, summary: Any) -> None:
        """Nothing more."""


class Bar:
    """A bar on standard error, shown once the work has taken two seconds."""

    def __init__(self) -> None:
        self.start_time = time.monotonic()
        self.name, self.total, self.done, self.calls = "", 0, 0, 0
        self.bar: Any = None
        self.task: Any = None

    def started(self, step: str, total: int, done: int) -> None:
        """Begin anew."""
        self.name, self.total, self.done, self.calls = step, total, done, 0
        self.task = None

    def evaluations(self, number: int) -> None:
        """Count on."""
        self.calls += number
        self._show()

    def finished(self, label: str, status: str) -> None:
        """Move on."""
        del label, status
        self.done += 1
        self._show()

    def _show(self) -> None:
        if time.monotonic() - self.start_time < LATER_S:
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self.bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TextColumn("{task.fields[calls]}"),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
            )
            self.bar.start()
        if self.task is None:
            self.task = self.bar.add_task(self.name, total=self.total, calls="")
        self.bar.update(self.task, completed=self.done, calls=counted(self.calls, "force call"))

    def close(self) -> None:
        """End the bar, if it was shown."""
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def watched(progress: Any) -> Iterator[RunObserver]:
    """Return the observer of a run: a command's own, or one that passes on to a ``Progress``.

    Raises:
        InputError: if ``progress`` is neither None, a flag nor a ``Progress``.
    """
    from atomsim.campaign.observer import RunObserver

    if isinstance(progress, RunObserver):
        yield progress
        return
    if progress is not None and not isinstance(progress, bool | Progress):
        raise InputError(
            f"progress: found {type(progress).__name__}, wanted None, True, False or an object with the methods "
            "started, evaluations and finished"
        )
    if isinstance(progress, Progress):
        yield Events(progress)
        return
    if not (progress or (progress is None and _someone_looks())):
        yield Events(None)
        return
    bar = Bar()
    try:
        yield Events(bar)
    finally:
        bar.close()


def _someone_looks() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
