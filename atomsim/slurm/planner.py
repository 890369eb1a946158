"""The planner: looks at the ledger and the queue, decides, submits, and is gone.

``atomsim submit``, the planner job after each round and ``atomsim resume`` are this one function.
It remembers nothing: what is to be done follows from files, so it may be killed anywhere and
called again. Slurm's word is taken only for what is in the queue now; what has been achieved is
read from the ledger.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from atomsim.campaign import Campaign, Step, load_campaign
from atomsim.errors import AtomsimError, InputError
from atomsim.slurm.actions import to_retry
from atomsim.slurm.client import Queued, RejectedError, Slurm
from atomsim.slurm.journal import Journal, Lease, Settings, engine_of, settings_of
from atomsim.slurm.outlook import Outlook, Submitted
from atomsim.slurm.policy import History
from atomsim.slurm.profile import Cluster
from atomsim.slurm.rounds import Desk, go_on, hand_in, open_round
from atomsim.slurm.script import PlannerJob, planner_script
from atomsim.worker.chunks import forget_checkpoints
from atomsim.worker.engine import Engine, describe, versions
from atomsim.worker.folder import RunFolder, open_run
from atomsim.worker.manifest import rounds
from atomsim.worker.run import Run, Silent, context_of, run_step

if TYPE_CHECKING:
    from atomsim.models.interface import Potential

IDLE_S = 300
"""Pause of a planner that has no job to wait for, s."""


@dataclass(frozen=True)
class Planner:
    """A campaign on a cluster, opened to be planned."""

    run: Run
    journal: Journal
    slurm: Slurm
    token: str = ""
    """Token of the job that this planner runs in; empty for a person's."""


def start(
    campaign: Campaign, out: Path, engine: Engine, cluster: Cluster, slurm: Slurm, potential: Potential | None = None
) -> Outlook:
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
    if journal.exists and journal.closed() is None:
        raise InputError(
            f"{out} was submitted already; 'atomsim status {out}' shows it, 'atomsim resume {out}' goes on, "
            f"'atomsim cancel {out}' comes before another profile"
        )
    folder = RunFolder(out)
    with folder.locked():
        potential = potential or _load(campaign, engine)
        open_run(folder, campaign, describe(potential) if potential else None)
        journal.write_settings(settings_of(campaign.path, engine, cluster, versions()))
    journal.reopen()
    return advance(_planner(campaign, out, potential, slurm))


def resume(out: Path, slurm: Slurm, *, token: str = "", accept_versions: bool = False) -> Outlook:
    """Go on with a submitted campaign, from whatever is on disk and in the queue.

    Args:
        out: folder of the run.
        slurm: takes the jobs.
        token: token of the planner's own job; a person's planner has none, and reopens what was closed.
        accept_versions: go on though packages have changed; records say which versions made them.

    Raises:
        InputError: if this was not submitted, or its campaign, weights or packages have changed.
        AtomsimError: if Slurm refuses or does not answer.
    """
    journal = Journal(out)
    if token and journal.closed() is not None:
        return Outlook(notes=["this campaign is closed"])
    planner = open_planner(out, slurm, token, accept_versions=accept_versions)
    if not token and journal.closed() is not None:
        journal.reopen()
    return advance(planner)


def retry(out: Path, slurm: Slurm, statuses: Sequence[str] = (), steps: Sequence[str] | None = None) -> Outlook:
    """Run tasks again whose records are not good; what took from them is planned anew.

    Args:
        out: folder of the run.
        slurm: takes the jobs.
        statuses: only records of these statuses; all that are not good if empty.
        steps: only these steps; all if None.

    Raises:
        InputError: if jobs of this run are in the queue, or there is nothing to try again.
    """
    planner = open_planner(out, slurm)
    chosen = to_retry(out, statuses, steps)
    if not chosen:
        raise InputError(f"{out} has nothing to try again: every record asked for is good or not there yet")
    run = planner.run
    with planner.journal.planning() as lease:
        desk = open_desk(planner, lease)
        if desk.queued:
            raise InputError(f"jobs of {out} are in the queue; wait for them, or 'atomsim cancel {out}' first")
        # first: what is planned before a person asks is planned anew, and a closed campaign with work looks finished
        planner.journal.reopen()
        for step in run.campaign.steps:
            folder = run.folder.step(step.folder)
            if step.folder in chosen and step.module.NEEDS_POTENTIAL:
                done = run.folder.done(step.folder).keys() - set(chosen[step.folder])
                tasks = [t for t in run.folder.read_tasks(step.folder) or [] if t.id not in done]
                context = context_of(run.campaign, step, run.potential)
                number = max(rounds(folder), default=0) + 1
                open_round(
                    desk, folder, step, tasks, context, History(), number, discards=chosen[step.folder], why="retry"
                )
            (folder / "structures.extxyz").unlink(missing_ok=True)
    return advance(planner)


def open_planner(out: Path, slurm: Slurm, token: str = "", *, accept_versions: bool = False) -> Planner:
    """Open a submitted campaign to be planned: the same campaign, weights and packages, or none.

    Raises:
        InputError: if this was not submitted, or something that decides results has changed.
    """
    journal = Journal(out)
    settings = journal.settings()
    changed = _check_versions(journal, settings, accept_versions)
    engine = engine_of(settings)
    campaign = load_campaign(Path(settings.campaign), potential=engine.potential)
    potential = _load(campaign, engine)
    open_run(RunFolder(out), campaign, describe(potential) if potential else None)
    if changed:
        # rounds of the old versions are planned anew: no worker would take them
        journal.reopen()
        journal.write_settings(replace(settings, versions=versions()))
        RunFolder(out).say(f"goes on with other versions: {', '.join(changed)}")
    return _planner(campaign, out, potential, slurm, token)


def advance(planner: Planner) -> Outlook:
    """Bring every step as far as it can go now."""
    with planner.run.folder.locked(), planner.journal.planning() as lease:
        desk = open_desk(planner, lease)
        outlook = desk.outlook
        try:
            for step in planner.run.campaign.steps:
                _consider(planner, desk, step)
        except RejectedError as error:
            # with nothing under way a person may go on either way: resume, or submit with another profile
            if not (planner.token or desk.queued or outlook.submitted):
                planner.journal.close("stopped", str(error))
            raise
        outlook.finished = len(outlook.complete) == len(planner.run.campaign.steps)
        if outlook.goes_on:
            outlook.planner = _ensure_planner(planner, desk)
        elif outlook.finished:
            planner.journal.close("finished")
            _report(planner)
        else:
            message = "; ".join(f"{step}: {problem}" for step, problem in outlook.problems.items())
            planner.journal.close("stopped", message)
    _say(planner, outlook)
    return outlook


def open_desk(planner: Planner, lease: Lease) -> Desk:
    """Ask the queue, once, and read what was submitted."""
    settings = planner.journal.settings()
    queued: dict[str, list[Queued]] = {}
    lines = [line for line in planner.slurm.queue() if line.name.startswith(f"as-{settings.run}-")]
    failed = [line for line in lines if line.launch_failed]
    if failed:
        planner.slurm.cancel_lines(failed)
    for line in lines:
        if not line.launch_failed:
            queued.setdefault(line.name, []).append(line)
    submissions = planner.journal.submissions()
    for unsure in (s for s in submissions if s.job is None):
        # killed between sbatch and writing its answer: the queue knows the answer, if there is one
        planner.journal.accepted(unsure.token, queued[unsure.token][0].job if unsure.token in queued else "")
    asked = planner.journal.reopened()
    return Desk(planner.journal, settings, planner.slurm, lease, queued, submissions, asked, Outlook())


def _consider(planner: Planner, desk: Desk, step: Step) -> None:
    run, outlook = planner.run, desk.outlook
    inputs = run.inputs(step)
    if inputs is None:
        return
    try:
        tasks = run.tasks(step, inputs)
    except AtomsimError as error:
        outlook.problems[step.name] = str(error)
        return
    done = set(run.folder.done(step.folder))
    complete = all(task.id in done for task in tasks)
    if not step.module.NEEDS_POTENTIAL and not complete:
        run_step(run, step, frozenset())
        complete = True
    if not complete:
        go_on(desk, run.folder.step(step.folder), step, tasks, done, context_of(run.campaign, step, run.potential))
        # tasks that were given up have their records now
        complete = step.name not in outlook.waiting and step.name not in outlook.problems
    if complete:
        outlook.complete.append(step.name)
        forget_checkpoints(run.folder.step(step.folder))
        if not (run.folder.step(step.folder) / "structures.extxyz").exists():
            run_step(run, step, frozenset(done))


def _ensure_planner(planner: Planner, desk: Desk) -> str:
    """Return the job that will go on; submit one unless another is in the queue already."""
    cluster = desk.settings.profile
    if not cluster.planner.submits:
        return ""
    others = [s for s in desk.submissions if s.kind == "planner" and s.token != planner.token]
    for submission in others:
        for line in desk.queued.get(submission.token, ()):
            if line.state == "PENDING" and not line.stuck:
                return line.job
    ours = {s.token for s in desk.submissions if s.kind == "array"}
    waits_for = [line.job for token in sorted(ours) for line in desk.queued.get(token, ())]
    waits_for += [s.job for s in desk.outlook.submitted]
    token = f"as-{desk.settings.run}-plan-{secrets.token_hex(3)}"
    after = tuple(dict.fromkeys(waits_for))
    # with nothing to wait for, planners would follow one another as fast as they can
    job = PlannerJob(token, after, 0 if after else IDLE_S)
    try:
        job_id = hand_in(desk, token, job, planner_script(cluster, job, planner.journal.run.resolve()))
    except RejectedError as error:
        desk.outlook.notes.append(f"{error}; no planner job: run 'atomsim resume' when the jobs have ended")
        return ""
    desk.outlook.submitted.append(Submitted(token, job_id, "1 planner"))
    return job_id


def _check_versions(journal: Journal, settings: Settings, accept: bool) -> list[str]:
    """Return the packages that have changed, where a person accepts that."""
    now = versions()
    changed = sorted(k for k in settings.versions.keys() | now.keys() if settings.versions.get(k) != now.get(k))
    if changed and not accept:
        what = ", ".join(f"{k} was {settings.versions.get(k)}, is {now.get(k)}" for k in changed)
        raise InputError(
            f"packages have changed since {journal.run} was submitted: {what}; restore them, or go on with "
            "'atomsim resume --accept-versions' (each record says what made it)"
        )
    return changed


def _planner(campaign: Campaign, out: Path, potential: Potential | None, slurm: Slurm, token: str = "") -> Planner:
    run = Run(campaign, RunFolder(out), Engine(processes=0), potential, Silent())
    return Planner(run, Journal(out), slurm, token)


def _load(campaign: Campaign, engine: Engine) -> Potential | None:
    """Load the potential on this machine's CPU: to know its elements and that it is what it should be."""
    return replace(engine, device="cpu", checkpoints=None).load() if campaign.needs_potential else None


def _report(planner: Planner) -> None:
    """Write the report; what is wrong with a report must not look like a failed campaign."""
    from atomsim.report import write_report
    from atomsim.worker.folder import read_run

    info, records = read_run(planner.journal.run)
    try:
        write_report(planner.journal.run, info, records)
    except AtomsimError as error:
        planner.run.folder.say(f"the report was not written: {error}")


def _say(planner: Planner, outlook: Outlook) -> None:
    say: Callable[[str], None] = planner.run.folder.say
    lines: Sequence[str] = [
        *(f"submitted {s.what} as {s.job} ({s.token})" for s in outlook.submitted),
        *outlook.notes,
        *(f"step {step} cannot go on: {problem}" for step, problem in outlook.problems.items()),
    ]
    for line in lines:
        say(line)
    if outlook.finished:
        say("finished: every step is complete")
