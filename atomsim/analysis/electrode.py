"""The electrode table: relaxed structures of one host at many x, as one JSON object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.analysis.describe import HISTOGRAM_EDGES, ParentSetting, describe
from atomsim.analysis.hull import Hull, formation_hull, lowest_at_each_x
from atomsim.analysis.oxygen import CLASSES
from atomsim.analysis.published import compare, recognised
from atomsim.analysis.published_quantities import Electrode
from atomsim.analysis.redox import ion_charge
from atomsim.analysis.voltage import VoltageStep, molar_mass_g_per_mol, specific_capacity, voltage_steps
from atomsim.analysis.xrd import powder_pattern
from atomsim.pulse import at_work

MOLECULE_OO = CLASSES["O2"][1]
LARGE_CHANGE = 0.15
"""A volume per formula unit that differs by more than this from the ion-rich end's is worth a second look."""


@dataclass(frozen=True)
class Entry:
    """A relaxed structure that takes part."""

    label: str
    task: str
    atoms: Atoms
    energy: float
    """Energy of the whole cell, eV."""
    x: float
    """Ions per host unit."""
    host_units: float
    """Formula units of the host in the cell."""
    setting: ParentSetting | None
    """Way back to the parent's setting."""
    tags: dict[str, Any]
    """Facts that are carried into the row: parent, ordering, multiplicity …"""


CARRIED = ("parent", "ordering", "multiplicity", "ewald_eV")


def electrode_table(
    entries: Sequence[Entry],
    ion: str,
    x_max: float,
    parent: str,
    ion_energy_eV: float | None,
    radiation: str,
    prototype: str | None = None,
) -> dict[str, Any]:
    """Analyse relaxed structures of one host.

    Args:
        entries: at least one structure, all of the same host.
        ion: symbol of the ion that leaves.
        x_max: ions per host unit when full.
        parent: name of the parent, for a person.
        ion_energy_eV: energy of the ion's metal, eV per atom, from the same potential; None leaves voltages out.
        radiation: X-ray line.
        prototype: that the structures were made from, whose published values are looked up; by default the one whose
            crystal the fullest structure is.

    Returns:
        Plain JSON: ``structures``, ``hull``, ``voltage``, ``capacity``, ``xrd``, ``comparison``, ``notes`` …

    Raises:
        InputError: if the ion's charge is not known.
    """
    entries = sorted(entries, key=lambda e: (-e.x, e.energy / e.host_units, e.label))
    x = [e.x for e in entries]
    energies = [e.energy / e.host_units for e in entries]
    hull, lowest = formation_hull(x, energies), lowest_at_each_x(x, energies)
    rows = _rows(entries, hull, lowest, radiation)
    formula = formula_unit(entries[0], ion, x_max)
    charge = ion_charge(ion)
    steps, neighbours = [], []
    if ion_energy_eV is not None:
        steps = voltage_steps(hull.vertex_x, hull.vertex_energy, ion_energy_eV, charge)
        neighbours = voltage_steps([x[k] for k in lowest], [energies[k] for k in lowest], ion_energy_eV, charge)
    electrode = Electrode(formula, x_max, charge, [rows[k] for k in lowest], hull, steps, ion_energy_eV)
    return {
        "ion": ion,
        "charge": charge,
        "parent": parent,
        "formula": formula,
        "x_max": x_max,
        "structures": rows,
        "lowest": [rows[k]["label"] for k in lowest],
        "hull": [
            {"x": x[k], "label": entries[k].label, "formation_eV_per_fu": hull.formation[k]} for k in hull.vertices
        ],
        "voltage": {"hull": _steps(steps), "neighbours": _steps(neighbours)},
        "capacity": _capacity(formula, charge * (max(x) - min(x))),
        "xrd": {"radiation": radiation, "patterns": _patterns([entries[k] for k in reversed(lowest)], radiation)},
        "OO_histogram_edges_A": HISTOGRAM_EDGES.round(6).tolist(),
        "comparison": compare(electrode, prototype or recognised(entries[0].atoms, ion, formula)),
        "notes": notes(rows, _reflection(entries), radiation),
    }


def formula_unit(entry: Entry, ion: str, x: float) -> str:
    """Return the formula per host unit at ion content ``x``: ``Li2RuO3``."""
    from pymatgen.core import Composition

    host = Counter(s for s in entry.atoms.symbols if s != ion)
    amounts = {s: n / entry.host_units for s, n in host.items()}
    ordered = {ion: x} | {el.symbol: amounts[el.symbol] for el in sorted(Composition(amounts))}
    return "".join(s if abs(n - 1) < 1e-6 else f"{s}{round(n, 4):g}" for s, n in ordered.items() if n > 1e-6)


def notes(
    rows: Sequence[dict[str, Any]], reflection: Sequence[int] | None = None, radiation: str = ""
) -> list[dict[str, str]]:
    """Return what a reader must know before believing the rows, as ``{"topic", "text"}``.

    Args:
        rows: one for each structure, ion-rich first.
        reflection: of the layers, if they were to be followed.
        radiation: X-ray line.
    """
    found = []
    outside = [r for r in rows if any(m["without_estimate"] for m in r["oxidation"]["from_moments"].values())]
    if outside:
        found.append(("moments", _moments_text(outside, rows)))
    differ = [r["label"] for r in rows if r["oxidation"]["verdict"] == "differ"]
    if differ:
        text = f"charge balance and moments disagree by more than 0.5 e in {_listed(differ)}"
        found.append(("moments", text))
    unsettled = [r["label"] for r in rows if r["oxidation"]["verdict"] == "ambiguous"]
    if unsettled:
        text = f"moments fit the charge balance and another state as well in {_listed(unsettled)}: they confirm neither"
        found.append(("moments", text))
    molecules = [r["label"] for r in rows if r["shortest_OO_A"] is not None and r["shortest_OO_A"] < MOLECULE_OO]
    if molecules:
        found.append(("geometry", f"O–O as short as in molecular O₂ (< {MOLECULE_OO} Å) in {_listed(molecules)}"))
    full = rows[0]["volume_per_fu_A3"]
    changed = [r["label"] for r in rows if abs(r["volume_per_fu_A3"] / full - 1) > LARGE_CHANGE]
    if changed:
        text = f"volume differs by more than {LARGE_CHANGE:.0%} from the ion-rich end in {_listed(changed)}"
        found.append(("geometry", f"{text}; see whether the host is still the same structure"))
    parents = sorted({str(r["parent"]) for r in rows if r["lattice"] is not None})
    if len(parents) > 1:
        text = f"structures of several parents ({_listed(parents)}): their a, b, c have different settings"
        found.append(("lattice", f"{text}, and the chart shows those of the ion-richest parent alone"))
    unmapped = [r["label"] for r in rows if r["lattice"] is None]
    if unmapped:
        found.append(("lattice", f"no way back to the parent's setting for {_listed(unmapped)}: no lattice, no layers"))
    followed = [r["label"] for r in rows if r["lattice"] is not None and r["layer"] is None]
    if reflection and followed:
        hkl = " ".join(str(h) for h in reflection)
        text = f"the layer reflection ({hkl}) has no angle with {radiation} in {_listed(followed)}: no layers there"
        found.append(("lattice", f"{text}; another reflection can be given, and the step alone is run again"))
    return [{"topic": topic, "text": text} for topic, text in found]


def _rows(entries: Sequence[Entry], hull: Hull, lowest: Sequence[int], radiation: str) -> list[dict[str, Any]]:
    rows = []
    for k, entry in enumerate(entries):
        at_work("structures analysed", k, len(entries))
        above = hull.above_hull[k]
        rows.append(
            {
                "label": entry.label,
                "task": entry.task,
                "x": entry.x,
                **{key: entry.tags.get(key) for key in CARRIED},
                "energy_per_fu_eV": entry.energy / entry.host_units,
                "formation_eV_per_fu": hull.formation[k],
                "above_hull_eV_per_fu": above,
                "above_hull_meV_per_atom": 1000 * above * entry.host_units / len(entry.atoms),
                "on_hull": k in hull.vertices,
                "lowest_at_x": k in lowest,
                **describe(entry.atoms, entry.host_units, entry.setting, radiation),
            }
        )
    return rows


def _reflection(entries: Sequence[Entry]) -> tuple[int, int, int] | None:
    return next((e.setting.reflection for e in entries if e.setting and e.setting.reflection), None)


def _capacity(formula: str, electrons: float) -> dict[str, Any]:
    return {
        "formula": formula,
        "molar_mass_g_per_mol": molar_mass_g_per_mol(formula),
        "one_electron_mAh_per_g": specific_capacity(1.0, formula),
        "electrons": electrons,
        "whole_range_mAh_per_g": specific_capacity(electrons, formula),
    }


def _steps(steps: Sequence[VoltageStep]) -> list[dict[str, float]]:
    return [{"x_high": s.x_high, "x_low": s.x_low, "voltage_V": s.voltage} for s in steps]


def _patterns(entries: Sequence[Entry], radiation: str) -> list[dict[str, Any]]:
    found = []
    for n, entry in enumerate(entries):
        at_work("powder patterns", n, len(entries))
        found.append(_pattern(entry, radiation))
    return found


def _pattern(entry: Entry, radiation: str) -> dict[str, Any]:
    pattern = powder_pattern(entry.atoms, radiation)
    return {
        "label": entry.label,
        "x": entry.x,
        "two_theta_deg": pattern.two_theta.round(4).tolist(),
        "intensity": pattern.intensity.round(3).tolist(),
    }


def _moments_text(outside: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> str:
    metals = sorted({m for r in outside for m, s in r["oxidation"]["from_moments"].items() if s["without_estimate"]})
    means = [
        r["oxidation"]["moments_muB"][m]
        for r in outside
        for m in metals
        if r["oxidation"]["from_moments"].get(m, {}).get("without_estimate")
    ]
    return (
        f"the potential's moments on {', '.join(metals)} ({np.min(means):.2f}–{np.max(means):.2f} μB on average) "
        f"lie outside the spin-only references in {len(outside)} of {len(rows)} structures: they give no oxidation "
        "state there"
    )


def _listed(labels: Sequence[str], most: int = 5) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more
