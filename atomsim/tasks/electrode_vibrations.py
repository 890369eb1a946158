"""Vibrations of an ``electrode`` step: the records of a ``phonons`` step beside those of the relaxations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atomsim.errors import InputError, counted
from atomsim.store.records import Record

if TYPE_CHECKING:
    from atomsim.analysis.vibrational_voltage import VibratingPhase

FEWEST = 2
"""Phases that a voltage needs."""


def vibrational(
    records: Sequence[Record],
    reference: Record | None,
    phonons: Sequence[Record],
    temperature_K: float,
    charge: int,
) -> tuple[dict[str, Any], list[str]]:
    """Return hull and voltages at a temperature as JSON, and what a reader must know of them.

    Args:
        records: relaxed structures that take part.
        reference: the relaxed metal.
        phonons: records of the phonons of both, in any order.
        temperature_K: of the vibrations.
        charge: of the ion.

    Raises:
        InputError: if phonons were not computed up to that temperature.
    """
    from atomsim.analysis.vibrational_voltage import voltages_with_vibrations

    of_task = {parent: p for p in phonons if p.good for parent in p.parents}
    phases = [_phase(r, of_task[r.task], temperature_K) for r in records if r.task in of_task]
    notes = []
    if missing := [r.label for r in records if r.task not in of_task]:
        notes.append(f"{counted(len(missing), 'structure')} without phonons: not in the hull at {temperature_K:g} K")
    if imaginary := [p.label for p in phases if p.left_out]:
        notes.append(f"imaginary modes, left out of F(T), in {', '.join(imaginary[:5])}: no minima of this potential")
    if reference is None or reference.task not in of_task:
        return {}, [f"no phonons of the metal: no voltages at {temperature_K:g} K", *notes]
    if len({p.x for p in phases}) < FEWEST:
        return {}, [f"phonons of fewer than {FEWEST} x: no voltages at {temperature_K:g} K", *notes]
    metal = _free_energy(of_task[reference.task], temperature_K)
    found = voltages_with_vibrations(phases, reference.values["energy_per_atom_eV"], metal, charge)
    return {"temperature_K": temperature_K, "metal_eV_per_atom": metal, **found}, notes


def _phase(record: Record, phonons: Record, temperature_K: float) -> VibratingPhase:
    from atomsim.analysis.vibrational_voltage import VibratingPhase

    units = float(record.tags["host_units"])
    return VibratingPhase(
        record.label,
        float(record.tags["x"]),
        record.values["energy_eV"] / units,
        _free_energy(phonons, temperature_K) * len(record.atoms) / units,
        float(phonons.values["thermal"]["left_out"]),
    )


def _free_energy(phonons: Record, temperature_K: float) -> float:
    """Free energy of the vibrations, eV per atom."""
    from atomsim.vibrations.record import thermal_from

    heat = thermal_from(phonons.values)
    if temperature_K > heat.temperature_K[-1]:
        raise InputError(
            f"temperature_K = {temperature_K:g}: phonons were computed up to {heat.temperature_K[-1]:g} K; "
            "raise t_max_K of their step"
        )
    return heat.at(temperature_K)[0]
