"""Counter-based random numbers of molecular dynamics.

Every number follows from (seed, step, purpose) alone, by Philox4x64 (Salmon, Moraes, Dror & Shaw 2011, Proc. SC '11,
doi 10.1145/2063384.2063405). So nothing has to be saved to resume, the composition of a batch changes nothing, and
all devices get the same numbers: they are drawn on the CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Purpose(IntEnum):
    """Purpose of random numbers; each purpose has a stream of its own."""

    VELOCITIES = 0
    LANGEVIN = 1
    BATH = 2
    CELL = 3


class _Streams(threading.local):
    """One generator for each thread, set to a counter at each use: four times faster than a new one."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(0)
        self.generator = np.random.Generator(self.bits)
        self.state = self.bits.state


_streams = _Streams()


def generator(seed: int, step: int, purpose: Purpose) -> np.random.Generator:
    """Return a generator at the start of the stream of (seed, step, purpose).

    It is valid until the next call in the same thread. Streams hold 2¹²⁸ numbers and never overlap.
    """
    state = _streams.state
    state["state"]["counter"][:] = (0, 0, int(purpose), step)
    state["state"]["key"][:] = (seed, 0)
    state["buffer_pos"], state["has_uint32"], state["uinteger"] = 4, 0, 0
    _streams.bits.state = state
    return _streams.generator


def normals(
    seeds: Sequence[int], steps: Sequence[int], purpose: Purpose, sizes: Sequence[int], device: torch.device
) -> Tensor:
    """Draw three standard normal numbers for each of so many rows of each system, (sum of sizes, 3), float64."""
    drawn = [
        generator(seed, step, purpose).standard_normal((size, 3))
        for seed, step, size in zip(seeds, steps, sizes, strict=True)
    ]
    return torch.from_numpy(np.concatenate(drawn)).to(device)
