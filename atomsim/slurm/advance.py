"""One look of a planner: every step as far as it can go now, and somebody to continue after that."""

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
from atomsim.slurm.options import seconds_of
from atomsim.slurm.plan_report import PlanReport, Submitted
from atomsim.slurm.rounds import PlanContext, advance_step, submit
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


def advance(planner: Planner) -> PlanReport:
    """Bring every step as far as it can go now."""
    with planner.run.folder.locked(), planner.journal.planning() as lease:
        return advance_under(planner, lease)


def advance_under(planner: Planner, lease: Lease) -> PlanReport:
    """Bring every step as far as it can go now, as the one planner of the run."""
    plan = open_plan(planner, lease)
    report = plan.report
    report.notes += planner.notes
    try:
        for step in planner.run.campaign.steps:
            _consider(planner, plan, step)
    except RejectedError as error:
        # with nothing under way a person may continue either way: resume, or submit with another profile
        if not (planner.token or plan.queued or report.submitted):
            planner.journal.close("stopped", str(error))
        raise
    if report.submitted and not planner.token:
        report.notes += time_limits(plan)
    report.finished = len(report.complete) == len(planner.run.campaign.steps)
    if report.has_jobs:
        report.planner = _ensure_planner(planner, plan)
        _ensure_watch(planner, plan)
    else:
        _close(planner, plan)
    planner.journal.complain("")
    _say(planner, report)
    return report


def _close(planner: Planner, plan: PlanContext) -> None:
    """Write down that the campaign has ended or stopped; no planner is left to wait for anything."""
    report = plan.report
    message = "; ".join(f"{step}: {problem}" for step, problem in report.problems.items())
    state = "finished" if report.finished else "stopped"
    planner.journal.close(state, message)
    if report.finished:
        _report(planner)
    waiting = [
        line for line in _planners(plan, planner.token) + _watches(plan, planner.token) if line.state == "PENDING"
    ]
    if waiting:
        planner.slurm.cancel_lines(waiting)
    if planner.token:
        notify(plan.settings.profile, planner.run.folder, state, message)


def open_plan(planner: Planner, lease: Lease) -> PlanContext:
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
    return PlanContext(planner.journal, settings, planner.slurm, lease, queued, submissions, asked, PlanReport())


def _consider(planner: Planner, plan: PlanContext, step: Step) -> None:
    run, report = planner.run, plan.report
    inputs = run.inputs(step)
    if inputs is None:
        return
    try:
        tasks = run.tasks(step, inputs)
    except AtomsimError as error:
        report.problems[step.name] = str(error)
        return
    done = set(run.folder.done(step.folder))
    complete = all(task.id in done for task in tasks)
    if not step.module.NEEDS_POTENTIAL and not complete:
        run_step(run, step, frozenset())
        complete = True
    if not complete:
        context = context_of(run.campaign, step, run.potential, trust_file=run.engine.trust_file)
        advance_step(plan, run.folder.step(step.folder), step, tasks, done, context)
        # tasks that were given up have their records now
        complete = step.name not in report.waiting and step.name not in report.problems
    if complete:
        report.complete.append(step.name)
        forget_checkpoints(run.folder.step(step.folder))
        if not (run.folder.step(step.folder) / "structures.extxyz").exists():
            run_step(run, step, frozenset(done))


def _ensure_planner(planner: Planner, plan: PlanContext) -> str:
    """Return the job that will continue; submit one unless another is in the queue already."""
    cluster = plan.settings.profile
    if not cluster.planner.submits:
        return ""
    others = [line for line in _planners(plan, planner.token) if line.state == "PENDING"]
    for line in others:
        if not line.replaceable:
            return line.job
    if others:  # they would wait for ever, and one more with each round
        planner.slurm.cancel_lines(others)
    ours = {s.token for s in plan.submissions if s.kind == "array"}
    waits_for = [line.job for token in sorted(ours) for line in plan.queued.get(token, ())]
    waits_for += [s.job for s in plan.report.submitted]
    token = f"as-{plan.settings.run}-plan-{secrets.token_hex(3)}"
    after = tuple(dict.fromkeys(waits_for))
    # with nothing to wait for, planners would follow one another as fast as they can
    job = PlannerJob(token, after, 0 if after else IDLE_S)
    try:
        job_id = submit(plan, token, job, planner_script(cluster, job, planner.journal.run.resolve()))
    except RejectedError as error:
        note = f"{error}; no planner job: run 'atomsim resume' when the jobs have ended"
        plan.report.notes.append(note)
        if planner.token:
            notify(cluster, planner.run.folder, "needs 'atomsim resume'", note)
        return ""
    plan.report.submitted.append(Submitted(token, job_id, "1 planner"))
    return job_id


def _ensure_watch(planner: Planner, plan: PlanContext) -> None:
    """Submit the job of ``[planner] watch``, unless one waits already: it runs when its time has come."""
    cluster = plan.settings.profile
    waiting = [line for line in _watches(plan, planner.token) if line.state == "PENDING" and not line.replaceable]
    if waiting or not (cluster.planner.submits and cluster.planner.watch):
        return
    job = PlannerJob(f"as-{plan.settings.run}-watch-{secrets.token_hex(3)}", (), seconds_of(cluster.planner.watch))
    try:
        job_id = submit(plan, job.token, job, planner_script(cluster, job, planner.journal.run.resolve()))
    except RejectedError as error:
        plan.report.notes.append(f"{error}; no watch job")
        return
    plan.report.submitted.append(Submitted(job.token, job_id, "1 watch job"))


def time_limits(plan: PlanContext) -> list[str]:
    """Return what of a profile is above a partition's MaxTime: Slurm takes such jobs and never starts them."""
    cluster = plan.settings.profile
    asked = {"slurm": (cluster.slurm.partition, cluster.walltime_s)}
    if cluster.planner.submits:
        asked["planner"] = cluster.planner_limits
    found = []
    for table, (partition, seconds) in asked.items():
        longest = plan.slurm.longest_s(partition)
        if seconds > longest:
            found.append(
                f"[{table}] walltime is {seconds / 60:g} min, MaxTime of partition {partition} {longest / 60:g} min: "
                "unless your QOS allows more, they wait for ever; 'atomsim cancel', correct the profile, submit again"
            )
    return found


def _planners(plan: PlanContext, token: str) -> list[Queued]:
    """Return what is in the queue of this run's planners, but for one that is at work now."""
    return [line for name, lines in plan.queued.items() for line in lines if line.is_planner and name != token]


def _watches(plan: PlanContext, token: str) -> list[Queued]:
    """Return what is in the queue of this run's watch jobs, but for the one at work now."""
    return [line for name, lines in plan.queued.items() for line in lines if line.is_watch and name != token]


def _report(planner: Planner) -> None:
    """Write the report; what is wrong with a report must not look like a failed campaign."""
    from atomsim.report import write_report
    from atomsim.store.run_folder import read_run

    info, records = read_run(planner.journal.run)
    try:
        write_report(planner.journal.run, info, records)
    except AtomsimError as error:
        planner.run.folder.say(f"the report was not written: {error}")


def _say(planner: Planner, report: PlanReport) -> None:
    say: Callable[[str], None] = planner.run.folder.say
    lines: Sequence[str] = [
        *(f"submitted {s.what} as {s.job} ({s.token})" for s in report.submitted),
        *report.notes,
        *(f"step {step} cannot continue: {problem}" for step, problem in report.problems.items()),
    ]
    for line in lines:
        say(line)
    if report.finished:
        say("finished: every step is complete")
