"""Potentials judged by what others know: barriers of the literature, measured lattices and voltages.

    python -m benchmarks.truth run --work truth --potentials chgnet-0.3.0 chgnet-r2scan [--minutes 20]
    python -m benchmarks.truth table truth

Every host and potential is a line of JSON in ``truth/rows.jsonl``; started again, it continues with those that are
missing, so that one folder can be filled from two environments. A barrier is compared as
``data/literature_barriers.csv`` says.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from pathlib import Path
from typing import Any

import torch

import atomsim
from atomsim.execution.machine import tune_process
from atomsim.structures.prototypes import load_prototype
from benchmarks.truth_table import literature, tables

LATTICES = (
    *("LiCoO2", "LiMnO2", "LiMn2O4", "NaCoO2", "NaMnO2", "Li2MnO3", "Li2RuO3", "Na3RuO4"),
    *("Li3PO4", "Li3PS4", "Li2O", "Li2S", "Li2SO4", "RuO2", "CoO", "NiO"),
)
"""Prototypes with a measured lattice."""
VOLTAGES = {"LiCoO2": "Li", "LiMn2O4": "Li", "TiS2": "Li"}
"""Hosts with a measured average voltage, and their ion."""
SIZE: dict[str, Any] = {"supercell_min_A": 7.5, "max_atoms": 64}
LENGTH_A = {"LiMn2O4": 3.8, "Mo6S8": 2.2, "TiS2": 2.6, "Li3PS4": 4.0, "Li2MnO3": 3.2}
"""Longest hops that are wanted, Å; 3.3 elsewhere."""


def barriers(host: str, ion: str, potential: str) -> dict[str, Any]:
    """Every hop of an ion in a host."""
    paths = {row["rule"] for row in literature() if (row["host"], row["ion"]) == (host, ion)}
    found = atomsim.migration(
        host,
        ion,
        potential,
        max_length_A=LENGTH_A.get(host, 3.3),
        interstitials="through" in paths,
        divacancies="divacancy" in paths,
        device="cpu",
        progress=False,
        **SIZE,
    )
    hops = [
        {
            "hop": path.label,
            "mechanism": path.tags["mechanism"],
            "from": path.tags["from"],
            "to": path.tags["to"],
            "length_A": path.tags["length_A"],
            "status": path.status,
            "barrier_eV": path.barrier_eV,
            "reverse_barrier_eV": path.reverse_barrier_eV,
        }
        for path in found.hops
    ]
    thresholds = {str(d): e for d, e in found.percolation.threshold_eV.items()}
    about = {"status": found.status, "message": found.message[:300], "kinds": kinds(found), "thresholds_eV": thresholds}
    return {"hops": hops, "evaluations": found.evaluations, **about}


def kinds(found: Any) -> dict[str, dict[str, Any]]:
    """Number of sites of each kind in the primitive cell and of metal atoms within 3.2 Å: names Wyckoff sites."""
    import numpy as np

    if not found.records:
        return {}
    atoms, seen = found.atoms, {}
    metals = [n for n, s in enumerate(atoms.symbols) if s in ("Mn", "Co", "Ru", "Ti", "Mo")]
    for site in found.records[0].tags["sites"]:
        name, place = site["name"], np.array(site["fractional"]) @ atoms.cell.array
        probe = atoms.copy()
        probe.append("X")
        probe.positions[-1] = place
        near = probe.get_all_distances(mic=False)[-1][:-1] if not metals else None
        count = 0 if near is not None else _within(probe, metals, 3.2)
        entry = seen.setdefault(name, {"sites": 0, "metals": count})
        entry["sites"] += 1
    return seen


def _within(probe: Any, metals: list[int], cutoff: float) -> int:
    """Metal atoms, images counted, within a distance of the last atom."""
    from ase.neighborlist import neighbor_list

    i, j = neighbor_list("ij", probe, cutoff)
    return int(sum(1 for a, b in zip(i, j, strict=True) if a == len(probe) - 1 and b in metals))


def lattice(host: str, potential: str) -> dict[str, Any]:
    """Volume and axes of the relaxed crystal against the measured ones, as fractions."""
    from atomsim.structures.setting import standard_setting

    measured = standard_setting(load_prototype(host).primitive)
    found = atomsim.relax(host, potential, fmax_eV_per_A=0.02, standard_cell=True, device="cpu", progress=False)
    lengths = found.atoms.cell.lengths() / measured.cell.lengths() - 1
    volume = found.atoms.cell.volume / measured.cell.volume - 1
    return {"status": found.status, "volume": float(volume), "lengths": [float(x) for x in lengths]}


def voltage(host: str, ion: str, potential: str) -> dict[str, Any]:
    """Average voltage between the full and the empty host."""
    options: dict[str, Any] = {"fmax_eV_per_A": 0.02, "noise_A": 0.02, "device": "cpu", "progress": False}
    if host == "TiS2":
        full = load_prototype(host).primitive
        full.append(ion)
        full.positions[-1] = full.cell.array.T @ (0.0, 0.0, 0.5)
        pair = [full, load_prototype(host).primitive]
        pair[0].info["name"], pair[1].info["name"] = "full", "empty"
        relaxed = atomsim.relax(pair, potential, **options)
    else:
        most = 1.0
        relaxed = atomsim.relax(atomsim.delithiate(host, [most, 0.0], max_atoms=16), potential, **options)
    found = atomsim.electrode(relaxed, potential=potential)
    return {"status": found.status, "voltage_V": found.average_voltage_V if found.voltages else None}


def jobs(hosts: list[str], parts: list[str]) -> list[tuple[str, str, str]]:
    """Parts, hosts and ions, cheapest first."""
    wanted: list[tuple[str, str, str]] = []
    if "lattice" in parts:
        wanted += [("lattice", host, "") for host in LATTICES]
    if "voltage" in parts:
        wanted += [("voltage", host, ion) for host, ion in VOLTAGES.items()]
    if "barriers" in parts:
        wanted += [("barriers", *pair) for pair in dict.fromkeys((r["host"], r["ion"]) for r in literature())]
    return [job for job in wanted if not hosts or job[1] in hosts]


def run(chosen: argparse.Namespace) -> None:
    """Compute what is missing, until the time is over."""
    rows, end = chosen.work / "rows.jsonl", time.monotonic() + 60 * chosen.minutes
    chosen.work.mkdir(parents=True, exist_ok=True)
    done = {(r["part"], r["host"], r["ion"], r["potential"]) for r in read(rows)}
    for part, host, ion in jobs(chosen.hosts, chosen.parts):
        for potential in chosen.potentials:
            if (part, host, ion, potential) in done or time.monotonic() > end:
                continue
            start = time.process_time()
            try:
                if part == "lattice":
                    found = lattice(host, potential)
                else:
                    found = (voltage if part == "voltage" else barriers)(host, ion, potential)
            except Exception as error:  # one host must not cost the others
                traceback.print_exc()
                found = {"status": "failed", "message": f"{type(error).__name__}: {error}"}
            about = {"part": part, "host": host, "ion": ion, "potential": potential}
            seconds = round(time.process_time() - start, 1)
            with rows.open("a") as file:
                file.write(json.dumps(about | found | {"seconds": seconds}) + "\n")
            print(f"{part} {host} {ion} {potential}: {found['status']}, {seconds} s", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """Rows that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def main() -> None:
    """Run, or print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    computing, printing = verbs.add_parser("run"), verbs.add_parser("table")
    computing.add_argument("--work", type=Path, default=Path("truth"))
    computing.add_argument("--potentials", nargs="+", default=["chgnet-0.3.0", "chgnet-r2scan", "mace-mp-0-small"])
    computing.add_argument("--hosts", nargs="*", default=[])
    computing.add_argument("--parts", nargs="+", default=["lattice", "voltage", "barriers"])
    computing.add_argument("--minutes", type=float, default=20.0)
    printing.add_argument("work", type=Path)
    chosen = parser.parse_args()
    if chosen.verb == "table":
        print(tables(read(chosen.work / "rows.jsonl")))
        return
    torch.set_num_threads(1)
    tune_process()
    run(chosen)


if __name__ == "__main__":
    main()
