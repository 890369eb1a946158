"""Diffusivities of walks whose answer is known: do error bars cover (D1, D3), and is refused what must be (D2).

python -m benchmarks.diffusion [--trials 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from atomsim.analysis.arrhenius import arrhenius
from atomsim.analysis.diffusion import CM2_PER_S, Diffusion, diffusion
from atomsim.units import KB
from benchmarks.walks import INTERVAL_FS, INTERVALS_FS, SOUND, UNSOUND, crystal, flowing


def measure(name: str, seed: int) -> tuple[Diffusion, float]:
    """Return what is found of one walk, and its D in cm²/s."""
    rng = np.random.default_rng([seed, *name.encode()])
    if name == "flowing":
        positions, mobile = flowing(rng)
        return diffusion([positions], INTERVAL_FS, mobile), float("nan")
    ions, d = (SOUND | UNSOUND)[name](rng)
    positions, mobile = crystal(rng, ions)
    interval_fs = INTERVALS_FS.get(name, INTERVAL_FS)
    return diffusion([positions], interval_fs, mobile), d * CM2_PER_S / interval_fs


def coverage(name: str, trials: int, seed: int) -> dict[str, float]:
    """D1: how often the truth is within one and two errors, the bias, and the share that is accepted."""
    accepted, pulls, ratios, largest = 0, [], [], Counter()
    for trial in range(trials):
        found, truth = measure(name, seed + trial)
        if found.D_cm2_per_s is None or found.error_cm2_per_s is None:
            continue
        accepted += 1
        pulls.append((found.D_cm2_per_s - truth) / found.error_cm2_per_s)
        ratios.append(found.D_cm2_per_s / truth)
        largest[max(found.errors_cm2_per_s, key=found.errors_cm2_per_s.__getitem__)] += 1
    z = np.abs(pulls)
    return {
        "accepted": accepted / trials,
        "one_sigma": float((z < 1).mean()),
        "two_sigma": float((z < 2).mean()),
        "bias_percent": 100 * (float(np.mean(ratios)) - 1),
        "bias_error_percent": 100 * float(np.std(ratios) / np.sqrt(len(ratios))),
        **{f"largest_{k}": v / max(accepted, 1) for k, v in largest.items()},
    }


def refusals(name: str, trials: int, seed: int) -> dict[str, float]:
    """D2: how many numbers come of walks that have none, and how often a bound on a known D holds."""
    numbers, bounded, reasons = 0, [], Counter()
    for trial in range(trials):
        found, truth = measure(name, seed + trial)
        numbers += found.refused is None
        reasons[(found.refused or "a number").split(":")[0].split(" hops")[0]] += 1
        if found.upper_bound_cm2_per_s is not None and np.isfinite(truth):
            bounded.append(truth <= found.upper_bound_cm2_per_s)
    bound = {"bound_holds": float(np.mean(bounded))} if bounded else {}
    return {"numbers": numbers, **bound, **{f"'{k}'": v for k, v in reasons.most_common(3)}}


def intervals(trials: int, seed: int) -> dict[str, float]:
    """D3: coverage of E_a and of D at 298 K from four diffusivities whose errors come from five blocks."""
    temperatures, energy, ln_d0 = np.array([600.0, 750.0, 900.0, 1100.0]), 0.35, np.log(1e-3)
    pulls, room = [], []
    for trial in range(trials):
        rng = np.random.default_rng([seed + trial, 99])
        truth = np.exp(ln_d0 - energy / (KB * temperatures))
        blocks = truth[:, None] * (1 + 0.3 * rng.normal(size=(4, 5)))
        d, error = blocks.mean(axis=1), 1.142 * blocks.std(axis=1, ddof=1) / np.sqrt(5)
        found = arrhenius(temperatures.tolist(), d.tolist(), error.tolist())
        pulls.append((found.activation_energy_eV - energy) / found.activation_energy_error_eV)
        value, width = found.log_diffusivity(298.0)
        room.append((value - ln_d0 + energy / (KB * 298.0)) / width)
    z, r = np.abs(pulls), np.abs(room)
    names = ("energy_one_sigma", "energy_two_sigma", "room_one_sigma", "room_two_sigma")
    return dict(
        zip(names, (float(m) for m in ((z < 1).mean(), (z < 2).mean(), (r < 1).mean(), (r < 2).mean())), strict=True)
    )


def long_run(seed: int) -> dict[str, float]:
    """P3: seconds of processor time for 10,000 frames of 124 atoms, 40 of them mobile, with all errors."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(scale=0.08, size=(10_000, 124, 3)) + 12.0 * rng.random((124, 3))
    positions[:, :40] += rng.normal(scale=0.05, size=(10_000, 40, 3)).cumsum(axis=0)
    mobile = np.arange(124) < 40
    begin = time.process_time()
    found = diffusion([positions.astype(np.float32)], INTERVAL_FS, mobile)
    return {"seconds": time.process_time() - begin, "accepted": float(found.refused is None)}


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    rows = dict.fromkeys(SOUND, ("D1", coverage)) | dict.fromkeys((*UNSOUND, "flowing"), ("D2", refusals))
    for name, (row, what) in rows.items():
        if given.only and name not in given.only:
            continue
        begin = time.process_time()
        found = what(name, given.trials, given.seed)
        text = ", ".join(f"{k} {v:.3g}" for k, v in found.items())
        print(f"{row} {name}: {text} ({time.process_time() - begin:.0f} s)", flush=True)
    if not given.only or "P3" in given.only:
        print("P3", ", ".join(f"{k} {v:.3g}" for k, v in long_run(given.seed).items()))
    if not given.only:
        print("D3", ", ".join(f"{k} {v:.3g}" for k, v in intervals(1000, given.seed).items()))


if __name__ == "__main__":
    main()
