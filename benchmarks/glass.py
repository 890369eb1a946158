"""Glasses: verdicts on what is none (G2), time of a verdict (P3); densities, units and errors of a run (G1, G3, G4).

python -m benchmarks.glass [--run runs/li2ruo3-li2so4-glass [--teacher chgnet-0.3.0]]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms

from atomsim.amorphous.composition import composition
from atomsim.amorphous.starts import Start, make_start
from atomsim.amorphous.verdict import Known, Moving, judge
from atomsim.analysis.agreement import label_errors
from atomsim.batching.labels import label
from atomsim.models.load import load_potential
from atomsim.store.artifacts import open_artifact
from atomsim.store.run_folder import read_run
from atomsim.structures.prototypes import load_prototype
from atomsim.units import PER_G_CM3

FORMULA = "Li2Ru0.8S0.2O3.2"
SEEDS = (1, 2, 3, 4)


def glass(seed: int) -> Atoms:
    """Return packed rigid units: disordered, whole and mixed."""
    return make_start(composition(FORMULA, 124), Start("units"), seed)


def crystal(seed: int) -> Atoms:
    """Return a supercell of a crystal."""
    names = ("Li2RuO3", "Li2SO4", "Li2O", "RuO2")
    repeats = ((2, 2, 1), (2, 2, 1), (3, 3, 3), (3, 3, 3))
    return load_prototype(names[seed - 1]).atoms * repeats[seed - 1]


def noisy(seed: int) -> Atoms:
    """Return a disordered rocksalt with displacements of 0.06 to 0.24 Å."""
    found = make_start(composition("Li2RuO3", 108), Start("rocksalt"), seed)
    found.positions += np.random.default_rng(seed).normal(0.0, 0.06 * seed, found.positions.shape)
    return found


def separated(seed: int) -> Atoms:
    """Return a glass of oxide and one of sulfate, cubes of one edge upon each other."""
    salt = composition("Li2SO4", 84)
    lower = make_start(composition("Li2RuO3", 96), Start("atoms"), seed)
    edge = lower.cell[0, 0]
    upper = make_start(salt, Start(density_g_per_cm3=salt.mass / edge**3 / PER_G_CM3), seed)
    upper.positions[:, 2] += edge
    both = lower + upper
    both.set_cell([edge, edge, 2 * edge])
    return both


def sulfite(seed: int) -> Atoms:
    """Return a glass with one oxygen of a sulfate taken away."""
    found = glass(seed)
    sulfur = next(a.index for a in found if a.symbol == "S")
    oxygens = [a.index for a in found if a.symbol == "O"]
    oxygen = min(oxygens, key=lambda k: found.get_distance(sulfur, k, mic=True))
    found.positions[oxygen] += 2.5 / 1.48 * found.get_distance(sulfur, oxygen, mic=True, vector=True)
    return found


def dioxygen(seed: int) -> Atoms:
    """Return a glass with an O2 in it."""
    found = glass(seed)
    one, other = [a.index for a in found if a.symbol == "O"][-2:]
    found.positions[other] = found.positions[one] + [1.25, 0.0, 0.0]
    return found


KINDS: dict[str, Callable[[int], Atoms]] = {
    "crystal": crystal,
    "noise on a crystal": noisy,
    "phase-separated": separated,
    "broken unit": sulfite,
    "O2": dioxygen,
}


def verdicts() -> None:
    """Print G2: flags on 20 structures that are no glass, and on four that are."""
    false = 0
    for flag, make in KINDS.items():
        found = [judge(make(seed)) for seed in SEEDS]
        false += sum(v.verdict == "glass" for v in found)
        print(f"G2 {flag}: own flag on {sum(flag in v.flags for v in found)} of {len(SEEDS)}", flush=True)
    print(f"G2 called a glass: {false} of {len(KINDS) * len(SEEDS)}")
    print(f"G2 packed units called a glass: {sum(judge(glass(s)).verdict == 'glass' for s in SEEDS)} of {len(SEEDS)}")


def speed(frames: int = 10_000) -> None:
    """Print P3: processor time of a verdict with a trajectory."""
    atoms, rng = glass(1), np.random.default_rng(0)
    positions = atoms.positions + rng.normal(0, 0.1, (frames, len(atoms), 3))
    moving = Moving(positions, np.repeat(atoms.cell.array[None], frames, axis=0))
    begin = time.process_time()
    judge(atoms, Known(moving=moving))
    print(f"P3 {frames} frames of {len(atoms)} atoms: {time.process_time() - begin:.1f} s of processor time")


def of_run(folder: Path) -> None:
    """Print G1 and G3 of a run's verdicts."""
    steps = read_run(folder)[1].values()
    for record in (r for step in steps for r in step if r.kind == "glass" and "verdict" in r.values):
        v = record.values
        keys = (
            "density_g_per_cm3", "density_ratio", "above_crystals_eV_per_atom", "SO4_whole", "SO4_total",
            "oo_shortest_A", "S_coordination", "Ru_coordination", "halo_fwhm_deg", "halo_resolution_deg", "bragg_peak",
            "framework_msd_A2",
        )  # fmt: skip
        print(record.label, v["verdict"], v["flags"], {k: round(v[k], 3) for k in keys if v.get(k) is not None})


def errors(folder: Path, teacher: str, frames: int) -> None:
    """Print G4: errors of a run's potential against a teacher on frames of its own quench and anneal."""
    info, steps = read_run(folder)
    potentials = [load_potential(name, "cpu") for name in (info["potential"]["name"], teacher)]
    found: list[Atoms] = []
    for record in (r for step in steps.values() for r in step if r.kind == "amorphize" and r.good):
        trajectory = open_artifact(folder, record, "trajectory")
        about, every = trajectory.about, list(trajectory)
        moved = [f for f in every if not np.array_equal(f["cell"], every[0]["cell"])]  # the melt has a fixed cell
        own = [moved[n] for n in np.linspace(0, len(moved) - 1, frames).round().astype(int)]
        found += [Atoms(about["numbers"], f["positions"], cell=f["cell"], pbc=True) for f in own]
    ours, theirs = (label(found, p) for p in potentials)
    values = ", ".join(f"{k} {v:.3g}" for k, v in label_errors(ours, theirs).items())
    print(f"G4 {len(found)} NPT frames: {values}")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--teacher")
    parser.add_argument("--frames", type=int, default=8, help="of each glass")
    chosen = parser.parse_args()
    if chosen.run is not None:
        of_run(chosen.run)
        if chosen.teacher is not None:
            errors(chosen.run, chosen.teacher, chosen.frames)
        return
    verdicts()
    speed()


if __name__ == "__main__":
    main()
