"""Everything to measure on the day a card is there, in one command: correctness first, then speed.

    python -m benchmarks.gpu [--out gpu.jsonl] [--minutes 8] [--mace FILE.model] [--only G4,MD]
    python -m benchmarks.gpu --pretend          the same on a pretended card, tiny, to see that it runs

Each row is written to ``--out`` as it comes, so that nothing is lost when the lease of a card ends: the same command
continues with the rows that are missing. Rows of another card, driver or torch are another table. Peers that are not
installed (TorchSim, nvalchemi-toolkit) are named as such. Wheels are enough: nothing is compiled. At the end, a table
ready for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.gpu_rows import ROWS, Setup

SHIPPED = ("torch", "chgnet", "mace-torch", "ase", "nvalchemi-toolkit-ops", "torch-sim-atomistic", "nvalchemi-toolkit")


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    key: str
    what: str
    value: str
    """Measured; why not, where it was not."""
    goal: str
    status: str
    """``done``, ``failed`` or ``absent``; ``failed`` rows are tried again."""
    seconds: float
    about: dict[str, str]
    """Card, driver and versions."""


def about(setup: Setup) -> dict[str, str]:
    """Card, driver and versions that a row was measured with."""
    found = {"device": "pretended card" if setup.pretended else torch.cuda.get_device_name()}
    if not setup.pretended:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            found["driver"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            found["driver"] = "unknown"
        found["cuda"] = str(torch.version.cuda)
    for name in SHIPPED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def read(path: Path, known: dict[str, str]) -> dict[str, Row]:
    """Rows of a file that were measured with the same card and versions; torn lines are left out."""
    rows: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = Row(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if row.about == known:
            rows[row.key] = row
    return rows


def run(setup: Setup, path: Path, seconds: float, only: Sequence[str] = ()) -> list[Row]:
    """Measure the rows that are missing, in order, until the time is over."""
    known, began = about(setup), time.monotonic()
    rows = read(path, known)
    for key, (what, goal, measure) in ROWS.items():
        if (only and key not in only) or (key in rows and rows[key].status != "failed"):
            continue
        left = seconds - (time.monotonic() - began)
        if left <= 0:
            print(f"{key}: left for the next call, the time is over", flush=True)
            continue
        start = time.monotonic()
        try:
            value, status = measure(setup, left), "done"
        except ModuleNotFoundError as error:
            value, status = f"{error.name} is not installed", "absent"
        except Exception as error:  # one row that fails must not cost the others
            traceback.print_exc()
            value, status = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", "failed"
        rows[key] = Row(key, what, value, goal, status, round(time.monotonic() - start, 1), known)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(rows[key]), ensure_ascii=False) + "\n")
        print(f"{key}: {what}: {value} [{status}, {rows[key].seconds:g} s]", flush=True)
    return [rows[key] for key in ROWS if key in rows]


def table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown, with what they were measured on."""
    if not rows:
        return "no rows"
    facts = ", ".join(f"{k} {v}" for k, v in rows[0].about.items())
    lines = [f"| {r.key} | {r.what} | {r.value} | {r.goal} | {r.seconds:g} s |" for r in rows]
    return "\n".join([facts, "", "| row | what | measured | goal | took |", "|---|---|---|---|---|", *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--mace", default="mace-li-ru-s-o", help="card or .model file for the rows with MACE")
    parser.add_argument("--only", default="", help="keys of rows: G1,G4")
    parser.add_argument("--pretend", action="store_true")
    chosen = parser.parse_args(arguments)
    only = [key for key in chosen.only.split(",") if key]
    unknown = [key for key in only if key not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if chosen.pretend:
        from benchmarks.gpu_rows import pretended

        with pretended(chosen.mace) as setup:
            rows = run(setup, chosen.out, 60 * chosen.minutes, only)
    elif torch.cuda.is_available():
        rows = run(Setup(torch.device("cuda:0"), chosen.mace), chosen.out, 60 * chosen.minutes, only)
    else:
        parser.error("no CUDA device; --pretend shows that it runs")
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
