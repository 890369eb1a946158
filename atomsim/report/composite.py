"""The part of a ``composite`` step: what a whole electrode gives, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atomsim.report.blocks import Block, Cell, Column, Number, Section, Table
from atomsim.report.parts import Part
from atomsim.store.records import Record

ROWS = (
    ("capacity_mAh_per_g", "Capacity", "mAh/g"),
    ("voltage_V", "Mean voltage", "V"),
    ("energy_Wh_per_kg", "Energy by the initial mass", "Wh/kg"),
    ("energy_Wh_per_kg_discharged", "Energy by the discharged mass", "Wh/kg"),
    ("theoretical_Wh_per_kg", "Theoretical energy", "Wh/kg"),
    ("energy_Wh_per_L", "Energy by the volume", "Wh/L"),
    ("density_g_cm3", "Density, pores included", "g/cm³"),
    ("filling", "Filling", ""),
    ("thickness_um", "Thickness", "µm"),
    ("capacity_mAh_per_cm2", "Capacity of an area", "mAh/cm²"),
)
LEAD = (
    "Every component counts as mass, also those without a capacity (Li et al., Adv. Mater. 2021, 33, 2008723). "
    "Theoretical: every component gives all that it has."
)


def composite_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``composite`` step."""
    good = [r for r in records if r.good]
    numbers = [n for r in good for n in _headlines(r.values)]
    sections = tuple(_section(step, record) for record in good)
    return Part(tuple(numbers), (), sections)


def _section(step: str, record: Record) -> Section:
    blocks: list[Block] = [_results(record.values), _components(record.values)]
    return Section(step, f"Composite electrode: {record.label}", blocks, LEAD)


def _headlines(values: Mapping[str, Any]) -> list[Number]:
    names = " + ".join(c["name"] for c in values["components"])
    remark = f"{names}: {values['capacity_mAh_per_g']:.0f} mAh/g at {values['voltage_V']:.2f} V"
    return [Number("Energy of the electrode", f"{values['energy_Wh_per_kg']:.0f}", "Wh/kg", remark)]


def _results(values: Mapping[str, Any]) -> Table:
    columns = [Column("Quantity"), Column("Computed", ".4g"), Column("Unit")]
    measured = values["measured"]
    if measured:
        columns[2:2] = [Column("Measured", "g"), Column("Deviation (%)", "+.1f")]
    rows: list[list[Cell]] = []
    for key, name, unit in ROWS:
        if values[key] is None:
            continue
        row: list[Cell] = [name, values[key], unit]
        if measured:
            known = measured.get(key)
            row[2:2] = [known, None if known is None else 100 * (values[key] / known - 1)]
        rows.append(row)
    return Table("composite", "", columns, rows, values["source"])


def _components(values: Mapping[str, Any]) -> Table:
    columns = [
        Column("Component"), Column("Mass fraction", ".3f"), Column("Capacity (mAh/g)", ".1f"),
        Column("Mean voltage (V)", ".3f"), Column("Density (g/cm³)", ".2f"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [c["name"], c["mass_fraction"], c["capacity_mAh_per_g"], c["voltage_V"], c["density_g_cm3"]]
        for c in values["components"]
    ]
    return Table("components", "Components", columns, rows)
