"""Step kind ``walk``: a seeded random walk downhill, whose tasks keep their state and their frames.

It stands for what dynamics will do: many steps that nobody wants to repeat, frames that are too many for a
record, and a result that must not depend on how often it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from atomsim.batch import Batch
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.report.blocks import Column, Section, Table
from atomsim.report.parts import Part
from atomsim.store.records import Record, Task, count_statuses, record_of
from atomsim.tasks.base import Context, Inputs, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom

KIND = "walk"
NEEDS_POTENTIAL = True
KEEPS_STATE = True
RELAXATION_STEPS = 50
"""Steps that cost about as much as a relaxation, the unit of ``cost``."""


class Settings(StepSettings):
    """Keys of a ``walk`` step."""

    structures: Structures = Field(min_length=1, description="an earlier step, prototypes or files")
    steps: int = Field(default=100, ge=1, description="steps of the walk")
    every: int = Field(default=5, ge=1, description="steps from frame to frame")
    step_A: float = Field(default=0.01, gt=0, description="noise of a step, Å")


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure."""
    return [make_task(origin, KIND, settings, context) for origin in origins(settings.structures, inputs, context)]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: Any = None,
    shared: Any = None,
) -> Iterator[Record]:
    """Walk each structure on its own."""
    for task in tasks:
        yield _walk(task, settings, context, potential)


def _walk(task: Task, settings: Settings, context: Context, potential: Any) -> Record:
    atoms = atoms_from_json(task.structure or {})
    storage = context.storage(task)
    state = storage.load_state()
    frames = storage.artifact("trajectory", numbers=atoms.numbers.tolist(), every=settings.every)
    first, begin = atoms.positions.copy(), 0
    if state is not None:
        atoms.positions, begin = state.arrays["positions"], state.step
    for step in range(begin, settings.steps):
        evaluation = potential(Batch.pack([atoms]))
        if step % settings.every == 0:
            frames.append(step=step, energy_eV=evaluation.energy[0].item(), positions=np.float32(atoms.positions))
        noise = np.random.default_rng([context.seed, step]).normal(scale=settings.step_A, size=atoms.positions.shape)
        atoms.positions += 0.01 * evaluation.forces.numpy() + noise
        if storage.save_due:
            storage.save_state(step + 1, {"positions": atoms.positions})
    moved = float(((atoms.positions - first) ** 2).sum(1).mean())
    values = {"steps": settings.steps, "msd_A2": moved, "artifacts": storage.finish_artifacts()}
    return record_of(task, "done", structure=atoms_to_json(atoms), values=values)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count walks and steps."""
    return {"statuses": count_statuses(records), "steps": sum(r.values.get("steps", 0) for r in records)}


def cost(task: Task, settings: Settings) -> float:
    """Grow with atoms and steps."""
    return cost_per_atom(task, settings) * settings.steps / RELAXATION_STEPS


def report(step: str, records: Sequence[Record]) -> Part:
    """Tabulate how far each walk went."""
    rows = [[r.label, r.values.get("steps"), r.values.get("msd_A2")] for r in records]
    columns = [Column("Structure"), Column("steps", "d"), Column("MSD (Å²)", ".4f")]
    return Part(sections=(Section(step, f"Walks · {step}", [Table("walks", "", columns, rows)]),))
