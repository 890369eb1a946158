"""Step kind ``diffusion``: diffusivities with errors from trajectories, or refusals. It needs no potential.

One task for each material: trajectories of one temperature are replicas, glasses that differ by their seed too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from atomsim.errors import AtomsimError, InputError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.store.records import Record, Task, count_statuses, record_of, task_id
from atomsim.tasks.base import Context, Inputs, Source, StepSettings
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from pathlib import Path

    from atomsim.io.trajectories import Frames
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "diffusion"
NEEDS_POTENTIAL = False
TAKES_KINDS = ("md",)
report = "atomsim.report.diffusion:diffusion_part"
cost = cost_per_atom
WITHOUT_TEMPERATURE = "at constant energy it left the temperature of its first velocities, so that it has none"
SEEDED = ("formula", "start_kind", "seed")
"""Tags of a glass."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Settings(StepSettings):
    """Keys of a ``diffusion`` step."""

    trajectories: Annotated[list[str], BeforeValidator(_as_list), Source(prototypes=False, files=False)] = Field(
        min_length=1, description="md steps; trajectories of one temperature are replicas, and so are seeds of a glass"
    )
    ion: str = Field(default="Li", description="the mobile ion")
    framework: Annotated[list[str] | None, BeforeValidator(_as_list)] = Field(
        default=None, description="species at rest; all others if absent (cations alone beside polyanions)"
    )
    charge: float | None = Field(default=None, description="of the ion, e, for the conductivity; the usual if absent")
    skip_ps: float = Field(default=0.0, ge=0, description="time left out at the start of each trajectory, ps")

    @field_validator("trajectories")
    @classmethod
    def _each_once(cls, values: list[str]) -> list[str]:
        if len(set(values)) < len(values):
            raise ValueError(f"each step once, found {', '.join(values)}")
        return values


def check_inputs(settings: Settings, inputs: Inputs) -> None:
    """Refuse an ion or a framework that is not there, before anything has moved.

    Raises:
        InputError: if so.
    """
    from atomsim.analysis.framework import masks

    for name in settings.trajectories:
        for record in inputs[name]:
            if record.structure is not None:
                masks(record.atoms, settings.ion, settings.framework)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each material."""
    tasks = []
    for label, records in _materials([r for name in settings.trajectories for r in inputs[name]]).items():
        parents = tuple(r.task for r in records)
        made = task_id(KIND, context.step, settings.model_dump(mode="json"), label, parents)
        tasks.append(Task(id=made, step=context.step, kind=KIND, label=label, parents=parents))
    return tasks


def _materials(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the trajectories of each material by its label."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        glass = all(key in record.tags for key in SEEDED)
        name = f"{record.tags['formula']}-{record.tags['start_kind']}" if glass else record.tags.get("start")
        cell = "" if record.structure is None else atoms_from_json(record.structure).get_chemical_formula()
        groups.setdefault((str(name or record.label).replace(" ", ""), cell), []).append(record)
    names = Counter(name for name, _ in groups)
    return {name if names[name] == 1 else f"{name}-{cell}": found for (name, cell), found in groups.items()}


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Measure diffusivities; one record for each material."""
    del potential, shared
    known = {r.task: r for name in settings.trajectories for r in inputs[name]}
    for task in tasks:
        yield _measure(task, [known[parent] for parent in task.parents], settings, context.kept.places.run)


def _measure(task: Task, records: Sequence[Record], settings: Settings, folder: Path | None) -> Record:
    from atomsim.analysis.diffusivities import tracer_diffusivities

    found: list[Frames] = []
    excluded: list[dict[str, str]] = []
    for record in records:
        try:
            found.append(_frames(record, settings, folder))
        except AtomsimError as error:
            excluded.append({"label": record.label, "task": record.task, "reason": str(error)})
    if not found:
        message = f"no trajectory can be used: {excluded[0]['reason']}"
        return record_of(task, "invalid", message, values={"excluded": excluded})
    try:
        measured = tracer_diffusivities(found, settings.ion, framework=settings.framework, charge=settings.charge)
    except InputError as error:
        return record_of(task, "invalid", str(error), values={"excluded": excluded})
    facts = {"elements": sorted(set(found[0].atoms.symbols)), "trajectories": len(found), "excluded": excluded}
    facts["formula"] = found[0].atoms.symbols.formula.reduce()[0].format("metal")
    return record_of(task, "done", measured.message, values=measured.to_record() | facts)


def _frames(record: Record, settings: Settings, folder: Path | None) -> Frames:
    from atomsim.io.trajectories import without_start
    from atomsim.tasks.md_record import frames_of_record

    if not record.good:
        raise InputError(f"{record.label}: {record.status}: {record.message}".rstrip(": "))
    frames = frames_of_record(record, folder)
    if frames.temperature_K is None:
        raise InputError(f"{record.label}: {WITHOUT_TEMPERATURE}; take ensemble = 'nvt'")
    return without_start(frames, 1000.0 * settings.skip_ps)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count temperatures that have a number and those that are refused."""
    del settings
    rows = [row for r in records if r.good for row in r.values["temperatures"]]
    refused = sum(row["refused"] is not None for row in rows)
    return {"statuses": count_statuses(records), "temperatures": len(rows), "refused": refused}
