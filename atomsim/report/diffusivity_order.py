"""Hosts beside each other: diffusivities with intervals, what was measured, and which order is resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log10
from typing import Any

from atomsim.analysis.diffusivities import TracerDiffusivities
from atomsim.analysis.diffusivity_order import Interval, interval_of_hops, interval_of_run, order
from atomsim.analysis.published import published_diffusivity
from atomsim.hopping.summary import missing_hops
from atomsim.report.blocks import Cell, Column, Table
from atomsim.store.records import Record
from atomsim.units import ROOM_K

HOPS = (
    "D of one lone carrier at 300 K, from barriers; the interval holds an assumed error of the potential alone. "
    "Measured ones are of the ions at their concentrations, at room temperature."
)
RUNS = "The interval is statistical, and says nothing of the potential's own error."


def order_of_hops(hosts: Sequence[Mapping[str, Any]], elements: Mapping[str, set[str]]) -> Table | None:
    """Compare the hosts of one ``barriers`` step; None for fewer than two with a network.

    Args:
        hosts: their summaries.
        elements: of each host by its name, the ion included.
    """
    found = [
        interval_of_hops(h["host"], h.get("diffusivity_300K_cm2_per_s"), missing_hops(h))
        for h in hosts
        if h["networks"]
    ]
    if len(found) < 2 or len({h["ion"] for h in hosts}) > 1:
        return None
    known = {i.host: published_diffusivity(hosts[0]["ion"], elements.get(i.host, set())) for i in found}
    return _table("order", f"Hosts by D of {hosts[0]['ion']}", [(ROOM_K, found)], known, HOPS)


def order_of_runs(records: Sequence[Record]) -> Table | None:
    """Compare the materials of one ``diffusion`` step at the temperatures that they share, if any."""
    names = {r.task: r.values.get("formula", r.label) for r in records if r.good}
    if len(set(names.values())) < len(names):
        names = {r.task: r.label for r in records if r.good}
    runs = [(names[r.task], TracerDiffusivities.from_record(r.values)) for r in records if r.good]
    if len({found.ion for _, found in runs}) != 1:
        return None
    known = {names[r.task]: published_diffusivity(runs[0][1].ion, set(r.values["elements"])) for r in records if r.good}
    groups: dict[float, list[Interval]] = {}
    for label, found in runs:
        for row in found.rows:
            if row.temperature_K is not None:
                groups.setdefault(row.temperature_K, []).append(interval_of_run(label, row))
    shared = [(t, same) for t, same in sorted(groups.items()) if len(same) > 1]
    return _table("order", f"Materials by D of {runs[0][1].ion}", shared, known, RUNS) if shared else None


def _table(
    name: str,
    title: str,
    groups: Sequence[tuple[float, Sequence[Interval]]],
    known: Mapping[str, Mapping[str, Any] | None],
    caption: str,
) -> Table:
    columns = [
        Column("T (K)", "g"), Column("Host"), Column("D (cm²/s)", ".2e"), Column("from", ".1e"), Column("to", ".1e"),
        Column("Interval"), Column("Measured, 298 K (cm²/s)"), Column("Deviation (powers of ten)", "+.1f"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for temperature, found in groups:
        for i in sorted(found, key=lambda i: -(i.value or 0.0)):
            measured = known[i.host]
            rows.append([
                temperature, i.host, i.value, i.low, i.high if isfinite(i.high) else "open", i.why,
                None if measured is None else f"{measured['low']:.1e} to {measured['high']:.1e}",
                _decades(i.value, measured) if temperature <= ROOM_K else None,
            ])  # fmt: skip
        caption += f" {temperature:g} K: {'; '.join(order(found))}."
    sources = dict.fromkeys(m["citation"] for m in known.values() if m is not None)
    return Table(name, title, columns, rows, " ".join([caption, *(f"Measured: {s}." for s in sources)]))


def _decades(value: float | None, measured: Mapping[str, Any] | None) -> float | None:
    """Powers of ten to the nearest end of what was measured; 0 within it."""
    if value is None or measured is None:
        return None
    nearest = min(max(value, measured["low"]), measured["high"])
    return log10(value / nearest)
