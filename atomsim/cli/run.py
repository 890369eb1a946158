"""``atomsim run``, ``check``, ``status`` and ``report``: campaigns and their folders."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atomsim.cli import show
from atomsim.cli.show import Device, Json, Loader, PotentialName, Processes, TrustFile
from atomsim.cli.slurm import checked_interval, print_status
from atomsim.errors import InputError
from atomsim.pulse import watched

if TYPE_CHECKING:
    from atomsim.campaign.file import Campaign
    from atomsim.campaign.observer import RunSummary
    from atomsim.execution.job import Engine

CampaignFile = Annotated[Path, typer.Argument(metavar="CAMPAIGN.toml", help="Campaign file.", show_default=False)]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (run, check, status, report):
        app.command()(command)


def run(
    campaign: CampaignFile,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/<file name> if not given.")
    ] = None,
    potential: PotentialName = None,
    device: Device = None,
    steps: Annotated[str | None, typer.Option(help="Run only these steps: NAME,NAME.")] = None,
    processes: Processes = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Run a campaign here, or continue with it.

    Every finished task is on disk at once. Ctrl-C, a crash or a kill loses only what was under
    way: the same command resumes, and ends with the same results. Exit code 1 says that some
    records are not good (not converged, exploded ...); everything else is finished and reported.

    \b
    Examples:
      atomsim run workflows/li2ruo3-delithiation.toml
      atomsim run mine.toml --out runs/mine --potential chgnet-r2scan --processes 4
      atomsim run mine.toml --steps orderings,relaxed
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.run import run_campaign

    loaded = load_campaign(campaign, potential=potential, device=device)
    folder = out or Path("runs") / campaign.stem
    only = [name.strip() for name in steps.split(",") if name.strip()] if steps is not None else None
    engine = _engine(loaded, processes, trust_file, loader)
    with show.progress() as progress:
        summary = run_campaign(loaded, folder, engine, only=only, progress=progress)
    written = _write_report(folder)
    _print_summary(summary, written, as_json)
    if not summary.ok:
        raise typer.Exit(1)


def check(
    campaign: Annotated[Path | None, typer.Argument(metavar="[CAMPAIGN.toml]", help="Campaign file.")] = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every key of every kind of step.")] = False,
    potential: PotentialName = None,
    trust_file: TrustFile = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Find every mistake that can be found without a force call, and print the plan.

    Checks keys, names, files, the sanity of structures and their elements against the
    potential's, and counts tasks and atoms. Nothing is written.

    \b
    Examples:
      atomsim check workflows/li2ruo3-delithiation.toml
      atomsim check --keys
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.campaign.file import load_campaign
    from atomsim.campaign.plan import plan
    from atomsim.store.provenance import describe

    if keys:
        _print_keys(as_json)
        return
    if campaign is None:
        raise InputError("no campaign file given; wanted 'atomsim check CAMPAIGN.toml' or 'atomsim check --keys'")
    loaded = load_campaign(campaign, potential=potential)
    made = _engine(loaded, 1, trust_file, loader).load() if loaded.needs_potential else None
    with show.progress() as progress, watched(progress.at_work):
        plans = plan(loaded, made, trust_file=trust_file)
    if as_json:
        about = describe(made) if made else None
        show.print_json({"name": loaded.header.name, "potential": about, "steps": [asdict(p) for p in plans]})
        return
    rows = [
        (p.name, p.kind, "–" if p.tasks is None else p.tasks, p.atoms or "–", p.largest or "–", " ".join(p.elements))
        for p in plans
    ]
    columns = ("step", "kind", "tasks", "atoms", "largest", "elements")
    show.print_table(columns, rows, title=loaded.header.title or loaded.header.name)
    if any(p.at_most or p.tasks is None for p in plans):
        sys.stdout.write("Steps that take results (–, or after a relaxation) depend on what comes out well.\n")
    if made is not None:
        about = describe(made)
        sys.stdout.write(
            f"potential {made.name} ({about['dtype']}) on {about['device']}: made for all these elements\n"
        )


def status(
    folder: RunDir,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between looks.")] = 30.0,
    as_json: Json = False,
) -> None:
    """Show how far a run is; safe while it runs.

    Of a submitted campaign it shows what the ledger says, and asks Slurm for its queue once.

    \b
    Examples:
      atomsim status runs/li2ruo3-delithiation
      atomsim status runs/li2ruo3-delithiation --watch
    """  # noqa: D301 - click's mark for lines that must not be joined
    checked_interval(every)
    while True:
        _print_status(folder, as_json)
        if not watch:
            return
        time.sleep(every)


def _print_status(folder: Path, as_json: bool) -> None:
    from atomsim.campaign.status import artifact_problems, read_status
    from atomsim.slurm.journal import Journal

    if Journal(folder).exists:
        from atomsim.slurm.client import RealSlurm
        from atomsim.slurm.status import read_cluster_status

        status = read_cluster_status(folder, RealSlurm(Journal(folder).owner()))
        print_status(status, str(folder), as_json)
        if not as_json and (folder / "artifacts").is_dir():
            sys.stdout.write("".join(f"{line}\n" for line in artifact_problems(folder)))
        return
    steps = read_status(folder)
    if as_json:
        show.print_json([asdict(step) for step in steps])
        return
    rows = [
        (
            s.name,
            s.kind,
            s.done,
            "–" if s.tasks is None else s.tasks,
            show.statuses_text(s.statuses),
            s.force_calls or "–",
        )
        for s in steps
    ]
    show.print_table(("step", "kind", "done", "tasks", "statuses", "force calls"), rows, title=str(folder))
    for step in steps:
        if step.damaged_lines:
            sys.stdout.write(
                f"{step.name}: {step.damaged_lines} damaged lines in records.jsonl; rerun to redo those tasks\n"
            )
        if step.artifacts:
            size = step.artifact_bytes / 2**20
            sys.stdout.write(f"{step.name}: {step.artifacts} artifacts of {size:.1f} MiB in {folder}/artifacts\n")
        for line in step.artifact_problems:
            sys.stdout.write(f"{step.name}: {line}\n")


def report(folder: RunDir, as_json: Json = False) -> None:
    """Write report.html, exports/ and figures/ of a run, finished or not.

    \b
    Example:
      atomsim report runs/li2ruo3-delithiation
    """  # noqa: D301 - click's mark for lines that must not be joined
    written = _write_report(folder)
    if as_json:
        show.print_json({"report": str(written.resolve())})
    else:
        sys.stdout.write(f"{written.resolve()}\n")


def _engine(campaign: Campaign, processes: int | None, trust_file: bool, loader: str | None) -> Engine:
    from atomsim.execution.job import LOADER, Engine
    from atomsim.execution.pool import available_cores

    return Engine(
        potential=campaign.header.potential,
        device=campaign.header.device,
        dtype=campaign.header.dtype,
        processes=available_cores() if processes is None else processes,
        trust_file=trust_file,
        loader=loader or LOADER,
    )


def _write_report(folder: Path) -> Path:
    from atomsim.report import write_report
    from atomsim.store.run_folder import read_run

    info, records = read_run(folder)
    return write_report(folder, info, records)


def _print_summary(summary: RunSummary, written: Path, as_json: bool) -> None:
    if as_json:
        steps = [asdict(step) | {"ok": step.ok} for step in summary.steps]
        content = {"ok": summary.ok, "folder": str(summary.path), "report": str(written.resolve()), "steps": steps}
        show.print_json(content)
        return
    rows = [(s.name, s.kind, s.good, s.tasks, s.done_before or "–", _remark(s)) for s in summary.steps]
    show.print_table(("step", "kind", "good", "tasks", "done before", ""), rows)
    sys.stdout.write("".join(f"{line}\n" for line in ["", *_failures(summary), f"report: {written.resolve()}"]))


def _failures(summary: RunSummary) -> list[str]:
    """Return what is not good, what can be done about it and where the reasons are; nothing where all is good."""
    from atomsim.report.steps import WHAT_TO_DO
    from atomsim.store.records import GOOD

    lines = []
    for step in summary.steps:
        lines += [f"  {step.name} was not run: {step.problem}"] if step.problem else []
        statuses: dict[str, int] = (step.counts or {}).get("statuses", {})
        for status, n in statuses.items():
            if status not in GOOD:
                what = WHAT_TO_DO.get(status, "Not used in any analysis.")
                lines.append(f"  {step.name}: {n} of {step.tasks} {status.replace('_', ' ')}. {what}")
        if missing := step.tasks - sum(statuses.values()):
            lines.append(f"  {step.name}: {missing} of {step.tasks} not computed. Run the same command again.")
    if not lines:
        return []
    last = (
        f"The reason of each is in {summary.path / 'log.txt'} and at the top of the report; what is good is finished."
    )
    return ["exit code 1, as not all is good:", *lines, last]


def _remark(step: Any) -> str:
    if step.problem:
        return f"not run: {step.problem}"
    statuses = (step.counts or {}).get("statuses", {})
    return show.statuses_text(statuses) + (f"; {len(step.left_out)} inputs left out" if step.left_out else "")


def _print_keys(as_json: bool) -> None:
    from atomsim.campaign.file import describe_keys

    tables = describe_keys()
    if as_json:
        show.print_json(tables)
        return
    for heading, rows in tables.items():
        cells = [(row["key"], row["type"], row["default"], row["description"]) for row in rows]
        show.print_table(("key", "type", "default", "what it is"), cells, title=f"\n{heading}")
