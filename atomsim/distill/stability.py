"""A student's dynamics at high temperature: does it hold, and does matter look as with the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from atomsim.distill.labelling import evenly
from atomsim.distill.recipe import Recipe
from atomsim.distill.sampling import seed_of
from atomsim.distill.structures import structures_of
from atomsim.dynamics import Langevin
from atomsim.dynamics.trajectory import snapshots, stable
from atomsim.models.interface import EnergyModel, Potential
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.random import nearest_pair

REACH_A = 6.0
"""Pair distributions are compared up to here, Å."""


@dataclass(frozen=True)
class StabilityResult:
    """Stability of runs at high temperature."""

    lost: int
    """Runs with a force above 100 eV/Å or one that is no number."""
    nearest: float
    """Smallest distance of two atoms at any moment that was looked at, in sums of covalent radii."""
    temperature: float
    """Mean kinetic temperature, K."""


def heated(recipe: Recipe, student: Potential) -> dict[str, float]:
    """Run the student hot from several seeds; see ``StabilityResult``."""
    d = recipe.validate.dynamics
    if not d.systems:
        return {}
    rng = np.random.default_rng(seed_of(recipe, "stability"))
    found = [_softened(_structures(recipe, d.systems[n % len(d.systems)], rng)[0], student) for n in range(d.seeds)]
    held = stability_run(
        found, student, d.temperature_K, d.length_ps, d.timestep_fs, rng.integers(2**31, size=d.seeds).tolist()
    )
    return {
        "dynamics_runs": float(d.seeds),
        "dynamics_length_ps": d.length_ps,
        "dynamics_temperature_K": d.temperature_K,
        "dynamics_lost_runs": float(held.lost),
        "dynamics_nearest_pair_of_covalent_sum": held.nearest,
        "dynamics_mean_temperature_K": held.temperature,
    }


def stability_run(
    systems: Sequence[Atoms],
    potential: EnergyModel,
    temperature_K: float,
    length_ps: float,
    timestep_fs: float,
    seeds: Sequence[int],
) -> StabilityResult:
    """Run dynamics and look at all systems every 20 steps."""
    steps = round(1000 * length_ps / timestep_fs)
    hot = [temperature_K] * len(systems)
    seen = list(snapshots(systems, potential, hot, seeds, Langevin(timestep_fs, 0.01), steps=steps, every=20))
    sound = stable(iter(seen))
    nearest = min((nearest_pair(a) for s in sound for a in s.state.batch.to("cpu").split()), default=np.inf)
    later = [float(s.state.kinetic_temperature) for s in sound if int(s.state.step) > steps // 5]
    return StabilityResult(len(seen) - len(sound), float(nearest), float(np.mean(later)) if later else float("nan"))


def pair_distributions(recipe: Recipe, teacher: Potential, student: Potential) -> dict[str, float]:
    """Compare histograms of pair distances of both, run hot from the same start; the overlap is 100 % where equal.

    A run of the teacher with another seed says how much of the difference is mere noise.
    """
    d = recipe.validate.dynamics
    if d.rdf_system is None:
        return {}
    rng = np.random.default_rng(seed_of(recipe, "rdf"))
    begin = _softened(_structures(recipe, d.rdf_system, rng)[0], teacher)
    histograms = []
    for potential, seed in ((teacher, 1), (student, 2), (teacher, 3)):
        steps = round(1000 * d.rdf_ps / d.timestep_fs)
        integrator = Langevin(d.timestep_fs, 0.02)
        seen = snapshots([begin], potential, [d.temperature_K], [seed], integrator, steps=steps, every=5)
        frames = [frame for s in stable(seen) for frame in s.state.batch.to("cpu").split()]
        histograms.append(histogram(frames[len(frames) // 3 :]))
    return {
        "rdf_overlap_percent": overlap(histograms[0], histograms[1]),
        "rdf_overlap_of_teacher_with_itself_percent": overlap(histograms[0], histograms[2]),
    }


def histogram(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Pair distances up to ``REACH_A`` in bins of 0.1 Å, per frame, weighted by 1/r² as g(r) is."""
    edges = np.arange(0.5, REACH_A + 0.01, 0.1)
    total = np.zeros(len(edges) - 1)
    for frame in frames:
        total += np.histogram(neighbor_list("d", frame, REACH_A), edges)[0]
    return total / max(len(frames), 1) / (0.5 * (edges[1:] + edges[:-1])) ** 2


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the common part of two histograms, per cent."""
    return 100.0 * float(np.minimum(a, b).sum() / max(0.5 * (a.sum() + b.sum()), 1e-12))


def _structures(recipe: Recipe, name: str, rng: np.random.Generator) -> list[Atoms]:
    system = next(s for s in recipe.systems if s.name == name)
    return evenly(structures_of(system, rng), 1)


def _softened(atoms: Atoms, potential: EnergyModel) -> Atoms:
    settings = RelaxSettings(max_steps=40, fmax_eV_per_A=1.0, cell=False, check_minimum=False, method="fire")
    ((_, found),) = iter_relax([atoms], potential, settings)
    return Atoms(found.atoms.numbers, found.atoms.positions, cell=found.atoms.cell, pbc=True)
