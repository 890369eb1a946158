"""Commands that stand for a short campaign: relax what was given, then one step; in a run folder, resumable."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.cli import show
from atomsim.errors import InputError
from atomsim.io.files import require_folder_name

if TYPE_CHECKING:
    from atomsim.execution.job import Engine
    from atomsim.store.records import Record


@dataclass(frozen=True)
class StepRun:
    """A campaign that was run for a command."""

    records: dict[str, list[Record]]
    report: Path
    problems: list[str]
    ok: bool


def sources_of(structures: Sequence[str]) -> list[str]:
    """Return words as a campaign file in any folder has them: prototypes by name, files by their whole path."""
    from atomsim.structures.prototypes import is_prototype

    return [s if is_prototype(s, Path()) else str(Path(s).resolve()) for s in structures]


def relax_then(
    kind: str, structures: Sequence[str], keys: Mapping[str, Any], *, relax_first: bool, fmax_eV_per_A: float = 0.01
) -> list[str]:
    """Return the lines of the steps: a relaxation, if asked for, and one step that takes its results."""
    from atomsim.api.execution import toml

    lines: list[str] = []
    sources = sources_of(structures)
    if relax_first:
        lines += ["[[step]]", 'name = "relaxed"', 'kind = "relax"', f"structures = {toml(sources)}"]
        lines += [f"fmax_eV_per_A = {fmax_eV_per_A}", ""]
    lines += ["[[step]]", f'name = "{kind}"', f'kind = "{kind}"']
    lines += [f"structures = {toml(['relaxed'] if relax_first else sources)}"]
    return lines + [f"{key} = {toml(value)}" for key, value in keys.items() if value is not None]


def run_steps(name: str, lines: Sequence[str], out: Path | None, engine: Engine, *, seed: int = 0) -> StepRun:
    """Run a campaign of some steps in a folder, or resume it, and write its report.

    Raises:
        InputError: if the folder is none, or a step cannot be planned.
    """
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.plan import plan
    from atomsim.campaign.run import run_campaign
    from atomsim.cli.barriers import written_campaign
    from atomsim.report import write_report
    from atomsim.store.run_folder import read_run

    title = re.sub(r"[^A-Za-z0-9_.-]", "-", name) or "run"
    folder = out or Path("runs") / title
    if folder.name in ("", ".."):
        raise InputError(f"--out: found '{folder}', wanted a folder of the run's own, such as runs/{title}")
    require_folder_name(folder)
    head = ["[campaign]", f"name = {json.dumps(title)}", f"potential = {json.dumps(engine.potential)}"]
    text = "\n".join([*head, f"seed = {seed}", "", *lines]) + "\n"
    file = folder.with_name(f"{folder.name}.toml")
    with written_campaign(file, text), show.progress(str) as progress:
        campaign = load_campaign(file)
        plan(campaign, engine.load(), trust_file=engine.trust_file)
        summary = run_campaign(campaign, folder, engine, progress=progress)
    info, records = read_run(folder)
    report = write_report(folder, info, records)
    problems = [f"{s.name} not run: {s.problem}" for s in summary.steps if s.problem]
    return StepRun(records, report, problems, summary.ok)


def engine_of(potential: str, device: str | None, processes: int | None, loader: str | None, *, trust: bool) -> Engine:
    """Return what runs tasks, as options say."""
    from atomsim.execution.job import LOADER, Engine
    from atomsim.execution.pool import available_cores

    cores = available_cores() if processes is None else processes
    return Engine(potential, device or "auto", None, cores, trust, loader or LOADER)
