"""Arrangements that may be relaxed next: all of them where they are few, else what replica exchange visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from atomsim.cations.problem import OrderingProblem
from atomsim.cations.settings import OrderSettings
from atomsim.monte_carlo import QuadraticEnergy, Sampling, temper
from atomsim.pulse import at_work
from atomsim.types import FloatArray, IntArray
from atomsim.units import KB

RAW_LIMIT = 300_000
"""Arrangements, those alike by symmetry counted each, beyond which they are not enumerated."""
LADDER = 8
"""Temperatures of the ladder at least."""


@dataclass(frozen=True, eq=False)
class Enumeration:
    """All symmetry-distinct arrangements."""

    occupations: IntArray = field(repr=False)
    """(n_distinct, n_sites)."""
    multiplicities: IntArray = field(repr=False)
    """Arrangements alike to each, itself included, (n_distinct,)."""


def enumerate_all(problem: OrderingProblem, limit: int) -> Enumeration | None:
    """Return all symmetry-distinct arrangements, or None where they are more than the limit, or too many to list."""
    if problem.n_arrangements > min(RAW_LIMIT, limit * len(problem.permutations)):
        return None
    at_work("arrangements enumerated", 0, problem.n_arrangements)
    distinct, counts = np.unique(problem.canonical(problem.all_arrangements()), axis=0, return_counts=True)
    return Enumeration(distinct, counts) if len(distinct) <= limit else None


def ladder(temperatures_K: Sequence[float], spread_eV: float) -> FloatArray:
    """Temperatures of replica exchange, eV: those wanted, and hotter ones up to where arrangements are random."""
    wanted = sorted(set(temperatures_K))
    top = max(spread_eV, wanted[-1] * KB * 1.05)
    low = wanted[0] * KB
    filled = np.geomspace(low, top, LADDER)
    own = np.array(wanted) * KB
    apart = filled[np.abs(np.log(filled[:, None] / own)).min(axis=1) > 0.1]
    return np.sort(np.concatenate([own, apart]))


def sample(
    problem: OrderingProblem,
    energy: QuadraticEnergy,
    settings: OrderSettings,
    round_number: int,
    sweeps: int,
    every: int,
) -> Sampling:
    """Sample arrangements of an energy by replica exchange; round and seed decide the random numbers."""
    generator = np.random.default_rng([settings.seed, round_number])
    spread = float(np.std(energy.energies(problem.random(400, generator))))
    return temper(
        energy,
        problem.groups,
        problem.start,
        ladder(settings.temperature_K, spread),
        chains=settings.chains,
        sweeps=sweeps,
        burn_in=max(10, sweeps // 4),
        every=every,
        seed=[settings.seed, round_number, 1],
    )


def visited(problem: OrderingProblem, sampling: Sampling) -> IntArray:
    """Symmetry-distinct arrangements that were sampled, sorted, (n, n_sites)."""
    raw = np.unique(sampling.occupations.reshape(-1, sampling.occupations.shape[-1]), axis=0)
    return np.unique(problem.canonical(raw), axis=0)


def not_in(candidates: IntArray, known: IntArray) -> IntArray:
    """Candidates that are not among the known ones, in their order."""
    seen = {row.tobytes() for row in np.ascontiguousarray(known)}
    keep = [n for n, row in enumerate(np.ascontiguousarray(candidates)) if row.tobytes() not in seen]
    return candidates[keep]


def first_batch(energies: FloatArray, count: int) -> IntArray:
    """Places of a first batch: half the lowest in a rough energy, half spread evenly over all its quantiles."""
    order = np.argsort(energies, kind="stable")
    low = list(order[: (count + 1) // 2])
    for quantile in np.linspace(0, 1, count - len(low) + 2)[1:]:
        place = int(order[min(len(order) - 1, int(quantile * (len(order) - 1)))])
        if place not in low and len(low) < count:
            low.append(place)
    return np.array(low, dtype=np.int64)


def next_batch(energies: FloatArray, deviations: FloatArray, hot: float, count: int) -> IntArray:
    """Places of a next batch: two thirds the lowest predicted, a third what the model knows least among low ones.

    Args:
        energies: predicted, eV.
        deviations: standard deviations of the predictions, eV.
        hot: energy above the lowest up to which arrangements are of interest, eV.
        count: of the batch.
    """
    order = np.argsort(energies, kind="stable")
    chosen = list(order[: max(1, (2 * count + 2) // 3)])
    within = np.flatnonzero(energies - energies.min() <= hot)
    for place in within[np.argsort(-deviations[within], kind="stable")]:
        if len(chosen) >= min(count, len(energies)):
            break
        if place not in chosen:
            chosen.append(place)
    for place in order:
        if len(chosen) >= min(count, len(energies)):
            break
        if place not in chosen:
            chosen.append(place)
    return np.array(chosen, dtype=np.int64)
