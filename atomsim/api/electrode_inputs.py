"""Inputs of an electrode: relaxations with x, and the ion's metal from the same potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from math import gcd
from typing import TYPE_CHECKING, Any

from atomsim.errors import InputError

if TYPE_CHECKING:
    from atomsim.api.relaxed import Relaxation
    from atomsim.store.records import Record

METAL_FMAX = 0.005
"""Force to which the metal is relaxed, eV/Å."""


def host_tags(members: Sequence[Relaxation]) -> list[Record]:
    """Return the records, those that ``delithiate`` did not make with x and host unit from their compositions.

    Raises:
        InputError: if no ion can be told from the compositions.
    """
    from atomsim.tasks.electrode_inputs import NEEDED_TAGS

    records = [r.record for r in members]
    bare = [r for r in records if r.good and not all(key in r.tags for key in NEEDED_TAGS)]
    if not bare:
        return records
    known = next((str(r.tags["ion"]) for r in records if "ion" in r.tags), "")
    counts = {id(r): _counts(r) for r in records if r.structure is not None}
    ion = known or _ion([counts[id(r)] for r in records if r.good])
    x_max = max(_x(counts[id(r)], ion)[0] for r in records if r.good)
    parent = max((r for r in records if r.good), key=lambda r: _x(counts[id(r)], ion)[0]).label
    found = []
    for record in records:
        if id(record) in counts and not all(key in record.tags for key in NEEDED_TAGS):
            x, units = _x(counts[id(record)], ion)
            tags = {"parent": parent, "ion": ion, "x": x, "x_max": x_max, "host_units": units}
            record = replace(record, tags={**tags, **record.tags})
        found.append(record)
    return found


def _counts(record: Record) -> dict[str, int]:
    counts: dict[str, int] = record.atoms.symbols.formula.count()
    return counts


def _x(counts: dict[str, int], ion: str) -> tuple[float, int]:
    """Return ions per reduced formula unit of the host, and how many of these there are."""
    host = [n for symbol, n in counts.items() if symbol != ion]
    if not host:
        raise InputError(f"found {ion} metal among the structures of the host; give it as reference=")
    units = reduce(gcd, host)
    return counts.get(ion, 0) / units, units


def _ion(compositions: Sequence[dict[str, int]]) -> str:
    """Return the ion by whose content alone compositions differ."""
    from atomsim.analysis.redox import IONS

    candidates = [ion for ion in IONS if any(ion in c for c in compositions)]
    for ion in candidates:
        hosts = set()
        for counts in compositions:
            x_units = _x(counts, ion)[1]
            hosts.add(tuple(sorted((s, n / x_units) for s, n in counts.items() if s != ion)))
        if len(hosts) == 1:
            return ion
    formulas = ", ".join("".join(f"{s}{n}" for s, n in c.items()) for c in compositions[:3])
    raise InputError(
        f"relaxed: cannot tell the ion from {formulas}: wanted structures of one host that differ in "
        f"{', '.join(IONS)} alone"
    )


def metal_of(ion: str, member: Relaxation, reference: Any, potential: Any) -> Relaxation:
    """Return the relaxed metal: the one given, or one relaxed with the potential of a member.

    Raises:
        InputError: if it is not of the ion, or of another potential.
    """
    from atomsim.api.potentials import same_again
    from atomsim.api.relax import relax
    from atomsim.api.relaxed import Relaxation
    from atomsim.structures.prototypes import prototype_names

    if isinstance(reference, Relaxation):
        if set(reference.atoms.symbols) != {ion}:
            found = reference.atoms.get_chemical_formula("reduce")
            raise InputError(f"reference: found {found}, wanted {ion} metal")
        return reference
    loaded = same_again(member.potential, potential, member.potential.device or "auto")
    if reference is None and ion not in prototype_names():
        raise InputError(f"no prototype of {ion} metal here; give reference=, its relaxation with the same potential")
    found = relax(
        ion if reference is None else reference, loaded, fmax_eV_per_A=METAL_FMAX, seed=member.seed, progress=False
    )
    if not isinstance(found, Relaxation):
        raise InputError(f"reference: found {len(found)} structures, wanted one")
    return found
