"""Computed beside published: the numbers of the papers, kept as data, and how each is computed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from atomsim.analysis.hull import SAME_X, Hull
from atomsim.analysis.voltage import VoltageStep, hull_voltage, ions_below, specific_capacity
from atomsim.errors import InputError
from atomsim.structures.prototypes import load_prototype, prototype_names

SHIFT_NOISE = 0.02
"""Degrees of 2θ; a smaller computed shift has no direction."""
NEAR_X = 0.15
"""A structure this close in x may stand for a measured composition."""


@dataclass(frozen=True)
class Electrode:
    """Electrode to compare with published values."""

    formula: str
    """Formula unit at ``x_max``."""
    x_max: float
    """Ions per host unit when full, computed or not."""
    charge: int
    """Charge of the ion, e."""
    rows: Sequence[dict[str, Any]]
    """Lowest structure at each x, by increasing x (``describe`` plus ``x``)."""
    hull: Hull
    steps: Sequence[VoltageStep]
    """Voltage steps of the hull; empty without an ion reference."""
    ion_energy: float | None
    """Energy of the ion's metal, eV per atom; None leaves voltages out."""


Value = float | str | None
IonContent = float | Literal["full"]
"""An ion content, or the ion-rich end."""


def layer_reflection(parent: str) -> tuple[int, int, int] | None:
    """Return the reflection that steps by one metal layer in the setting of a prototype, if it is known."""
    hkl = _data()["parents"].get(parent, {}).get("layer_reflection")
    return None if hkl is None else (hkl[0], hkl[1], hkl[2])


def recognised(atoms: Atoms, ion: str, formula: str) -> str | None:
    """Return the prototype with published values whose crystal this is, whatever it is called; None if it is none.

    Args:
        atoms: a relaxed structure, ions may be missing: the hosts are compared (pymatgen's StructureMatcher, which
            allows for strain and for displacements of 0.3 of the mean distance of atoms).
        ion: symbol of the ion that leaves.
        formula: with all ions, which must be the prototype's.
    """
    from pymatgen.core import Composition

    whole = Composition(formula).reduced_composition
    for name, entry in _data()["parents"].items():
        if not entry.get("values") or name not in prototype_names():
            continue
        prototype = load_prototype(name).primitive
        counts = prototype.symbols.formula.count()
        if Composition(counts).reduced_composition.almost_equals(whole, rtol=1e-3) and _same_host(
            atoms, prototype, ion
        ):
            return str(name)
    return None


def _same_host(one: Atoms, other: Atoms, ion: str) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    hosts = []
    for atoms in (one, other):
        bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        hosts.append(AseAtomsAdaptor.get_structure(bare[[s != ion for s in bare.symbols]]))
    # noise hides the primitive cell of a relaxed supercell: one is also laid out in the other's
    matchers = (StructureMatcher(primitive_cell=False, attempt_supercell=True), StructureMatcher())
    return any(matcher.fit(hosts[0], hosts[1]) for matcher in matchers)


def compare(electrode: Electrode, parent: str | None) -> list[dict[str, Any]]:
    """Compare with every value published for a prototype, or for the formula where no prototype stands for it.

    Returns:
        Rows with ``what``, ``quantity`` and ``at`` (its arguments), ``computed``,
        ``reference``, ``unit``, ``deviation`` (computed − reference, numbers
        only), ``agrees`` (words only), ``note`` and ``citation``; ``computed`` is None where this electrode
        does not reach, and ``note`` says why.
    """
    parents = _data()["parents"]
    # the formula of a crystal alone does not say that it is that crystal
    of_formula = {} if electrode.formula in prototype_names() else parents.get(electrode.formula, {})
    entries = parents.get(parent, of_formula).get("values", [])
    return [_compare_one(electrode, dict(entry)) for entry in entries]


def doping_values(dopant: str, elements: set[str]) -> list[dict[str, Any]]:
    """Return the published changes of layers by a dopant in a host of some elements: each reading of the labels.

    Args:
        dopant: symbol.
        elements: of the doped crystal; the host of the paper must hold no other.
    """
    found = []
    for entry in _data().get("doping", []):
        if (
            entry["dopant"] == dopant
            and elements <= {*entry["elements"], dopant}
            and set(entry["elements"]) <= elements
        ):
            citation = _data()["citations"][entry["citation"]]
            found += [{**value, "citation": citation} for value in entry["values"]]
    return found


def _compare_one(electrode: Electrode, entry: dict[str, Any]) -> dict[str, Any]:
    head = {key: entry.pop(key, "") for key in ("what", "unit", "citation", "remark")}
    reference: float | str = entry.pop("reference")
    quantity = entry.pop("quantity")
    try:
        computed, how = QUANTITIES[quantity](electrode, **entry)
    except InputError as error:
        computed, how = None, str(error)
    both = isinstance(computed, float) and isinstance(reference, float)
    words = isinstance(computed, str) and isinstance(reference, str)
    return {
        "what": head["what"],
        "quantity": quantity,
        "at": entry,
        "computed": computed,
        "reference": reference,
        "unit": head["unit"],
        "deviation": computed - reference if both else None,  # type: ignore[operator]
        "agrees": computed == reference if words else None,
        "note": "; ".join(part for part in (how, head["remark"]) if part),
        "citation": _data()["citations"][head["citation"]],
    }


def _capacity(electrode: Electrode, electrons: float) -> tuple[Value, str]:
    return specific_capacity(electrons, electrode.formula), f"F/M of {electrode.formula}"


def _capacity_below(electrode: Electrode, cutoff_V: float) -> tuple[Value, str]:
    if not electrode.steps:
        return None, "no voltages"
    highest, lowest = electrode.steps[0].x_high, electrode.steps[-1].x_low
    if highest < electrode.x_max - SAME_X:
        return None, f"nothing computed at x = {electrode.x_max:g}"
    ions = ions_below(electrode.steps, cutoff_V)
    how = f"{ions:g} ions per formula unit leave below {cutoff_V:g} V"
    if ions > highest - lowest - SAME_X and lowest > SAME_X:
        how = f"at least: {how}, and nothing is computed below x = {lowest:g}"
    return specific_capacity(electrode.charge * ions, electrode.formula), how


def _mean_voltage(electrode: Electrode, x_high: float, x_low: float) -> tuple[Value, str]:
    if electrode.ion_energy is None:
        return None, "no voltages"
    return hull_voltage(electrode.hull, x_high, x_low, electrode.ion_energy, electrode.charge), "along the hull"


def _layer_spacing(electrode: Electrode, x: IonContent) -> tuple[Value, str]:
    return _interpolated(electrode, x, ("layer", "d_A"))


def _slab_thickness(electrode: Electrode, x: IonContent) -> tuple[Value, str]:
    return _interpolated(electrode, x, ("layer", "slab_A"))


def _gap_height(electrode: Electrode, x: IonContent) -> tuple[Value, str]:
    return _interpolated(electrode, x, ("layer", "gap_A"))


def _layer_shift(electrode: Electrode, x_high: float, x_low: float) -> tuple[Value, str]:
    ends = [_interpolated(electrode, x, ("layer", "two_theta_deg")) for x in (x_high, x_low)]
    before, after = (value for value, _ in ends)
    if not isinstance(before, float) or not isinstance(after, float):
        return None, "the layers could not be followed"
    for x in (x_high, x_low):
        if min(abs(row["x"] - x) for row in electrode.rows) > NEAR_X:
            return None, f"no structure near x = {x:g}"
    shift = after - before
    how = "; ".join([f"by {abs(shift):.2f}° in 2θ", *(note for _, note in ends if note)])
    if abs(shift) < SHIFT_NOISE:
        return "no shift", how
    return ("to lower angle" if shift < 0 else "to higher angle"), how


def _space_group(electrode: Electrode, x: IonContent) -> tuple[Value, str]:
    near = SAME_X if x == "full" else NEAR_X
    x = electrode.x_max if x == "full" else x
    row = min(electrode.rows, key=lambda r: abs(r["x"] - x))
    if abs(row["x"] - x) > near:
        return None, f"no structure near x = {x:g}"
    symbol = row["space_group"]["0.1"]
    return (symbol.split(" ")[0] if symbol else None), f"lowest structure at x = {row['x']:g}, symprec 0.1 Å"


def _interpolated(electrode: Electrode, x: IonContent, path: tuple[str, str]) -> tuple[Value, str]:
    """Return a quantity of the lowest structures at x, on a straight line between the neighbours."""
    x = electrode.x_max if x == "full" else x
    known = [(r["x"], r[path[0]][path[1]]) for r in electrode.rows if r[path[0]] and r[path[0]][path[1]] is not None]
    if not known or not known[0][0] - SAME_X <= x <= known[-1][0] + SAME_X:
        return None, f"no structures around x = {x:g}"
    at, values = zip(*known, strict=True)
    exact = min(abs(x - other) for other in at) < SAME_X
    return float(np.interp(x, at, values)), "" if exact else f"interpolated to x = {x:g}"


QUANTITIES: dict[str, Callable[..., tuple[Value, str]]] = {
    "capacity": _capacity,
    "capacity_below": _capacity_below,
    "mean_voltage": _mean_voltage,
    "layer_spacing": _layer_spacing,
    "slab_thickness": _slab_thickness,
    "gap_height": _gap_height,
    "layer_shift": _layer_shift,
    "space_group": _space_group,
}
"""Functions of an Electrode and an entry's own keys; each returns the value and how it came about."""


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text(encoding="utf-8"))
