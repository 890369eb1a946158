"""Which records an ``electrode`` step may use: one potential, no pressure, one host, the ion's own metal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atomsim.errors import InputError
from atomsim.store.records import Record

NEEDED_TAGS = ("parent", "ion", "x", "x_max", "host_units")


def check_one_potential(records: Sequence[Record]) -> None:
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


def check_no_pressure(records: Sequence[Record]) -> None:
    """Voltages are of energies without a p V term: refuse what was relaxed under pressure."""
    for record in records:
        pressure = float((record.provenance.get("settings") or {}).get("pressure_GPa") or 0.0)
        if record.good and pressure:
            raise InputError(
                f"{record.label} was relaxed at {pressure:g} GPa; hull and voltages want everything at 0 GPa"
            )


def sort_out(records: Sequence[Record]) -> tuple[list[Record], list[dict[str, str]]]:
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


def reference_of(records: Sequence[Record], ion: str) -> tuple[Record | None, str]:
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
