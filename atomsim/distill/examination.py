"""Keys of ``[validate]`` in a recipe: the tasks that a student is examined on."""

from __future__ import annotations

from pydantic import Field

from atomsim.tasks.base import StepSettings


class Voltage(StepSettings):
    """Keys of ``[[validate.voltage]]``."""

    prototype: str
    ion: str
    x: list[float] = Field(min_length=2)
    host_unit: str | None = None
    orderings: int = Field(default=2, ge=1)
    max_atoms: int = Field(default=40, ge=1)
    metal: str = Field(description="prototype of the metal")


class Barriers(StepSettings):
    """Keys of ``[[validate.barriers]]``."""

    prototype: str
    ion: str
    hops: int = Field(default=2, ge=1, description="the shortest first")
    max_atoms: int = Field(default=60, ge=1)
    supercell_min_A: float = Field(default=7.0, gt=0)


class Dynamics(StepSettings):
    """Keys of ``[validate.dynamics]``."""

    systems: list[str] = Field(default=[], description="names of [[system]]s to heat")
    temperature_K: float = Field(default=1500.0, gt=0)
    length_ps: float = Field(default=20.0, gt=0)
    timestep_fs: float = Field(default=2.0, gt=0)
    seeds: int = Field(default=10, ge=1, description="runs, shared among the systems")
    rdf_system: str | None = Field(default=None, description="where the pair distribution is compared")
    rdf_ps: float = Field(default=1.0, gt=0)


class Validate(StepSettings):
    """Keys of ``[validate]``."""

    lattices: list[str] = Field(default=[], description="prototypes to relax")
    voltage: list[Voltage] = Field(default=[])
    barriers: list[Barriers] = Field(default=[])
    dynamics: Dynamics = Dynamics()
