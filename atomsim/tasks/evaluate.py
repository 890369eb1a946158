"""Step kind ``evaluate``: energy, forces and stress of structures as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.base import Context, Inputs, StepSettings, Structures, make_task, origins
from atomsim.tasks.familiarity import familiarity_values
from atomsim.units import GPA

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.batch import Batch, Evaluation
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "evaluate"
NEEDS_POTENTIAL = True


class Settings(StepSettings):
    """Keys of an ``evaluate`` step."""

    structures: Structures = Field(min_length=1, description="an earlier step, prototypes or files")


def cost(task: Task, settings: Settings) -> float:
    """Grow with the atoms."""
    del settings
    return 0.05 * float(len(task.structure["numbers"])) if task.structure else 1.0


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure."""
    found = origins(settings.structures, inputs, context, as_given=True)
    return [make_task(origin, KIND, settings, context) for origin in found]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Evaluate, as many structures together as the device holds; what fails costs no other its result."""
    import torch

    from atomsim.batching.capacity import evaluate, packed
    from atomsim.constraints.rules import without_symmetry
    from atomsim.models.interface import device_of
    from atomsim.relaxation import default_capacity

    del settings, inputs, context, shared
    assert potential is not None
    device = device_of(potential)
    systems = [atoms_from_json(task.structure or {}) for task in tasks]
    capacity = default_capacity(potential, systems, device)
    first = 0
    for batch in packed([without_symmetry(a) for a in systems], device, capacity):  # it holds no force
        evaluation, faults = evaluate(potential, batch, torch.arange(batch.n_systems, device=device))
        for n in range(batch.n_systems):
            task = tasks[first + n]
            if n in faults:
                yield record_of(task, faults[n].status, faults[n].message, values={"force_calls": 1})
            else:
                more = familiarity_values(systems[first + n], potential)
                yield _record(task, systems[first + n], evaluation, batch, n, more)
        first += batch.n_systems


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and force calls."""
    del settings
    return {"statuses": count_statuses(records), "force_calls": total_calls(records)}


def _record(task: Task, atoms: Atoms, evaluation: Evaluation, batch: Batch, n: int, more: Mapping[str, Any]) -> Record:
    mine = (batch.system == n).nonzero().flatten()
    forces = evaluation.forces[mine].cpu().numpy()
    stress = evaluation.stress[n].cpu().numpy() / GPA
    energy = float(evaluation.energy[n])
    if not (np.isfinite(forces).all() and np.isfinite(energy) and np.isfinite(stress).all()):
        return record_of(task, "not_a_number", "a result is not a finite number", values={"force_calls": 1})
    arrays = {"forces": forces}
    if evaluation.magmoms is not None:
        arrays["magmoms"] = evaluation.magmoms[mine].cpu().numpy()
    values = {
        "energy_eV": energy,
        "energy_per_atom_eV": energy / len(atoms),
        "fmax_eV_per_A": float(np.linalg.norm(batch.free_part(evaluation.forces)[mine].cpu().numpy(), axis=1).max()),
        "pressure_GPa": -float(np.trace(stress)) / 3,
        "stress_GPa": [float(stress[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))],
        "volume_A3": float(atoms.cell.volume),
        "force_calls": 1,
        "n_atoms": len(atoms),
        **more,
    }
    return record_of(task, "done", values=values, structure=atoms_to_json(atoms, arrays))
