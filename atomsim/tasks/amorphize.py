"""Step kind ``amorphize``: glasses of given compositions by melt, quench and anneal, one task for each seed.

Its state is saved while it runs; on a CPU it is resumed to the bit in any phase. Frames are an artifact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from ase import Atoms
from pydantic import BeforeValidator, Field, field_validator, model_validator

from atomsim.errors import InputError, note_once
from atomsim.store.records import Record, Task, count_statuses, total_calls
from atomsim.tasks.base import Context, Inputs, Later, Origin, StepSettings, make_task
from atomsim.tasks.kind import cost_per_atom
from atomsim.tasks.md import RELAXATION_STEPS, SAVE_STEPS, WHOLE
from atomsim.tasks.teacher import require_teacher

if TYPE_CHECKING:
    from atomsim.amorphous.composition import Composition
    from atomsim.amorphous.melt_quench import Melt, Protocol
    from atomsim.amorphous.starts import Start
    from atomsim.dynamics.state import MDState
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.tasks.amorphize_record import MeltLog

KIND = "amorphize"
NEEDS_POTENTIAL = True
KEEPS_STATE = True
report = "atomsim.report.glass:amorphize_part"
MELT_K = {"units": 1500.0, "atoms": 3000.0, "rocksalt": 1000.0, "composite": 900.0}
"""Temperature of the melt by the start: units break above some 1500 K, a grain melts above 1000 K."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_seeds(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and value < 1:
        raise ValueError(f"one glass or more, or their seeds as a list, found {value}")
    return list(range(1, value + 1)) if whole else value


class Settings(StepSettings):
    """Keys of an ``amorphize`` step."""

    formula: Annotated[list[str | dict[str, float]], BeforeValidator(_as_list)] = Field(
        min_length=1, description="formulas, or mixtures of formulas such as {Li2RuO3 = 0.8, Li2SO4 = 0.2}"
    )
    n_atoms: Annotated[list[int], BeforeValidator(_as_list)] = Field(
        min_length=1, description="atoms in the cell: one number for all formulas, or one for each"
    )
    seeds: Annotated[list[int], BeforeValidator(_as_seeds)] = Field(
        default=[1, 2, 3, 4], min_length=1, description="one glass for each; a number n stands for 1 to n"
    )
    start: Literal["units", "atoms", "rocksalt", "composite"] = Field(
        default="units",
        description="packed rigid units, packed atoms, disordered rocksalt, or a grain of it in packed units",
    )
    units: list[str] | None = Field(default=None, description="rigid units such as SO4; those of the formula if absent")
    density_g_per_cm3: float | None = Field(
        default=None, gt=0, description="of the packing; by ionic volumes if absent"
    )
    crystal: str | None = Field(default=None, description="formula of the grain of a composite")
    crystal_fraction: float = Field(default=0.5, ge=0.05, le=0.9, description="part of the atoms in the grain")
    melt_K: float | None = Field(default=None, gt=0, description="of the melt, K; by the start if absent")
    end_K: float = Field(default=300.0, gt=0, description="at the end of the quench, K")
    anneal_K: float = Field(default=600.0, gt=0, description="of the anneal, K")
    melt_ps: float = Field(default=4.0, gt=0, description="length of the melt, at fixed cell, ps")
    quench_ps: float = Field(default=10.0, gt=0, description="length of the quench, ps")
    anneal_ps: float = Field(default=4.0, ge=0, description="length of the anneal, ps; 0 leaves it out")
    pressure_GPa: float = Field(default=0.0, description="during quench and anneal, GPa")
    timestep_fs: float = Field(default=2.0, gt=0, le=10, description="time step, fs")
    every_fs: float = Field(default=100.0, gt=0, description="time from frame to frame, fs; whole time steps")
    tau_fs: float = Field(default=100.0, gt=0, description="relaxation time of the bath, fs")
    tau_p_fs: float = Field(default=1000.0, gt=0, description="relaxation time of the pressure, fs; 50 steps or more")
    compressibility_per_GPa: float = Field(default=0.01, gt=0, description="sets how fast the cell follows, 1/GPa")
    fmax_eV_per_A: float = Field(default=0.05, gt=0, description="largest force of the final relaxation, eV/Å")
    max_steps: int = Field(default=1000, ge=1, description="steps of the final relaxation at most")
    teacher: Annotated[str | None, Later()] = Field(
        default=None, description="another potential that labels a sample of the frames: the record has the errors"
    )
    teacher_frames: Annotated[int, Later()] = Field(default=8, ge=1, description="frames that it labels, of each run")

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, values: list[int]) -> list[int]:
        if min(values) < 0 or len(set(values)) < len(values):
            raise ValueError(f"whole numbers of 0 or more, each once, found {values}")
        return values

    @property
    def every(self) -> int:
        """Time steps from frame to frame."""
        return round(self.every_fs / self.timestep_fs)

    @property
    def melt_temperature_K(self) -> float:  # noqa: N802 - units are in names
        """Temperature of the melt."""
        return MELT_K[self.start] if self.melt_K is None else self.melt_K

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        ratio = self.every_fs / self.timestep_fs
        if self.every < 1 or abs(ratio - self.every) > WHOLE * ratio:
            raise ValueError(
                f"found every_fs = {self.every_fs:g} with timestep_fs = {self.timestep_fs:g}; wanted a whole number of "
                "time steps from frame to frame"
            )
        if len(self.n_atoms) not in (1, len(self.formula)):
            raise ValueError(
                f"found {len(self.n_atoms)} numbers of atoms for {len(self.formula)} formulas; wanted one or as many"
            )
        try:
            protocol_of(self), start_of(self)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def compositions(self) -> list[Composition]:
        """Return the compositions as whole atoms.

        Raises:
            InputError: if a formula is none, is not whole at its number of atoms, or stands there twice.
        """
        from atomsim.amorphous.composition import composition

        sizes = self.n_atoms if len(self.n_atoms) > 1 else self.n_atoms * len(self.formula)
        found = [composition(f, n) for f, n in zip(self.formula, sizes, strict=True)]
        for n, what in enumerate(found):
            if (what.name, what.n_atoms) in [(c.name, c.n_atoms) for c in found[:n]]:
                raise InputError(
                    f"found {what.name} of {what.n_atoms} atoms twice, wanted it once; seeds make many of one"
                )
        return found


def protocol_of(settings: Settings) -> Protocol:
    """Return temperatures and times.

    Raises:
        InputError: if they do not fit together.
    """
    from atomsim.amorphous.melt_quench import Protocol

    of_both = Protocol.__dataclass_fields__.keys() & Settings.model_fields.keys()
    keys = {key: getattr(settings, key) for key in of_both}
    return Protocol(**{**keys, "melt_K": settings.melt_temperature_K})


def start_of(settings: Settings) -> Start:
    """Return how the structure before the melt is made.

    Raises:
        InputError: if keys do not fit together.
    """
    from atomsim.amorphous.starts import Start

    units = None if settings.units is None else tuple(settings.units)
    return Start(settings.start, units, settings.density_g_per_cm3, settings.crystal, settings.crystal_fraction)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each composition and seed.

    Its structure is a grid of the ions in a cell of the right volume: packings are made when a task runs, as their last
    digits differ from machine to machine and would change the ids of tasks.

    Raises:
        InputError: if a formula is not whole at this number of atoms, a unit does not fit, a density cannot be packed,
            or the potential does not know an element.
    """
    from atomsim.amorphous.starts import check_start
    from atomsim.tasks.relax import require_elements

    del inputs
    how = start_of(settings)
    tasks = []
    compositions = settings.compositions()
    sizes = Counter(what.name for what in compositions)
    for what in compositions:
        note_once(what.warning)
        try:
            check_start(what, how)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {error}") from error
        grid = _grid(what, how)
        for seed in settings.seeds:
            tags = {"formula": what.name, "seed": seed, "start_kind": settings.start}
            size = f"-{what.n_atoms}" if sizes[what.name] > 1 else ""
            origin = Origin(f"{_label(what)}{size}-{settings.start}-{seed}", grid, tags)
            require_elements([origin], context)
            require_teacher(settings, [origin], context)
            tasks.append(make_task(origin, KIND, settings, context))
    return tasks


def _label(what: Composition) -> str:
    return what.name.replace(" + ", "-").replace(" ", "")


def _grid(what: Composition, how: Start) -> Atoms:
    """Return the ions on a grid in a cube of the start's volume, whose numbers are the same on all machines."""
    from atomsim.amorphous.starts import start_volume

    edge = round(float(start_volume(what, how)) ** (1 / 3), 3)
    n = int(np.ceil(what.n_atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[: what.n_atoms]
    return Atoms(what.symbols, np.round(grid * (edge / n), 3), cell=[edge] * 3, pbc=True)


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Melt, quench and anneal together what the device holds, then relax; each resumes from its saved state."""
    from atomsim.amorphous.melt_quench import melt_quench
    from atomsim.tasks.amorphize_record import failed, relaxed

    del inputs, shared
    assert potential is not None
    protocol, logs, melts = protocol_of(settings), {}, []
    ended: dict[str, MDState] = {}
    for task in tasks:
        logs[task.id], melt = _begin(task, settings, context, potential)
        if melt.state is not None and int(melt.state.step) >= protocol.steps:
            ended[task.id] = melt.state
        else:
            melts.append(melt)
    look = next(n for n in range(min(SAVE_STEPS, settings.every), 0, -1) if settings.every % n == 0)
    for phase, snapshot in melt_quench(melts, potential, protocol, every=look):
        log, step = logs[str(snapshot.key)], int(snapshot.state.step)
        if snapshot.status not in ("running", "done"):
            yield failed(log, phase, snapshot)
            continue
        if step % settings.every == 0:
            log.record(snapshot.state)
        if snapshot.status == "done" or log.storage.save_due:
            log.save(snapshot.state)
        if step >= protocol.steps:
            ended[str(snapshot.key)] = snapshot.state
    yield from relaxed([(logs[key], state) for key, state in ended.items()], settings, protocol, potential)


def _begin(task: Task, settings: Settings, context: Context, potential: EnergyModel) -> tuple[MeltLog, Melt]:
    """Return the log and the system of a task, at its start or where it was interrupted."""
    from atomsim.amorphous.melt_quench import Melt
    from atomsim.amorphous.starts import make_start
    from atomsim.dynamics.state import MDState
    from atomsim.models.interface import device_of
    from atomsim.tasks.amorphize_record import MeltLog

    n_atoms = len((task.structure or {"numbers": ()})["numbers"])
    what = next(c for c in settings.compositions() if (c.name, c.n_atoms) == (task.tags["formula"], n_atoms))
    seed = int(np.random.SeedSequence([context.seed, int(task.tags["seed"])]).generate_state(1)[0])
    atoms = make_start(what, start_of(settings), seed)
    log = MeltLog(task, atoms, settings, context)
    log.composition = what
    saved = log.load()
    state = None if saved is None else MDState.from_arrays(saved, device_of(potential))
    return log, Melt(task.id, atoms, seed, state)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count glasses, their time and force calls, and give their densities."""
    del settings
    densities: dict[str, list[float]] = {}
    for record in records:
        if record.good:
            densities.setdefault(str(record.tags["formula"]), []).append(record.values["density_g_per_cm3"])
    spread = {f: [float(np.mean(d)), float(np.std(d))] for f, d in densities.items()}
    return {"statuses": count_statuses(records), "density_g_per_cm3": spread, "force_calls": total_calls(records)}


def cost(task: Task, settings: Settings) -> float:
    """Grow with atoms and steps."""
    return cost_per_atom(task, settings) * (1 + protocol_of(settings).steps / RELAXATION_STEPS)
