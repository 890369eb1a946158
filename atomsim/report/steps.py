"""The parts of the other kinds of step, and of the run as a whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from atomsim.errors import InputError, counted
from atomsim.io.atoms_json import atoms_from_json
from atomsim.report.blocks import Block, Cell, Column, Listing, Notice, Number, Section, Table
from atomsim.report.opinions import opinion_columns
from atomsim.report.parts import Part
from atomsim.store.records import Record, total_calls
from atomsim.tasks import find_kind

TOO_CLOSE = 0.6
"""Atoms nearer than this part of the sum of their covalent radii are no chemistry."""
CAME_APART = 4 / 3
"""Growth in volume beyond what charging does to a crystal that holds together."""
LEFT_OVER_GPA = 1.0
"""A converged cell under more pressure than this, beyond the target, is worth a look."""

COUNTS = ("total", "distinct", "enumerated", "chosen", "coverage")
"""Counts of a ``delithiate`` step, in the order of the table."""

WHAT_TO_DO = {
    "max_steps": "Not converged, and not used in any analysis: raise max_steps and run the same command again; "
    "the other structures keep their records.",
    "saddle": "Stopped at a saddle point: relax again with noise_A > 0.",
    "exploded": "The structure flew apart: look at its start, or use another potential.",
    "not_a_number": "Energy or forces were not numbers: the potential does not know such geometry.",
    "too_large": "Did not fit into memory: use a smaller cell or a larger device.",
    "invalid": "The input could not be used.",
    "drifted": "A relaxed end fell into another minimum: there is no such path, and nothing to run again.",
    "unproven": "No saddle is proven, so that the energies are no barriers: more starts or images may find one.",
    "crashed": "The computation failed.",
}


def relax_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``relax`` step."""
    good = [r for r in records if r.good]
    section = Section(step, f"Relaxations · {step}", [relax_table(records)], _counts_text(records))
    return Part((), tuple(_geometry_notices(step, good)), (section,))


def delithiate_part(step: str, records: Sequence[Record]) -> Part:
    """Report how many orderings there were and how many were kept."""
    found = {float(r.tags["x"]): dict(r.tags.get("counts") or {}) for r in records if "x" in r.tags}
    keys = [key for key in COUNTS if any(key in counts for counts in found.values())]
    rows: list[list[Cell]] = [[x, *(_cell(found[x].get(key)) for key in keys)] for x in sorted(found, reverse=True)]
    table = Table("orderings", "", [Column("x", "g"), *(Column(key) for key in keys)], rows)
    section = Section(
        step,
        f"Orderings · {step}",
        [table],
        "Ways to leave x ions in the supercells that were looked at, those distinct by symmetry, and those kept. "
        f"An ordering is counted in its smallest cell. {_parent_text(records)}",
    )
    return Part(sections=(section,) if rows else ())


def _parent_text(records: Sequence[Record]) -> str:
    tags = records[0].tags if records else {}
    if not tags.get("formal_charges"):
        return ""
    charges = ", ".join(f"{symbol} {charge:+.3g}" for symbol, charge in tags["formal_charges"].items())
    symmetry = tags.get("symmetry") or {}
    found = (
        f"Parent in {symmetry['space_group']}, found to {symmetry['symprec_A']:g} Å; atoms moved by up to "
        f"{symmetry['symmetrised_A']:.3f} Å to be symmetric. "
        if symmetry
        else ""
    )
    if tags.get("drawn_at_random"):
        return f"{found}Drawn at random; formal charges in the parent ({tags.get('charges_from')}): {charges}."
    return (
        f"{found}Ranked by the Coulomb energy of formal charges ({tags.get('charges_from')}): {charges} in the parent."
    )


def part_of(step: str, records: Sequence[Record]) -> Part:
    """Return what a step adds to the report: what went wrong, and what its kind shows.

    A kind without a part of its own, or of a package that is not installed, has only the first.
    """
    kind = find_kind(records[0].kind) if records else None
    make: str | Callable[[str, Sequence[Record]], Part] | None = getattr(kind, "report", None)
    if isinstance(make, str):
        module, _, function = make.partition(":")
        make = getattr(import_module(module), function)
    assert not isinstance(make, str)
    return _with_statuses(step, records, make(step, records) if make else Part())


def order_of(records: Sequence[Record]) -> int:
    """Return where the part of a step belongs: of a lower number first, equal ones in the order of the steps."""
    kind = find_kind(records[0].kind) if records else None
    return int(getattr(kind, "REPORT_ORDER", 0))


def relax_table(records: Sequence[Record]) -> Table:
    """One line for each relaxation."""
    columns = [
        Column("Structure"),
        Column("Status"),
        Column("Formula"),
        Column("E (eV/atom)", ".5f"),
        Column("fmax (eV/Å)", ".4f"),
        Column("pressure (GPa)", ".3f"),
        Column("V (Å³)", ".2f"),
        Column("steps", "d"),
        Column("force calls", "d"),
        Column("time (s)", ".1f"),
    ]
    keys = ("energy_per_atom_eV", "fmax_eV_per_A", "pressure_GPa", "volume_A3", "steps", "force_calls")
    more, cells = opinion_columns(records)
    rows: list[list[Cell]] = [
        [r.label, r.status, _formula(r), *(r.values.get(key) for key in keys), r.run.get("wall_s"), *others]
        for r, others in zip(records, cells, strict=True)
    ]
    flagged = frozenset(k for k, r in enumerate(records) if not r.good)
    caption = "Marked: not converged." if flagged else ""
    return Table("relaxations", "", [*columns, *more], rows, caption, flagged=flagged)


def convergence_headline(records: Mapping[str, Sequence[Record]]) -> list[Number]:
    """Number of relaxations that converged, over all steps."""
    relaxations = [r for found in records.values() for r in found if r.kind == "relax"]
    if not relaxations:
        return []
    steps = [r.values["steps"] for r in relaxations if r.good and "steps" in r.values]
    total = sum(total_calls([r for r in found if r.kind == "relax"]) for found in records.values())
    remark = counted(total, "force call")
    remark += f", median {median(steps):g} steps" if steps else ""
    good = sum(r.good for r in relaxations)
    return [Number("Relaxations converged", f"{good} of {len(relaxations)}", "", remark)]


def timing_section(records: Mapping[str, Sequence[Record]]) -> Section:
    """Summarise tasks and times of all steps."""
    columns = [Column("Step"), Column("Kind"), Column("Tasks", "d"), Column("Good", "d"), Column("Others")]
    columns += [Column("Force calls", "d"), Column("Task time (s)", ".1f"), Column("Longest (s)", ".1f")]
    rows: list[list[Cell]] = []
    for step, found in records.items():
        walls = [r.run["wall_s"] for r in found if "wall_s" in r.run]
        others = Counter(r.status for r in found if not r.good)
        calls = total_calls(found) or None
        rows.append([
            step, found[0].kind if found else "", len(found), sum(r.good for r in found),
            ", ".join(f"{n} {status}" for status, n in sorted(others.items())) or None,
            calls, sum(walls) if walls else None, max(walls, default=None),
        ])  # fmt: skip
    caption = "Task time adds up what each task took; tasks may have run side by side."
    return Section("tasks", "Tasks and times", [Table("tasks", "", columns, rows, caption)])


def provenance_section(info: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> Section:
    """Say what is needed to get the same numbers again."""
    everything = [r for found in records.values() for r in found]
    potential = info.get("potential") or {}
    rows: list[list[Cell]] = [
        ["potential", potential.get("name")],
        ["potential sha256", potential.get("sha256")],
        *([["" if k else "devices", d] for k, d in enumerate(_distinct(everything, "device"))]),
        *([["" if k else "precision", d] for k, d in enumerate(_distinct(everything, "dtype"))]),
        *([["" if k else "seed", d] for k, d in enumerate(_distinct(everything, "seed"))]),
        ["campaign identity", info.get("identity")],
        ["started", info.get("created")],
    ]
    versions = dict(info.get("versions") or {})
    for record in everything:
        versions = dict(record.provenance.get("versions") or {}) | versions
    rows += [[f"{package} version", version] for package, version in versions.items()]
    facts = Table("provenance", "", [Column("What"), Column("Value")], [row for row in rows if row[1] is not None])
    blocks: list[Block] = [facts]
    if info.get("campaign_toml"):
        blocks.append(Listing("Campaign file", str(info["campaign_toml"])))
    hashes: list[list[Cell]] = [
        [r.step, r.label, r.task, r.status, r.provenance.get("inputs_sha256"), ", ".join(r.parents)] for r in everything
    ]
    heads = ["Step", "Label", "Task", "Status", "Inputs", "Made from"]
    blocks.append(Table("records", "Records", [Column(h) for h in heads], hashes, shown=False))
    return Section("provenance", "Provenance", blocks)


def potential_notices(info: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> list[Notice]:
    """Warn of elements outside the potential; repeat the limits that its card states."""
    from atomsim.registry.cards import load_card

    potential = info.get("potential") or {}
    found: list[Notice] = []
    known = potential.get("elements")
    if known:
        relaxed = [r for rs in records.values() for r in rs if r.kind == "relax" and r.structure is not None]
        strange = {int(z): r.label for r in relaxed for z in set(r.atoms.numbers.tolist()) - set(known)}
        if strange:
            names = ", ".join(chemical_symbols[z] for z in sorted(strange))
            text = (
                f"{potential.get('name')} was not made for {names}: what it says of structures with them means nothing"
            )
            found.append(Notice("warning", "Elements outside the potential", text, sorted(set(strange.values()))))
    try:
        card = load_card(str(potential.get("name")))
    except InputError:
        return found
    if card.limits:
        found.append(Notice("note", f"Known limits of {card.name}", card.functional, card.limits))
    return found


def _with_statuses(step: str, records: Sequence[Record], part: Part) -> Part:
    return Part(part.headlines, (*_status_notices(step, records), *part.notices), part.sections)


def _status_notices(step: str, records: Sequence[Record]) -> list[Notice]:
    bad: dict[str, list[Record]] = {}
    for record in records:
        if not record.good:
            bad.setdefault(record.status, []).append(record)
    remarked = [f"{r.label}: {r.message}" for r in records if r.good and r.message]
    remarks = (
        [Notice("note", f"{step}: {len(remarked)} of {len(records)} good with a remark", "", remarked)]
        if remarked
        else []
    )
    return remarks + [
        Notice(
            "warning",
            f"{step}: {len(found)} of {len(records)} ended as {status.replace('_', ' ')}",
            WHAT_TO_DO.get(status, ""),
            [f"{r.label}: {r.message}" if r.message else r.label for r in found],
        )
        for status, found in sorted(bad.items())
    ]


def _geometry_notices(step: str, good: Sequence[Record]) -> list[Notice]:
    close, pressed = [], []
    for record in good:
        if record.structure is not None and (pair := _closest(record)):
            close.append(f"{record.label}: {pair}")
        settings = record.provenance.get("settings") or {}
        target = settings.get("pressure_GPa", 0.0) or 0.0
        pressure = record.values.get("pressure_GPa")
        if settings.get("cell", True) and pressure is not None and abs(pressure - target) > LEFT_OVER_GPA:
            pressed.append(f"{record.label}: {pressure:.2f} GPa")
    found = []
    if close:
        text = f"Atoms closer than {TOO_CLOSE:g} of the sum of their covalent radii."
        found.append(Notice("warning", f"{step}: suspicious geometry", text, close))
    if pressed:
        found.append(Notice("warning", f"{step}: pressure left", "The cell is not relaxed to its target.", pressed))
    unlike = [f"{r.label}: {r.values['unfamiliarity']:.1f}" for r in good if r.values.get("unfamiliarity", 0) > 1]
    if unlike:
        text = (
            "Unlike what this potential learned from: mean distance of the atoms from its training over the distance "
            "up to which its errors hold. Expect more than twice these; check them with its teacher."
        )
        found.append(Notice("warning", f"{step}: unfamiliar structures", text, unlike))
    return found


def came_apart_notices(
    records: Mapping[str, Sequence[Record]], starts: Mapping[str, Mapping[str, Any]]
) -> list[Notice]:
    """Warn of relaxations whose cell grew so much that the crystal cannot have stayed one."""
    found = []
    for step, own in records.items():
        grown = []
        for r in own:
            if r.kind == "relax" and r.good and r.structure is not None and r.task in starts and all(r.atoms.pbc):
                before = atoms_from_json(dict(starts[r.task])).get_volume()
                if r.atoms.get_volume() > CAME_APART * before:
                    grown.append(f"{r.label}: {before:.0f} to {r.atoms.get_volume():.0f} Å³")
        if grown:
            text = (
                "The volume grew by more than a third: layers without ions between them may have come apart, as most "
                "potentials know no dispersion. Energies that count from such a cell are not those of the dense one."
            )
            found.append(Notice("warning", f"{step}: cells that came apart", text, grown))
    return found


def _closest(record: Record) -> str:
    """Return the pair of atoms that is too close, or an empty string."""
    atoms = record.atoms
    i, j, d = neighbor_list("ijd", atoms, (TOO_CLOSE * covalent_radii[atoms.numbers]).tolist())
    if len(d) == 0:
        return ""
    k = int(np.argmin(d))
    return f"{atoms.symbols[i[k]]}–{atoms.symbols[j[k]]} {d[k]:.2f} Å"


def _counts_text(records: Sequence[Record]) -> str:
    counts = Counter(r.status for r in records)
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in counts.most_common()) + "."


def _formula(record: Record) -> str | None:
    return record.atoms.get_chemical_formula("metal") if record.structure is not None else None


def _distinct(records: Sequence[Record], key: str) -> list[Cell]:
    return list(dict.fromkeys(r.provenance[key] for r in records if key in r.provenance))


def _cell(value: Any) -> Cell:
    return value if value is None or isinstance(value, str | float | int | bool) else json.dumps(value)
