"""Groups on their way into the driver: made ready while a device computes, handed out as there is room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.batching.memory import FEW, Load
from atomsim.optimize.sparse import Springs


@dataclass(frozen=True)
class Group:
    """Systems moved by one optimizer state: a single system, or all images of a band."""

    key: Hashable
    """The caller's name for it."""
    batch: Batch
    """Its systems, on the host or on the potential's device."""
    inverse_hessian: Tensor | Springs | None = None
    """Initial inverse Hessian, Å²/eV, (3 rows, 3 rows), in the coordinates of ``Space``, or the springs of a large
    system; None if nothing is known."""


@dataclass
class Member:
    """Bookkeeping of one group in flight."""

    group: Group
    load: Load
    steps: int = 0
    first_energy: float = float("nan")
    first_enthalpy: float = float("nan")
    first_volumes: list[float] = field(default_factory=list)
    """Volumes of its systems when it entered, Å³."""
    residual: float = float("inf")
    started: bool = False


class Entering:
    """Queue of groups. Who enters when follows from the capacity alone, not from what was ready early."""

    def __init__(self, groups: Iterator[Group], capacity: Capacity, device: torch.device) -> None:
        """Take groups, read as they are wanted."""
        self._groups, self._capacity, self._device = groups, capacity, device
        self._ready: deque[Member] = deque()

    def take(self, flying: Sequence[Load]) -> list[Member]:
        """Hand out groups while they fit beside these; the first fits always where nothing flies."""
        load = sum(flying, Load())
        taken: list[Member] = []
        while self._ready or self._read():
            load = load + self._ready[0].load
            if not self._capacity.admits(load) and (taken or flying):
                break
            taken.append(self._ready.popleft())
        return taken

    def prepare(self, most: int) -> None:
        """Make up to this number of groups ready while the device is still at work; on a CPU, none."""
        running = _running(self._device)
        while len(self._ready) < most and running() and self._read():
            pass

    def _read(self) -> bool:
        group = next(self._groups, None)
        if group is None:
            return False
        if group.batch.n_atoms > FEW:  # its pairs are counted where that is fast
            group = replace(group, batch=group.batch.to(self._device))
        self._ready.append(Member(group, self._capacity.load(group.batch)))
        return True


def joined(batches: Sequence[Batch], device: torch.device) -> Batch:
    """Concatenate batches on a device; what is still on the host is copied at once."""
    if len({b.device for b in batches}) > 1:
        batches = [b.to(device) for b in batches]
    whole = Batch.join(batches)
    return whole if whole.device == device else whole.to(device)


def _running(device: torch.device) -> Callable[[], bool]:
    """Return whether a device is still at work on what it has been given so far."""
    if device.type != "cuda":
        return lambda: False
    event = torch.cuda.Event()
    event.record()
    return lambda: not event.query()
