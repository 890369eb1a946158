"""Relaxations of large cells: time outside the potential, memory, force calls, and time against ASE.

    python -m benchmarks.large_cells --atoms 96 384 864
    python -m benchmarks.large_cells --atoms 384 864 --peers

Supercells of Li2RuO3, 1 % too large and with 0.1 Å of noise, relaxed with their cell to 0.05 eV/Å by the student, and
their minimum checked. Times are processor time of this one thread, so that a machine shared with others tells the same.
Every size runs in a process of its own for its peak of memory. ``--dense`` takes the way of small cells for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

import atomsim.optimize.sparse
from atomsim.batch import Batch, Evaluation
from atomsim.models.ase import PotentialCalculator
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.prototypes import load_prototype

REPEATS = {
    48: (2, 1, 1), 96: (2, 2, 1), 192: (2, 2, 2), 384: (4, 2, 2), 864: (6, 3, 2), 2016: (7, 4, 3)
}  # fmt: skip
FMAX = 0.05
MAX_STEPS = 500


class Timed:
    """A potential that counts its calls and their processor time."""

    def __init__(self, potential: Potential) -> None:
        """Start at zero."""
        self.potential, self.calls, self.seconds = potential, 0, 0.0

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate."""
        started = time.process_time()
        evaluation = self.potential(batch)
        self.seconds, self.calls = self.seconds + time.process_time() - started, self.calls + batch.n_systems
        return evaluation

    def __getattr__(self, name: str) -> Any:
        """Everything else is the potential's."""
        return getattr(self.potential, name)


def supercell(n_atoms: int) -> Atoms:
    """Li2RuO3 with noise, 1 % too large."""
    atoms = load_prototype("Li2RuO3").primitive.repeat(REPEATS[n_atoms])
    atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    atoms.positions += 0.1 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    return atoms


def ours(atoms: Atoms, potential: Timed, steps: int, *, check: bool = True) -> dict:
    """Relax, and check the minimum or not."""
    started = time.process_time()
    ((_, found),) = iter_relax(
        [atoms], potential, RelaxSettings(fmax_eV_per_A=FMAX, max_steps=steps, check_minimum=check)
    )
    whole = time.process_time() - started
    return {
        "status": found.status,
        "message": found.message,
        "steps": found.steps,
        "energy_eV": found.energy,
        "lowest_curvature": found.lowest_curvature,
        **figures(potential, whole),
    }


def ase_lbfgs(atoms: Atoms, potential: Timed, steps: int) -> dict:
    """Relax by ASE's LBFGS with a FrechetCellFilter, which does not look whether it is a minimum."""
    atoms.calc = PotentialCalculator(potential)
    started = time.process_time()
    run = LBFGS(FrechetCellFilter(atoms), logfile=None)
    converged = bool(run.run(fmax=FMAX, steps=steps))
    whole = time.process_time() - started
    status = "converged" if converged else "max_steps"
    return {"status": status, "energy_eV": float(atoms.get_potential_energy()), **figures(potential, whole)}


def figures(potential: Timed, whole: float) -> dict:
    """Calls, times and memory."""
    return {
        "calls": potential.calls,
        "cpu_s": round(whole, 2),
        "outside_share": round(1 - potential.seconds / whole, 3),
        "call_s": round(potential.seconds / potential.calls, 4),
        "peak_GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "load": round(os.getloadavg()[0], 1),
    }


def one(options: argparse.Namespace) -> None:
    """Run one size in one way and print it as JSON."""
    torch.set_num_threads(1)
    if options.dense:
        atomsim.optimize.sparse.LARGE = 1_000_000
    potential = Timed(load_potential(options.potential, device="cpu"))
    potential(Batch.pack([load_prototype("Li2RuO3").primitive]))  # what is built at the first call
    potential.calls, potential.seconds = 0, 0.0
    how = ase_lbfgs if options.one == "ase" else partial(ours, check=options.one != "unchecked")
    print(json.dumps(how(supercell(options.atoms[0]), potential, options.steps)))


def main() -> None:
    """Run all sizes, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--potential", default="mace-li-ru-s-o")
    parser.add_argument("--atoms", type=int, nargs="+", default=[96, 384, 864], choices=sorted(REPEATS))
    parser.add_argument("--steps", type=int, default=MAX_STEPS)
    parser.add_argument("--dense", action="store_true", help="the way of small cells, whatever the size")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="ASE's LBFGS too, and atomsim without the check of the minimum, as ASE has none",
    )
    parser.add_argument("--one", choices=["atomsim", "unchecked", "ase"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options)
        return
    for atoms in options.atoms:
        for way in ["atomsim", "unchecked", "ase"] if options.peers else ["atomsim"]:
            command = [sys.executable, "-m", "benchmarks.large_cells", "--one", way, "--atoms", str(atoms)]
            command += ["--steps", str(options.steps), "--potential", options.potential]
            command += ["--dense"] if options.dense else []
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            print(f"{atoms} {way}: {output.strip().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main()
