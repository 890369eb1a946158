"""Cation order: ground states of enumerable cells, and Monte Carlo on unrelaxed energies for as many evaluations.

python -m benchmarks.cations cells        # every arrangement of several cells relaxed, and what a search needs
python -m benchmarks.cations unrelaxed    # LRMO's metal layer: a search against annealing on unrelaxed energies
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell

from atomsim.batching.capacity import evaluate_all
from atomsim.cations.candidates import enumerate_all
from atomsim.cations.problem import OrderingProblem
from atomsim.cations.search import find_order
from atomsim.cations.settings import OrderSettings
from atomsim.execution.checkpoint import Remembering
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.monte_carlo import accept
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.prototypes import load_prototype


@dataclass(frozen=True)
class Cell:
    """A cell whose arrangements can all be relaxed."""

    name: str
    prototype: str
    matrix: tuple[tuple[int, int, int], ...]
    species: dict[str, int]

    def problem(self) -> OrderingProblem:
        """Put the species on the metals' sublattice."""
        atoms: Atoms = make_supercell(load_prototype(self.prototype).primitive, np.array(self.matrix))
        metals = np.flatnonzero(~np.isin(atoms.get_chemical_symbols(), ["Li", "O"]))
        atoms.symbols[metals] = [s for s, n in self.species.items() for _ in range(n)]
        return OrderingProblem.of(atoms, ["+".join(self.species)])


TWO_BY_FOUR, THREE_BY_THREE = ((2, 0, 0), (0, 4, 0), (0, 0, 1)), ((3, 0, 0), (0, 3, 0), (0, 0, 1))
CELLS = (
    Cell("Li8Ni2Mn2Co4O16", "LiCoO2", TWO_BY_FOUR, {"Ni": 2, "Mn": 2, "Co": 4}),
    Cell("Li8Ni2Mn3Co3O16", "LiCoO2", TWO_BY_FOUR, {"Ni": 2, "Mn": 3, "Co": 3}),
    Cell("Li8Ni3Mn3Co2O16, 2 x 2 x 2", "LiCoO2", ((2, 0, 0), (0, 2, 0), (0, 0, 2)), {"Ni": 3, "Mn": 3, "Co": 2}),
    Cell("Li9Ni2Mn3Co4O18", "LiCoO2", THREE_BY_THREE, {"Ni": 2, "Mn": 3, "Co": 4}),
    Cell("Li9Ni3Mn3Co3O18", "LiCoO2", THREE_BY_THREE, {"Ni": 3, "Mn": 3, "Co": 3}),
)


def cells(potential: Potential, chosen: Sequence[Cell]) -> None:
    """Relax every arrangement of each cell, and search the same cells with a fifth of the relaxations."""
    for cell in chosen:
        problem = cell.problem()
        everything = enumerate_all(problem, 2000)
        assert everything is not None
        how = RelaxSettings(check_minimum=False, noise_A=0.02, max_steps=300)
        systems = [problem.made(row) for row in everything.occupations]
        found = dict(iter_relax(systems, potential, how))
        energies = np.array([found[n].energy if found[n].converged else np.inf for n in range(len(systems))])
        calls = sum(r.force_calls for r in found.values())
        budget = max(1, len(systems) // 5)
        settings = OrderSettings(
            sublattices=("+".join(cell.species),), relaxations=budget, batch=max(2, budget // 3), lowest=1,
            target_meV_per_site=0.0,
        )  # fmt: skip
        search = find_order(problem.atoms, potential, settings)
        assert search.lowest is not None
        rank = [n for n, a in enumerate(sorted(search.arrangements, key=lambda a: a.number)) if a is search.lowest]
        above = search.lowest.relaxation.energy - energies.min()
        print(
            f"{cell.name}: {len(systems)} distinct, {calls} calls; "
            f"search {budget} relaxations, {search.force_calls} calls, "
            f"{above * 1e3:+.1f} meV from the ground state, found as number {rank[0] + 1}; "
            f"second lies {np.sort(energies)[1] - energies.min():.3f} eV above, spread {np.ptp(energies):.2f} eV; "
            f"leave-one-out {search.error_meV_per_site:.1f} meV/site",
            flush=True,
        )


def unrelaxed(potential: Potential, evaluations: int = 304, seed: int = 1) -> None:
    """Anneal exchanges of LRMO's metal layer on unrelaxed energies, then relax the lowest that was visited."""
    problem = OrderingProblem.of(load_prototype("LRMO").atoms, ["metal-layer"])
    generator = np.random.default_rng(seed)
    current = problem.random(1, generator)[0]

    def energy(row: np.ndarray) -> float:
        return float(next(iter(evaluate_all([problem.made(row)], potential)))[1].energy[0])

    start, value = time.perf_counter(), energy(current)
    seen = {tuple(current): value}
    for temperature in np.geomspace(0.5, 0.026, evaluations - 1):
        unlike = [(i, j) for i in range(15) for j in range(i) if current[i] != current[j]]
        i, j = unlike[generator.integers(len(unlike))]
        trial = current.copy()
        trial[i], trial[j] = trial[j], trial[i]
        new = energy(trial)
        seen[tuple(trial)] = new
        if accept(new - value, float(temperature), generator):
            current, value = trial, new
    sampled_s = time.perf_counter() - start
    lowest = sorted(seen, key=lambda row: seen[row])[:3]
    how = RelaxSettings(check_minimum=False, noise_A=0.02, max_steps=300)
    found = dict(iter_relax([problem.made(np.array(row)) for row in lowest], potential, how))
    relaxed = [found[n].energy for n in range(len(lowest))]
    extra = sum(r.force_calls for r in found.values())
    print(f"unrelaxed annealing, seed {seed}: {evaluations} evaluations in {sampled_s:.0f} s; its lowest three relaxed "
          f"({extra} more): {', '.join(f'{e:.3f}' for e in relaxed)} eV", flush=True)  # fmt: skip


def prototype(potential: Potential) -> None:
    """Relax the shipped arrangement, and time the reference calculator on it."""
    atoms = load_prototype("LRMO").atoms
    how = RelaxSettings(check_minimum=False, noise_A=0.02, max_steps=300)
    print(f"LRMO as shipped: {next(iter_relax([atoms], potential, how))[1].energy:.4f} eV", flush=True)
    from chgnet.model.dynamics import CHGNetCalculator

    atoms.calc = CHGNetCalculator(use_device="cpu", verbose=False)
    ratios = []
    for n in range(6):
        atoms.positions += 1e-4  # nothing is remembered
        start = time.perf_counter()
        atoms.get_potential_energy()
        theirs = time.perf_counter() - start
        start = time.perf_counter()
        list(evaluate_all([atoms], potential))
        if n:
            ratios.append(theirs / (time.perf_counter() - start))
    print(f"CHGNetCalculator per evaluation: {np.median(ratios):.1f} × ours", flush=True)


if __name__ == "__main__":
    model: Potential = load_potential("chgnet-0.3.0", device="cpu")
    if "--keep" in sys.argv:
        place = sys.argv.index("--keep")
        model = Remembering(model, Path(sys.argv[place + 1]), interval_s=10)
        del sys.argv[place : place + 2]
    if sys.argv[1:2] == ["cells"]:
        cells(model, [CELLS[int(n)] for n in sys.argv[2:]] or CELLS)
    elif sys.argv[1:] == ["prototype"]:
        prototype(model)
    else:
        unrelaxed(model, seed=int(sys.argv[2]))
