"""Step kind ``composite``: capacity and energy of a whole electrode, from electrode steps or from numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from atomsim.errors import InputError, nearest
from atomsim.store.records import Record, Task, count_statuses, record_of, task_id
from atomsim.tasks.base import Context, Inputs, Source, StepSettings
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.analysis.composite import Component
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "composite"
NEEDS_POTENTIAL = False
report = "atomsim.report.composite:composite_part"
REPORT_ORDER = -1
cost = cost_per_atom
TAKES_KINDS = ("electrode",)
MEASURABLE = (
    "capacity_mAh_per_g", "voltage_V", "energy_Wh_per_kg", "energy_Wh_per_kg_discharged", "theoretical_Wh_per_kg",
    "energy_Wh_per_L", "density_g_cm3", "filling", "thickness_um", "capacity_mAh_per_cm2",
)  # fmt: skip
"""Results that measured values may be given for."""


class ComponentSettings(StepSettings):
    """Keys of one component."""

    mass_fraction: float = Field(gt=0, le=1, description="share of the electrode's mass as it is made")
    electrode: str | None = Field(default=None, description="electrode step that capacity and voltage come from")
    made: Literal["full", "empty"] = Field(
        default="full", description="whether the electrode step's host goes into the cell with its ions or without"
    )
    capacity_mAh_per_g: float | None = Field(default=None, ge=0, description="in place of the step's; 0 if neither")
    voltage_V: float | None = Field(default=None, ge=0, le=10, description="mean voltage, in place of the step's")
    density_g_cm3: float | None = Field(default=None, gt=0, description="of the dense material")


class Settings(StepSettings):
    """Keys of a ``composite`` step."""

    components: dict[str, ComponentSettings] = Field(min_length=1, description="components by name, additives too")
    electrodes: Annotated[list[str], Source(prototypes=False, files=False)] = Field(
        default=[], description="electrode steps that components name; filled in from them"
    )
    ion: str = Field(default="Li", description="element that is stored")
    energy_Wh_per_kg: float | None = Field(
        default=None, gt=0, description="delivered, by the initial mass; the theoretical one if not given"
    )
    density_g_cm3: float | None = Field(default=None, gt=0, description="of the electrode, pores included")
    filling: float | None = Field(default=None, gt=0, le=1, description="share of the volume that is no pore")
    loading_mg_per_cm2: float | None = Field(default=None, gt=0, description="mass on an area")
    measured: dict[str, float] = Field(default={}, description="measured results, by the names of the computed ones")
    source: str = Field(default="", description="where the measured results are from")

    @model_validator(mode="before")
    @classmethod
    def _with_electrodes(cls, values: Any) -> Any:
        """Name the steps of the components where steps are looked for."""
        components = values.get("components") if isinstance(values, Mapping) else None
        if not isinstance(components, Mapping) or values.get("electrodes"):
            return values
        named = [c.get("electrode") for c in components.values() if isinstance(c, Mapping)]
        return {**values, "electrodes": list(dict.fromkeys(n for n in named if isinstance(n, str)))}

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        for name in self.measured:
            if name not in MEASURABLE:
                raise ValueError(f"measured: unknown result {name!r};{nearest(name, MEASURABLE)}")
        if not self.electrodes:  # all numbers are there, so that mistakes are found now
            try:
                _computed(self, {})
            except InputError as error:
                raise ValueError(str(error)) from error
        return self


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make the one task."""
    parents = tuple(dict.fromkeys(r.task for name in settings.electrodes for r in inputs[name]))
    decides = (KIND, context.step, settings.model_dump(mode="json"), parents)
    return [Task(task_id(*decides), context.step, KIND, " + ".join(settings.components), None, {}, parents)]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Compute the electrode."""
    del context, potential, shared
    for task in tasks:
        try:
            values = _computed(settings, inputs)
        except InputError as error:
            yield record_of(task, "invalid", str(error))
            continue
        yield record_of(task, "done", values=values)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Give capacity and energy."""
    del settings
    keys = ("capacity_mAh_per_g", "energy_Wh_per_kg", "energy_Wh_per_L")
    found = {key: r.values[key] for r in records if r.good for key in keys}
    return {"statuses": count_statuses(records), **found}


def _computed(settings: Settings, inputs: Inputs) -> dict[str, Any]:
    from atomsim.analysis.composite import composite_energy

    made = [_component(name, c, inputs) for name, c in settings.components.items()]
    found = composite_energy(
        made,
        ion=settings.ion,
        energy_Wh_per_kg=settings.energy_Wh_per_kg,
        density_g_cm3=settings.density_g_cm3,
        filling=settings.filling,
        loading_mg_per_cm2=settings.loading_mg_per_cm2,
    )
    return asdict(found) | {"measured": dict(settings.measured), "source": settings.source}


def _component(name: str, given: ComponentSettings, inputs: Inputs) -> Component:
    from atomsim.analysis.composite import Component

    numbers = given.model_dump(include={"capacity_mAh_per_g", "voltage_V"}, exclude_none=True)
    full = given.electrode is not None and given.made == "full"
    if given.electrode is not None:
        numbers = _of_electrode(name, given, inputs) | numbers
    return Component(name, given.mass_fraction, density_g_cm3=given.density_g_cm3, full=full, **numbers)


def _of_electrode(name: str, given: ComponentSettings, inputs: Inputs) -> dict[str, float]:
    """Capacity and mean voltage of an electrode step, by the mass that the component is made with."""
    from ase.data import atomic_masses, atomic_numbers

    records = [r for r in inputs.get(given.electrode or "", ()) if r.good]
    if len(records) > 1:
        raise InputError(
            f"{name}: electrode step {given.electrode!r} has {len(records)} electrodes, one a glass, wanted one; "
            "give capacity_mAh_per_g and voltage_V"
        )
    steps = records[0].values["voltage"]["hull"] if records else []
    if not steps:
        raise InputError(f"{name}: electrode step {given.electrode!r} has no voltages; see its record")
    values = records[0].values
    width = sum(s["x_high"] - s["x_low"] for s in steps)
    voltage = sum(s["voltage_V"] * (s["x_high"] - s["x_low"]) for s in steps) / width
    capacity = float(values["capacity"]["whole_range_mAh_per_g"])
    if given.made == "empty":
        mass = float(values["capacity"]["molar_mass_g_per_mol"])
        ions = (steps[0]["x_high"] - steps[-1]["x_low"]) * float(atomic_masses[atomic_numbers[values["ion"]]])
        capacity *= mass / (mass - ions)
    return {"capacity_mAh_per_g": capacity, "voltage_V": float(voltage)}
