"""The record of a search for cation order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.analysis.opinions import relative_opinions
from atomsim.analysis.stacking import layer_statistics
from atomsim.cations.model import rank_correlation
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, Task, record_of

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.cations.result import Arrangement, CationOrder, TemperatureOrder
    from atomsim.relaxation import Relaxation


Judge = Callable[["Relaxation"], dict[str, Any]]
"""Answers of further potentials on a relaxed cell, as keys of a record; none where none was asked."""


def order_record(task: Task, found: CationOrder, judge: Judge = lambda _: {}, own: str = "first") -> Record:
    """Return the record of a search; its structure is the lowest arrangement's.

    Args:
        task: the task.
        found: what the search has found.
        judge: asks further potentials.
        own: name of the potential that searched.
    """
    lowest = found.lowest
    assert lowest is not None
    problem = found.problem
    weights = {t.temperature_K: found.boltzmann_weights(t.temperature_K) for t in found.temperatures}
    handed = [a for a in found.arrangements if a.final is not None]
    values: dict[str, Any] = {
        "energy_eV": lowest.energy,
        "n_atoms": len(lowest.atoms),
        "n_sites": len(problem.sites),
        "species": list(problem.species),
        "arrangements": problem.n_arrangements,
        "relaxations": len(found.arrangements) + len(found.failed),
        "force_calls": found.force_calls,
        "orderings": [_arrangement(n, a, lowest.energy) | {"structure": structure_of(a)} for n, a in enumerate(handed)],
        "relaxed": [
            _arrangement(n, a, lowest.energy) | {"weights": {f"{t:g}": float(w[n]) for t, w in weights.items()}}
            for n, a in enumerate(found.arrangements)
        ],
        "history": list(found.history),
        "temperatures": [_temperature(t) for t in found.temperatures],
        "shells_A": list(found.shells_A),
        "failed": list(found.failed),
        "flags": list(found.flags),
    } | layer_values(lowest.atoms)
    if found.distinct is not None:
        values["distinct"] = found.distinct
    if found.model is not None:
        values |= _model(found)
    values |= _opinions(handed, judge, own, values)
    ended = lowest.final or lowest.relaxation
    return record_of(task, ended.status, ended.message, values=values, structure=structure_of(lowest))


def _opinions(handed: Sequence[Arrangement], judge: Judge, own: str, values: dict[str, Any]) -> dict[str, Any]:
    """Energies of the arrangements handed on by further potentials, which are written to them too."""
    found = [judge(a.final) if a.final is not None else {} for a in handed]
    failed = {name: why for f in found for name, why in f.get("checks_failed", {}).items()}
    flags = [*values["flags"], *(f"not checked with {name}: {why}" for name, why in failed.items())]
    judged = [n for n, f in enumerate(found) if f.get("checked_with")]
    names = [name for name in (found[judged[0]]["checked_with"] if judged else ()) if name not in failed]
    if not names:
        return {"flags": flags} if failed else {}
    for n in judged:
        values["orderings"][n]["checked_with"] = found[n]["checked_with"]
    energies = {own: [float(handed[n].energy) for n in judged]}
    energies |= {name: [found[n]["checked_with"][name]["energy_eV"] for n in judged] for name in names}
    return {"flags": flags, "opinions": relative_opinions([f"arrangement {n + 1}" for n in judged], energies)}


def structure_of(arrangement: Arrangement) -> dict[str, Any]:
    """Relaxed structure with its moments, where there are any."""
    final = arrangement.final
    relaxation: Relaxation = final if final is not None and final.converged else arrangement.relaxation
    arrays = {} if relaxation.magmoms is None else {"magmoms": relaxation.magmoms}
    return atoms_to_json(relaxation.atoms, arrays)


def layer_values(atoms: Atoms, ion: str = "Li") -> dict[str, Any]:
    """Thicknesses of the layers, where there are any."""
    layers = layer_statistics(atoms, ion)
    if layers is None:
        return {}
    values = {
        "slab_A": layers.slab,
        "gap_A": layers.gap,
        "spacing_A": layers.spacing,
        "c_A": layers.c,
        "slab_spread_A": layers.slab_spread,
        "across_A": layers.across,
        "across_spread_A": layers.across_spread,
    }
    return {"layers": {k: float(v) for k, v in values.items() if np.isfinite(v)}}


def _arrangement(number: int, arrangement: Arrangement, lowest: float) -> dict[str, Any]:
    return {
        "number": number,
        "energy_eV": float(arrangement.energy),
        "above_lowest_eV": float(arrangement.energy - lowest),
        "unrelaxed_eV": float(arrangement.relaxation.initial_energy),
        "multiplicity": arrangement.multiplicity,
        "relaxed_as": arrangement.number,
        "species": [int(s) for s in arrangement.occupation],
        "force_calls": arrangement.relaxation.force_calls,
    }


def _model(found: CationOrder) -> dict[str, Any]:
    """Ranking of the relaxed arrangements by the model, by point charges and by the unrelaxed potential."""
    model = found.model
    assert model is not None
    by_number = sorted(found.arrangements, key=lambda a: a.number)
    searched = [a.relaxation.energy for a in by_number]
    ranks = {
        "model_left_out": rank_correlation(model.left_out, searched),
        "unrelaxed_potential": rank_correlation([a.relaxation.initial_energy for a in by_number], searched),
    }
    if model.features.charges is not None:
        coulomb = model.features.of(np.stack([a.occupation for a in by_number]))[:, 0]
        ranks["point_charges"] = rank_correlation(coulomb, searched)
    weights = {name: float(w) for name, w in zip(model.features.names, model.weights, strict=True)}
    return {
        "leave_one_out_meV_per_site": found.error_meV_per_site,
        "rank_correlations": {k: v for k, v in ranks.items() if np.isfinite(v)},
        "charges": None if model.features.charges is None else dict(model.features.charges),
        "weights": weights,
        "penalty": model.penalty,
        "left_out_eV": [float(e) for e in model.left_out],
    }


def _temperature(order: TemperatureOrder) -> dict[str, Any]:
    values: dict[str, Any] = {
        "temperature_K": order.temperature_K,
        "mean_energy_eV": order.mean_energy,
        "energy_error_eV": order.energy_error,
        "scale_reduction": order.scale_reduction,
        "acceptance": order.acceptance,
    }
    finite = {k: v for k, v in values.items() if np.isfinite(v)}
    return finite | {
        "warren_cowley": order.warren_cowley.tolist(),
        "warren_cowley_error": order.warren_cowley_error.tolist(),
    }
