"""Campaigns on a cluster: ``submit``, ``resume``, ``cancel``, ``retry``, ``logs``, ``collect``."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atomsim.cli import show
from atomsim.cli.clusters import clusters
from atomsim.cli.show import Json, Loader, PotentialName, TrustFile
from atomsim.errors import InputError, counted

if TYPE_CHECKING:
    from atomsim.slurm.plan_report import PlanReport
    from atomsim.slurm.status import ClusterStatus

CampaignFile = Annotated[Path, typer.Argument(metavar="CAMPAIGN.toml", help="Campaign file.", show_default=False)]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.", show_default=False)]
SHOWN = 5
"""Deaths of workers that status prints."""
PATIENCE_S = 900.0
"""Time for which a planner job waits for a controller that does not answer."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (submit, resume, cancel, retry, logs, collect):
        app.command()(command)
    app.command(hidden=True)(worker)
    app.add_typer(clusters, name="clusters")


def submit(
    campaign: CampaignFile,
    cluster: Annotated[
        str, typer.Option("--cluster", "-c", help="Cluster profile: a .toml file, or a shipped one's name.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/<file name> if not given.")
    ] = None,
    potential: PotentialName = None,
    trust_file: TrustFile = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the job scripts, submit and write nothing.")
    ] = False,
    as_json: Json = False,
    loader: Loader = None,
) -> None:
    """Send a campaign to Slurm and leave.

    The first steps become job arrays; a small job after them plans the next. The folder must be
    on a file system that all nodes see. Nothing stays alive here: 'atomsim status DIR' looks.

    \b
    Examples:
      atomsim submit workflows/li2ruo3-delithiation.toml --cluster my-cluster.toml --dry-run
      atomsim submit workflows/li2ruo3-delithiation.toml --cluster my-cluster.toml
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.campaign.file import load_campaign
    from atomsim.execution.job import LOADER, Engine
    from atomsim.slurm.client import RealSlurm
    from atomsim.slurm.dry_run import dry_start
    from atomsim.slurm.planner import start
    from atomsim.slurm.profile import read_profile

    profile = read_profile(cluster)
    loaded = load_campaign(campaign, potential=potential)
    folder = out or Path("runs") / campaign.stem
    engine = Engine(loaded.header.potential, dtype=loaded.header.dtype, trust_file=trust_file, loader=loader or LOADER)
    if dry_run:
        for name, text in dry_start(loaded, folder, engine, profile):
            sys.stdout.write(f"# ---- {name}\n{text}\n")
        return
    _print_report(folder, start(loaded, folder, engine, profile, RealSlurm()), as_json)


def resume(
    folder: RunDir,
    accept_versions: Annotated[
        bool, typer.Option("--accept-versions", help="Continue though packages have changed since; records say so.")
    ] = False,
    token: Annotated[str, typer.Option(hidden=True)] = "",
    as_json: Json = False,
) -> None:
    """Continue with a submitted campaign: retry what failed, submit what comes next.

    Planner jobs do this by themselves. Do it by hand where nodes may not sbatch, or when
    'atomsim status' says that the campaign needs a manual resume. It can be called at any time.

    \b
    Example:
      atomsim resume runs/li2ruo3-delithiation
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.slurm.client import RealSlurm, SlurmUnreachableError
    from atomsim.slurm.journal import Journal
    from atomsim.slurm.planner import resume as resume_campaign

    deadline = time.monotonic() + (PATIENCE_S if token else 0.0)
    while True:
        try:
            slurm = RealSlurm(Journal(folder).owner())
            report = resume_campaign(folder, slurm, token=token, accept_versions=accept_versions)
            break
        except SlurmUnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(10)
    _print_report(folder, report, as_json)


def worker(
    folder: RunDir,
    step: Annotated[str, typer.Option()],
    number: Annotated[int, typer.Option("--round")],
    first: Annotated[int, typer.Option()],
    chunks: Annotated[int, typer.Option()],
    token: Annotated[str, typer.Option()],
) -> None:
    """Run one chunk of a submitted campaign; job scripts call this."""
    from atomsim.slurm.chunk_worker import work
    from atomsim.slurm.client import RealSlurm
    from atomsim.slurm.journal import Journal
    from atomsim.slurm.place import place_of

    place = place_of(folder, step, number, first, chunks, token, os.environ)
    if place is not None:
        raise typer.Exit(work(place, RealSlurm(Journal(folder).owner())))


def cancel(folder: RunDir, as_json: Json = False) -> None:
    """End a campaign's jobs. What is finished stays, and 'atomsim resume' continues it later.

    \b
    Example:
      atomsim cancel runs/li2ruo3-delithiation
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.slurm.actions import cancel as end
    from atomsim.slurm.client import RealSlurm

    done = end(folder, RealSlurm())
    if as_json:
        show.print_json({"cancelled": done.names, "left": done.left, "ending": done.ending})
    else:
        ending = f" (ending: {counted(done.ending, 'job')})" if done.ending else ""
        sys.stdout.write(
            f"{counted(len(done.names), 'submission')} cancelled{ending}; "
            f"'atomsim resume {folder}' continues it later\n"
        )
        for line in done.left:
            sys.stdout.write(f"left in the queue: {line}; call 'atomsim cancel {folder}' again in a minute\n")
    if done.left:
        raise typer.Exit(1)


def retry(
    folder: RunDir,
    status: Annotated[str, typer.Option(help="Only these statuses: NAME,NAME; all that are not good if empty.")] = "",
    steps: Annotated[str | None, typer.Option(help="Only these steps: NAME,NAME.")] = None,
    as_json: Json = False,
) -> None:
    """Run tasks again whose records are not good, and plan anew what took from them.

    \b
    Example:
      atomsim retry runs/li2ruo3-delithiation --status crashed,too_large
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.slurm.client import RealSlurm
    from atomsim.slurm.planner import retry as again

    report = again(folder, RealSlurm(), _words(status) or (), _words(steps))
    _print_report(folder, report, as_json)


def logs(
    folder: RunDir,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Label, step/label or id of a task.")],
    as_json: Json = False,
) -> None:
    """Show where a task ran, how that ended, and the few lines of logs that matter.

    \b
    Example:
      atomsim logs runs/li2ruo3-delithiation relaxed/x=1.50-03
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.slurm.actions import task_log

    found = task_log(folder, task)
    if as_json:
        content = asdict(found)
        content["record"] = (
            None if found.record is None else {"status": found.record.status, "message": found.record.message}
        )
        show.print_json(content)
        return
    state = "no record yet" if found.record is None else f"{found.record.status} {found.record.message}"
    sys.stdout.write(f"{found.step}/{found.label} ({found.task}): {state}\n")
    if found.attempts:
        show.print_table(list(found.attempts[0]), [list(a.values()) for a in found.attempts])
    for line in found.lines:
        sys.stdout.write(line + "\n")


def collect(
    folder: RunDir,
    formats: Annotated[str, typer.Option(help="Of csv, db (ASE's SQLite) and parquet.")] = "csv,db",
    as_json: Json = False,
) -> None:
    """Write all records as a table and as an ASE database into DIR/exports.

    \b
    Example:
      atomsim collect runs/li2ruo3-delithiation
    """  # noqa: D301 - click's mark for lines that must not be joined
    from atomsim.campaign.status import artifact_problems
    from atomsim.slurm.collect import collect as write

    written = write(folder, _words(formats) or ())
    for line in artifact_problems(folder):
        sys.stderr.write(f"warning: {line}\n")
    if as_json:
        show.print_json([str(path.resolve()) for path in written])
    else:
        sys.stdout.write("".join(f"{path}\n" for path in written))


def print_status(status: ClusterStatus, title: str, as_json: bool) -> None:
    """Print where a submitted campaign stands."""
    if as_json:
        show.print_json(status.to_json())
        return
    columns = ("step", "done", "tasks", "where the others are", "statuses", "ETA", "GPU-h")
    rows = []
    for s in status.steps:
        where = {"running": s.running, "queued": s.queued, "waiting": s.waiting, "unknown": s.unknown}
        others = ", ".join(f"{number} {name}" for name, number in where.items() if number) or "–"
        spent = f"{s.gpu_hours:.2f}" + ("" if s.gpu_hours_left is None else f" of {s.gpu_hours + s.gpu_hours_left:.2f}")
        tasks = "–" if s.tasks is None else s.tasks
        rows.append((s.name, s.done, tasks, others, show.statuses_text(s.statuses) or "–", _duration(s.eta_s), spent))
    show.print_table(columns, rows, title=f"{title}: {status.state}{f' – {status.message}' if status.message else ''}")
    for line in status.stuck:
        sys.stdout.write(f"stuck: {line}\n")
    for line in status.silent:
        sys.stdout.write(f"silent: {line}\n")
    for line in status.died[-SHOWN:]:
        sys.stdout.write(f"exited without a final report, is run again: {line}\n")
    if len(status.died) > SHOWN:
        sys.stdout.write(f"and {len(status.died) - SHOWN} more died; --json lists them\n")
    for line in status.unsure:
        sys.stdout.write(f"unsure whether Slurm took it: {line}; 'atomsim resume' settles that\n")
    if status.slurm != "asked":
        sys.stdout.write(f"the queue is unknown: {status.slurm}\n")


def _print_report(folder: Path, report: PlanReport, as_json: bool) -> None:
    if as_json:
        show.print_json(asdict(report) | {"folder": str(folder)})
    else:
        for job in report.submitted:
            sys.stdout.write(f"submitted {job.what}: job {job.job}\n")
        for note in report.notes:
            sys.stdout.write(f"note: {note}\n")
        for step, problem in report.problems.items():
            sys.stderr.write(f"error: step {step} cannot continue: {problem}\n")
        sys.stdout.write(_what_next(folder, report) + "\n")
    if report.problems and not report.has_jobs:
        raise typer.Exit(1)


def _what_next(folder: Path, report: PlanReport) -> str:
    if report.finished:
        return f"every step is complete; 'atomsim report {folder}' and 'atomsim collect {folder}' show the results"
    if not report.has_jobs:
        return f"nothing is in the queue; 'atomsim status {folder}' shows where it stands"
    if report.planner:
        return f"job {report.planner} continues when these have ended; 'atomsim status {folder}' looks"
    return f"when these jobs have ended, run 'atomsim resume {folder}'; 'atomsim status {folder}' looks"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {int(seconds % 60):02d} s"


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def checked_interval(seconds: float) -> float:
    """Return a polite interval between looks at the queue.

    Raises:
        InputError: if it is too short.
    """
    if seconds < 2:
        raise InputError(f"--every is {seconds}, wanted at least 2 s: the queue is shared")
    return seconds
