"""The part of a ``phonons`` step: bands, densities of states, imaginary modes and thermal properties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.parts import Part
from atomsim.report.style import BLUE, along
from atomsim.store.records import Record
from atomsim.units import KB
from atomsim.vibrations.record import (
    bands_from,
    dos_from,
    imaginary_from,
    lower_from,
    quasi_harmonic_from,
    thermal_from,
)

SHOWN = 6
"""Crystals whose bands and densities are drawn."""
LEAD = (
    "Force constants by finite displacements of a supercell, all evaluated as one batch. Frequencies below zero are "
    "imaginary: the energy falls along such a mode. Splitting of longitudinal and transverse optical modes at Γ is "
    "left out, as no potential here has Born charges."
)


def phonon_part(step: str, records: Sequence[Record]) -> Part:
    """Report the records of one ``phonons`` step."""
    good = [r for r in records if r.good]
    blocks: list[Block] = [_table(records)]
    for record in good[:SHOWN]:
        blocks += [_bands(record), _dos(record)]
    if good:
        blocks += [_thermal_chart(good), _thermal_table(good)]
    blocks += _heated_blocks(good)
    blocks += [t for t in (_mode_table(good), _lower_table(good)) if t.rows]
    return Part(tuple(_headlines(good)), tuple(_notices(step, good)), (Section(step, "Phonons", blocks, LEAD),))


def _headlines(records: Sequence[Record]) -> list[Number]:
    if not records:
        return []
    stable = sum(r.values["stable"] for r in records)
    free = records[0].values["free_energy_300K_eV_per_atom"]
    remark = f"{records[0].label}: F = {1000 * free:.1f} meV/atom at 300 K"
    remark += "; see the flags" if records[0].values["flags"] else ""
    return [Number("Dynamically stable", f"{stable} of {len(records)}", "", remark)]


def _notices(step: str, records: Sequence[Record]) -> list[Notice]:
    flagged = [f"{r.label}: {flag}" for r in records for flag in r.values["flags"]]
    level = "warning" if any(not r.values["stable"] for r in records) else "note"
    return [Notice(level, f"{step}: flags", "", flagged)] if flagged else []  # type: ignore[arg-type]


def _table(records: Sequence[Record]) -> Table:
    columns = [
        Column("Crystal"), Column("Status"), Column("Space group"), Column("Stable"), Column("Lowest (THz)", ".3f"),
        Column("Highest (THz)", ".3f"), Column("Zero point (meV/atom)", ".2f"), Column("F 300 K (meV/atom)", ".2f"),
        Column("S 300 K (kB/atom)", ".3f"), Column("Cv 300 K (kB/atom)", ".3f"), Column("Supercell (atoms)", "d"),
        Column("Images apart (Å)", ".1f"), Column("Force calls", "d"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for r in records:
        v = r.values
        scaled = (
            ("zero_point_eV_per_atom", 1000.0),
            ("free_energy_300K_eV_per_atom", 1000.0),
            ("entropy_300K_eV_per_K_per_atom", 1 / KB),
            ("heat_capacity_300K_eV_per_K_per_atom", 1 / KB),
        )
        rows.append([
            r.label, r.status, v.get("space_group"), None if "stable" not in v else "yes" if v["stable"] else "no",
            v.get("lowest_THz"), v.get("highest_THz"), *(v[k] * s if k in v else None for k, s in scaled),
            v.get("supercell_atoms"), v.get("image_distance_A"), v.get("force_calls"),
        ])  # fmt: skip
    bad = frozenset(k for k, r in enumerate(records) if not (r.good and r.values.get("stable")))
    return Table("phonons", "", columns, rows, "Marked: not computed, or with imaginary modes.", flagged=bad)


def _bands(record: Record) -> Chart:
    bands = bands_from(record.values)
    jumps = [at for at, name in bands.ticks if "|" in name]  # the way continues from another point
    cuts = [int(np.argmin(np.abs(bands.distance - at))) + 1 for at in jumps]
    series = [
        Series("", way.tolist(), branch.tolist(), "line", BLUE, width=1.3)
        for way, part in zip(np.split(bands.distance, cuts), np.split(bands.frequency_THz, cuts), strict=True)
        for branch in part.T
    ]
    lines = [Line("x", at, name) for at, name in bands.ticks] + [Line("y", 0.0)]
    low, high = float(bands.frequency_THz.min()), float(bands.frequency_THz.max())
    panel = Panel("frequency (THz)", series, lines, y_range=(min(low, 0.0) - 0.05 * high, 1.1 * high))
    ends = (0.0, float(bands.distance[-1]))
    return Chart(f"bands-{record.label}", f"Bands · {record.label}", "wave vector (1/Å)", [panel], x_range=ends)


def _dos(record: Record) -> Chart:
    dos = dos_from(record.values)
    axis = dos.frequency_THz.tolist()
    series = [Series("total", axis, dos.total.tolist(), "line", "#444444", width=1.5)]
    colors = along(len(dos.by_element))
    series += [
        Series(e, axis, part.tolist(), "line", color)
        for (e, part), color in zip(dos.by_element.items(), colors, strict=True)
    ]
    panel = Panel("states per THz and cell", series, [Line("x", 0.0)])
    return Chart(f"dos-{record.label}", f"Density of states · {record.label}", "frequency (THz)", [panel])


def _thermal_chart(records: Sequence[Record]) -> Chart:
    panels = []
    drawn = records[:SHOWN]
    for key, label, scale in (
        ("free_energy_eV_per_atom", "F (meV/atom)", 1000.0),
        ("entropy_eV_per_K_per_atom", "S (kB/atom)", 1 / KB),
        ("heat_capacity_eV_per_K_per_atom", "Cv (kB/atom)", 1 / KB),
    ):
        series = []
        for record, color in zip(drawn, along(len(drawn)), strict=True):
            heat = thermal_from(record.values)
            values = (scale * getattr(heat, key)).tolist()
            name = record.label if key.startswith("free") else ""
            series.append(Series(name, heat.temperature_K.tolist(), values, "line", color))
        lines = [Line("y", 3.0, "Dulong–Petit")] if label.startswith("Cv") else []
        panels.append(Panel(label, series, lines))
    return Chart("thermal", "Thermal properties", "T (K)", panels, height=640, wide=True)


def _thermal_table(records: Sequence[Record]) -> Table:
    """Every temperature of every crystal; an export."""
    rows: list[list[Cell]] = []
    for record in records:
        heat = thermal_from(record.values)
        parts = (heat.temperature_K, heat.free_energy_eV_per_atom, heat.entropy_eV_per_K_per_atom)
        rows += [
            [record.label, *map(float, row)] for row in np.stack([*parts, heat.heat_capacity_eV_per_K_per_atom], 1)
        ]
    names = ("crystal", "temperature_K", "free_energy_eV_per_atom", "entropy_eV_per_K_per_atom")
    columns = [Column(name) for name in (*names, "heat_capacity_eV_per_K_per_atom")]
    return Table("thermal", "Thermal properties", columns, rows, shown=False)


def _mode_table(records: Sequence[Record]) -> Table:
    columns = [
        Column("Crystal"), Column("Point"), Column("q"), Column("Frequency (THz)", ".3f"), Column("Wave vectors", "d"),
        Column("Modes each", "d"), Column("Who moves"), Column("In the supercell"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            r.label, m.point or None, ", ".join(f"{c:.4g}" for c in m.q), m.frequency_THz, m.multiplicity, m.degeneracy,
            ", ".join(f"{e} {100 * s:.0f} %" for e, s in sorted(m.by_element.items(), key=lambda p: -p[1])),
            "yes" if m.exact else "no, interpolated",
        ]
        for r in records
        for m in imaginary_from(r.values)
    ]  # fmt: skip
    return Table("imaginary", "Imaginary modes", columns, rows)


def _lower_table(records: Sequence[Record]) -> Table:
    columns = [
        Column("Crystal"), Column("Along"), Column("Status"), Column("Energy (meV/atom)", "+.2f"),
        Column("Space group"), Column("Atoms", "d"), Column("Force calls", "d"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [r.label, e.mode.name, e.status, 1000 * e.energy_eV_per_atom, e.space_group, len(e.atoms), e.force_calls]
        for r in records
        for e in lower_from(r.values)
    ]
    return Table("lower", "Where imaginary modes lead", columns, rows, "Relaxed along the mode, atoms and cell.")


def _heated_blocks(records: Sequence[Record]) -> list[Block]:
    """Quasi-harmonic values against temperature, drawn and as an export; nothing where no record has any."""
    known = {r.label: found for r in records if (found := quasi_harmonic_from(r.values)) is not None}
    if not known:
        return []
    panels: list[Panel] = []
    rows: list[list[Cell]] = []
    quantities = (
        ("volume_A3_per_atom", "V (Å³/atom)", 1.0),
        ("thermal_expansion_per_K", "(dV/dT)/V (1e-6/K)", 1e6),
        ("bulk_modulus_GPa", "B (GPa)", 1.0),
        ("heat_capacity_eV_per_K_per_atom", "C_P (kB/atom)", 1 / KB),
    )
    for key, label, scale in quantities:
        series = [
            Series(name, f.temperature_K.tolist(), (scale * getattr(f, key)).tolist(), "line", color)
            for (name, f), color in zip(known.items(), along(len(known)), strict=True)
        ]
        panels.append(Panel(label, series))
    errors = ("volume_error_A3_per_atom", "thermal_expansion_error_per_K", "bulk_modulus_error_GPa")
    names = ("temperature_K", *(key for key, _, _ in quantities), "gibbs_eV_per_atom", *errors)
    for name, found in known.items():
        rows += [[name, *map(float, row)] for row in np.stack([getattr(found, key) for key in names], 1)]
    columns = [Column("crystal"), *(Column(name) for name in names)]
    return [
        Chart("quasi-harmonic", "With the volume free (quasi-harmonic)", "T (K)", panels, height=760, wide=True),
        Table("quasi-harmonic", "With the volume free (quasi-harmonic)", columns, rows, shown=False),
    ]
