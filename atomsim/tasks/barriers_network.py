"""What the hops of a host amount to: percolation, and the diffusivity of a lone carrier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atomsim.analysis.kinetics import Jump, activation_energy, exact_diffusivity, simulated_diffusivity
from atomsim.mep.rates import DEFAULT_PREFACTOR
from atomsim.records import Record
from atomsim.structures.network import Edge, percolation

ROOM_K = 300.0
KMC_STEPS = 1000


def host_summaries(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return what is known of each host's network, in the order of the records."""
    hosts: dict[str, list[Record]] = {}
    for record in records:
        if "host" in record.tags:
            hosts.setdefault(record.tags["host"], []).append(record)
    return [summary(host, found) for host, found in hosts.items()]


def summary(host: str, records: Sequence[Record]) -> dict[str, Any]:
    """Percolation and diffusivity of one host from the records of its hops."""
    good = [r for r in records if r.good and r.tags["copies"]]
    sites = records[0].tags["sites"]
    found: dict[str, Any] = {
        "host": host,
        "ion": records[0].tags["ion"],
        "x": records[0].tags.get("x"),
        "hops": len(records),
        "good": sum(r.good for r in records),
        "without_barrier": [r.tags["hop"] for r in records if not r.good],
        "force_calls": total_calls(records),
    }
    if not good:
        return found
    network = edges(good)
    reached = percolation(network, len(sites))
    barriers = [r.values["barrier_eV"] for r in good]
    found |= {
        "lowest_barrier_eV": min(barriers),
        "highest_barrier_eV": max(barriers),
        "dimensions": reached.dimensions,
        "threshold_1D_eV": reached.thresholds[0],
        "threshold_2D_eV": reached.thresholds[1],
        "threshold_3D_eV": reached.thresholds[2],
    }
    return found | diffusion(good, len(sites))


def total_calls(records: Sequence[Record]) -> int:
    """Force calls of all hops of a host, what they share counted once."""
    shared = [r.values["shared_force_calls"] for r in records if "shared_force_calls" in r.values]
    ends = {name: calls for entry in shared for name, calls in entry["ends"].items()}
    hessian = max((entry["hessian"] for entry in shared), default=0)
    return sum(r.values.get("force_calls", 0) for r in records) + sum(ends.values()) + hessian


def edges(records: Sequence[Record]) -> list[Edge]:
    """All copies of the hops, each with its saddle's energy over the lowest end of all, eV."""
    energies = [_energies(r) for r in records]
    floor = min(min(start, end) for start, _, end in energies)
    return [
        Edge(copy[0], copy[1], (copy[2], copy[3], copy[4]), saddle - floor)
        for record, (_, saddle, _) in zip(records, energies, strict=True)
        for copy in record.tags["copies"]
    ]


def _energies(record: Record) -> tuple[float, float, float]:
    start = record.values["start_energy_eV"]
    return start, start + record.values["barrier_eV"], start + record.values["reaction_energy_eV"]


def jumps(records: Sequence[Record]) -> list[Jump]:
    """Both directions of every hop, as its lone carrier makes them: the ion, or the vacancy the other way."""
    cell = np.array(records[0].tags["cell_A"])
    sites = np.array([s["fractional"] for s in records[0].tags["sites"]])
    found = []
    for record in records:
        values, vacancy = record.values, record.tags["mechanism"] == "vacancy"
        attempt = values.get("prefactor_Hz", DEFAULT_PREFACTOR)
        # detailed balance: both directions pass one saddle with one prefactor
        for start, end, *jimage in record.tags["copies"]:
            step = (sites[end] + np.array(jimage) - sites[start]) @ cell
            forward, backward = values["barrier_eV"], values["reverse_barrier_eV"]
            if vacancy:
                start, end, step = end, start, -step
            found.append(Jump(int(start), int(end), _vector(step), forward, attempt))
            found.append(Jump(int(end), int(start), _vector(-step), backward, attempt))
    return found


def _vector(step: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(c) for c in step)
    return x, y, z


def diffusion(records: Sequence[Record], n_sites: int) -> dict[str, Any]:
    """Diffusivity of a lone carrier at 300 K: exact, and by kinetic Monte Carlo as a check."""
    mechanisms = {r.tags["mechanism"] for r in records}
    if mechanisms not in ({"vacancy"}, {"interstitial"}):
        return {
            "diffusion_of": None,
            "why_no_diffusivity": "hops between empty and occupied sites have no lone carrier",
        }
    network = jumps(records)
    exact = exact_diffusivity(network, n_sites, ROOM_K)
    sampled = simulated_diffusivity(network, n_sites, ROOM_K, steps=KMC_STEPS)
    found: dict[str, Any] = {
        "diffusion_of": mechanisms.pop(),
        "diffusivity_300K_cm2_per_s": exact.mean,
        "principal_300K_cm2_per_s": [max(float(d), 0.0) for d in exact.principal],
        "kmc_300K_cm2_per_s": sampled.mean,
        "kmc_error_cm2_per_s": sampled.error,
    }
    if exact.mean > 0:
        found["activation_energy_eV"] = activation_energy(network, n_sites, ROOM_K)
    return found
