"""The record of a pair: profile, minima, what is known of the barrier, and what else a reader must know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.analysis.oxygen import OXYGEN
from atomsim.errors import AtomsimError, counted
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, Task, record_of

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.oxygen.result import Minimum, PairSearch
    from atomsim.oxygen.scan import ScanPoint
    from atomsim.tasks.base import Context

SPREAD_EV = 0.3
"""Potentials that differ by more on a minimum are flagged, eV."""


def search_record(
    task: Task, search: PairSearch, check_with: Sequence[str], potential: EnergyModel, context: Context
) -> Record:
    """Return the record of a search; its structure is the lowest dimer's, or the intact one."""
    values: dict[str, Any] = {
        "force_calls": search.intact.force_calls + sum(search.force_calls.values()),
        "force_calls_by_part": {"intact": search.intact.force_calls, **search.force_calls},
        "n_atoms": len(search.intact.atoms),
    }
    if search.status != "converged":
        return record_of(task, search.status, search.message, values=values, structure=task.structure)
    spreads, scan, failed = _checked(search, check_with, potential, context)
    values |= _outcome(search) | {
        "intact_energy_eV": search.intact.energy,
        "length_A": search.pair.length_A,
        "profile": [
            _point(p, search) | ({"checked_with": c} if c else {}) for p, c in zip(search.profile, scan, strict=True)
        ],
        "minima": [_minimum(m) | spreads.get(n, {}) for n, m in enumerate(search.minima)],
        "barrier_words": search.barrier_words,
        "flags": _flags(search, spreads, failed),
    }
    if search.bound_eV is not None:
        values["upper_bound_eV"] = search.bound_eV
    if search.proven_barrier is not None:
        assert search.path is not None
        assert search.path.proof is not None
        values |= {
            "barrier_eV": search.proven_barrier,
            "negative_modes": search.path.proof.negative_modes,
            "path": {"energy_eV": search.path.energies.tolist(), "length_A": search.path.lengths.tolist()},
        }
    return record_of(task, "converged", search.message, values=values, structure=atoms_to_json(search.atoms))


def _outcome(search: PairSearch) -> dict[str, Any]:
    """Outcome of a pair, by the lowest dimer."""
    if search.dimer is None:
        return {"outcome": "no dimer"}
    found = {
        "outcome": search.dimer.outcome,
        "dimer_length_A": search.dimer.species.length,
        "dimer_energy_eV": search.dimer.energy_eV,
    }
    if search.dimer.species.moment is not None:
        found["dimer_moment_muB"] = search.dimer.species.moment
    return found


def _point(point: ScanPoint, search: PairSearch) -> dict[str, Any]:
    found: dict[str, Any] = {
        "length_A": point.length_A,
        "inward": point.inward,
        "energy_eV": point.energy_eV,
        "mean_force_eV_per_A": point.mean_force_eV_per_A,
        "converged": point.converged,
        "metal_bonds": list(point.metal_bonds),
        "jump_A": point.jump_A,
        "positions_A": point.atoms.positions.round(4).tolist(),
    }
    if np.isfinite(point.shortest_metal_A):
        found["shortest_metal_A"] = point.shortest_metal_A
    if point.magmoms is not None:
        own = {search.pair.first, search.pair.second}
        moments = np.abs(point.magmoms)
        found["moments_muB"] = [float(moments[n]) for n in sorted(own)]
        others = point.atoms.numbers != OXYGEN
        found["metal_moments_muB"] = [round(float(m), 3) for m in moments[others]]
    return found


def _minimum(minimum: Minimum) -> dict[str, Any]:
    found: dict[str, Any] = {
        "outcome": minimum.outcome,
        "species": minimum.species.words,
        "length_A": minimum.species.length if np.isfinite(minimum.species.length) else None,
        "energy_eV": minimum.energy_eV,
        "pair": list(minimum.pair),
        "reached_from": list(minimum.reached_from),
        "metal_bonds": list(minimum.metal_bonds),
        "status": minimum.relaxation.status,
        "fmax_eV_per_A": float(minimum.relaxation.fmax),
        "structure": atoms_to_json(minimum.relaxation.atoms),
    }
    if minimum.species.moment is not None:
        found["moment_muB"] = minimum.species.moment
    return found


def _flags(search: PairSearch, spreads: dict[int, dict[str, Any]], failed: dict[str, str]) -> list[str]:
    found = []
    if search.dimer is not None and search.dimer.species.agrees is False:
        found.append(f"{search.dimer.species.words}: name it with care")
    if search.minima and search.minima[0].converged and search.minima[0].energy_eV < -0.05:
        found.append(
            f"a minimum lies {-search.minima[0].energy_eV:.2f} eV below the intact cell, which is metastable here"
        )
    loose = sum(not p.converged for p in search.profile)
    if loose:
        found.append(f"{counted(loose, 'point')} of the scan did not converge")
    if search.bound_eV is not None and search.proven_barrier is None:
        found.append("the barrier is an upper bound, no saddle was proven")
    wide = max((s["spread_eV"] for s in spreads.values()), default=0.0)
    if wide > SPREAD_EV:
        found.append(f"potentials differ by {wide:.2f} eV on a minimum: neither sign nor species is settled")
    return found + [f"not checked with {name}: {why}" for name, why in failed.items()]


def _checked(
    search: PairSearch, check_with: Sequence[str], potential: EnergyModel, context: Context
) -> tuple[dict[int, dict[str, Any]], list[dict[str, float]], dict[str, str]]:
    """Energies of the same minima and scan points by other potentials, and how much all differ on minima."""
    from atomsim.batching.capacity import evaluate_all
    from atomsim.models.interface import device_of
    from atomsim.registry.cards import from_folder
    from atomsim.tasks.barriers_checks import further_potential

    by_name: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    geometries = [m.relaxation.atoms for m in search.minima]
    geometries = [search.intact.atoms, *geometries, *(p.atoms for p in search.profile)]
    for name in check_with:
        try:
            other = further_potential(
                from_folder(name, context.base_dir), str(device_of(potential)), context.trust_file
            )
            energy = [float(e) for _, evaluation in evaluate_all(geometries, other) for e in evaluation.energy]
        except AtomsimError as error:
            failed[name] = str(error)
            continue
        by_name[name] = [e - energy[0] for e in energy[1:]]
    found = {}
    for n, minimum in enumerate(search.minima) if by_name else ():
        checked = {name: energies[n] for name, energies in by_name.items()}
        found[n] = {"checked_with": checked, "spread_eV": float(np.ptp([minimum.energy_eV, *checked.values()]))}
    scan = [{name: e[len(search.minima) + n] for name, e in by_name.items()} for n in range(len(search.profile))]
    return found, scan, failed
