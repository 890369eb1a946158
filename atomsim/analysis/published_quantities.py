"""Quantities that published values are compared in, each a function of a computed electrode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.cell import Cell

from atomsim.analysis.hull import SAME_X, Hull
from atomsim.analysis.lattice import d_spacing
from atomsim.analysis.voltage import VoltageStep, hull_voltage, ions_below, specific_capacity
from atomsim.analysis.xrd import bragg_angle

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


VALENCE_NOISE = 0.1
"""A smaller change of a bond valence, e, says nothing."""
MOMENT_NOISE = 0.01
"""A smaller change of a mean moment, μB, says nothing."""
LATTICE = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")

Value = float | str | None
IonContent = float | Literal["full"]
"""An ion content, or the ion-rich end."""


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


def _end_voltage(electrode: Electrode, x: float) -> tuple[Value, str]:
    """Voltage of the step on charge that ends at x."""
    step = next((s for s in electrode.steps if s.x_low - SAME_X <= x < s.x_high - SAME_X), None)
    return (
        (None, f"no voltage at x = {x:g}") if step is None else (step.voltage, f"x = {step.x_high:g} to {step.x_low:g}")
    )


def _state_change(electrode: Electrode, metal: str, x_high: float, x_low: float) -> tuple[Value, str]:
    """Change of a metal's state on charge by its bond valence, in words; moments and charge balance beside it."""
    ends = [_near(electrode, x) for x in (x_high, x_low)]
    kept = [row["oxidation"] for row in ends if row is not None and row["oxidation"]["bond_valence"].get(metal)]
    if len(kept) < len(ends):
        return None, f"no bond valence of {metal} at both x"
    before, after = (float(k["bond_valence"][metal]) for k in kept)
    moments = ["–" if k["moments_muB"] is None else f"{k['moments_muB'].get(metal, 0):.2f}" for k in kept]
    how = f"bond valence (its change, not its size) {before:.2f} to {after:.2f}, |m| {' to '.join(moments)} μB"
    change = after - before
    if abs(change) < VALENCE_NOISE:
        return "no change", how
    if change < 0:
        return "falls", how
    return ("rises by less than 1" if change < 1 else "rises by 1 or more"), how


def _moment_change(electrode: Electrode, element: str, x_high: float, x_low: float) -> tuple[Value, str]:
    """Change of the mean size of an element's moments on charge, in words."""
    ends = [_near(electrode, x) for x in (x_high, x_low)]
    known = [row["oxidation"]["moments_muB"] for row in ends if row is not None and row["oxidation"]["moments_muB"]]
    if len(known) < len(ends):
        return None, "no moments"
    before, after = (float(k.get(element, 0.0)) for k in known)
    how = f"|m| {before:.3f} to {after:.3f} μB"
    if abs(after - before) < MOMENT_NOISE:
        return "no change", how
    return ("grows" if after > before else "shrinks"), how


def _line_angle(electrode: Electrode, x: float, hkl: Sequence[int], radiation: str) -> tuple[Value, str]:
    """Angle of a line of a three-fold axis, the mean over its three reflections, which a relaxed cell may split."""
    row = _near(electrode, x)
    if row is None or row["lattice"] is None:
        return None, f"no lattice near x = {x:g}"
    cell = Cell.fromcellpar([row["lattice"][key] for key in LATTICE]).array
    h, k, ell = hkl
    lines = [(h, k, ell), (k, -h - k, ell), (-h - k, h, ell)]
    angles = [bragg_angle(d_spacing(cell, line), radiation) for line in lines]
    return float(np.mean(angles)), f"split by {max(angles) - min(angles):.2f}°"


def _not_computed(electrode: Electrode, why: str) -> tuple[Value, str]:
    del electrode
    return None, why


def _near(electrode: Electrode, x: float) -> dict[str, Any] | None:
    row = min(electrode.rows, key=lambda r: abs(r["x"] - x))
    return row if abs(row["x"] - x) <= NEAR_X else None


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
    "end_voltage": _end_voltage,
    "state_change": _state_change,
    "moment_change": _moment_change,
    "line_angle": _line_angle,
    "not_computed": _not_computed,
}
"""Functions of an Electrode and an entry's own keys; each returns the value and how it came about."""
