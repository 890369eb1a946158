"""The planner: looks at the ledger and the queue, decides, submits, and is gone.

``atomsim submit``, the planner job after each round and ``atomsim resume`` are this one function.
It remembers nothing: what is to be done follows from files, so it may be killed anywhere and
called again. Slurm's word is taken only for what is in the queue now; what has been achieved is
read from the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.campaign.observer import Silent
from atomsim.campaign.open import open_run
from atomsim.campaign.plan import check_further
from atomsim.campaign.run import Run, context_of
from atomsim.errors import AtomsimError, InputError, InUseError
from atomsim.execution.job import Engine
from atomsim.slurm.actions import to_retry
from atomsim.slurm.advance import Planner, advance, advance_under, open_plan
from atomsim.slurm.client import Slurm, SlurmUnreachableError
from atomsim.slurm.journal import Journal
from atomsim.slurm.notify import notify
from atomsim.slurm.plan_report import PlanReport
from atomsim.slurm.policy import History
from atomsim.slurm.profile import Cluster
from atomsim.slurm.rounds import open_round
from atomsim.slurm.settings import Settings, engine_of, settings_of
from atomsim.store.provenance import describe, versions
from atomsim.store.rounds import rounds
from atomsim.store.run_folder import RunFolder
from atomsim.tasks import packages_of

if TYPE_CHECKING:
    from atomsim.models.interface import Potential


def start(
    campaign: Campaign, out: Path, engine: Engine, cluster: Cluster, slurm: Slurm, potential: Potential | None = None
) -> PlanReport:
    """Submit a campaign: plan its first steps into job arrays and leave.

    Args:
        campaign: what to run.
        out: folder of the run, on a file system that all nodes see.
        engine: with which potential; device and processes are the profile's.
        cluster: the cluster's profile.
        slurm: takes the jobs.
        potential: the engine's, where it is loaded already.

    Raises:
        InputError: if the input is not fit, or the folder is another run's or was submitted before.
        AtomsimError: if Slurm refuses.
    """
    journal = Journal(out)
    _refuse_submitted(journal)
    folder = RunFolder(out)
    with folder.locked():
        potential = potential or _load(campaign, engine)
        check_further(campaign, potential, trust_file=engine.trust_file)
        open_run(folder, campaign, describe(potential) if potential else None)
        # a lease holds where file systems have no locks: of several who submit at once, one does
        with journal.planning() as lease:
            _refuse_submitted(journal)
            journal.write_settings(settings_of(campaign.path, engine, cluster, _versions(out)))
            journal.reopen()
            return advance_under(_planner(campaign, out, potential, slurm, trust_file=engine.trust_file), lease)


def _refuse_submitted(journal: Journal) -> None:
    out = journal.run
    if not journal.exists:
        return
    if journal.closed() is None:
        raise InputError(
            f"{out} was submitted already; 'atomsim status {out}' shows it, 'atomsim resume {out}' continues it, "
            f"'atomsim cancel {out}' comes before another profile"
        )
    journal.settings().refuse_others(out)


def resume(out: Path, slurm: Slurm, *, token: str = "", accept_versions: bool = False) -> PlanReport:
    """Continue with a submitted campaign, from whatever is on disk and in the queue.

    Args:
        out: folder of the run.
        slurm: takes the jobs.
        token: token of the planner's own job; a person's planner has none, and reopens what was closed.
        accept_versions: continue though packages have changed; records say which versions made them.

    Raises:
        InputError: if this was not submitted, is somebody else's, or its files, weights or packages have changed.
        AtomsimError: if Slurm refuses or does not answer.
    """
    journal = Journal(out)
    if token and journal.closed() is not None:
        return PlanReport(notes=["this campaign is closed"])
    settings = journal.settings()
    if token:
        return _resume_in_job(out, slurm, settings, token)
    settings.refuse_others(out)
    planner = open_planner(out, slurm, accept_versions=accept_versions)
    if journal.closed() is not None:
        journal.reopen()
    return advance(planner)


def _resume_in_job(out: Path, slurm: Slurm, settings: Settings, token: str) -> PlanReport:
    """Continue where nobody reads what is printed: what goes wrong is left for ``atomsim status`` to say."""
    journal = Journal(out)
    try:
        return advance(open_planner(out, slurm, token))
    except InUseError:  # another planner is at work, and says itself what it fails with
        raise
    except SlurmUnreachableError as error:  # it may answer in a minute
        journal.complain(str(error))
        raise
    except Exception as error:
        message = str(error) if isinstance(error, AtomsimError) else f"{type(error).__name__}: {error}"
        if message != journal.complaint():
            journal.complain(message)
            notify(settings.profile, RunFolder(out), "planner failed", message)
        raise


def retry(out: Path, slurm: Slurm, statuses: Sequence[str] = (), steps: Sequence[str] | None = None) -> PlanReport:
    """Run tasks again whose records are not good; what took from them is planned anew.

    Args:
        out: folder of the run.
        slurm: takes the jobs.
        statuses: only records of these statuses; all that are not good if empty.
        steps: only these steps; all if None.

    Raises:
        InputError: if jobs of this run are in the queue, or there is nothing to try again.
    """
    Journal(out).settings().refuse_others(out)
    planner = open_planner(out, slurm)
    chosen = to_retry(out, statuses, steps)
    if not chosen:
        raise InputError(f"{out} has nothing to try again: every record asked for is good or not there yet")
    run = planner.run
    with planner.journal.planning() as lease:
        plan = open_plan(planner, lease)
        if plan.queued:
            raise InputError(f"jobs of {out} are in the queue; wait for them, or 'atomsim cancel {out}' first")
        # first: what is planned before a person asks is planned anew, and a closed campaign with work looks finished
        planner.journal.reopen()
        for step in run.campaign.steps:
            folder = run.folder.step(step.folder)
            if step.folder in chosen and step.module.NEEDS_POTENTIAL:
                done = run.folder.done(step.folder).keys() - set(chosen[step.folder])
                tasks = [t for t in run.folder.read_tasks(step.folder) or [] if t.id not in done]
                context = context_of(run.campaign, step, run.potential, trust_file=run.engine.trust_file)
                number = max(rounds(folder), default=0) + 1
                open_round(
                    plan, folder, step, tasks, context, History(), number, discards=chosen[step.folder], why="retry"
                )
            (folder / "structures.extxyz").unlink(missing_ok=True)
    return advance(planner)


def open_planner(out: Path, slurm: Slurm, token: str = "", *, accept_versions: bool = False) -> Planner:
    """Open a submitted campaign to be planned: the same files, weights and packages, or none.

    The campaign is the copy in the run's folder; what became of the file that was submitted changes nothing.

    Raises:
        InputError: if this was not submitted, or something that decides results has changed.
    """
    journal = Journal(out)
    settings = journal.settings()
    changed = _check_versions(journal, settings, accept_versions)
    engine = engine_of(settings)
    campaign, notes = _submitted_campaign(out, settings, engine.potential)
    potential = _load(campaign, engine)
    open_run(RunFolder(out), campaign, describe(potential) if potential else None)
    if changed:
        # rounds of the old versions are planned anew: no worker would take them
        journal.reopen()
        journal.write_settings(replace(settings, versions=_versions(out)))
        RunFolder(out).say(f"continues with other versions: {', '.join(changed)}")
    opened = _planner(campaign, out, potential, slurm, token, trust_file=engine.trust_file)
    return replace(opened, notes=notes)


def _submitted_campaign(out: Path, settings: Settings, potential: str) -> tuple[Campaign, tuple[str, ...]]:
    """Return the campaign as it was submitted, and what to say of the file that it came from."""
    path, own = Path(settings.campaign), out / "campaign.toml"
    try:
        text = own.read_text(encoding="utf-8")
    except OSError:
        return load_campaign(path, potential=potential), ()
    try:
        changed = "" if path.read_text(encoding="utf-8") == text else "has changed"
    except (OSError, UnicodeDecodeError):
        changed = "is not there any more"
    notes = (f"{path} {changed}; this run continues with its own copy, {own}",) if changed else ()
    return load_campaign(path, potential=potential, text=text), notes


def _check_versions(journal: Journal, settings: Settings, accept: bool) -> list[str]:
    """Return the packages that have changed, where a person accepts that."""
    now = _versions(journal.run)
    changed = sorted(k for k in settings.versions.keys() | now.keys() if settings.versions.get(k) != now.get(k))
    if changed and not accept:
        what = ", ".join(f"{k} was {settings.versions.get(k)}, is {now.get(k)}" for k in changed)
        raise InputError(
            f"packages have changed since {journal.run} was submitted: {what}; restore them, or continue with "
            "'atomsim resume --accept-versions' (each record says what made it)"
        )
    return changed


def _versions(out: Path) -> dict[str, str]:
    """Return the versions of all packages that the results of a run depend on."""
    return versions() | packages_of(*RunFolder(out).kinds)


def _planner(
    campaign: Campaign, out: Path, potential: Potential | None, slurm: Slurm, token: str = "", *, trust_file: bool
) -> Planner:
    engine = Engine(processes=0, trust_file=trust_file)
    run = Run(campaign, RunFolder(out), engine, potential, Silent())
    return Planner(run, Journal(out), slurm, token)


def _load(campaign: Campaign, engine: Engine) -> Potential | None:
    """Load the potential on this machine's CPU: to know its elements and that it is what it should be."""
    return replace(engine, device="cpu", checkpoints=None).load() if campaign.needs_potential else None
