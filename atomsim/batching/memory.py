"""Memory of an evaluation, learned from a few of them on the device itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from atomsim.batch import Batch
from atomsim.errors import AtomsimError
from atomsim.models.interface import EnergyModel
from atomsim.models.neighbors import neighbor_list
from atomsim.models.replay import plainly

Meter = Callable[[EnergyModel, Batch], float]
"""Peak memory of one evaluation beyond what was in use before it, bytes."""


FEW = 500
"""Atoms up to which a CPU counts pairs sooner than a GPU, which takes 4 ms for a search of any size."""


@dataclass(frozen=True)
class Load:
    """Amount to evaluate. Loads add up."""

    systems: int = 0
    atoms: int = 0
    edges: int = 0
    """Directed pairs within the cutoff."""
    angles: int = 0
    """Ordered pairs of short edges that leave one atom."""
    neighbors: int = 0
    """Largest number of neighbours of an atom."""

    def __add__(self, other: Load) -> Load:
        """Return the load of both together."""
        return Load(
            self.systems + other.systems,
            self.atoms + other.atoms,
            self.edges + other.edges,
            self.angles + other.angles,
            max(self.neighbors, other.neighbors),
        )


def count_load(batch: Batch, cutoff: float, short: float = 0.0) -> Load:
    """Count the pairs of a batch within ``cutoff`` (Å), and the angles between those within ``short`` (Å)."""
    if batch.n_atoms <= FEW:
        batch = batch.to("cpu")
    pairs = neighbor_list(batch, cutoff)
    degree = torch.bincount(pairs.i, minlength=1)
    angles = 0
    if short > 0.0:
        near = pairs.vectors(batch).square().sum(dim=1) < short**2
        arms = torch.bincount(pairs.i[near], minlength=1)
        angles = int((arms * (arms - 1)).sum())
    return Load(batch.n_systems, batch.n_atoms, len(pairs.i), angles, int(degree.max()))


@dataclass(frozen=True)
class MemoryModel:
    """Peak memory of an evaluation, linear in what is evaluated."""

    coefficients: tuple[float, ...]
    """Bytes: constant, per atom, per edge, per angle, per slot of a table of all atoms' neighbours."""
    cutoff: float
    """Reach of the pairs that count as edges, Å."""
    short: float = 0.0
    """Reach of the pairs whose angles count, Å; 0 if none do."""

    def predict(self, load: Load) -> float:
        """Return the peak memory, bytes."""
        return float(np.dot(self.coefficients, _features(load)))

    @classmethod
    def fit(cls, loads: Sequence[Load], peaks: Sequence[float], cutoff: float, short: float = 0.0) -> MemoryModel:
        """Fit measured peaks (bytes) by least squares of the relative error, no coefficient negative.

        Raises:
            AtomsimError: if there is nothing to fit.
        """
        from scipy.optimize import nnls

        used = [(_features(load), peak) for load, peak in zip(loads, peaks, strict=True) if peak > 0]
        if not used:
            raise AtomsimError("no evaluation took any memory: found nothing to calibrate a memory model with")
        rows = np.array([features / peak for features, peak in used])
        scale = rows.max(axis=0).clip(min=1e-300)  # columns differ by orders of magnitude
        solution, _ = nnls(rows / scale, np.ones(len(rows)))
        return cls(tuple(float(c) for c in solution / scale), cutoff, short)


def calibrate(
    potential: EnergyModel, probes: Sequence[Batch], meter: Meter, cutoff: float, short: float = 0.0
) -> MemoryModel:
    """Evaluate probes, smallest first, and fit a memory model to what they took.

    Args:
        potential: what will be evaluated.
        probes: batches of different size and density, see ``probe_batches``.
        meter: measures one evaluation; ``device_peak`` on a GPU.
        cutoff: the potential's cutoff, Å.
        short: its bond-graph cutoff, Å, if it has angles.

    Raises:
        AtomsimError: if not even the smallest probe fits into memory.
    """
    loads: list[Load] = []
    peaks: list[float] = []
    for batch in sorted(probes, key=lambda b: b.n_atoms):
        try:
            peaks.append(meter(potential, batch))
        except (torch.OutOfMemoryError, MemoryError):
            break
        loads.append(count_load(batch, cutoff, short))
    return MemoryModel.fit(loads, peaks, cutoff, short)


def probe_batches(sample: Batch, counts: Sequence[int] = (1, 2, 4, 8, 16)) -> list[Batch]:
    """Return copies of a sample, at densities that differ, so that atoms, edges and angles tell apart.

    Args:
        sample: some of the systems that will be evaluated.
        counts: copies.
    """
    found = []
    for count in counts:
        found += [Batch.join([_stretched(sample, stretch)] * count) for stretch in (1.0, 1.12, 1.3)]
        found.append(Batch.join([sample, *[_stretched(sample, 1.3)] * count]))
    return found


def device_peak(potential: EnergyModel, batch: Batch) -> float:
    """Measure an evaluation on the batch's device, which is no CPU."""
    device, there = batch.device, torch.get_device_module(batch.device)
    there.synchronize(device)
    before = there.memory_allocated(device)
    there.reset_peak_memory_stats(device)
    with plainly():  # what was kept of another batch must not be freed meanwhile
        potential(batch)
    there.synchronize(device)
    return float(there.max_memory_allocated(device) - before)


def device_free(device: torch.device) -> float:
    """Memory of a device that this process can still use, bytes: free, or cached by torch."""
    there = torch.get_device_module(device)
    free, _ = there.mem_get_info(device)
    return float(free + there.memory_reserved(device) - there.memory_allocated(device))


def _features(load: Load) -> np.ndarray:
    return np.array([1.0, load.atoms, load.edges, load.angles, load.atoms * load.neighbors])


def _stretched(batch: Batch, factor: float) -> Batch:
    return replace(batch, positions=factor * batch.positions, cell=factor * batch.cell)
