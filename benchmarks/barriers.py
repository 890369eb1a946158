"""Barriers of hops against ASE: force calls, barriers reached, saddles proven, and time.

    python -P benchmarks/barriers.py --hosts Li2RuO3 --hops 4 --json barriers.json

Both sides see the same potential, supercell and relaxed ends. The peer is ASE's NEB (improved tangent,
climbing image) with FIRE from the same noisy IDPP guess and to the same test (largest projected force
0.05 eV/Å); it evaluates image by image. A force call is one evaluation of one image. Those of atomsim
count its final evaluation and its proof; the host's Hessian and the ends are counted once per host. Every saddle,
the peer's too, is put to the same proof. With ``--reference``, ASE's band goes on to 0.01 eV/Å. For
all hops ASE's calls are those of one hop of each kind times its copies in the supercell, and of two ends
for each, as without symmetry.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.mep import NEB
from ase.optimize import FIRE

from atomsim.mep.barrier import Ends, band_of, find_paths, path_tangents
from atomsim.mep.curvature import prove
from atomsim.mep.legs import resolve
from atomsim.mep.survey import Survey, SurveySettings, ends_of, host_hessian, needed_ends, relax_ends, survey
from atomsim.models.ase import PotentialCalculator
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.relaxation import relax
from atomsim.structures.prototypes import load_prototype

IONS = {"Na3RuO4": "Na"}
SETTINGS = SurveySettings(max_length_A=3.4, supercell_min_A=8.0, max_atoms=60)
MAX_STEPS = 400


@dataclass(frozen=True)
class Found:
    """What one side found for one hop."""

    status: str
    barrier_eV: float
    negative_modes: int | None
    force_calls: int
    wall_s: float


def ours(ends: Ends, surface: Potential) -> Found:
    """One hop with atomsim."""
    start = time.perf_counter()
    (path,) = find_paths([ends], surface, SETTINGS.path)
    path = resolve(path, ends, surface, SETTINGS.path).path
    negative = path.proof.negative_modes if path.proof else None
    return Found(path.status, path.barrier, negative, path.force_calls, time.perf_counter() - start)


def peer(ends: Ends, surface: Potential, fmax: float) -> Found:
    """One hop with ASE's NEB and FIRE, from the guess that atomsim starts from."""
    start = time.perf_counter()
    guess = band_of(ends, SETTINGS.path, 0, torch.device("cpu")).batch.split()
    images = [ends.start.copy(), *guess, ends.end]
    for image, energy in ((images[0], ends.start_energy), (images[-1], ends.end_energy)):
        image.calc = _Known(energy, len(image))
    for image in images[1:-1]:
        image.calc = PotentialCalculator(surface)
    band = NEB(images, k=0.1, climb=True, method="improvedtangent")
    optimizer = FIRE(band, logfile=None)
    converged = optimizer.run(fmax=fmax, steps=MAX_STEPS)
    wall = time.perf_counter() - start
    energies = np.array([image.get_potential_energy() for image in images])
    top = int(energies.argmax())
    negative = None
    if 0 < top < len(images) - 1:
        tangent = path_tangents([*images], energies)[top]
        (proof,) = prove([images[top]], [tangent], [ends.moving], [ends.curvature().numpy()], surface)
        negative = proof.negative_modes
    calls = (optimizer.get_number_of_steps() + 1) * len(guess)
    barrier = float(energies.max() - energies[0])
    return Found("converged" if converged else "max_steps", barrier, negative, calls, wall)


class _Known(PotentialCalculator):
    """An end: its energy is known and its forces are not needed."""

    def __init__(self, energy: float, n_atoms: int) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.known = {"energy": energy, "free_energy": energy, "forces": np.zeros((n_atoms, 3))}

    def calculate(self, atoms=None, properties=None, system_changes=()) -> None:  # type: ignore[no-untyped-def] # noqa: ARG002
        self.atoms, self.results = atoms.copy(), dict(self.known)


def end_calls(view: Survey, surface: Potential) -> int:
    """Force calls of FIRE for one end, from the ideal sites."""
    placed = view.placed[0]
    atoms = view.cell.atoms[[*placed.kept, placed.places[0]]]
    atoms.calc = PotentialCalculator(surface)
    optimizer = FIRE(atoms, logfile=None)
    optimizer.run(fmax=SETTINGS.end_fmax_eV_per_A, steps=300)
    return optimizer.get_number_of_steps() + 1


def host_rows(name: str, n_hops: int, surface: Potential, *, reference: bool) -> dict[str, Any]:
    """All hops of a host, or the first few of them, on both sides."""
    (host,) = relax([load_prototype(name).primitive], surface, fmax_eV_per_A=0.01)
    view = survey(host.atoms, IONS.get(name, "Li"), SETTINGS)
    chosen = view.placed[:n_hops]
    start = time.perf_counter()
    hessian = host_hessian(view, surface)
    relaxed = {e.end: e for e in relax_ends(needed_ends(chosen, view.cell), view, SETTINGS, surface)}
    shared_s = time.perf_counter() - start
    rows, calls_of_end = [], None
    for placed in chosen:
        ends = ends_of(placed, view, relaxed, hessian)
        if isinstance(ends, str):
            rows.append({"hop": placed.hop.name, "problem": ends})
            continue
        calls_of_end = end_calls(view, surface) if calls_of_end is None else calls_of_end
        row: dict[str, Any] = {"hop": placed.hop.name, "multiplicity": placed.hop.multiplicity}
        row |= {"atomsim": asdict(ours(ends, surface)), "ase": asdict(peer(ends, surface, 0.05))}
        if reference:
            row["reference"] = asdict(peer(ends, surface, 0.01))
        rows.append(row)
        print(f"{name} {json.dumps(row)}", flush=True)
    shared = hessian.force_calls + sum(e.force_calls for e in relaxed.values())
    copies = view.cell.n_atoms // len(view.hops.host)
    return {"host": name, "atoms": view.cell.n_atoms, "copies": copies, "shared_calls": shared, "shared_s": shared_s,
            "ase_end_calls": calls_of_end, "rows": rows}  # fmt: skip


def totals(host: dict[str, Any]) -> dict[str, Any]:
    """Ratios of one host."""
    rows = [r for r in host["rows"] if "problem" not in r]
    mine = host["shared_calls"] + sum(r["atomsim"]["force_calls"] for r in rows)
    theirs = sum(
        host["copies"] * r["multiplicity"] * (r["ase"]["force_calls"] + 2 * host["ase_end_calls"]) for r in rows
    )
    agree = [r for r in rows if abs(r["atomsim"]["barrier_eV"] - r["ase"]["barrier_eV"]) < 0.01]
    ratios = [r["atomsim"]["force_calls"] / r["ase"]["force_calls"] for r in agree]
    return {
        "hops": len(rows),
        "proven": sum(r["atomsim"]["status"] == "converged" for r in rows),
        "wrong_saddles_reported": sum(
            r["atomsim"]["status"] == "converged" and r["atomsim"]["negative_modes"] != 1 for r in rows
        ),
        "ase_wrong_saddles": sum(r["ase"]["negative_modes"] != 1 for r in rows),
        "same_saddle": len(agree),
        "median_call_ratio_same_saddle": float(np.median(ratios)) if ratios else None,
        "calls_all_hops": mine,
        "ase_calls_all_hops": theirs,
        "fewer_calls": theirs / mine,
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", nargs="+", default=["Li2RuO3"])
    parser.add_argument("--hops", type=int, default=100, help="hops of each host")
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", action="store_true", help="take ASE's bands on to 0.01 eV/Å")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    surface = load_potential(arguments.potential, device=arguments.device)
    hosts = [host_rows(n, arguments.hops, surface, reference=arguments.reference) for n in arguments.hosts]
    for host in hosts:
        host["totals"] = totals(host)
        print(f"\n{host['host']} ({host['atoms']} atoms)")
        for key, value in host["totals"].items():
            print(f"  {key:32s} {value if not isinstance(value, float) else round(value, 3)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(hosts, indent=1))


if __name__ == "__main__":
    main()
