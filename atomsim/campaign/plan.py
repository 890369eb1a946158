"""Plan of a campaign, made without a single force call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from atomsim.campaign.file import Campaign, Step
from atomsim.campaign.run import context_of, takes_results
from atomsim.store.records import Record, Task, record_of
from atomsim.tasks.base import Context

if TYPE_CHECKING:
    from atomsim.models.interface import Potential


@dataclass(frozen=True)
class StepPlan:
    """Plan of one step."""

    name: str
    kind: str
    tasks: int | None
    """None where results of earlier steps decide."""
    atoms: int = 0
    """Atoms of all its structures together."""
    largest: int = 0
    """Atoms of its largest structure."""
    elements: tuple[str, ...] = ()
    at_most: bool = False
    """True if some tasks may fall away, as their inputs fail."""


def plan(campaign: Campaign, potential: Potential | None, *, trust_file: bool = False) -> list[StepPlan]:
    """Expand every step as far as it can be known.

    Args:
        campaign: with all its steps.
        potential: its potential, where a step needs one.
        trust_file: allow further potentials (``check_with``) that no card pins.

    Raises:
        InputError: if a file, a structure, an element or an x is not fit.
    """
    records: dict[str, list[Record]] = {}
    plans = []
    for step in campaign.steps:
        depends = takes_results(campaign, step)
        if depends and not step.module.NEEDS_POTENTIAL:
            check = getattr(step.module, "check_inputs", None)
            if check is not None:
                check(step.settings, {name: records[name] for name in step.needs})
            plans.append(StepPlan(step.name, step.kind, None))
            records[step.name] = []
            continue
        context = context_of(campaign, step, potential, trust_file=trust_file)
        inputs = {name: records[name] for name in step.needs}
        tasks = step.module.expand(step.settings, inputs, context)
        records[step.name] = _stand_ins(step, tasks, context, records)
        plans.append(_count(step, tasks, depends))
    return plans


def check_further(campaign: Campaign, potential: Potential | None, *, trust_file: bool = False) -> None:
    """Refuse further potentials (``check_with``) of any step that are not at hand or not fit for its elements.

    Args:
        campaign: with all its steps.
        potential: its potential, where a step needs one.
        trust_file: allow those that no card pins.

    Raises:
        InputError: naming the step and the potential.
    """
    if any(getattr(step.settings, "check_with", ()) for step in campaign.steps):
        plan(campaign, potential, trust_file=trust_file)


def _stand_ins(step: Step, tasks: Sequence[Task], context: Context, records: dict[str, list[Record]]) -> list[Record]:
    """Records of a step: its own where they cost nothing, else the structures it starts from."""
    if step.module.NEEDS_POTENTIAL:
        return [record_of(task, "done", structure=task.structure) for task in tasks]
    inputs = {name: records[name] for name in step.needs}
    return list(step.module.run(tasks, step.settings, inputs, context))


def _count(step: Step, tasks: Sequence[Task], at_most: bool) -> StepPlan:
    numbers = [task.structure["numbers"] for task in tasks if task.structure]
    elements = sorted({z for structure in numbers for z in structure})
    return StepPlan(
        name=step.name,
        kind=step.kind,
        tasks=len(tasks),
        atoms=sum(len(structure) for structure in numbers),
        largest=max((len(structure) for structure in numbers), default=0),
        elements=tuple(chemical_symbols[z] for z in elements),
        at_most=at_most,
    )
