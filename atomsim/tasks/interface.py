"""Step kind ``interface``: reactions of two relaxed phases in contact, one task for each pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from atomsim.errors import InputError
from atomsim.store.records import Record, Task, count_statuses, record_of, task_id
from atomsim.tasks.base import Context, Inputs, Source, StepSettings
from atomsim.tasks.electrode_inputs import check_no_pressure, check_one_potential
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.interfaces.hull import Phase
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "interface"
NEEDS_POTENTIAL = False
report = "atomsim.report.interface:interface_part"
REPORT_ORDER = -1
cost = cost_per_atom
TAKES_KINDS = ("relax",)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Settings(StepSettings):
    """Keys of an ``interface`` step."""

    phases: Annotated[list[str], BeforeValidator(_as_list), Source(prototypes=False, files=False)] = Field(
        min_length=1, description="relax steps with all phases that may form, the two in contact among them"
    )
    first: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        min_length=1, description="formulas of phases on one side: ['Li2RuO3', 'LiCoO2']"
    )
    second: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        min_length=1, description="formulas on the other side: ['Li6PS5Cl']"
    )
    open_to: str | None = Field(default=None, description="element that is exchanged with a reservoir, such as Li or O")
    voltages_V: list[Annotated[float, Field(le=20)]] = Field(
        default=[], description="of the open element against its own phase: μ = μ⁰ − z e φ"
    )
    gaps_eV: dict[str, float] = Field(default={}, description="band gaps of phases, before those of the shipped table")
    gap_below_eV: float = Field(default=0.5, gt=0, description="a product with a smaller gap is a conductor, eV")


def check_inputs(settings: Settings, inputs: Inputs) -> None:
    """Refuse, before anything is relaxed, what could only fail afterwards.

    Args:
        settings: of this step.
        inputs: records that stand in for those of the phases, not yet relaxed.

    Raises:
        InputError: if a formula is none or no phase has it, or an open element has no phase of its own or no voltages.
    """
    from atomsim.interfaces.record import WITHOUT_ZERO, named_phase, reduced

    _check_voltages(settings)
    found = [r.atoms for name in settings.phases for r in inputs[name] if r.structure is not None]
    names = {reduced(atoms.get_chemical_formula())[0] for atoms in found}
    for formula in (*settings.first, *settings.second) if found else ():
        named_phase(formula, names)
    if found and settings.open_to is not None and {settings.open_to} not in [set(atoms.symbols) for atoms in found]:
        raise InputError(WITHOUT_ZERO.format(settings.open_to))


def _check_voltages(settings: Settings) -> None:
    from atomsim.interfaces.record import BELOW

    if settings.voltages_V and settings.open_to is None:
        raise InputError("found voltages_V without open_to; say of what: open_to = 'Li'")
    if settings.open_to is not None and not settings.voltages_V:
        raise InputError("found open_to without voltages_V; give a list, such as [0.0, 3.7]")
    for voltage in settings.voltages_V:
        if voltage < 0:
            raise InputError(BELOW.format(voltage, settings.open_to))


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each pair.

    Raises:
        InputError: if phases come from two potentials or were relaxed under pressure, a formula is none, or voltages
            are given without the element they are of.
    """
    from atomsim.interfaces.record import reduced

    records = [r for name in settings.phases for r in inputs[name]]
    check_one_potential(records)
    check_no_pressure(records)
    try:
        _check_voltages(settings)
    except InputError as error:
        raise InputError(f"step {context.step!r}: {error}") from error
    parents = tuple(dict.fromkeys(r.task for r in records))
    tasks = []
    for one in settings.first:
        for other in settings.second:
            label = f"{reduced(one)[0]}–{reduced(other)[0]}"
            decides = (KIND, context.step, label, settings.model_dump(mode="json"), parents)
            tags = {"first": one, "second": other}
            tasks.append(Task(task_id(*decides), context.step, KIND, label, None, tags, parents))
    return tasks


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Find the reactions of each pair."""
    from atomsim.interfaces.record import phase_of

    del context, potential, shared
    records = [r for name in settings.phases for r in inputs[name]]
    phases = [phase_of(r) for r in records if r.good and "energy_per_atom_eV" in r.values]
    left_out = [f"{r.label}: {r.status}" for r in records if not r.good]
    for task in tasks:
        try:
            yield record_of(task, "done", values=_values(task, settings, phases, left_out))
        except InputError as error:
            yield record_of(task, "invalid", str(error))


def _values(task: Task, settings: Settings, phases: list[Phase], left_out: list[str]) -> dict[str, Any]:
    from atomsim.interfaces.conductors import Gap
    from atomsim.interfaces.record import conditions, lacking, reactant_of, reduced, to_values

    first, second = (reactant_of(task.tags[key], phases) for key in ("first", "second"))
    gaps = {reduced(name)[0]: Gap(gap, "given") for name, gap in settings.gaps_eV.items()}
    voltages = [float(v) for v in settings.voltages_V]
    found = conditions(first, second, phases, settings.open_to, voltages, gaps, settings.gap_below_eV)
    elements = {*first.composition, *second.composition, *([settings.open_to] if settings.open_to else [])}
    absent = lacking(phases, elements)
    closed = found[0].found
    flags = [f"phases known of these elements, but not given: {', '.join(absent)}"] if absent else []
    flags += [f"left out, not relaxed: {'; '.join(left_out)}"] if left_out else []
    flags += list(dict.fromkeys(note for c in found for note in c.found.notes))
    unknown = sorted({name for c in found for name in c.conductors.unknown})
    flags += [f"no band gap is known of {', '.join(unknown)}: counted as unknown"] if unknown else []
    return {
        "mutual_eV_per_atom": float(closed.minimum.mutual_eV_per_atom), "x": float(closed.minimum.x),
        "equation": closed.minimum.equation, "conditions": [to_values(c) for c in found], "flags": flags,
        "phases": {p.name: p.energy_eV_per_atom for p in phases},
    }  # fmt: skip


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and interfaces that react."""
    del settings
    reacts = sum(r.values["mutual_eV_per_atom"] < -1e-6 for r in records if r.good)
    return {"statuses": count_statuses(records), "reacts": reacts}
