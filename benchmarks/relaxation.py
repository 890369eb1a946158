"""Relaxations of delithiated cells against ASE: force calls, energies reached, and time.

    python -m benchmarks.relaxation --json relaxation.json

All methods see the same potential and the same starts (seeded noise of 0.02 Å) and stop at the
same test (ASE's FrechetCellFilter, fmax 0.01 eV/Å). Force calls of atomsim include those of the
hosts' Hessians and, in a row of their own, those of the check of the lowest mode. With
``--walltime N``, N of the cells are also relaxed as a user of chgnet would: CHGNetCalculator,
FrechetCellFilter and FIRE, with everything else at its defaults.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS, BFGSLineSearch
from ase.optimize.precon import Exp, PreconLBFGS

from atomsim.batch import Batch, Evaluation
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.models.ase import PotentialCalculator
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.optimize.noise import seeded_noise
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.relaxation.hosts import inherited
from atomsim.store.records import Task
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.supercells import compact_supercell, expand
from atomsim.tasks.relax import structure_of

NOISE_A = 0.02
SEED = 1
MAX_STEPS = 500


def _preconditioned(system: FrechetCellFilter, **options: Any) -> PreconLBFGS:
    return PreconLBFGS(system, precon=Exp(A=3), **options)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "FIRE": FIRE,
    "LBFGS": LBFGS,
    "BFGS": BFGS,
    "BFGSLineSearch": BFGSLineSearch,
    "PreconLBFGS": _preconditioned,
}


class Counting:
    """A potential that counts what it evaluates: line searches evaluate more often than they step."""

    def __init__(self, potential: Potential) -> None:
        """Start at zero."""
        self.potential, self.calls = potential, 0

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate."""
        self.calls += batch.n_systems
        return self.potential(batch)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the potential's."""
        return getattr(self.potential, name)


@dataclass(frozen=True)
class Result:
    """What one method did with one cell."""

    calls: int
    energy_per_atom: float
    converged: bool


def cells() -> list[Task]:
    """Delithiated Li2RuO3 (24-atom host) and LiCoO2 (16-atom host)."""
    ruthenate = load_prototype("Li2RuO3").primitive
    cobaltate = load_prototype("LiCoO2").primitive
    cobaltate, _ = expand(cobaltate, compact_supercell(cobaltate.cell.array, 4))
    tasks = []
    for name, parent, x, orderings in (
        ("Li2RuO3", ruthenate, [1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25], 8),
        ("LiCoO2", cobaltate, [0.75, 0.5, 0.25], 6),
    ):
        made = delithiate(parent, "Li", x, orderings=orderings, max_atoms=len(parent), seed=0)
        for n, ordering in enumerate(made.orderings):
            label = f"{name} x={ordering.x:g} {n}"
            tasks.append(Task(label, "", "relax", label, atoms_to_json(ordering.atoms), made.tags(ordering, name)))
    return tasks


def by_atomsim(tasks: list[Task], potential: Potential, fmax: float, *, check: bool) -> tuple[list[Result], int]:
    """Relax all cells; returns results and the calls of the hosts' Hessians."""
    settings = RelaxSettings(fmax_eV_per_A=fmax, max_steps=MAX_STEPS, check_minimum=check, noise_A=NOISE_A, seed=SEED)
    systems = [structure_of(task) for task in tasks]
    known = inherited(systems, potential, settings)
    found = dict(iter_relax(systems, potential, settings, hessians={n: k.hessian for n, k in known.items()}))
    results = [Result(r.force_calls, r.energy / len(r.atoms), r.converged) for _, r in sorted(found.items())]
    hosts = {one.host: one.hessian.force_calls for one in known.values()}
    return results, sum(hosts.values())


def by_ase(
    tasks: list[Task], calculator: Any, optimizer: Callable[..., Any], fmax: float, counting: Counting | None = None
) -> list[Result]:
    """Relax all cells with one of ASE's optimizers; what a failed line search leaves is not converged."""
    results = []
    for task in tasks:
        atoms = atoms_from_json(task.structure or {})
        atoms.positions += NOISE_A * seeded_noise(atoms, SEED, "start")  # as atomsim's own relaxations begin
        atoms.calc = calculator
        before = counting.calls if counting else 0
        run = optimizer(FrechetCellFilter(atoms), logfile=None)
        try:
            converged = bool(run.run(fmax=fmax, steps=MAX_STEPS))
        except RuntimeError:
            converged = False
        calls = counting.calls - before if counting else run.get_number_of_steps() + 1
        results.append(Result(calls, atoms.get_potential_energy() / len(atoms), converged))
    return results


def compare(tasks: list[Task], potential: Potential, fmax: float, peers: list[str]) -> dict:
    """Run all methods and count."""
    counting = Counting(potential)
    calculator = PotentialCalculator(counting)
    ours, host_calls = by_atomsim(tasks, potential, fmax, check=False)
    checked, _ = by_atomsim(tasks, potential, fmax, check=True)
    print(f"  atomsim done: {sum(r.calls for r in ours)} calls and {host_calls} for hosts", flush=True)
    methods = {"atomsim": ours, "atomsim, lowest mode checked": checked}
    for name in peers:
        methods[f"ASE {name}"] = by_ase(tasks, calculator, OPTIMIZERS[name], fmax, counting)
        print(f"  {name} done: {sum(r.calls for r in methods[f'ASE {name}'])} calls", flush=True)
    best = np.min([[r.energy_per_atom for r in results] for results in methods.values()], axis=0)
    table = {}
    for name, results in methods.items():
        calls = sum(r.calls for r in results) + (host_calls if name.startswith("atomsim") else 0)
        above = np.array([r.energy_per_atom for r in results]) - best
        table[name] = {
            "calls": calls,
            "median": float(np.median([r.calls for r in results])),
            "unconverged": sum(not r.converged for r in results),
            "above_best_by_1_meV_per_atom": int((above > 1e-3).sum()),
            "mean_above_best_meV_per_atom": round(1e3 * float(above.mean()), 2),
        }
    return {"cells": len(tasks), "fmax_eV_per_A": fmax, "host_hessian_calls": host_calls, "methods": table}


def walltime(tasks: list[Task], potential: Potential, fmax: float) -> dict:
    """Time atomsim and chgnet's own calculator with ASE's defaults on the same cells, one thread each."""
    from chgnet.model.dynamics import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):
        calculator = CHGNetCalculator(use_device="cpu")
    start = time.process_time()
    by_atomsim(tasks, potential, fmax, check=True)
    ours = time.process_time() - start
    start = time.process_time()
    by_ase(tasks, calculator, FIRE, fmax)
    theirs = time.process_time() - start
    return {"cells": len(tasks), "atomsim_cpu_s": round(ours, 1), "ase_cpu_s": round(theirs, 1), "ratio": theirs / ours}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--fmax", type=float, default=0.01)
    parser.add_argument("--peers", nargs="*", default=["FIRE", "BFGS"], choices=OPTIMIZERS)
    parser.add_argument("--every", type=int, default=1, help="take every N-th cell")
    parser.add_argument("--walltime", type=int, default=0, help="cells to time against CHGNetCalculator")
    parser.add_argument("--json", help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    potential = load_potential(options.potential, device="cpu")
    tasks = cells()[:: options.every]
    figures = {"relaxations": compare(tasks, potential, options.fmax, options.peers)}
    for name, row in figures["relaxations"]["methods"].items():
        print(f"{name:30s}" + "".join(f"{key} {value}  " for key, value in row.items()), flush=True)
    if options.walltime:
        chosen = tasks[:: max(1, len(tasks) // options.walltime)][: options.walltime]
        figures["walltime"] = walltime(chosen, potential, options.fmax)
        print(figures["walltime"])
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
