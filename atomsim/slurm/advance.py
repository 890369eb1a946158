"""One look of a planner: every step as far as it can go now, and somebody to go on after that."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atomsim.campaign.file import Step
from atomsim.campaign.run import Run, context_of, run_step
from atomsim.errors import AtomsimError
from atomsim.slurm.client import Queued, RejectedError, Slurm
from atomsim.slurm.journal import Journal, Lease
from atomsim.slurm.notify import notify
from atomsim.slurm.outlook import Outlook, Submitted
from atomsim.slurm.rounds import Desk, go_on, hand_in
from atomsim.slurm.script import PlannerJob, planner_script
from atomsim.store.claims import forget_checkpoints

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
    notes: tuple[str, ...] = ()
    """Notes to read before anything is submitted."""


def advance(planner: Planner) -> Outlook:
    """Bring every step as far as it can go now."""
    with planner.run.folder.locked(), planner.journal.planning() as lease:
        return advance_under(planner, lease)


def advance_under(planner: Planner, lease: Lease) -> Outlook:
    """Bring every step as far as it can go now, as the one planner of the run."""
    desk = open_desk(planner, lease)
    outlook = desk.outlook
    outlook.notes += planner.notes
    try:
        for step in planner.run.campaign.steps:
            _consider(planner, desk, step)
    except RejectedError as error:
        # with nothing under way a person may go on either way: resume, or submit with another profile
        if not (planner.token or desk.queued or outlook.submitted):
            planner.journal.close("stopped", str(error))
        raise
    if outlook.submitted and not planner.token:
        outlook.notes += time_limits(desk)
    outlook.finished = len(outlook.complete) == len(planner.run.campaign.steps)
    if outlook.goes_on:
        outlook.planner = _ensure_planner(planner, desk)
    else:
        _close(planner, desk)
    planner.journal.complain("")
    _say(planner, outlook)
    return outlook


def _close(planner: Planner, desk: Desk) -> None:
    """Write down that the campaign has ended or stopped; no planner is left to wait for anything."""
    outlook = desk.outlook
    message = "; ".join(f"{step}: {problem}" for step, problem in outlook.problems.items())
    state = "finished" if outlook.finished else "stopped"
    planner.journal.close(state, message)
    if outlook.finished:
        _report(planner)
    waiting = [line for line in _planners(desk, planner.token) if line.state == "PENDING"]
    if waiting:
        planner.slurm.cancel_lines(waiting)
    if planner.token:
        notify(desk.settings.profile, planner.run.folder, state, message)


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
        context = context_of(run.campaign, step, run.potential, trust_file=run.engine.trust_file)
        go_on(desk, run.folder.step(step.folder), step, tasks, done, context)
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
    others = [line for line in _planners(desk, planner.token) if line.state == "PENDING"]
    for line in others:
        if not line.stuck:
            return line.job
    if others:  # they would wait for ever, and one more with each round
        planner.slurm.cancel_lines(others)
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
        note = f"{error}; no planner job: run 'atomsim resume' when the jobs have ended"
        desk.outlook.notes.append(note)
        if planner.token:
            notify(cluster, planner.run.folder, "needs 'atomsim resume'", note)
        return ""
    desk.outlook.submitted.append(Submitted(token, job_id, "1 planner"))
    return job_id


def time_limits(desk: Desk) -> list[str]:
    """Return what of a profile is above a partition's MaxTime: Slurm takes such jobs and never starts them."""
    cluster = desk.settings.profile
    asked = {"slurm": (cluster.slurm.partition, cluster.walltime_s)}
    if cluster.planner.submits:
        asked["planner"] = cluster.planner_limits
    found = []
    for table, (partition, seconds) in asked.items():
        longest = desk.slurm.longest_s(partition)
        if seconds > longest:
            found.append(
                f"[{table}] walltime is {seconds / 60:g} min, MaxTime of partition {partition} {longest / 60:g} min: "
                "unless your QOS allows more, they wait for ever; 'atomsim cancel', correct the profile, submit again"
            )
    return found


def _planners(desk: Desk, token: str) -> list[Queued]:
    """Return what is in the queue of this run's planners, but for one that is at work now."""
    return [line for name, lines in desk.queued.items() for line in lines if line.is_planner and name != token]


def _report(planner: Planner) -> None:
    """Write the report; what is wrong with a report must not look like a failed campaign."""
    from atomsim.report import write_report
    from atomsim.store.run_folder import read_run

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
