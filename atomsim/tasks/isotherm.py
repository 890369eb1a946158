"""Step kind ``isotherm``: ion content against voltage from relaxed orderings, one task for each temperature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from atomsim.errors import InputError
from atomsim.store.records import Record, Task, count_statuses, record_of, task_id
from atomsim.tasks.base import Context, Inputs, StepName, StepSettings
from atomsim.tasks.electrode_inputs import NEEDED_TAGS, check_no_pressure, check_one_potential, reference_of, sort_out
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "isotherm"
NEEDS_POTENTIAL = False
report = "atomsim.report.isotherm:isotherm_part"
cost = cost_per_atom
TAKES_KINDS = ("relax",)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Settings(StepSettings):
    """Keys of an ``isotherm`` step."""

    structures: StepName = Field(description="the relax step with orderings of all x, the full host among them")
    reference: StepName = Field(description="the relax step with the ion's metal, from the same potential")
    temperature_K: Annotated[list[Annotated[float, Field(gt=0)]], BeforeValidator(_as_list)] = Field(
        default=[300.0], min_length=1, description="of the isotherms, K"
    )
    cutoff_A: float = Field(default=5.0, gt=0, description="longest pair of ion sites in the fitted energy, Å")
    max_sites: int = Field(default=32, ge=2, description="most ion sites in the sampled cell")
    sweeps: int = Field(default=100, ge=20, description="of the sampling, for each number of ions")


def check_inputs(settings: Settings, inputs: Inputs) -> None:
    """Refuse, before anything is relaxed, what could only fail afterwards.

    Raises:
        InputError: if the orderings are none of a delithiate step, or the reference is not the ion's metal.
    """
    records = inputs[settings.structures]
    fit = [r for r in records if all(key in r.tags for key in NEEDED_TAGS)]
    if records and not fit:
        raise InputError(f"step {settings.structures!r} relaxes nothing from a delithiate step, so that x is not known")
    for record in fit[:1]:
        reference_of(inputs[settings.reference], record.tags["ion"])


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each temperature.

    Raises:
        InputError: if structures and reference do not come from one potential, or were relaxed under pressure.
    """
    records = [*inputs[settings.structures], *inputs[settings.reference]]
    check_one_potential(records)
    check_no_pressure(records)
    parents = tuple(dict.fromkeys(r.task for r in records))
    decides = (KIND, context.step, settings.model_dump(mode="json"), context.seed, parents)
    return [
        Task(task_id(*decides, t), context.step, KIND, f"{t:g} K", None, {"temperature_K": t}, parents)
        for t in settings.temperature_K
    ]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Fit and sample."""
    del potential, shared
    for task in tasks:
        try:
            values = _computed(settings, inputs, context.seed, float(task.tags["temperature_K"]))
        except InputError as error:
            yield record_of(task, "invalid", str(error))
            continue
        yield record_of(task, "done", values=values)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Give the range of voltages."""
    del settings
    spans = {r.label: [min(r.values["voltage_V"]), max(r.values["voltage_V"])] for r in records if r.good}
    return {"statuses": count_statuses(records), "voltages_V": spans}


def _computed(settings: Settings, inputs: Inputs, seed: int, temperature_K: float) -> dict[str, Any]:
    from atomsim.analysis.hull import formation_hull
    from atomsim.analysis.redox import ion_charge
    from atomsim.analysis.voltage import voltage_steps
    from atomsim.lattice_gas.free_energy import Sampling
    from atomsim.lattice_gas.isotherm import isotherm
    from atomsim.lattice_gas.orderings import lattice_of

    records, _ = sort_out(inputs[settings.structures])
    lattice, data, host = lattice_of(records, settings.cutoff_A)
    reference, why_not = reference_of(inputs[settings.reference], lattice.ion)
    if reference is None:
        raise InputError(why_not)
    metal, charge = float(reference.values["energy_per_atom_eV"]), round(ion_charge(lattice.ion))
    found = isotherm(
        lattice,
        data,
        metal,
        temperature_K=temperature_K,
        charge=charge,
        max_sites=settings.max_sites,
        sampling=Sampling(sweeps=settings.sweeps, seed=seed),
    )
    x = [float(r.tags["x"]) for r in records]
    hull = formation_hull(x, [float(r.values["energy_eV"]) / float(r.tags["host_units"]) for r in records])
    steps = voltage_steps(hull.vertex_x, hull.vertex_energy, metal, charge)
    return {
        "ion": lattice.ion,
        "x": (found.share * float(host.tags["x_max"])).tolist(),
        "voltage_V": found.voltage_V.tolist(),
        "error_V": found.error_V.tolist(),
        "flags": list(found.flags),
        "leave_one_out_meV_per_site": 1000 * found.model.rms_error_eV / len(lattice.sites),
        "orderings": len(data),
        "sites": found.free.cell.n_sites,
        "hull": [{"x_high": s.x_high, "x_low": s.x_low, "voltage_V": s.voltage} for s in steps],
    }
