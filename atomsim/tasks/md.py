"""Step kind ``md``: molecular dynamics of structures, at each temperature, with replicas.

A task is one trajectory. Its state is saved while it runs; on a CPU it is continued to the bit. Frames are an artifact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from atomsim.constraints.rules import require_supported
from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.store.records import Record, Task, count_statuses, total_calls
from atomsim.tasks.base import Context, Inputs, Later, Origin, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom
from atomsim.tasks.md_record import Log, finished
from atomsim.tasks.teacher import require_teacher

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.dynamics.integrators import Integrator
    from atomsim.dynamics.run import Member
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "md"
NEEDS_POTENTIAL = True
KEEPS_STATE = True
report = "atomsim.report.md:md_part"
RELAXATION_STEPS = 50
"""Steps that cost about as much as a relaxation, the unit of ``cost``."""
SAVE_STEPS = 50
"""Steps at most from one chance to save the state to the next."""
HOTTEST_K = 10_000.0
WHOLE = 1e-6
"""Relative difference up to which an interval is a whole number of time steps."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


class Settings(StepSettings):
    """Keys of an ``md`` step."""

    structures: Structures = Field(min_length=1, description="an earlier step, prototypes or files")
    ensemble: Literal["nve", "nvt", "npt", "npt_flexible", "langevin"] = Field(
        default="nvt",
        description="nve; nvt: CSVR bath; npt: stochastic cell rescaling, isotropic or flexible; langevin: BAOAB",
    )
    temperature_K: Annotated[list[float], BeforeValidator(_as_list)] = Field(
        min_length=1, description="of the bath and of the first velocities, K; each structure runs at all of them"
    )
    pressure_GPa: float | None = Field(default=None, description="target pressure of npt, GPa; 0 if not given")
    timestep_fs: float = Field(default=2.0, gt=0, le=10, description="time step, fs")
    duration_ps: float = Field(gt=0, description="length of each trajectory, ps")
    every_fs: float = Field(default=50.0, gt=0, description="time from frame to frame, fs; whole time steps")
    replicas: int = Field(default=1, ge=1, le=1000, description="trajectories of each structure and temperature")
    tau_fs: float = Field(default=100.0, gt=0, description="relaxation time of the bath of nvt and npt, fs")
    tau_p_fs: float = Field(default=1000.0, gt=0, description="relaxation time of the pressure, fs; 50 steps or more")
    compressibility_per_GPa: float = Field(
        default=0.01, gt=0, description="sets how fast the cell follows, not what is sampled, 1/GPa"
    )
    teacher: Annotated[str | None, Later()] = Field(
        default=None, description="another potential that labels a sample of the frames: the record has the errors"
    )
    teacher_frames: Annotated[int, Later()] = Field(default=8, ge=1, description="frames that it labels, of each run")

    @field_validator("temperature_K")
    @classmethod
    def _above_zero(cls, values: list[float]) -> list[float]:
        for value in values:
            if not 0 < value <= HOTTEST_K:
                raise ValueError(f"temperatures above 0 K and up to {HOTTEST_K:g} K, found {value:g}")
        if len(set(values)) < len(values):
            raise ValueError("each temperature once; replicas gives several trajectories of one")
        return values

    @property
    def steps(self) -> int:
        """Time steps of a trajectory."""
        return round(1000.0 * self.duration_ps / self.timestep_fs)

    @property
    def every(self) -> int:
        """Time steps from frame to frame."""
        return round(self.every_fs / self.timestep_fs)

    @model_validator(mode="after")
    def _times_fit(self) -> Settings:
        ratio = self.every_fs / self.timestep_fs
        if self.every < 1 or abs(ratio - self.every) > WHOLE * ratio:
            raise ValueError(
                f"found every_fs = {self.every_fs:g} with timestep_fs = {self.timestep_fs:g}; wanted a whole number of "
                "time steps from frame to frame"
            )
        if self.steps < self.every:
            raise ValueError(f"found duration_ps = {self.duration_ps:g}, less than one frame (every_fs); run longer")
        if self.pressure_GPa is not None and not self.ensemble.startswith("npt"):
            raise ValueError(f"found pressure_GPa with ensemble = '{self.ensemble}'; leave it out, or take 'npt'")
        try:
            integrator(self)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


def integrator(settings: Settings) -> Integrator:
    """Return the integrator of the ensemble.

    Raises:
        InputError: if times do not fit together.
    """
    from atomsim.dynamics.integrators import Bussi, CellRescaling, Langevin, VelocityVerlet

    step = settings.timestep_fs
    if settings.ensemble == "nve":
        return VelocityVerlet(step)
    if settings.ensemble == "langevin":
        return Langevin(step)
    if settings.ensemble == "nvt":
        return Bussi(step, settings.tau_fs)
    flexible = settings.ensemble == "npt_flexible"
    return CellRescaling(step, settings.compressibility_per_GPa, settings.tau_p_fs, settings.tau_fs, flexible)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure, temperature and replica.

    Raises:
        InputError: if a structure has an element that the potential does not know, or no pressure for ``npt``.
    """
    from atomsim.tasks.relax import require_elements

    found = origins(settings.structures, inputs, context)
    require_elements(found, context)
    require_teacher(settings, found, context)
    tasks = []
    for origin in found:
        _check(origin, settings, context)
        for temperature in settings.temperature_K:
            for replica in range(1, settings.replicas + 1):
                tags = origin.tags | {"temperature_K": float(temperature), "replica": replica, "start": origin.label}
                label = f"{origin.label}-{temperature:g}K" + (f"-{replica}" if settings.replicas > 1 else "")
                tasks.append(make_task(replace(origin, label=label, tags=tags), KIND, settings, context))
    return tasks


def _check(origin: Origin, settings: Settings, context: Context) -> None:
    atoms = origin.atoms
    try:
        require_supported(atoms)
    except InputError as error:
        raise InputError(f"step {context.step!r}: {origin.label}: {error}") from error
    if len(atoms) < 2:
        raise InputError(
            f"step {context.step!r}: {origin.label} has one atom, whose centre of mass is at rest; wanted 2"
        )
    if settings.ensemble.startswith("npt") and (not atoms.pbc.all() or atoms.constraints):
        why = "constraints" if atoms.constraints else f"{int(atoms.pbc.sum())} periodic directions"
        raise InputError(
            f"step {context.step!r}: {origin.label} has {why}; wanted three periodic directions and no constraints for "
            f"ensemble = '{settings.ensemble}'; take 'nvt'"
        )


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Run trajectories, those together that the device holds; each continues from its saved state."""
    from atomsim.dynamics.run import run as run_members

    del inputs, shared
    assert potential is not None
    model = potential
    logs: dict[str, Log] = {}

    def members() -> Iterator[Member]:
        for task in tasks:
            logs[task.id], member = _begin(task, settings, context, model)
            yield member

    look = next(n for n in range(min(SAVE_STEPS, settings.every), 0, -1) if settings.every % n == 0)
    for snapshot in run_members(members(), potential, integrator(settings), every=look):
        log = logs[str(snapshot.key)]
        step = int(snapshot.state.step)
        if snapshot.status in ("running", "done") and step % settings.every == 0:
            log.record(snapshot.state)
        if snapshot.status != "running":
            yield finished(log, snapshot, settings, float(getattr(model, "cutoff", 0.0)))
            del logs[str(snapshot.key)]
        elif log.storage.save_due:
            log.save(snapshot.state)


def _begin(task: Task, settings: Settings, context: Context, potential: EnergyModel) -> tuple[Log, Member]:
    """Return the log and the member of a task, at its start or where it was interrupted."""
    from atomsim.batch import Batch
    from atomsim.dynamics.run import Member
    from atomsim.dynamics.schedule import Schedule
    from atomsim.dynamics.state import MDState
    from atomsim.dynamics.velocities import start
    from atomsim.models.interface import device_of

    atoms, temperature = atoms_from_json(task.structure or {}), float(task.tags["temperature_K"])
    device = device_of(potential)
    log = Log(task, atoms, settings, context)
    saved = log.load()
    if saved is not None:
        state = MDState.from_arrays(saved, device)
    else:
        seed = seed_of(atoms, temperature, int(task.tags["replica"]), context.seed)
        state = start(Batch.pack([atoms], device), potential, temperature, [seed])
        log.record(state)
    schedule = Schedule.constant(temperature, settings.steps, settings.pressure_GPa or 0.0)
    return log, Member(task.id, state, schedule)


def seed_of(atoms: Atoms, temperature_K: float, replica: int, seed: int) -> int:
    """Return the seed of a trajectory: by what it is, not by its place among others."""
    digest = hashlib.sha256(f"{seed} {replica} {temperature_K!r}".encode())
    for array in (atoms.numbers.astype(np.int64), atoms.positions, atoms.cell.array):
        digest.update(np.ascontiguousarray(array).tobytes())
    return int.from_bytes(digest.digest()[:7], "big")


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count trajectories, their time and force calls."""
    del settings
    total = sum(float(r.values.get("duration_ps", 0.0)) for r in records)
    return {"statuses": count_statuses(records), "total_ps": total, "force_calls": total_calls(records)}


def cost(task: Task, settings: Settings) -> float:
    """Grow with atoms and steps."""
    return cost_per_atom(task, settings) * settings.steps / RELAXATION_STEPS
