"""Runs a campaign, from wherever it stands to its end.

A task without a record is pending; nothing else is remembered. This process alone writes the
ledgers, so ending it at any moment loses at most the records that were not yet written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from atomsim.campaign.file import Campaign, Step
from atomsim.campaign.observer import RunObserver, RunSummary, Silent, StepSummary
from atomsim.campaign.open import open_run
from atomsim.errors import AtomsimError, InputError, nearest
from atomsim.execution.dispatch import run_job
from atomsim.execution.job import Engine, Job, check_processes
from atomsim.pulse import watched
from atomsim.store.artifacts import prune
from atomsim.store.export import export
from atomsim.store.provenance import describe
from atomsim.store.records import Record, Task, record_of
from atomsim.store.run_folder import RunFolder, inputs_hash
from atomsim.store.state import forget_states
from atomsim.tasks.base import Context, Inputs, left_out

if TYPE_CHECKING:
    from atomsim.models.interface import Potential


LIMITED = frozenset({"max_steps"})
"""Statuses of tasks that a limit of effort ended: a higher one may bring them further."""


@dataclass(frozen=True)
class Run:
    """A campaign, its folder and what runs it."""

    campaign: Campaign
    folder: RunFolder
    engine: Engine
    potential: Potential | None
    progress: RunObserver

    def inputs(self, step: Step) -> Inputs | None:
        """Records of the steps that a step takes from; None while any is incomplete."""
        inputs = {}
        for needed in self.campaign.steps:
            if needed.name in step.needs:
                records, total = self.folder.records(needed.folder)
                if self.folder.read_tasks(needed.folder) is None or len(records) < total:
                    return None
                inputs[needed.name] = records
        return inputs

    def tasks(self, step: Step, inputs: Inputs) -> list[Task]:
        """Tasks of a step: those written, or newly expanded ones."""
        context = context_of(self.campaign, step, self.potential, trust_file=self.engine.trust_file)
        decides = {"settings": step.settings.model_dump(mode="json"), "potential": context.potential_sha256}
        made_from = inputs_hash(inputs, decides)
        tasks = self.folder.read_tasks(step.folder, made_from)
        if tasks is None:
            self.progress.preparing(step)
            tasks, instead_of = _take_over(self.folder, step, step.module.expand(step.settings, inputs, context))
            self.folder.write_tasks(step.folder, made_from, tasks, instead_of)
        return tasks


def _take_over(folder: RunFolder, step: Step, tasks: Sequence[Task]) -> tuple[list[Task], dict[str, str]]:
    """Keep the earlier task of each structure whose result a raised limit does not touch.

    Returns:
        The tasks, and those whose records no longer count, by the task that takes their place.
    """
    earlier = {task.label: task for task in folder.read_tasks(step.folder) or []}
    done = folder.done(step.folder) if earlier else {}
    kept: list[Task] = []
    instead_of = folder.instead_of(step.folder)
    for task in tasks:
        old = earlier.get(task.label)
        if old is None or old.id == task.id or old.id not in done:
            kept.append(task)
        elif step.module.NEEDS_POTENTIAL and _alike(old, task) and done[old.id].status not in LIMITED:
            kept.append(old)
        else:
            kept.append(task)
            instead_of[task.id] = old.id
    now = {task.id for task in kept}
    return kept, {new: old for new, old in instead_of.items() if new in now}


def _alike(one: Task, other: Task) -> bool:
    """True if two tasks differ by the settings that they were made with alone, as written to a file."""
    bare = [json.dumps(vars(replace(task, id="")), sort_keys=True) for task in (one, other)]
    return bare[0] == bare[1]


def run_campaign(
    campaign: Campaign,
    out: Path,
    engine: Engine,
    *,
    only: Sequence[str] | None = None,
    progress: RunObserver | None = None,
) -> RunSummary:
    """Run a campaign in a folder, or continue with it.

    Args:
        campaign: what to run.
        out: folder of the run; made if it is not there.
        engine: potential, device and processes; its potential must be the campaign's.
        only: names of the steps to run; all if None.
        progress: receives every step and record.

    Raises:
        InputError: if the folder holds another run or is in use, or the input is not fit.
        AtomsimError: if records cannot be written or processes cannot be started.
    """
    chosen = choose(campaign, only)
    check_processes(engine.processes)
    folder = RunFolder(out)
    if folder.on_cluster:
        raise InputError(f"{out} is being run on a cluster; 'atomsim cancel {out}' first, or choose another --out")
    with folder.locked():
        potential = engine.load() if campaign.needs_potential else None
        open_run(folder, campaign, describe(potential) if potential else None)
        folder.say(f"started: steps {', '.join(s.name for s in chosen)}, processes {engine.processes}")
        run = Run(campaign, folder, engine, potential, progress or Silent())
        before = {step.name: frozenset(folder.done(step.folder)) for step in chosen}
        with watched(getattr(run.progress, "at_work", None)):
            _prepare(run, chosen)
            summary = RunSummary(out, tuple(run_step(run, step, before[step.name]) for step in chosen))
        folder.say("finished: " + ("all good" if summary.ok else "some records are not good"))
    return summary


def choose(campaign: Campaign, only: Sequence[str] | None) -> tuple[Step, ...]:
    """Return the steps of these names, in the campaign's order.

    Raises:
        InputError: if there is no step of some name.
    """
    names = [step.name for step in campaign.steps]
    for name in only or []:
        if name not in names:
            raise InputError(
                f"no step {name!r} in {campaign.path.name};{nearest(name, names)} steps are {', '.join(names)}"
            )
    return tuple(step for step in campaign.steps if only is None or step.name in only)


def _prepare(run: Run, steps: Sequence[Step]) -> None:
    """Do all that takes no force call first, so that bad input shows before hours are spent."""
    from atomsim.tasks.barriers_checks import require_further

    elements: dict[str, set[int]] = {}
    expected: dict[str, list[Record]] = {}
    trust = run.engine.trust_file
    for step in steps:
        inputs = run.inputs(step)
        if inputs is None:
            first = {z for needed in step.needs for z in elements.get(needed, ())}
            require_further(step.settings, context_of(run.campaign, step, run.potential, trust_file=trust), first)
            elements[step.name] = first
            check = getattr(step.module, "check_inputs", None)
            if check is not None and all(name in expected for name in step.needs):
                check(step.settings, {name: expected[name] for name in step.needs})
            continue
        tasks = run.tasks(step, inputs)
        elements[step.name] = {z for task in tasks if task.structure for z in task.structure["numbers"]}
        if not step.module.NEEDS_POTENTIAL and not takes_results(run.campaign, step):
            _run_tasks(run, step, tasks, inputs)
        if step.module.NEEDS_POTENTIAL:
            expected[step.name] = [record_of(task, "done", structure=task.structure) for task in tasks]
        else:
            expected[step.name] = run.folder.records(step.folder)[0]


def context_of(campaign: Campaign, step: Step, potential: Potential | None, *, trust_file: bool = False) -> Context:
    """Context of a step; only kinds that need the potential are given its elements."""
    base = Context(step.name, campaign.header.seed, campaign.base_dir, trust_file=trust_file)
    if potential is None:
        return base
    elements = frozenset(potential.elements) if step.module.NEEDS_POTENTIAL else None
    return replace(base, potential_name=potential.name, potential_sha256=potential.sha256, elements=elements)


def takes_results(campaign: Campaign, step: Step) -> bool:
    """True if a step, directly or not, takes from one that calls forces."""
    needed = [s for s in campaign.steps if s.name in step.needs]
    return any(s.module.NEEDS_POTENTIAL or takes_results(campaign, s) for s in needed)


def run_step(run: Run, step: Step, before: frozenset[str]) -> StepSummary:
    """Bring one step to its end, and say how it went; ``before`` are the tasks done by earlier runs."""
    inputs = run.inputs(step)
    if inputs is None:
        names = ", ".join(step.needs)
        return _gave_up(run, step, f"takes from {names}, which is not complete; run that step first")
    try:
        tasks = run.tasks(step, inputs)
    except AtomsimError as error:
        return _gave_up(run, step, str(error))
    done = run.folder.done(step.folder)
    done_before = sum(task.id in before for task in tasks)
    run.progress.step_started(step, len(tasks), sum(task.id in done for task in tasks))
    _run_tasks(run, step, tasks, inputs)
    records, _ = run.folder.records(step.folder)
    export(run.folder, step.folder, records)
    prune(run.folder.path, records)
    summary = StepSummary(
        name=step.name,
        kind=step.kind,
        tasks=len(tasks),
        done_before=done_before,
        good=sum(r.good for r in records),
        left_out=tuple((r.label, r.status) for r in left_out(inputs)),
        counts=step.module.summarise(step.settings, records),
    )
    run.folder.say(f"step {step.name}: {summary.good} good of {summary.tasks}, {done_before} done before")
    run.progress.step_finished(summary)
    return summary


def _run_tasks(run: Run, step: Step, tasks: Sequence[Task], inputs: Inputs) -> None:
    """Run the tasks that have no record, and write each record as it comes."""
    ledger = run.folder.ledger(step.folder)
    done = run.folder.done(step.folder)
    pending = [task for task in tasks if task.id not in done]
    if not pending:
        return
    needs = step.module.NEEDS_POTENTIAL
    job = Job(
        kind=step.kind,
        settings=step.settings,
        tasks=pending,
        context=context_of(run.campaign, step, run.potential, trust_file=run.engine.trust_file),
        inputs={} if needs else inputs,
        log=run.folder.log,
        on_calls=run.progress.force_calls,
    )
    instead_of = run.folder.instead_of(step.folder)
    states = run.folder.states(step.folder)
    engine = replace(run.engine, run=str(run.folder.path)).for_kind(step.kind)
    engine = engine if engine.replay else replace(engine, checkpoints=str(states))
    for record in run_job(job, engine, run.potential if needs else None):
        if record.task in instead_of:
            record = replace(record, provenance=record.provenance | {"instead_of": instead_of[record.task]})
        ledger.append(record)
        forget_states(states, record.task)
        if not record.good:
            run.folder.say(f"{step.name} {record.label}: {record.status} {record.message}")
        if record.run.get("begun_anew"):
            run.folder.say(f"{step.name} {record.label}: begun anew, as its saved states were damaged")
        run.progress.task_done(record)


def _gave_up(run: Run, step: Step, problem: str) -> StepSummary:
    summary = StepSummary(step.name, step.kind, 0, 0, 0, problem=problem)
    run.folder.say(f"step {step.name} was not run: {problem}")
    run.progress.step_finished(summary)
    return summary
