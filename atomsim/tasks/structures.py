"""Step kind ``structures``: prototypes and files, checked, as the start of a campaign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from atomsim.constraints.rules import symmetry_of
from atomsim.errors import InputError
from atomsim.store.records import Record, Task, count_statuses, record_of
from atomsim.tasks.base import Context, Inputs, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "structures"
NEEDS_POTENTIAL = False
cost = cost_per_atom


class Settings(StepSettings):
    """Keys of a ``structures`` step."""

    structures: Structures = Field(min_length=1, description="prototypes, files or patterns such as 'cifs/*.cif'")
    repeat: list[int] = Field(
        default=[1, 1, 1], min_length=3, max_length=3, description="copies along each lattice vector"
    )


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure of each prototype and file.

    Raises:
        InputError: if a file is missing, empty or not readable, or a structure is not sane.
    """
    if min(settings.repeat) < 1:
        raise InputError(f"step {context.step!r}: repeat is {settings.repeat}, wanted three numbers of at least 1")
    tasks = []
    for origin in origins(settings.structures, inputs, context, as_given=True):
        if settings.repeat != [1, 1, 1]:
            if symmetry_of(origin.atoms) is not None:
                raise InputError(
                    f"step {context.step!r}: {origin.label} has FixSymmetry; want no constraint to repeat it"
                )
            # vacancies are fractions of one cell, not of this one
            tags = {k: v for k, v in origin.tags.items() if k != "vacancies"} | {"repeat": list(settings.repeat)}
            origin = replace(origin, atoms=origin.atoms.repeat(settings.repeat), tags=tags)
        tasks.append(make_task(origin, KIND, settings, context))
    return tasks


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Pass every structure on as a record."""
    del settings, inputs, context, potential, shared
    for task in tasks:
        assert task.structure is not None
        yield record_of(task, "done", structure=task.structure, values={"n_atoms": len(task.structure["numbers"])})


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count structures and atoms."""
    del settings
    return {"statuses": count_statuses(records), "atoms": sum(r.values.get("n_atoms", 0) for r in records)}
