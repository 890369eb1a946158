"""Percolation and tracer diffusivity from the hops of a host, mechanism by mechanism."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atomsim.hopping.kinetics import Jump, activation_energy, exact_diffusivity, simulated_diffusivity
from atomsim.hopping.percolation import Edge, percolation
from atomsim.mep.rates import DEFAULT_PREFACTOR
from atomsim.store.records import Record, total_calls
from atomsim.units import ROOM_K

KMC_STEPS = 1000
KMC_ERRORS = 5.0
"""Kinetic Monte Carlo further from the exact answer than this many standard errors has not seen the whole network."""
OF_HOST = ("max_length_A", "space_group", "space_group_before", "image_distance_A", "supercell_min_A")
"""Tags that all hops of a host share."""
LONE_CARRIERS = ("vacancy", "interstitial")
"""Mechanisms by which one defect goes all the way; of the others each hop makes or ends a pair of defects."""


def host_summaries(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return what is known of each host's networks, in the order of the records."""
    hosts: dict[str, list[Record]] = {}
    for record in records:
        if "host" in record.tags:
            hosts.setdefault(record.tags["host"], []).append(record)
    return [summary(host, found) for host, found in hosts.items()]


def summary(host: str, records: Sequence[Record]) -> dict[str, Any]:
    """Percolation and diffusivity of one host from the records of its hops.

    ``networks`` has one entry for each mechanism: their energies are those of different numbers of
    atoms. Thresholds of the host are the lowest of them, its diffusivity the largest.
    """
    found: dict[str, Any] = {
        "host": host,
        "ion": records[0].tags["ion"],
        "x": records[0].tags.get("x"),
        "hops": len(records),
        "good": sum(r.good for r in records),
        "without_barrier": [r.tags["hop"] for r in records if not r.good],
        "force_calls": total_calls(records),
    }
    found |= {key: records[0].tags[key] for key in OF_HOST if key in records[0].tags}
    linked = [r for r in records if r.tags["copies"]]
    mechanisms = dict.fromkeys(r.tags["mechanism"] for r in linked)
    networks = [network(m, [r for r in linked if r.tags["mechanism"] == m]) for m in mechanisms]
    return found | {"networks": networks} | _easiest(networks)


def network(mechanism: str, records: Sequence[Record]) -> dict[str, Any]:
    """Percolation and diffusivity by one mechanism."""
    good, tags = [r for r in records if r.good], records[0].tags
    found: dict[str, Any] = {"mechanism": mechanism, "network_hops": len(records), "missing": len(records) - len(good)}
    found["left_out"] = sum(mechanism in (entry[2:] or [mechanism]) for entry in tags.get("left_out", []))
    found |= {"max_length_A": tags["max_length_A"]} if "max_length_A" in tags else {}
    found |= {"most_dimensions": tags["most_dimensions"][mechanism]} if "most_dimensions" in tags else {}
    if not good:
        return found
    n_sites = len(records[0].tags["sites"])
    reached = percolation(hop_edges(good), n_sites)
    barriers = [r.values["barrier_eV"] for r in good]
    found |= {"lowest_barrier_eV": min(barriers), "highest_barrier_eV": max(barriers), "dimensions": reached.dimensions}
    found |= {f"threshold_{d}D_eV": reached.thresholds[d - 1] for d in (1, 2, 3)}
    if mechanism not in LONE_CARRIERS:
        why = "hops between empty and occupied sites have no lone carrier"
        return found | {"diffusion_of": None, "why_no_diffusivity": why}
    if reached.dimensions == 0 and missing_hops(found) and found.get("most_dimensions", 3) > 0:
        return found | {"diffusion_of": None, "why_no_diffusivity": missing_hops(found)}
    return found | {"diffusion_of": mechanism} | diffusion(good, n_sites, reached.dimensions)


def _easiest(networks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The lowest thresholds and the largest diffusivity; a way that no lone carrier goes counts for want of others."""
    chosen = [n for n in networks if n["mechanism"] in LONE_CARRIERS] or networks
    found: dict[str, Any] = {key: sum(n[key] for n in chosen) for key in ("network_hops", "missing", "left_out")}
    found["most_dimensions"] = max(n.get("most_dimensions", 3) for n in chosen) if chosen else 3
    known = [n for n in networks if "dimensions" in n]
    if not known:
        return found
    found["lowest_barrier_eV"] = min(n["lowest_barrier_eV"] for n in known)
    found["highest_barrier_eV"] = max(n["highest_barrier_eV"] for n in known)
    chosen = [n for n in chosen if n in known]
    if not chosen:
        return found
    found["dimensions"] = max(n["dimensions"] for n in chosen)
    for key in ("threshold_1D_eV", "threshold_2D_eV", "threshold_3D_eV"):
        found[key] = min((n[key] for n in chosen if n[key] is not None), default=None)
    fastest = max(chosen, key=lambda n: n.get("diffusivity_300K_cm2_per_s", -1.0))
    return found | {key: value for key, value in fastest.items() if key not in found and key != "mechanism"}


def changed_symmetry(known: Mapping[str, Any]) -> str:
    """Say that the hops of a host, known by its tags or summary, are those of another space group than it came with."""
    if "space_group_before" not in known:
        return ""
    before, after = known["space_group_before"], known["space_group"]
    return f"relaxed from {before} to {after}: hops are those of the relaxed host"


def missing_hops(found: Mapping[str, Any]) -> str:
    """Say how many hops of a network, or of all of a host, are unknown or were left out; empty if none."""
    missing, hops, left_out = found["missing"], found["network_hops"], found.get("left_out", 0)
    parts = [f"{missing} of {hops} hops {'has' if missing == 1 else 'have'} no barrier"] if missing else []
    if left_out:
        further = f"{left_out} further hop{' was' if left_out == 1 else 's were'} not computed"
        parts.append(further)
    return " and ".join(parts)


def format_threshold(found: Mapping[str, Any], dimensions: int) -> str:
    """Say what is known of a threshold; a hop without a barrier might have been the easier way."""
    threshold, missing = found.get(f"threshold_{dimensions}D_eV"), missing_hops(found)
    if threshold is None:
        if missing and found.get("most_dimensions", 3) >= dimensions:
            return f"unknown: {missing}"
        return "not reached" + (f" with hops up to {found['max_length_A']:g} Å" if "max_length_A" in found else "")
    return f"{threshold:.3f} eV" + (f" (upper bound: {missing})" if missing else "")


def equivalent_ends(tags: Mapping[str, Any]) -> bool:
    """True if the host's symmetry makes both ends of a hop alike, so that they must have one energy."""
    alike = "from" in tags and tags["from"] == tags["to"] and tags["mechanism"] in LONE_CARRIERS
    return alike or bool(tags.get("reversible", False))


def state_energies(record: Record) -> tuple[float, float, float]:
    """Energies of start, saddle and end, eV; one energy for ends that the host's symmetry makes alike."""
    start, change = record.values["start_energy_eV"], record.values["reaction_energy_eV"]
    saddle = start + record.values["barrier_eV"]
    if equivalent_ends(record.tags):  # the supercell may break that symmetry
        return start + change / 2, saddle, start + change / 2
    return start, saddle, start + change


def hop_edges(records: Sequence[Record]) -> list[Edge]:
    """All copies of the hops of one mechanism, each with its saddle's energy over the lowest end of all, eV."""
    energies = [state_energies(r) for r in records]
    floor = min(min(start, end) for start, _, end in energies)
    return [
        Edge(copy[0], copy[1], (copy[2], copy[3], copy[4]), saddle - floor)
        for record, (_, saddle, _) in zip(records, energies, strict=True)
        for copy in record.tags["copies"]
    ]


def site_energies(records: Sequence[Record], n_sites: int) -> list[float]:
    """Energy of a lone carrier on each site, eV over the lowest: the mean of the ends there; NaN where none is."""
    seen: list[list[float]] = [[] for _ in range(n_sites)]
    for record in records:
        start, _, end = state_energies(record)
        if record.tags["mechanism"] == "vacancy":  # it is where the ion is not
            start, end = end, start
        for copy in record.tags["copies"]:
            seen[copy[0]].append(start)
            seen[copy[1]].append(end)
    floor = min(min(found) for found in seen if found)
    return [float(np.mean(found)) - floor if found else float("nan") for found in seen]


def jumps(records: Sequence[Record], energies: Sequence[float]) -> list[Jump]:
    """Both directions of every hop, as its lone carrier makes them: the ion, or the vacancy the other way."""
    cell = np.array(records[0].tags["cell_A"])
    sites = np.array([s["fractional"] for s in records[0].tags["sites"]])
    found = []
    for record in records:
        start_energy, saddle, end_energy = state_energies(record)
        # over the mean of its ends: detailed balance then holds for any energies of the sites
        middle = saddle - (start_energy + end_energy) / 2
        attempt = record.values.get("prefactor_Hz", DEFAULT_PREFACTOR)
        for start, end, *jimage in record.tags["copies"]:
            step = (sites[end] + np.array(jimage) - sites[start]) @ cell
            if record.tags["mechanism"] == "vacancy":
                start, end, step = end, start, -step
            half = (energies[end] - energies[start]) / 2
            found.append(Jump(int(start), int(end), _vector(step), middle + half, attempt))
            found.append(Jump(int(end), int(start), _vector(-step), middle - half, attempt))
    return found


def _vector(step: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(c) for c in step)
    return x, y, z


def diffusion(records: Sequence[Record], n_sites: int, dimensions: int) -> dict[str, Any]:
    """Diffusivity of a lone carrier at 300 K: exact, and by kinetic Monte Carlo as a check where that gets through."""
    if dimensions == 0:
        why = "the network does not percolate: a carrier stays where it is"
        return {"diffusivity_300K_cm2_per_s": 0.0, "principal_300K_cm2_per_s": [0.0] * 3, "why_no_diffusivity": why}
    energies = site_energies(records, n_sites)
    made = jumps(records, energies)
    exact = exact_diffusivity(made, energies, ROOM_K)
    sampled = simulated_diffusivity(made, energies, ROOM_K, steps=KMC_STEPS)
    found: dict[str, Any] = {
        "diffusivity_300K_cm2_per_s": exact.mean,
        "principal_300K_cm2_per_s": [max(float(d), 0.0) for d in exact.principal],
    }
    if sampled.error and abs(sampled.mean - exact.mean) <= KMC_ERRORS * sampled.error:
        found |= {"kmc_300K_cm2_per_s": sampled.mean, "kmc_error_cm2_per_s": sampled.error}
    else:
        found["why_no_kmc"] = "walkers stay trapped"
    if exact.mean > 0:
        found["activation_energy_eV"] = activation_energy(made, energies, ROOM_K)
    return found
