"""Records as further potentials have them (``check_with``): the same analysis then gives each one's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from atomsim.store.records import Record

OWN_ALONE = ("unrelaxed_eV", "unrelaxed_without_gas_eV", "magmoms")
"""Values of the first potential that no other was asked for."""


def judges(records: Sequence[Record]) -> list[str]:
    """Names of the further potentials that have judged any of these records, in order."""
    return list(dict.fromkeys(name for r in records for name in r.values.get("checked_with", {})))


def judged_by_all(records: Sequence[Record]) -> list[str]:
    """Names of the further potentials that have judged every record that can be used."""
    good = [r.values.get("checked_with", {}) for r in records if r.good]
    return [name for name in judges(records) if all(name in checked for checked in good)]


def by_another(records: Sequence[Record], name: str) -> list[Record]:
    """Return the records that a further potential has judged, with its numbers in place of the first one's.

    Args:
        records: of one step.
        name: one of ``judges``.
    """
    found = []
    for r in records:
        checked = r.values.get("checked_with", {}).get(name)
        if checked is not None:
            kept = {k: v for k, v in r.values.items() if k not in OWN_ALONE}
            found.append(replace(r, values=kept | checked))
    return found


def first_potential(records: Sequence[Record]) -> str:
    """Name of the potential that made the records."""
    return str(next((r.provenance["potential"]["name"] for r in records if r.provenance.get("potential")), "first"))
