"""Output of the command line: tables, JSON, progress."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.errors import counted

if TYPE_CHECKING:
    from rich.progress import TaskID

    from atomsim.campaign.file import Step
    from atomsim.campaign.observer import StepSummary
    from atomsim.registry.cards import PotentialCard
    from atomsim.store.records import Record

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PotentialName = Annotated[
    str | None,
    typer.Option(
        "--potential", "-p", help="Name ('atomsim potentials list') or path of a .model file; NAME#HEAD for one head."
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Processes = Annotated[
    int | None,
    typer.Option("--processes", "-n", help="Processes on a CPU, one thread each; all cores if not given.", min=0),
]
TrustFile = Annotated[
    bool, typer.Option("--trust-file", help="Load a .model file that no card pins. Such a file can run any code.")
]
Loader = Annotated[str | None, typer.Option("--loader", hidden=True)]


def tell_of_cards(cards: Iterable[PotentialCard], notes: Iterable[str]) -> None:
    """Say on standard error which files of stores are passed over, and which card of one name is used."""
    for note in notes:
        sys.stderr.write(f"warning: passed over: {note}\n")
    for card in cards:
        if card.rivals_note:
            sys.stderr.write(f"note: {card.rivals_note}\n")


def print_json(content: Any) -> None:
    """Print content as JSON on standard output; what is no finite number is null, as JSON has none."""
    sys.stdout.write(json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None, *, whole_keys: bool = False
) -> None:
    """Print a table on standard output; numbers to the right, words of the first column in one piece if asked for."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=None if title is None else _escaped(title),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    rows = [list(row) for row in rows]
    for n, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[n], int | float) or row[n] in {"", "–"} for row in rows)
        whole = max((len(str(row[0])) for row in rows), default=0) if whole_keys and n == 0 else None
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", min_width=whole)
    for row in rows:
        table.add_row(*(_escaped(str(cell)) for cell in row))
    Console().print(table)


def statuses_text(statuses: dict[str, int]) -> str:
    """Return ``"31 converged, 1 max_steps"``."""
    return ", ".join(f"{n} {status}" for status, n in statuses.items())


QUIET_S = 60.0
"""A log has a sign of life after so long without a line."""
LONG_S = 1.0
"""A task that took longer has a line of its own in a log."""


class PlainProgress:
    """One line of standard error for each event, and one a minute while nothing ends: for logs and pipes."""

    def __init__(self, spoken: Callable[[str], str] = str) -> None:
        self.spoken = spoken
        self.name = ""
        self.total = self.done = self.calls = 0
        self.last = time.monotonic()

    def preparing(self, step: Step) -> None:
        """Say what takes time without a force call."""
        self.say(f"step {step.number} {step.name} ({step.kind}): finding its tasks")

    def at_work(self, what: str, done: int, total: int) -> None:
        """Say how far work without force calls is, if nothing was said for a minute."""
        self._sign(f"  {what}: {done} of {total}")

    def step_started(self, step: Step, total: int, done: int) -> None:
        """Say how much there is to do."""
        self.name, self.total, self.done, self.calls = step.name, total, done, 0
        self.say(
            f"step {step.number} {step.name} ({step.kind}): {counted(total, 'task')}"
            + (f", {done} done" if done else "")
        )

    def force_calls(self, number: int) -> None:
        """Count on, and say so if nothing was said for a minute."""
        self.calls += number
        self._sign(f"  {self.name}: {self.done}/{self.total} done, {counted(self.calls, 'force call')} so far")

    def task_done(self, record: Record) -> None:
        """Say how a task ended."""
        self.done += 1
        if "force_calls" in record.values or not record.good or record.run.get("wall_s", 0.0) > LONG_S:
            self.say(f"  {self.done}/{self.total} {record.label}: {self.spoken(_ending(record))}")

    def step_finished(self, summary: StepSummary) -> None:
        """Say how a step ended."""
        self.say(self.spoken(finish_line(summary)))

    def say(self, line: str) -> None:
        """Write one line."""
        self.last = time.monotonic()
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _sign(self, line: str) -> None:
        if time.monotonic() - self.last >= QUIET_S:
            self.say(line)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class LiveProgress:
    """A bar for each step: done of total, force calls, rate, time to go."""

    def __init__(self, spoken: Callable[[str], str] = str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.spoken = spoken
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[calls]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self.task: TaskID | None = None
        self.other: TaskID | None = None
        self.calls = 0
        self.start = time.monotonic()

    def preparing(self, step: Step) -> None:
        """Say what takes time without a force call, above the bars."""
        line = f"step {step.number} {step.name} ({step.kind}): finding its tasks"
        self.bar.console.print(_escaped(line), highlight=False)

    def at_work(self, what: str, done: int, total: int) -> None:
        """Move a bar of its own, for work without force calls."""
        if self.other is None:
            self.other = self.bar.add_task("", total=total, calls="")
        self.bar.update(self.other, description=_escaped(what), completed=done, total=total)

    def _end_other(self) -> None:
        if self.other is not None:
            self.bar.remove_task(self.other)
            self.other = None

    def step_started(self, step: Step, total: int, done: int) -> None:
        """Add a bar."""
        self._end_other()
        self.calls, self.start = 0, time.monotonic()
        name = f"{step.number} {step.name}"
        # speed is estimated from this run's tasks alone: those done before took no time
        self.task = self.bar.add_task(_escaped(name), total=total, completed=done, calls="")

    def force_calls(self, number: int) -> None:
        """Count on."""
        self.calls += number
        if self.task is not None:
            rate = self.calls / max(time.monotonic() - self.start, 1e-9)
            self.bar.update(self.task, calls=f"{self.calls} force calls, {rate:.1f}/s")

    def task_done(self, record: Record) -> None:
        """Move the bar on; say what went wrong above it."""
        if self.task is None:
            return
        self.bar.advance(self.task)
        if not record.good:
            self.bar.console.print(
                f"  {_escaped(record.label)}: {_escaped(self.spoken(_ending(record)))}", highlight=False
            )

    def step_finished(self, summary: StepSummary) -> None:
        """Say how a step ended."""
        self._end_other()
        self.bar.console.print(_escaped(self.spoken(finish_line(summary))), highlight=False)
        self.task = None

    def __enter__(self) -> LiveProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_other()
        self.bar.stop()


def progress(spoken: Callable[[str], str] = str) -> PlainProgress | LiveProgress:
    """Return a live display for a person, plain lines for a log; ``spoken`` names options where messages name keys."""
    return LiveProgress(spoken) if sys.stderr.isatty() else PlainProgress(spoken)


def finish_line(summary: StepSummary) -> str:
    """Say in one line how a step ended."""
    if summary.problem:
        return f"  {summary.name} was not run: {summary.problem}"
    line = f"  {summary.name}: {summary.good} good of {summary.tasks}"
    if summary.done_before:
        line += f", {summary.done_before} done before"
    if summary.left_out:
        names = ", ".join(f"{label} ({status})" for label, status in summary.left_out[:5])
        line += f"; left out {len(summary.left_out)}: {names}" + (" …" if len(summary.left_out) > 5 else "")
    return line


def _escaped(text: str) -> str:
    """Return a text that ``rich`` takes for no markup; the package is imported where something is shown."""
    from rich.markup import escape

    return escape(text)


def _ending(record: Record) -> str:
    parts = [record.status]
    if "force_calls" in record.values:
        parts.append(counted(record.values["force_calls"], "force call"))
    if "energy_per_atom_eV" in record.values:
        parts.append(f"{record.values['energy_per_atom_eV']:.4f} eV/atom")
    return ", ".join(parts) + (f": {record.message}" if record.message else "")
