"""The page of ``atomsim potentials compare``: two potentials side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from atomsim.analysis.agreement import Agreement, RelaxedAgreement, summarise
from atomsim.errors import counted
from atomsim.io.files import write_atomically
from atomsim.report.blocks import Block, Cell, Chart, Column, Line, Notice, Number, Panel, Section, Series, Table
from atomsim.report.html import page
from atomsim.report.style import BLUE, GREY, VERMILION, span
from atomsim.report.write import csv_text

MOST_POINTS = 4000
"""Force components drawn; more would make the page slow, so an even part of them is taken."""


def write_comparison(
    folder: Path,
    names: tuple[str, str],
    rows: Sequence[Agreement],
    relaxed: Sequence[RelaxedAgreement],
    forces: Sequence[np.ndarray],
) -> list[Path]:
    """Write ``report.html``, ``static.csv`` and, where structures were relaxed, ``relaxed.csv``.

    Args:
        folder: where to write.
        names: of both potentials.
        rows: agreement on each structure as it is.
        relaxed: agreement of what each was relaxed to; may be empty.
        forces: components of all forces of both, eV/Å, (n,) each.

    Returns:
        The files, the page first.
    """
    sound = both_converged(relaxed)
    tables = [static_table(names, rows), *([relaxed_table(names, relaxed)] if relaxed else [])]
    blocks: list[Block] = [energy_chart(names, rows), force_chart(names, *forces), tables[0]]
    sections = [Section("static", "As they are", blocks, "Both potentials on the same positions and cells.")]
    if relaxed:
        lead = "Each structure relaxed by both, atoms and cell, from the same start."
        charts = [relaxed_chart(names, sound)] if sound else []
        sections.append(Section("relaxed", "Relaxed", [*charts, tables[1]], lead))
    all_in_all = summarise(rows)
    headlines = [
        Number("Energy", f"{all_in_all.energy_MAE_meV_per_atom:.1f}", "meV/atom", "mean absolute difference"),
        Number(
            "Forces", f"{all_in_all.forces_MAE_meV_per_A:.0f}", "meV/Å", "mean absolute difference, over all components"
        ),
        Number("Stress", f"{all_in_all.stress_MAE_GPa:.2f}", "GPa", "mean absolute difference"),
    ]
    if sound:
        worst = max(sound, key=lambda r: abs(r.length_percent))
        headlines.append(Number("Lattice", f"{abs(worst.length_percent):.2f}", "%", f"largest, in {worst.label}"))
    paths = [folder / "report.html", folder / "static.csv", *([folder / "relaxed.csv"] if relaxed else [])]
    text = page(
        title=f"{names[1]} against {names[0]}",
        subtitle=counted(len(rows), "structure"),
        headlines=headlines,
        notices=_notices(relaxed, sound),
        sections=sections,
        files=[p.name for p in paths[1:]],
    )
    write_atomically(paths[0], text)
    for path, table in zip(paths[1:], tables, strict=True):
        write_atomically(path, csv_text(table))
    return paths


def both_converged(relaxed: Sequence[RelaxedAgreement]) -> list[RelaxedAgreement]:
    """Return what both potentials relaxed to the end: the rest has no geometry to compare."""
    return [r for r in relaxed if r.status_a == r.status_b == "converged"]


def _notices(relaxed: Sequence[RelaxedAgreement], sound: Sequence[RelaxedAgreement]) -> list[Notice]:
    left = [r for r in relaxed if r not in sound]
    if not left:
        return []
    text = f"{len(left)} of {len(relaxed)} structures did not converge with both; they are in the table alone."
    return [
        Notice("warning", "Relaxations not converged", text, [f"{r.label}: {r.status_a}, {r.status_b}" for r in left])
    ]


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def static_table(names: tuple[str, str], rows: Sequence[Agreement]) -> Table:
    """Energies, forces and stress of each structure."""
    columns = [
        *(Column(title) for title in ("Structure", "Formula", "Atoms")),
        *(Column(f"{name} eV/atom", ".4f") for name in names),
        Column("Δ meV/atom", "+.2f"),
        Column("Forces MAE meV/Å", ".1f"),
        Column("largest meV/Å", ".0f"),
        Column("mean |F| meV/Å", ".0f"),
        Column("Stress MAE GPa", ".3f"),
    ]
    cells: list[list[Cell]] = [
        [
            r.label, r.formula, r.n_atoms, r.energy_a_eV_per_atom, r.energy_b_eV_per_atom,
            1e3 * (r.energy_b_eV_per_atom - r.energy_a_eV_per_atom), 1e3 * r.forces_MAE_eV_per_A,
            1e3 * r.forces_largest_eV_per_A, 1e3 * r.forces_mean_eV_per_A, r.stress_MAE_GPa,
        ]
        for r in rows
    ]  # fmt: skip
    return Table("static", "Structure by structure", columns, cells)


def relaxed_table(names: tuple[str, str], rows: Sequence[RelaxedAgreement]) -> Table:
    """Energies and geometry of what each structure was relaxed to."""
    columns = [
        *(Column(title) for title in ("Structure", *names)),
        *(Column(f"{name} eV/atom", ".4f") for name in names),
        *(Column(title, "+.2f") for title in ("Δ meV/atom", "Δ volume %", "Δ length %")),
        Column("Displacement Å", ".3f"),
    ]
    cells: list[list[Cell]] = [
        [
            r.label, r.status_a, r.status_b,
            *map(_finite, (
                r.energy_a_eV_per_atom, r.energy_b_eV_per_atom,
                1e3 * (r.energy_b_eV_per_atom - r.energy_a_eV_per_atom), r.volume_percent, r.length_percent,
                r.displacement_A,
            )),
        ]
        for r in rows
    ]  # fmt: skip
    bad = frozenset(n for n, r in enumerate(rows) if {r.status_a, r.status_b} != {"converged"})
    return Table("relaxed", "Structure by structure", columns, cells, flagged=bad)


def energy_chart(names: tuple[str, str], rows: Sequence[Agreement]) -> Chart:
    """Difference of energies over the first potential's, per atom."""
    x = [r.energy_a_eV_per_atom for r in rows]
    y = [1e3 * (r.energy_b_eV_per_atom - r.energy_a_eV_per_atom) for r in rows]
    hover = [f"{r.label}<br>{d:+.1f} meV/atom" for r, d in zip(rows, y, strict=True)]
    points = Series("", x, y, color=BLUE, hover=hover)
    panel = Panel(f"{names[1]} − {names[0]}, meV/atom", [points], lines=[Line("y", 0.0)])
    return Chart("energies", "Energies", f"{names[0]}, eV/atom", [panel])


def force_chart(names: tuple[str, str], a: np.ndarray, b: np.ndarray) -> Chart:
    """Force components against each other."""
    chosen = np.unique(np.linspace(0, len(a) - 1, min(len(a), MOST_POINTS)).round().astype(int))
    x, y = a[chosen].round(4).tolist(), b[chosen].round(4).tolist()
    low, high = span([*x, *y])
    equal = Series("equal", [low, high], [low, high], "line", GREY, 1.0)
    panel = Panel(f"{names[1]}, eV/Å", [equal, Series("components", x, y, color=VERMILION)])
    return Chart("forces", "Forces", f"{names[0]}, eV/Å", [panel])


def relaxed_chart(names: tuple[str, str], rows: Sequence[RelaxedAgreement]) -> Chart:
    """Difference of volumes over the difference of energies after relaxation."""
    x = [1e3 * (r.energy_b_eV_per_atom - r.energy_a_eV_per_atom) for r in rows]
    y = [r.volume_percent for r in rows]
    hover = [f"{r.label}<br>{e:+.1f} meV/atom, volume {v:+.2f} %" for r, e, v in zip(rows, x, y, strict=True)]
    panel = Panel("Δ volume, %", [Series("", x, y, color=BLUE, hover=hover)], lines=[Line("y", 0.0), Line("x", 0.0)])
    return Chart("relaxed", "Relaxed", f"{names[1]} − {names[0]}, meV/atom", [panel])


def components(frames: Sequence[Atoms]) -> np.ndarray:
    """All force components of labelled frames, eV/Å, (n,)."""
    return np.concatenate([f.get_forces().ravel() for f in frames])
