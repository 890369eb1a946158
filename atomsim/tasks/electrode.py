"""Step kind ``electrode``: hull, voltages, lattice, oxygen and redox of relaxed structures against x."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from atomsim.errors import InputError
from atomsim.records import Record, Task, task_id
from atomsim.tasks.base import Context, Inputs, StepName, StepSettings, count_statuses, record_of

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.analysis.describe import Setting
    from atomsim.analysis.electrode import Entry
    from atomsim.models.interface import Surface

KIND = "electrode"
NEEDS_POTENTIAL = False

NEEDED_TAGS = ("parent", "ion", "x", "x_max", "host_units")


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


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make the one task.

    Raises:
        InputError: if structures and reference do not come from one potential, or do not fit together.
    """
    records = [*inputs[settings.structures], *inputs[settings.reference]]
    _check_one_potential(records)
    taking_part, _ = _sort_out(inputs[settings.structures])
    if taking_part:
        _reference(inputs[settings.reference], taking_part[0].tags["ion"])
    parents = tuple(dict.fromkeys(r.task for r in records))
    return [
        Task(
            id=task_id(KIND, context.step, settings.model_dump(mode="json"), parents),
            step=context.step,
            kind=KIND,
            label=str(taking_part[0].tags["parent"]) if taking_part else "electrode",
            parents=parents,
        )
    ]


def run(
    tasks: Sequence[Task], settings: Settings, inputs: Inputs, context: Context, surface: Surface | None = None
) -> Iterator[Record]:
    """Analyse; one record with everything as JSON in ``values``.

    Raises:
        InputError: as ``expand`` does.
    """
    del surface
    for task in tasks:
        yield _analyse(task, settings, inputs, context)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Name the phases on the hull and the voltages between them."""
    del settings
    summary: dict[str, Any] = {"statuses": count_statuses(records)}
    for record in records:
        if record.good:
            summary["hull_x"] = [vertex["x"] for vertex in record.values["hull"]]
            summary["voltages_V"] = [round(s["voltage_V"], 3) for s in record.values["voltage"]["hull"]]
            summary["structures"] = len(record.values["structures"])
            summary["excluded"] = len(record.values["excluded"])
    return summary


def _analyse(task: Task, settings: Settings, inputs: Inputs, context: Context) -> Record:
    from atomsim.analysis.electrode import electrode_table

    taking_part, excluded = _sort_out(inputs[settings.structures])
    if not taking_part:
        message = (
            f"no structure of step {settings.structures!r} can be used: {excluded[0]['reason'] if excluded else 'none'}"
        )
        return record_of(task, "invalid", message, values={"excluded": excluded})
    tags = taking_part[0].tags
    reference, why_not = _reference(inputs[settings.reference], tags["ion"])
    fullest = max(taking_part, key=lambda r: (r.tags["x"], r.tags["x_max"]))
    table = electrode_table(
        [_entry(r, settings) for r in taking_part],
        ion=tags["ion"],
        x_max=max(float(r.tags["x_max"]) for r in taking_part),
        parent=str(fullest.tags["parent"]),
        ion_energy_eV=None if reference is None else reference.values["energy_per_atom_eV"],
        radiation=settings.radiation,
    )
    if why_not:
        table["notes"].insert(0, {"topic": "reference", "text": why_not})
    if excluded:
        text = f"{len(excluded)} of {len(excluded) + len(taking_part)} structures take no part in hull and voltages"
        table["notes"].insert(0, {"topic": "excluded", "text": text})
    return record_of(
        task,
        "done",
        values=table
        | {
            "excluded": excluded,
            "reference": _reference_facts(reference),
            "energy_policy": _energy_policy(taking_part[0], reference, context),
        },
        provenance={"potential": taking_part[0].provenance["potential"]},
    )


def _check_one_potential(records: Sequence[Record]) -> None:
    """Energies of two potentials share no zero: refuse to mix them."""
    potentials = [r.provenance.get("potential") or {} for r in records if r.good]
    used = {(potential.get("name"), potential.get("sha256")) for potential in potentials}
    if len({sha for _, sha in used}) > 1:
        names = ", ".join(sorted(f"{name} ({str(sha)[:12]})" for name, sha in used))
        raise InputError(
            f"found energies of different potentials: {names}; relax structures and reference with one potential"
        )
    if any(sha is None for _, sha in used):
        raise InputError(
            "found energies without the sha256 of their potential; relax structures and reference with a potential"
        )


def _sort_out(records: Sequence[Record]) -> tuple[list[Record], list[dict[str, str]]]:
    """Split records into those that take part and those that do not, with the reason."""
    taking_part: list[Record] = []
    excluded: list[dict[str, str]] = []
    for record in records:
        reason = _why_excluded(record, taking_part)
        if reason:
            excluded.append({"label": record.label, "task": record.task, "status": record.status, "reason": reason})
        else:
            taking_part.append(record)
    return taking_part, excluded


def _why_excluded(record: Record, others: Sequence[Record]) -> str:
    if not record.good:
        return f"{record.status}: {record.message}" if record.message else record.status
    missing = [key for key in NEEDED_TAGS if key not in record.tags]
    if missing or record.structure is None or "energy_eV" not in record.values:
        return f"not from a delithiate step: no {', '.join(missing) or 'structure with an energy'}"
    if others and _host(record) != _host(others[0]):
        return f"another host or ion than {others[0].label}"
    return ""


def _host(record: Record) -> tuple[Any, ...]:
    """Ion and host composition per formula unit."""
    from ase.data import chemical_symbols

    assert record.structure is not None
    ion, units = record.tags["ion"], float(record.tags["host_units"])
    symbols = [chemical_symbols[z] for z in record.structure["numbers"]]
    return ion, *sorted((s, round(symbols.count(s) / units, 6)) for s in set(symbols) if s != ion)


def _reference(records: Sequence[Record], ion: str) -> tuple[Record | None, str]:
    """Return the lowest good record of the ion's metal, or None and why.

    Raises:
        InputError: if the records are not of the pure metal.
    """
    for record in records:
        if record.structure is not None and set(record.atoms.symbols) != {ion}:
            found = record.atoms.get_chemical_formula("reduce")
            raise InputError(
                f"reference {record.label!r} is {found}, wanted {ion} metal; name a relax step of prototype {ion!r}"
            )
    good = [r for r in records if r.good and "energy_per_atom_eV" in r.values]
    if not good:
        states = ", ".join(f"{r.label} {r.status}" for r in records) or "no record"
        return None, f"no voltages: the reference of {ion} metal did not converge ({states})"
    return min(good, key=lambda r: (r.values["energy_per_atom_eV"], r.label)), ""


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
        setting=_setting(tags, record.atoms, settings),
        tags=tags,
    )


def _setting(tags: dict[str, Any], atoms: Atoms, settings: Settings) -> Setting | None:
    """Return the way from a child's cell to the prototype's, or else to the cell that ``supercell`` counts."""
    from atomsim.analysis.describe import Setting
    from atomsim.analysis.published import layer_reflection

    if "supercell" not in tags:
        return None
    known = settings.layer_reflection or layer_reflection(str(tags["parent"]))
    reflection = None if known is None else (known[0], known[1], known[2])
    cell_map = np.asarray(tags["supercell"], float)
    prototype = _prototype(str(tags["parent"]))
    if prototype is None:
        return Setting(cell_map, reflection)
    published = prototype.cell.array
    counted = np.asarray(tags.get("parent_cell", published), float)  # e.g. the primitive cell, in the same setting
    cell_map = cell_map @ counted @ np.linalg.inv(published)
    hosts = [sum(s != tags["ion"] for s in structure.symbols) for structure in (atoms, prototype)]
    # Without this the supercell counts another cell than the prototype's: no lattice is better than a wrong one.
    return Setting(cell_map, reflection) if abs(abs(np.linalg.det(cell_map)) * hosts[1] - hosts[0]) < 1e-3 else None


def _prototype(name: str) -> Atoms | None:
    from atomsim.structures.prototypes import load_prototype

    try:
        return load_prototype(name).atoms
    except InputError:
        return None


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
    from atomsim.cards import load_card

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
