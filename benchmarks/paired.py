"""Paired timing: A B A B …, user + system time of this process, median of the pairs' ratios.

On a shared machine single timings scatter by tens of per cent; the two of a pair are taken within
moments of each other and share that fate, so their ratio scatters less.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

PACKAGES = ("torch", "mace-torch", "chgnet", "ase", "numpy", "torch-sim-atomistic")


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure with its goal, or the reason why there is none."""

    key: str
    what: str
    figure: float | None
    goal: str
    reached: bool | None
    """None where it was not measured or there is no goal."""
    detail: str


@dataclass(frozen=True)
class Paired:
    """Times of a peer and of ours, pair by pair, seconds."""

    peer: list[float]
    ours: list[float]

    @property
    def ratio(self) -> float:
        """How many times faster ours is: median over the pairs."""
        return median(self._ratios)

    @property
    def _ratios(self) -> list[float]:
        return [p / o for p, o in zip(self.peer, self.ours, strict=True)]

    def detail(self) -> str:
        """Both medians and the range of ratios."""
        low, high = min(self._ratios), max(self._ratios)
        times = f"{1e3 * median(self.peer):.1f} against {1e3 * median(self.ours):.1f} ms"
        return f"{times}, {len(self.ours)} pairs, {low:.2f}–{high:.2f}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark takes: ``--pairs`` and ``--out``."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    return parser


def per_call_arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what the benchmarks of one evaluation take."""
    parser = arguments(description)
    parser.add_argument("--gpu-cells", type=int, default=256)
    parser.add_argument("--keep-memory", action="store_true", help="tell malloc to keep freed memory, for both sides")
    return parser


def cpu_clock() -> float:
    """User + system time of this process, s."""
    return time.process_time()


def cuda_clock() -> float:
    """Wall time once the GPU has finished, s."""
    torch.cuda.synchronize()
    return time.perf_counter()


def paired(
    peer: Callable[[int], Any], ours: Callable[[int], Any], pairs: int = 7, clock: Callable[[], float] = cpu_clock
) -> Paired:
    """Time both in turn; each is called with the number of the round, 0 being a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for n in range(pairs + 1):
        for function, spent in zip((peer, ours), times, strict=True):
            start = clock()
            function(n)
            if n > 0:
                spent.append(clock() - start)
    return Paired(*times)


@contextmanager
def clocked(owner: Any, name: str, spent: list[float]) -> Iterator[None]:
    """Within this context every call of ``owner.name`` adds its time to ``spent``."""
    function = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = cpu_clock()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(cpu_clock() - start)

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, function)


def share_outside(call: Callable[[int], Any], outside: list[tuple[Any, str]], repeats: int = 7) -> float:
    """Part of a call that is not forward and backward: median over repeats.

    Args:
        call: with the number of the repeat.
        outside: functions, as (module, name), that are neither; none of them calls another.
        repeats: how many calls are timed.
    """
    call(0)
    shares = []
    for n in range(1, repeats + 1):
        spent: list[float] = []
        with _all_clocked(outside, spent):
            start = cpu_clock()
            call(n)
            shares.append(sum(spent) / (cpu_clock() - start))
    return median(shares)


@contextmanager
def _all_clocked(outside: list[tuple[Any, str]], spent: list[float]) -> Iterator[None]:
    if not outside:
        yield
        return
    with clocked(*outside[0], spent), _all_clocked(outside[1:], spent):
        yield


def report(rows: list[Row], title: str, out: Path | None) -> None:
    """Print the table and write it as JSON."""
    table = Table(title=title)
    for column in ("", "what", "figure", "goal", "", "detail"):
        table.add_column(column)
    marks = {True: "reached", False: "MISSED", None: ""}
    for row in rows:
        figure = "not run" if row.figure is None else f"{row.figure:.3g}"
        table.add_row(row.key, row.what, figure, row.goal, marks[row.reached], row.detail)
    Console(width=160).print(table)
    if out is not None:
        about = {
            "machine": platform.processor() or platform.machine(),
            "python": sys.version.split()[0],
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "versions": {package: found for package in PACKAGES if (found := _version(package))},
        }
        out.write_text(json.dumps({"title": title, "about": about, "rows": [asdict(r) for r in rows]}, indent=1))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
