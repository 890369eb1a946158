"""Hull and voltages at a temperature: free energies of harmonic vibrations on top of energies of relaxed structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atomsim.analysis.hull import formation_hull, lowest_at_each_x
from atomsim.analysis.voltage import average_voltage, voltage_steps


@dataclass(frozen=True)
class VibratingPhase:
    """A relaxed structure and the free energy of its vibrations."""

    label: str
    x: float
    """Ions per host unit."""
    energy_eV: float
    """Energy at rest, eV per host unit."""
    vibrational_eV: float
    """Free energy of the vibrations, zero-point energy included, eV per host unit."""
    left_out: float
    """Share of its modes that are imaginary, whose part is not known."""


def voltages_with_vibrations(
    phases: Sequence[VibratingPhase], ion_energy_eV: float, ion_vibrational_eV: float, charge: int = 1
) -> dict[str, Any]:
    """Return hull and voltages of E + F_vib(T), each voltage beside the one of E alone over the same range of x.

    Aydinol et al. 1997, Phys. Rev. B 56, 1354, Eqs. 1–4, with the vibrations' part of the Gibbs energy kept
    (harmonic, at the volume of 0 K); configurational entropy is not in it (``atomsim.isotherm``).

    Args:
        phases: of one host, (n,).
        ion_energy_eV: energy of the metal, eV per atom, from the same potential.
        ion_vibrational_eV: free energy of its vibrations, eV per atom.
        charge: charge of the ion in e.

    Returns:
        ``structures``, ``hull`` and ``voltage``, as plain JSON.

    Raises:
        InputError: if there is no phase, or a number is not finite.
    """
    x = [p.x for p in phases]
    rest = [p.energy_eV for p in phases]
    free = [p.energy_eV + p.vibrational_eV for p in phases]
    hull = formation_hull(x, free)
    lowest = {round(x[k], 9): rest[k] for k in lowest_at_each_x(x, free)}
    steps = []
    for step in voltage_steps(hull.vertex_x, hull.vertex_energy, ion_energy_eV + ion_vibrational_eV, charge):
        ends = (step.x_high, lowest[round(step.x_high, 9)], step.x_low, lowest[round(step.x_low, 9)])
        alone = average_voltage(*ends, ion_energy_eV, charge)
        steps.append({"x_high": step.x_high, "x_low": step.x_low, "voltage_V": step.voltage, "at_rest_V": alone})
    rows = [
        {"label": p.label, "x": p.x, "vibrational_eV_per_fu": p.vibrational_eV, "left_out": p.left_out} for p in phases
    ]
    on_hull = [{"x": x[k], "label": phases[k].label, "formation_eV_per_fu": hull.formation[k]} for k in hull.vertices]
    return {"structures": rows, "hull": on_hull, "voltage": steps}
