"""Phonons as plain values that a record keeps, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.structures.supercells import image_distance
from atomsim.types import FloatArray
from atomsim.units import ROOM_K
from atomsim.vibrations.phonons import ForceConstants, Phonons
from atomsim.vibrations.quasi_harmonic import Heated, QuasiHarmonic
from atomsim.vibrations.spectrum import Bands, Dos, ImaginaryMode
from atomsim.vibrations.stability import Lower
from atomsim.vibrations.thermal import Thermal, thermal


def to_values(found: Phonons) -> dict[str, Any]:
    """Return all of it but the mesh as JSON; the primitive cell is the record's structure."""
    constants, heat = found.constants, found.thermal
    room = thermal(found.mesh.frequency_THz, found.mesh.weights, np.array([ROOM_K]), len(constants.primitive))
    free, entropy, capacity = room.at(ROOM_K)
    return {
        "n_atoms": len(constants.primitive),
        "space_group": found.space_group,
        "stable": found.stable,
        "lowest_THz": _round(min(found.mesh.frequency_THz.min(), *(m.frequency_THz for m in found.imaginary), 0.0), 6),
        "highest_THz": _round(found.mesh.frequency_THz.max(), 6),
        "zero_point_eV_per_atom": heat.zero_point_eV_per_atom,
        "free_energy_300K_eV_per_atom": free,
        "entropy_300K_eV_per_K_per_atom": entropy,
        "heat_capacity_300K_eV_per_K_per_atom": capacity,
        "supercell": constants.matrix.tolist(),
        "supercell_atoms": int(constants.forces.shape[1]),
        "image_distance_A": image_distance(constants.matrix @ constants.primitive.cell.array),
        "displacements": len(constants.forces),
        "mesh": list(found.mesh.numbers),
        "energy_eV": constants.energy_eV,
        "energy_per_atom_eV": constants.energy_eV / len(constants.primitive),
        "pressure_GPa": constants.pressure_GPa,
        "fmax_eV_per_A": constants.fmax_eV_per_A,
        "force_calls": found.force_calls,
        "flags": list(found.flags),
        "imaginary": [asdict(m) | {"q": list(m.q), "name": m.name} for m in found.imaginary],
        "lower": [_of_lower(end) for end in found.lower],
        "bands": {
            "distance": _list(found.bands.distance), "q": _list(found.bands.q),
            "frequency_THz": _list(found.bands.frequency_THz), "ticks": [list(t) for t in found.bands.ticks],
        },
        "dos": {
            "frequency_THz": _list(found.dos.frequency_THz),
            "by_element": {e: _list(part) for e, part in found.dos.by_element.items()},
        },
        "thermal": {
            "temperature_K": _list(heat.temperature_K),
            "free_energy_eV_per_atom": _list(heat.free_energy_eV_per_atom, 9),
            "entropy_eV_per_K_per_atom": _list(heat.entropy_eV_per_K_per_atom, 12),
            "heat_capacity_eV_per_K_per_atom": _list(heat.heat_capacity_eV_per_K_per_atom, 12),
            "left_out": heat.left_out,
        },
        **_of_heated(found.heated),
        "forces": {
            "displacement_A": constants.displacement_A, "symprec_A": constants.symprec_A,
            "eV_per_A": _list(constants.forces, 8),
        },
    }  # fmt: skip


def force_constants_from(values: Mapping[str, Any], primitive: Atoms) -> ForceConstants:
    """Return the forces that a record keeps; ``.phonopy`` makes the force constants."""
    forces = values["forces"]
    return ForceConstants(
        primitive, np.array(values["supercell"]), np.array(forces["eV_per_A"]), forces["displacement_A"],
        forces["symprec_A"], values["energy_eV"], values["pressure_GPa"], values["fmax_eV_per_A"],
        values["displacements"] + 2,
    )  # fmt: skip


def bands_from(values: Mapping[str, Any]) -> Bands:
    """Return the band structure that a record keeps."""
    kept = values["bands"]
    ticks = tuple((float(at), str(name)) for at, name in kept["ticks"])
    return Bands(np.array(kept["distance"]), np.array(kept["frequency_THz"]), np.array(kept["q"]), ticks)


def dos_from(values: Mapping[str, Any]) -> Dos:
    """Return the density of states that a record keeps."""
    kept = values["dos"]
    return Dos(np.array(kept["frequency_THz"]), {e: np.array(part) for e, part in kept["by_element"].items()})


def thermal_from(values: Mapping[str, Any]) -> Thermal:
    """Return the thermal properties that a record keeps."""
    kept = values["thermal"]
    arrays = {key: np.array(kept[key]) for key in kept if key != "left_out"}
    return Thermal(**arrays, left_out=float(kept["left_out"]))


def quasi_harmonic_from(values: Mapping[str, Any]) -> QuasiHarmonic | None:
    """Return the quasi-harmonic values that a record keeps, None where there are none."""
    kept = values.get("quasi_harmonic")
    return None if kept is None else QuasiHarmonic(**{key: np.array(kept[key]) for key in kept})


def imaginary_from(values: Mapping[str, Any]) -> tuple[ImaginaryMode, ...]:
    """Return the imaginary modes that a record keeps."""
    return tuple(_mode(kept) for kept in values["imaginary"])


def lower_from(values: Mapping[str, Any]) -> tuple[Lower, ...]:
    """Return the ends of relaxations along imaginary modes that a record keeps."""
    nan = float("nan")
    return tuple(
        Lower(
            _mode(kept["mode"]), kept["status"], kept.get("energy_eV_per_atom", nan), kept["space_group"],
            atoms_from_json(kept["structure"]), kept["force_calls"],
        )
        for kept in values["lower"]
    )  # fmt: skip


def _of_heated(heated: Heated | None) -> dict[str, Any]:
    """All arrays, seven significant digits of each number; nothing where there are none."""
    found = None if heated is None else heated.found
    if found is None:
        return {}
    return {"quasi_harmonic": {f.name: [float(f"{v:.7g}") for v in getattr(found, f.name)] for f in fields(found)}}


def _of_lower(end: Lower) -> dict[str, Any]:
    content = {
        "mode": asdict(end.mode) | {"q": list(end.mode.q), "name": end.mode.name}, "status": end.status,
        "space_group": end.space_group, "structure": atoms_to_json(end.atoms), "force_calls": end.force_calls,
    }  # fmt: skip
    return content | ({"energy_eV_per_atom": end.energy_eV_per_atom} if np.isfinite(end.energy_eV_per_atom) else {})


def _mode(kept: Mapping[str, Any]) -> ImaginaryMode:
    content = {key: value for key, value in kept.items() if key != "name"}
    return ImaginaryMode(**{**content, "q": tuple(content["q"])})


def _list(array: FloatArray, digits: int = 6) -> Any:
    """Lists of floats without digits that mean nothing, to keep records short; no −0."""
    return (np.round(np.asarray(array, dtype=np.float64), digits) + 0.0).tolist()


def _round(value: Any, digits: int) -> float:
    return round(float(value), digits)
