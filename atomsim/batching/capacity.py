"""Capacity of one evaluation, and isolation of evaluations that fail."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from ase import Atoms
from torch import Tensor

from atomsim.batch import Batch, Evaluation, on_host
from atomsim.batching.memory import (
    Load,
    MemoryModel,
    calibrate,
    count_load,
    device_free,
    device_peak,
    probe_batches,
)
from atomsim.errors import AtomsimError, StorageError
from atomsim.models.interface import EnergyModel, device_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Capacity:
    """Bounds of one evaluation; a single group always fits."""

    systems: int = 1
    atoms: int = 100_000
    memory: MemoryModel | None = None
    """Predicts the memory that an evaluation takes; None where only the numbers above bound it."""
    limit_bytes: float = math.inf
    """Memory that one evaluation may take."""

    def load(self, batch: Batch) -> Load:
        """Count what bounds this batch: pairs and angles only if memory is predicted."""
        if self.memory is None:
            return Load(batch.n_systems, batch.n_atoms)
        return count_load(batch, self.memory.cutoff, self.memory.short)

    def admits(self, load: Load) -> bool:
        """True if so much may be evaluated at once."""
        fits = self.memory is None or self.memory.predict(load) <= self.limit_bytes
        return fits and load.systems <= self.systems and load.atoms <= self.atoms


def device_capacity(potential: EnergyModel, sample: Batch, *, share: float = 0.8) -> Capacity:
    """Return how much may be evaluated at once on the device of ``sample``.

    On a GPU a memory model is calibrated with copies of the sample, once for a potential: it costs some twenty
    evaluations. On a CPU, where larger batches gain nothing, it is one system at a time, so that results never
    depend on neighbours; so it is on a GPU where the sample cannot be evaluated.

    Args:
        potential: model to be evaluated; its ``cutoff`` and, if it has angles, ``short`` are read.
        sample: some of the systems, the largest among them.
        share: part of the free memory to plan with. The rest is for fragmentation, the
            optimizer's state, and pairs that come into reach while cells relax.
    """
    if sample.device.type == "cpu":
        return Capacity(systems=1)
    try:
        if potential not in _learned:
            potential(sample)  # what is allocated once and kept must not count
            reach = float(getattr(potential, "cutoff", 6.0)), float(getattr(potential, "short", 0.0))
            _learned[potential] = calibrate(potential, probe_batches(sample), device_peak, *reach)
    except StorageError:  # no fault of the system
        raise
    except Exception as error:  # ``evaluate`` will name the system at fault
        _log.warning("one system at a time on %s: %s", sample.device, in_one_line(error))
        _free_memory(sample.device)
        return Capacity(systems=1)
    limit = share * device_free(sample.device)
    return Capacity(systems=4096, atoms=1_000_000, memory=_learned[potential], limit_bytes=limit)


_learned: WeakKeyDictionary[EnergyModel, MemoryModel] = WeakKeyDictionary()
"""Memory models by potential."""


def evaluate_all(
    systems: Sequence[Atoms], potential: EnergyModel, capacity: Capacity | None = None
) -> Iterator[tuple[Batch, Evaluation]]:
    """Evaluate independent systems in order, as many at once as may be; yield batches and evaluations, on the CPU.

    A batch too large for the memory is halved until it fits.

    Args:
        systems: what to evaluate.
        potential: model to evaluate.
        capacity: how much at once; by default one system on a CPU, and what fits on a device.

    Raises:
        AtomsimError: if a system cannot be evaluated, or does not fit by itself.
    """
    for batch in packed(systems, device_of(potential), capacity or capacity_for(potential, systems)):
        yield _evaluated(batch, potential)


def packed(systems: Sequence[Atoms], device: torch.device, room: Capacity) -> Iterator[Batch]:
    """Pack systems in order into batches, each as large as there is room; one that is too large is alone."""
    some: list[Batch] = []
    load = Load()
    for atoms in systems:
        batch = Batch.pack([atoms], device)
        more = room.load(batch)
        if some and not room.admits(load + more):
            yield Batch.join(some)
            some, load = [], Load()
        some, load = [*some, batch], load + more
    if some:
        yield Batch.join(some)


def _evaluated(batch: Batch, potential: EnergyModel) -> tuple[Batch, Evaluation]:
    try:
        return on_host(batch, potential(batch))
    except Exception as error:
        if not is_out_of_memory(error):
            raise  # what is wrong with a system is its owner's business
    evaluation, faults = evaluate(potential, batch, torch.arange(batch.n_systems, device=batch.device))
    if faults:
        raise AtomsimError(next(iter(faults.values())).message)
    return on_host(batch, evaluation)


def capacity_for(potential: EnergyModel, systems: Sequence[Atoms]) -> Capacity:
    """Return how much may be evaluated at once of systems that a batch can hold."""
    device = device_of(potential)
    if device.type == "cpu" or not systems:
        return Capacity(systems=1)
    by_size = sorted(systems, key=len)
    return device_capacity(potential, Batch.pack([by_size[-1], by_size[len(by_size) // 2]], device))


@dataclass(frozen=True)
class Fault:
    """Reason why a group could not be evaluated."""

    status: str
    """``too_large`` or ``invalid``."""
    message: str


def evaluate(potential: EnergyModel, batch: Batch, group: Tensor) -> tuple[Evaluation, dict[int, Fault]]:
    """Evaluate a batch; if that fails, find the groups at fault and evaluate the others.

    A batch too large for the memory is halved until it fits; a group that does not fit by
    itself, or that the potential refuses, is reported and its numbers are NaN.

    Args:
        potential: model to evaluate.
        batch: all systems in flight.
        group: group of each system, (n_systems,), int64, never decreasing from 0.

    Returns:
        The evaluation, and the faults by group.
    """
    try:
        return potential(batch), {}
    except StorageError:  # no fault of the system
        raise
    except Exception as error:  # whatever one system causes must not reach the others
        n_groups = int(group[-1]) + 1
        if n_groups == 1:
            return _nothing(batch), {0: _fault(error, batch)}
    _free_memory(batch.device)
    half = n_groups // 2
    parts, faults = [], {}
    for first, last in ((0, half), (half, n_groups)):
        systems = torch.nonzero((group >= first) & (group < last)).flatten()
        part, found = evaluate(potential, batch.take(systems), group[systems] - first)
        parts.append(part)
        faults.update({k + first: fault for k, fault in found.items()})
    return Evaluation.join(parts), faults


def _fault(error: Exception, batch: Batch) -> Fault:
    if is_out_of_memory(error):
        return Fault(
            "too_large",
            f"{batch.n_atoms} atoms do not fit into the memory of {batch.device} by themselves; "
            "use a smaller cell or a device with more memory",
        )
    return Fault("invalid", in_one_line(error))


def in_one_line(error: Exception) -> str:
    """Summary of an exception for a record: its first line, and its type where it is not one of ours."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return text if isinstance(error, AtomsimError) else f"{type(error).__name__}: {text}"


def is_out_of_memory(error: Exception) -> bool:
    """True if an exception says that host or device memory is exhausted."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _free_memory(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def _nothing(batch: Batch) -> Evaluation:
    nan = torch.full((batch.n_atoms, 3), torch.nan, dtype=torch.float64, device=batch.device)
    return Evaluation(
        energy=nan.new_full((batch.n_systems,), torch.nan),
        forces=nan,
        stress=nan.new_full((batch.n_systems, 3, 3), torch.nan),
    )
