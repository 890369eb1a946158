"""One step's rounds: opens the next, submits what is not submitted, knows what is over."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.errors import AtomsimError, counted
from atomsim.slurm import policy
from atomsim.slurm.chunking import arrays, plan_chunks
from atomsim.slurm.client import Queued, RejectedError, Slurm
from atomsim.slurm.journal import Journal, Lease, Submission
from atomsim.slurm.plan_report import PlanReport, Submitted
from atomsim.slurm.script import ArrayJob, array_script, elements
from atomsim.slurm.settings import Settings
from atomsim.store.claims import Attempt, attempts, claim, seals_for_next
from atomsim.store.records import Ledger, Task, record_of
from atomsim.store.rounds import Manifest, key_of, known_chunks, read_header, rounds, task_spans, write_manifest

if TYPE_CHECKING:
    from atomsim.campaign.file import Step
    from atomsim.tasks.base import Context

SUBMISSIONS = 3
"""A piece of which no worker ever started is submitted so often."""
UNANSWERED = 50
"""A piece is submitted so often while sbatch gives no answer; Slurm may not have heard of it."""


@dataclass(frozen=True)
class PlanContext:
    """Inputs of every decision of a planner."""

    journal: Journal
    settings: Settings
    slurm: Slurm
    lease: Lease
    queued: Mapping[str, Sequence[Queued]]
    """Jobs in the queue, by token."""
    submissions: Sequence[Submission]
    asked: float
    """Time of the last manual resume, ``time.time()``; what failed before does not count."""
    report: PlanReport

    def room(self) -> int:
        """Array elements that may still be submitted."""
        planners = {s.token for s in self.submissions if s.kind == "planner"}
        lines = [line for token, lines in self.queued.items() if token not in planners for line in lines]
        taken = sum(max(1, len(line.elements)) for line in lines)
        taken += sum(int(s.what.split()[0]) for s in self.report.submitted)
        profile = self.settings.profile
        return profile.limits.max_submitted - profile.own_jobs - taken


def advance_step(
    plan: PlanContext, folder: Path, step: Step, tasks: Sequence[Task], done: set[str], context: Context
) -> None:
    """Bring a step one decision further: wait, submit, or open the next round."""
    numbers = rounds(folder)
    tried = attempts(folder)
    if numbers:
        header = read_header(folder, numbers[-1])
        state = [_piece_state(plan, header, step.folder, piece, tried) for piece in header.pieces]
        # what was planned before a person asked was perhaps for another profile or other packages
        if header.opened < plan.asked or not known_chunks(folder, header.round):
            state = ["live" if each == "live" else "over" for each in state]
        if "live" in state or "new" in state or "lost" in state:
            _submit_pieces(plan, step.folder, header, state)
            plan.report.waiting.append(step.name)
            return
        if "never" in state:
            plan.report.problems[step.name] = (
                f"workers of round {header.round} were submitted {SUBMISSIONS} times and never started "
                f"(or {UNANSWERED} times without an answer of sbatch); "
                f"see {plan.journal.path / 'logs'} and 'atomsim clusters check'"
            )
            return
    history = _history(folder, numbers, tried, done)
    _open_next(plan, folder, step, [t for t in tasks if t.id not in done], context, history)


def _piece_state(
    plan: PlanContext, header: Manifest, step: str, piece: tuple[int, int], tried: Mapping[str, Sequence[Attempt]]
) -> str:
    """Return live, new (never submitted), lost (submitted, not there, never started), never or over."""
    first, count = piece
    mine = [s for s in plan.submissions if s.is_piece(step, header.round, first)]
    if any(s.token in plan.queued for s in mine):
        return "live"
    if not mine:
        return "new"
    if any(s.job and plan.slurm.knows(s.job, s.token) for s in mine):
        return "live"
    if any(key_of(header.round, n) in tried for n in range(first, first + count)):
        return "over"
    recent = [s for s in mine if s.time > plan.asked]
    taken = sum(bool(s.job) for s in recent)
    return "lost" if taken < SUBMISSIONS and len(recent) - taken < UNANSWERED else "never"


def _submit_pieces(plan: PlanContext, step: str, header: Manifest, state: Sequence[str]) -> None:
    """Submit the pieces that are not in the queue, as far as there is room."""
    for piece, each in zip(header.pieces, state, strict=True):
        count = elements(piece[1], header.workers_per_element)
        if each not in {"new", "lost"}:
            continue
        if count > plan.room():
            plan.report.notes.append(f"{count} more jobs of {step} wait until the limit of submitted jobs allows them")
            return
        try:
            token, job_id = _submit_piece(plan, step, header, piece)
        except RejectedError as error:
            if not error.by_limit or not (plan.report.submitted or plan.queued):
                raise
            plan.report.notes.append(f"{error}; the rest of {step} is submitted later")
            return
        if each == "lost":
            plan.report.notes.append(f"a job array of {step} was lost or never started; it was submitted again")
        plan.report.submitted.append(
            Submitted(token, job_id, f"{counted(count, 'job')} of step {step}, round {header.round}")
        )


def _submit_piece(plan: PlanContext, step: str, header: Manifest, piece: tuple[int, int]) -> tuple[str, str]:
    """Submit a piece, away from bad nodes if there are others; return its token and the job's id."""
    avoided = tuple(header.job.get("exclude", ()))
    try:
        return _submit_array(plan, step, header, piece, avoided)
    except RejectedError as error:
        if error.by_limit or not avoided:
            raise
        plan.report.notes.append(f"{error}; submitted again without keeping away from {', '.join(avoided)}")
        return _submit_array(plan, step, header, piece, ())


def _submit_array(
    plan: PlanContext, step: str, header: Manifest, piece: tuple[int, int], exclude: tuple[str, ...]
) -> tuple[str, str]:
    number = header.pieces.index(piece)
    token = f"as-{plan.settings.run}-{step[:2]}r{header.round:03d}p{number:03d}-{secrets.token_hex(3)}"
    job = ArrayJob(token, step, header.round, *piece, exclude)
    script = array_script(plan.settings.profile, job, plan.journal.run.resolve())
    return token, submit(plan, token, job, script)


def submit(plan: PlanContext, token: str, job: Any, script: str) -> str:
    """Write the intent, submit, write the answer; a refused job leaves no intent.

    Raises:
        RejectedError: if Slurm refuses.
        AtomsimError: if the campaign was cancelled meanwhile.
    """
    plan.lease.renew()
    if (plan.journal.closed() or {"why": ""})["why"] == "cancelled":
        raise AtomsimError(f"{plan.journal.run} was cancelled meanwhile; nothing more is submitted")
    path = plan.journal.intend(token, job, script)
    try:
        job_id = plan.slurm.submit(path)
    except RejectedError:
        path.with_suffix(".json").unlink()
        raise
    plan.journal.accepted(token, job_id)
    return job_id


def _history(
    folder: Path, numbers: Sequence[int], tried: Mapping[str, Sequence[Attempt]], done: set[str]
) -> policy.History:
    headers = [read_header(folder, number) for number in numbers]
    chunks = {key_of(n, c.number): c for n in numbers for c in known_chunks(folder, n)}
    since = {task: header.round for header in headers for task in header.discards}
    return policy.judge(folder, tried, chunks, done, since)


def _open_next(
    plan: PlanContext, folder: Path, step: Step, pending: Sequence[Task], context: Context, history: policy.History
) -> None:
    """Give up what killed its workers, and open a round for the rest."""
    numbers = rounds(folder)
    last = max(numbers, default=0)
    recent = [n for n in numbers if read_header(folder, n).opened > plan.asked]
    problem = policy.refusal(history, last) if last in recent else ""
    if problem:
        plan.report.problems[step.name] = f"workers refused to work: {problem}"
        return
    lost = policy.given_up(history)
    if not lost and min(policy.idle_rounds(history, last), len(recent)) >= policy.IDLE_ROUNDS:
        plan.report.problems[step.name] = (
            f"{policy.IDLE_ROUNDS} rounds one after another brought nothing; see {plan.journal.path / 'logs'}, "
            "then 'atomsim resume'"
        )
        return
    _record_given_up(plan, folder, last, [t for t in pending if t.id in lost], lost)
    left = [task for task in pending if task.id not in lost]
    if not left:
        return
    why = "first" if not last else f"{counted(len(left), 'task')} left by round {last}"
    open_round(plan, folder, step, left, context, history, last + 1, why=why)
    header = read_header(folder, last + 1)
    _submit_pieces(plan, step.folder, header, ["new"] * len(header.pieces))
    plan.report.waiting.append(step.name)


def _record_given_up(
    plan: PlanContext, folder: Path, last: int, tasks: Sequence[Task], reasons: Mapping[str, str]
) -> None:
    if not tasks:
        return
    mine = claim(folder, key_of(last, policy.PLANNERS_CHUNK), {"token": "planner", "host": ""})
    for task in tasks:
        Ledger(folder / mine.ledger).append(record_of(task, "crashed", reasons[task.id]))
        plan.report.notes.append(f"{task.label} is given up: {reasons[task.id]}")


def open_round(
    plan: PlanContext,
    folder: Path,
    step: Step,
    tasks: Sequence[Task],
    context: Context,
    history: policy.History,
    number: int,
    *,
    discards: Sequence[str] = (),
    why: str = "",
) -> None:
    """Write the manifest of a round.

    Raises:
        AtomsimError: if another planner has just done so.
    """
    cluster = plan.settings.profile
    settings = step.settings.model_dump(mode="json")
    rate = measured_rate(folder) or cluster.worker.seconds_per_atom
    spans = task_spans(folder)
    chunks = plan_chunks(tasks, spans, step.module, step.settings, cluster, rate, history.deaths)
    job = {
        "step": step.name,
        "kind": step.kind,
        "settings": settings,
        "context": context.to_json(),
        "versions": plan.settings.versions,
        "exclude": policy.excluded(history, number - 1),
        "seconds_per_atom": rate,
    }
    manifest = Manifest(
        round=number,
        job=job,
        chunks=len(chunks),
        pieces=arrays(len(chunks), cluster),
        workers_per_element=cluster.slurm.workers_per_job,
        seals=seals_for_next(folder),
        discards=tuple(discards),
        why=why,
        opened=time.time(),
    )
    plan.lease.renew()
    if not write_manifest(folder, manifest, chunks):
        raise AtomsimError(f"another planner has just opened round {number} of {step.name}; run 'atomsim status'")


def measured_rate(folder: Path) -> float | None:
    """Return a worker's time for one atom of one task, s, from what attempts at a step took; None if unknown."""
    spent = atoms = 0.0
    for each in attempts(folder).values():
        for attempt in each:
            report = attempt.read(folder, "end") or attempt.read(folder, "beat") or {}
            spent += report.get("work_s", 0.0)
            atoms += report.get("weight", 0.0)
    return spent / atoms if atoms and spent else None
