"""How often a relaxation asks a device for something, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.models.interface import Potential
from atomsim.relaxation import RelaxSettings, iter_relax
from helpers.pretended_card import Counts


@dataclass
class OnCard:
    """A potential on the pretended card that notes the counts before and after each evaluation."""

    potential: Potential
    counts: Counts
    before: list[tuple[int, int, int]] = field(default_factory=list)
    after: list[tuple[int, int, int]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.potential, name)

    def __call__(self, batch: Batch) -> Evaluation:
        self.before.append(self._now())
        evaluation = self.potential(batch)
        self.after.append(self._now())
        return evaluation

    def _now(self) -> tuple[int, int, int]:
        return self.counts.n_operations, self.counts.n_kernels, self.counts.n_waits


@dataclass(frozen=True)
class StepCounts:
    """Of one relaxation."""

    evaluation: float
    """Operations of an evaluation, median: most keep their graph."""
    evaluation_mean: float
    """Mean, those that build a graph included."""
    evaluation_kernels: float
    """Those that are no views, median."""
    optimizer: float
    """Operations between two evaluations, median: most lose no system."""
    optimizer_mean: float
    """Mean, those in which systems leave included."""
    waits_of_most: float
    """Times that the host waits in a step, median."""
    waits_of_all: float
    """Mean over all steps, the first and the last included."""


def count_steps(systems: Sequence[Atoms], potential: OnCard, settings: RelaxSettings, counts: Counts) -> StepCounts:
    """Relax all systems in one flight and count."""
    counts.reset()
    for _ in iter_relax(systems, potential, settings, capacity=Capacity(systems=len(systems))):
        pass
    inside = [
        [b - a for a, b in zip(*pair, strict=True)] for pair in zip(potential.before, potential.after, strict=True)
    ]
    between = [
        [b - a for a, b in zip(*pair, strict=True)]
        for pair in zip(potential.after[:-1], potential.before[1:], strict=True)
    ]
    waits = [i[2] + o[2] for i, o in zip(inside[1:], between, strict=True)]
    return StepCounts(
        evaluation=median(i[0] for i in inside),
        evaluation_mean=fmean(i[0] for i in inside),
        evaluation_kernels=median(i[1] for i in inside),
        optimizer=median(o[0] for o in between),
        optimizer_mean=fmean(o[0] for o in between),
        waits_of_most=median(waits),
        waits_of_all=counts.n_waits / len(inside),
    )
