"""Step kind ``electrode``: hull, voltages, lattice, oxygen and redox of relaxed structures against x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator, model_validator

from atomsim.errors import InputError
from atomsim.pulse import at_work
from atomsim.store.records import Record, Task, count_statuses, record_of, task_id
from atomsim.tasks.base import Context, Inputs, Later, Source, StepName, StepSettings
from atomsim.tasks.delithiate import DRAWN, MEMBER
from atomsim.tasks.electrode_inputs import NEEDED_TAGS, check_no_pressure, check_one_potential, reference_of, sort_out
from atomsim.tasks.electrode_setting import check_reflection, setting_of
from atomsim.tasks.electrode_vibrations import vibrational
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.analysis.electrode import Entry
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "electrode"
NEEDS_POTENTIAL = False
report = "atomsim.report.electrode:electrode_part"
REPORT_ORDER = -1
"""Position in the report: the electrode comes first, as it is what a chemist came for."""
cost = cost_per_atom

TAKES_KINDS = ("relax",)
"""Kinds of the steps that it may take from."""
KINDS_BY_KEY = {"vibrations": ("phonons",)}
"""The same for single keys."""


class Settings(StepSettings):
    """Keys of an ``electrode`` step."""

    structures: StepName = Field(description="the relax step with the structures of all x")
    reference: StepName = Field(description="the relax step with the ion's metal, from the same potential")
    layer_reflection: list[int] | None = Field(
        default=None,
        min_length=3,
        max_length=3,
        description="reflection of the layers in the parent's setting; known for shipped layered prototypes",
    )
    radiation: str = Field(default="CuKa", description="X-ray line: CuKa, CuKa1, MoKa …")
    vibrations: Annotated[str | None, Source(prototypes=False, files=False), Later()] = Field(
        default=None, description="the phonons step of the same structures and of the metal: hull and voltages at T too"
    )
    temperature_K: Annotated[float, Later()] = Field(default=300.0, ge=0, le=10_000, description="of the vibrations, K")

    @field_validator("radiation")
    @classmethod
    def _known_line(cls, value: str) -> str:
        from atomsim.analysis.xrd import check_radiation

        try:
            check_radiation(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _vibrations_have_a_temperature(self) -> Settings:
        if self.vibrations is None and self.temperature_K != Settings.model_fields["temperature_K"].default:
            raise ValueError(
                f"found temperature_K = {self.temperature_K:g} without vibrations; energies alone are of 0 K: "
                "leave it out, or name a phonons step by vibrations"
            )
        return self

    @field_validator("layer_reflection")
    @classmethod
    def _no_direct_beam(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and not any(value):
            raise ValueError("found [0, 0, 0], wanted the indices of a reflection, such as [0, 0, 2]")
        return value


def check_inputs(settings: Settings, inputs: Inputs) -> None:
    """Refuse, before anything is relaxed, what could only fail afterwards.

    Args:
        settings: of this step.
        inputs: records that stand in for those of the steps it takes from, not yet relaxed.

    Raises:
        InputError: if nothing is delithiated, the ion's charge is not known, the reference is not its metal, or the
            host has no such layer reflection.
    """
    from atomsim.analysis.redox import ion_charge

    fit = [r for r in inputs[settings.structures] if all(key in r.tags for key in NEEDED_TAGS)]
    if inputs[settings.structures] and not fit:
        raise InputError(
            f"step {settings.structures!r} relaxes nothing from a delithiate step, so that x is not known; "
            "let it take its structures from one"
        )
    for record in fit[:1]:
        ion_charge(record.tags["ion"])
        reference_of(inputs[settings.reference], record.tags["ion"])
        check_reflection(record, settings.layer_reflection, settings.radiation)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make the one task, or of orderings of several glasses one for each: energies of glasses share no zero.

    Raises:
        InputError: if structures and reference do not come from one potential, were relaxed under pressure, or do
            not fit together.
    """
    from atomsim.analysis.redox import ion_charge

    structures, reference = inputs[settings.structures], inputs[settings.reference]
    check_one_potential([*structures, *reference])
    check_no_pressure([*structures, *reference])
    tasks = []
    for member in dict.fromkeys(r.tags.get(MEMBER) for r in structures) or [None]:
        records = [r for r in structures if r.tags.get(MEMBER) == member]
        taking_part, _ = sort_out(records)
        if taking_part:
            ion_charge(taking_part[0].tags["ion"])
            reference_of(reference, taking_part[0].tags["ion"])
        vibrations = inputs[settings.vibrations] if settings.vibrations else []
        parents = tuple(dict.fromkeys(r.task for r in (*records, *reference, *vibrations)))
        label = str(taking_part[0].tags["parent"]) if taking_part else "electrode"
        made = task_id(KIND, context.step, settings.model_dump(mode="json"), parents)
        tags = {} if member is None else {MEMBER: member}
        tasks.append(Task(made, context.step, KIND, member or label, tags=tags, parents=parents))
    return tasks


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Analyse; one record with everything as JSON in ``values``.

    Raises:
        InputError: as ``expand`` does.
    """
    del potential, shared
    for task in tasks:
        yield _analyse(task, settings, inputs, context)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Name the phases on the hull and the voltages between them."""
    del settings
    summary: dict[str, Any] = {"statuses": count_statuses(records)}
    if len([r for r in records if r.good]) > 1:
        return summary | {"glasses": len(records)}
    for record in records:
        if record.good:
            summary["hull_x"] = [vertex["x"] for vertex in record.values["hull"]]
            summary["voltages_V"] = [round(s["voltage_V"], 3) for s in record.values["voltage"]["hull"]]
            summary["structures"] = len(record.values["structures"])
            summary["excluded"] = len(record.values["excluded"])
    return summary


def _analyse(task: Task, settings: Settings, inputs: Inputs, context: Context) -> Record:
    from atomsim.analysis.electrode import electrode_table

    member = task.tags.get(MEMBER)
    taking_part, excluded = sort_out([r for r in inputs[settings.structures] if r.tags.get(MEMBER) == member])
    if not taking_part:
        message = (
            f"no structure of step {settings.structures!r} can be used: {excluded[0]['reason'] if excluded else 'none'}"
        )
        return record_of(task, "invalid", message, values={"excluded": excluded})
    tags = taking_part[0].tags
    reference, why_not = reference_of(inputs[settings.reference], tags["ion"])
    fullest = max(taking_part, key=lambda r: (r.tags["x"], r.tags["x_max"]))
    table = electrode_table(
        [_entry(r, settings) for r in taking_part],
        ion=tags["ion"],
        x_max=max(float(r.tags["x_max"]) for r in taking_part),
        parent=str(fullest.tags["parent"]),
        ion_energy_eV=None if reference is None else reference.values["energy_per_atom_eV"],
        radiation=settings.radiation,
        prototype=fullest.tags.get("prototype"),
    )
    if settings.vibrations:
        found, notes = vibrational(
            taking_part, reference, inputs[settings.vibrations], settings.temperature_K, table["charge"]
        )
        table |= {"vibrational": found}
        table["notes"] += [{"topic": "vibrations", "text": note} for note in notes]
    opinions = _opinions(taking_part, reference, table["charge"])
    if why_not:
        table["notes"].insert(0, {"topic": "reference", "text": why_not})
    if excluded:
        text = f"{len(excluded)} of {len(excluded) + len(taking_part)} structures take no part in hull and voltages"
        table["notes"].insert(0, {"topic": "excluded", "text": text})
    if member is not None or any(r.tags.get(DRAWN) for r in taking_part):
        table["scatter"] = _scatter(taking_part, reference, float(table["x_max"]), int(table["charge"]))
    return record_of(
        task,
        "done",
        values=table
        | opinions
        | {
            "excluded": excluded,
            "reference": _reference_facts(reference),
            "energy_policy": _energy_policy(taking_part[0], reference, context),
        },
        provenance={"potential": taking_part[0].provenance["potential"]},
    )


def _entry(record: Record, settings: Settings) -> Entry:
    from atomsim.analysis.electrode import Entry

    tags = record.tags
    return Entry(
        label=record.label,
        task=record.task,
        atoms=record.atoms,
        energy=record.values["energy_eV"],
        x=float(tags["x"]),
        host_units=float(tags["host_units"]),
        setting=setting_of(tags, record.atoms, settings.layer_reflection),
        tags=tags,
    )


def _scatter(records: Sequence[Record], reference: Record | None, x_max: float, charge: int) -> dict[str, Any]:
    """Return the statistics of random removals: structures, means with their scatter at each x, voltages."""
    from atomsim.analysis.charging import charge_states, charge_voltages, charged_structure

    found = []
    for n, r in enumerate(records):
        at_work("polyhedra measured", n, len(records))
        x, units = float(r.tags["x"]), float(r.tags["host_units"])
        found.append(charged_structure(r.label, r.atoms, x, units, r.values["energy_eV"]))
    ion_energy = None if reference is None else reference.values["energy_per_atom_eV"]
    volts = [] if ion_energy is None else charge_voltages(found, ion_energy, charge)
    return {
        "structures": [asdict(s) for s in found],
        "states": [asdict(s) for s in charge_states(found, x_max)],
        "voltages": [asdict(v) for v in volts],
    }


def _opinions(records: Sequence[Record], reference: Record | None, charge: int) -> dict[str, Any]:
    """Spread over the potentials that have judged every structure (``check_with`` of the relax steps)."""
    from atomsim.analysis.opinions import Judged, electrode_opinions
    from atomsim.tasks.relax_checks import common_opinions

    names = common_opinions([r.values for r in records])
    if not names:
        return {}
    own = records[0].provenance["potential"]["name"]
    units = [float(r.tags["host_units"]) for r in records]
    energies = {own: [r.values["energy_eV"] / u for r, u in zip(records, units, strict=True)]}
    metals = {} if reference is None else {own: reference.values["energy_per_atom_eV"]}
    of_metal = {} if reference is None else reference.values.get("checked_with", {})
    for name in names:
        checks = [r.values["checked_with"][name]["energy_eV"] for r in records]
        energies[name] = [e / u for e, u in zip(checks, units, strict=True)]
        if name in of_metal:
            metals[name] = of_metal[name]["energy_per_atom_eV"]
    judged = Judged([r.label for r in records], [float(r.tags["x"]) for r in records], energies, metals, charge)
    return {"opinions": electrode_opinions(judged)}


def _reference_facts(reference: Record | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    return {
        "label": reference.label,
        "task": reference.task,
        "formula": reference.atoms.get_chemical_formula("reduce"),
        "energy_per_atom_eV": reference.values["energy_per_atom_eV"],
        "n_atoms": len(reference.atoms),
    }


def _energy_policy(record: Record, reference: Record | None, context: Context) -> list[str]:
    """Say in words which zero the energies have, for the report."""
    from atomsim.registry.cards import load_card

    potential = record.provenance["potential"]
    name, ion = potential.get("name") or context.potential_name, record.tags["ion"]
    metal = (
        f"Voltages are against {ion} metal relaxed with this same potential ({reference.label}, "
        f"{reference.values['energy_per_atom_eV']:.4f} eV/atom)."
        if reference
        else f"No voltages: there is no converged reference of {ion} metal."
    )
    lines = [
        f"All energies come from {name} (sha256 {potential['sha256'][:12]}…), uncorrected and mixed with no other's.",
        metal,
        "Energies are of static relaxed cells: no zero-point energy, no entropy, no p V term.",
    ]
    try:
        lines.append(f"Training energies of {name}: {load_card(str(name)).energies}")
    except InputError:
        lines.append(f"There is no card for {name}: what its training energies include is not known here.")
    return lines
