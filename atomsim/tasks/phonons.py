"""Step kind ``phonons``: phonons of relaxed crystals, one task each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.base import Context, Inputs, Later, StepSettings, Structures, make_task, origins

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.vibrations.settings import PhononSettings

KIND = "phonons"
NEEDS_POTENTIAL = True
report = "atomsim.report.phonons:phonon_part"
REPORT_ORDER = 1
LIMITS = ("max_steps",)


class Settings(StepSettings):
    """Keys of a ``phonons`` step."""

    structures: Structures = Field(
        min_length=1, description="crystals relaxed with this potential: an earlier step, prototypes or files"
    )
    supercell_min_A: float = Field(
        default=10.0, ge=0, le=100, description="distance wanted between an atom and its image in the supercell, Å"
    )
    max_atoms: int = Field(default=200, ge=1, description="largest supercell that may be used for it")
    displacement_A: float = Field(default=0.02, ge=0.001, le=0.2, description="length of a displacement, Å")
    symprec_A: float = Field(default=0.01, gt=0, le=0.5, description="tolerance in which the crystal is symmetric, Å")
    primitive_matrix: list[list[float]] | None = Field(
        default=None, description="primitive vectors as rows in units of the given ones; found by symmetry if not given"
    )
    fmax_eV_per_A: float = Field(
        default=0.02, gt=0, description="a structure with a larger force is refused, as not relaxed, eV/Å"
    )
    mesh_A: float = Field(default=60.0, ge=5, le=500, description="density of the mesh of q points, as a length, Å")
    t_max_K: float = Field(default=1000.0, gt=0, le=10_000, description="highest temperature of F, S and Cv, K")
    t_step_K: float = Field(default=10.0, gt=0, le=1000, description="step of the temperatures, K")
    imaginary_THz: float = Field(default=0.1, ge=0, description="imaginary frequencies up to this are noise, THz")
    follow: bool = Field(default=False, description="relax along imaginary modes to the lower structure")
    max_steps: int = Field(default=500, ge=1, description="of such a relaxation")
    volumes: Annotated[int, Later()] = Field(
        default=0, ge=0, description="volumes of the quasi-harmonic approximation, 6 or more; 0: none"
    )
    expansion: Annotated[float, Later()] = Field(
        default=0.06, ge=0.01, le=0.3,
        description="the largest of these volumes over the relaxed one, less one; the smallest is half as far below",
    )  # fmt: skip

    @field_validator("volumes")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < 6:
            raise ValueError(f"found {value}, wanted 0 for none, or 6 or more")
        return value


def cost(task: Task, settings: Settings) -> float:
    """Grow with the supercell and the displacements, some two for each atom of the cell."""
    atoms = len(task.structure["numbers"]) if task.structure else 1
    return 0.1 * atoms * max(atoms, settings.max_atoms // 2) * (1 + settings.volumes)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each crystal.

    Raises:
        InputError: if a structure is no crystal, is constrained, or its primitive cell is too large.
    """
    from atomsim.vibrations.cells import exact_crystal, phonon_supercell, primitive_cell

    found = origins(settings.structures, inputs, context)
    for origin in found:
        try:
            crystal, _ = exact_crystal(origin.atoms, settings.symprec_A)
            primitive = primitive_cell(crystal, settings.symprec_A, settings.primitive_matrix)
            phonon_supercell(primitive, settings.supercell_min_A, settings.max_atoms)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {origin.label}: {error}") from error
    return [make_task(origin, KIND, settings, context) for origin in found]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Compute the phonons of each crystal."""
    from atomsim.vibrations.phonons import phonons
    from atomsim.vibrations.record import to_values

    del inputs, shared
    assert potential is not None
    how = settings_of(settings, context.seed)
    for task in tasks:
        try:
            found = phonons(atoms_from_json(task.structure or {}), potential, how)
        except InputError as error:
            yield record_of(task, "invalid", str(error), structure=task.structure, values={"force_calls": 1})
            continue
        yield record_of(task, "done", values=to_values(found), structure=atoms_to_json(found.constants.primitive))


def settings_of(settings: Settings, seed: int = 0) -> PhononSettings:
    """Return the library's settings of a step."""
    from atomsim.vibrations.settings import PhononSettings

    keys = settings.model_dump()
    del keys["structures"]
    return PhononSettings(**keys, seed=seed)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses, stable crystals and force calls."""
    del settings
    stable = sum(bool(r.values.get("stable")) for r in records if r.good)
    return {"statuses": count_statuses(records), "stable": stable, "force_calls": total_calls(records)}
