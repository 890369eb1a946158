"""Protocol of a step kind.

A kind is a module with

* ``KIND``: its name in a campaign file, and ``NEEDS_POTENTIAL``;
* ``Settings``: the keys of its ``[[step]]``, a ``StepSettings``;
* ``expand(settings, inputs, context) -> list[Task]``: what is to be done, without a force call.
  ``inputs`` are the records of the earlier steps that the settings name;
* ``run(tasks, settings, inputs, context, potential, shared) -> Iterator[Record]``: one record per task, in
  any order. A kind that needs a potential must find all it needs in the task itself, as tasks go
  to other processes and machines; it gets no ``inputs``. What several tasks need it computes through
  ``shared``, which decides nothing but how often that is done;
* ``summarise(settings, records) -> dict``: counts for ``atomsim status``, JSON-able;
* ``cost(task, settings) -> float``: how long a task takes, in units of relaxing one atom: chunks are cut by it.

It may have

* ``report(step, records) -> report.parts.Part``: its part of the report, or ``"module:function"`` that makes it
  (atomsim's own kinds name it, as reports are above tasks), and ``REPORT_ORDER``: parts of a lower one come
  first, 0 if absent;
* ``KEEPS_STATE = True``: its tasks save their state through ``context.storage(task)`` and continue from there, so that
  no evaluation is kept or replayed;
* ``LIMITS``: settings that may be raised in a run that has begun; ``TAKES_KINDS``: kinds that it takes from,
  ``KINDS_BY_KEY``: others for the steps that single keys name;
* ``result(settings, records)``: what a Python caller gets of its records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from atomsim.store.records import Record, Task

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.tasks.base import Context, Inputs


class StepKind(Protocol):
    """A module of ``atomsim.tasks`` that defines a kind of step."""

    KIND: str
    NEEDS_POTENTIAL: bool
    Settings: type[BaseModel]

    def expand(self, settings: Any, inputs: Inputs, context: Context) -> list[Task]:
        """List what is to be done."""
        ...

    def run(
        self,
        tasks: Sequence[Task],
        settings: Any,
        inputs: Inputs,
        context: Context,
        potential: EnergyModel | None = None,
        shared: Shared | None = None,
    ) -> Iterator[Record]:
        """Do it: one record per task."""
        ...

    def summarise(self, settings: Any, records: Sequence[Record]) -> dict[str, Any]:
        """Count what came out."""
        ...

    def cost(self, task: Task, settings: Any) -> float:
        """Estimate how long a task takes, in units of relaxing one atom."""
        ...


def cost_per_atom(task: Task, settings: Any) -> float:
    """The cost of a task that grows with its atoms and nothing else."""
    del settings
    return float(len(task.structure["numbers"])) if task.structure else 1.0
