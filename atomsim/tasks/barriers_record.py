"""Record of one hop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.hopping.compute import HopResult
from atomsim.hopping.summary import equivalent_ends
from atomsim.io.atoms_json import atoms_to_json
from atomsim.mep.flags import moment_change, path_flags
from atomsim.mep.path import ReactionPath
from atomsim.mep.rates import DEFAULT_PREFACTOR, rate
from atomsim.store.records import Record, Task, record_of
from atomsim.tasks.barriers_checks import checked
from atomsim.units import ROOM_K

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.tasks.base import Context

BROKEN_EV = 0.005
"""Ends that the host's symmetry makes alike differ by no more, unless the supercell breaks it, eV."""


def failed_values(result: HopResult, tags: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a hop whose ends could not be used."""
    return {"force_calls": 0, "shared_force_calls": _shared(result), "flags": supercell_flags(tags)}


def supercell_flags(tags: Mapping[str, Any]) -> list[str]:
    """Remark that a hop was computed in a smaller supercell than was asked for; empty if it was not."""
    found, wanted = tags.get("image_distance_A", 0.0), tags.get("supercell_min_A", 0.0)
    if found > wanted - 0.005:
        return []
    return [f"images {found:.2f} Å apart, {wanted:g} Å were asked for: raise max_atoms"]


def path_record(
    task: Task, result: HopResult, check_with: Sequence[str], potential: EnergyModel, context: Context
) -> Record:
    """Return the record of a hop; its structure is the highest image."""
    path = result.path
    assert path is not None
    top = path.highest
    arrays = {"forces": path.forces[top]}
    if path.magmoms is not None and np.isfinite(path.magmoms[top]).all():
        arrays["magmoms"] = path.magmoms[top]
    values = _values(path, result) | _rates(path, result) | _redox(path)
    if check_with and path.status == "converged":
        values |= checked(path, check_with, potential, context)
    values["flags"] = flags(path, result, values, alike=equivalent_ends(task.tags)) + supercell_flags(task.tags)
    structure = atoms_to_json(path.images[top], arrays) if np.isfinite(path.energies).all() else None
    return record_of(task, path.status, path.message, values=values, structure=structure)


def _shared(result: HopResult) -> dict[str, Any]:
    return {"hessian": result.hessian_calls, "ends": result.end_calls}


def _values(path: ReactionPath, result: HopResult) -> dict[str, Any]:
    values: dict[str, Any] = {
        "n_atoms": len(path.images[0]),
        "n_images": len(path.images),
        "steps": path.steps,
        "force_calls": path.force_calls,
        "shared_force_calls": _shared(result),
        "kicks": path.kicks,
    }
    if not np.isfinite(path.energies).all():
        return values
    values |= {
        "barrier_eV": path.barrier,
        "reverse_barrier_eV": path.reverse_barrier,
        "reaction_energy_eV": path.reaction_energy,
        "start_energy_eV": float(path.energies[0]),
        "fmax_eV_per_A": float(path.residual),
        "saddle_image": path.highest,
        "path": _full_path(path),
        "legs": [{"barrier_eV": p.barrier, "reverse_barrier_eV": p.reverse_barrier} for p in result.segments],
    }
    if path.proof is not None:
        values["negative_modes"] = path.proof.negative_modes
        values["lowest_curvatures_eV_per_A2"] = list(path.proof.curvatures)
        values["overlap_with_path"] = path.proof.overlap
    return values


def _full_path(path: ReactionPath) -> dict[str, Any]:
    moments = None if path.magmoms is None else [None if np.isnan(m).any() else m.tolist() for m in path.magmoms]
    return {
        "length_A": path.lengths.tolist(),
        "energy_eV": path.energies.tolist(),
        "slope_eV_per_A": path.slopes.tolist(),
        "positions_A": [a.positions.tolist() for a in path.images],
        "forces_eV_per_A": path.forces.tolist(),
        "magmoms_muB": moments,
    }


def _rates(path: ReactionPath, result: HopResult) -> dict[str, Any]:
    if path.status != "converged":
        return {}
    attempt = result.attempt_Hz or DEFAULT_PREFACTOR
    return {
        "prefactor_Hz": attempt,
        "prefactor_from": "vineyard" if result.attempt_Hz else "assumed",
        "rate_300K_per_s": rate(path.barrier, ROOM_K, attempt),
        "reverse_rate_300K_per_s": rate(path.reverse_barrier, ROOM_K, attempt),
    }


def _redox(path: ReactionPath) -> dict[str, Any]:
    """The metal whose moment changes most between the images."""
    found = moment_change(path)
    if found is None:
        return {}
    return {"largest_moment_change_muB": found[0], "largest_moment_change_atom": found[1]}


def flags(path: ReactionPath, result: HopResult, values: dict[str, Any], *, alike: bool) -> list[str]:
    """Caveats to read before using the barrier; empty where nothing is wrong.

    ``alike``: the host's symmetry makes the ends equivalent.
    """
    found = path_flags(path, result.segments)
    apart = abs(values.get("reaction_energy_eV", 0.0))
    if alike and apart > BROKEN_EV:
        text = f"equivalent ends differ by {apart:.3f} eV"
        found.append(f"{text}: the supercell breaks the host's symmetry; raise max_atoms")
    found += [f"not checked with {name}: {why}" for name, why in values.get("checks_failed", {}).items()]
    return found
