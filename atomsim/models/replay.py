"""Functions of tensors whose shapes stay, recorded once on a GPU and replayed.

A host needs some 30 µs to ask a GPU for one operation; those of a small system take 3. A CUDA graph asks for all of
them at once. Recording costs two evaluations, so it begins where a function has shown that it will be called again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

Function = Callable[..., tuple[Tensor, ...]]
"""Of tensors; reads nothing else that changes, and asks the device nothing."""

UNRECORDED = 3
"""Calls before the recording: a list of neighbours that ends earlier would not pay for it."""


class Recording(Protocol):
    """A function's operations on tensors that stay where they are."""

    outputs: tuple[Tensor, ...]
    """What they write to."""

    def __call__(self) -> None:
        """Do them again, with what the inputs are now."""
        ...


class CudaGraph:
    """A recording on a CUDA device."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...]) -> None:
        device = inputs[0].device
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            function(*inputs)  # allocates what libraries keep for a stream
            torch.cuda.synchronize(device)
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.outputs = function(*inputs)
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream(device).wait_stream(self._stream)

    def __call__(self) -> None:
        """Compute."""
        self._graph.replay()


Record = Callable[[Function, tuple[Tensor, ...]], Recording]
"""Makes a recording of a function of some inputs."""


def recorder(device: torch.device, *, small: bool) -> Record | None:
    """Return how to record on a device, if starting operations, not computing them, is what takes the time."""
    return CudaGraph if small and device.type == "cuda" else None


class Replay:
    """A function that is called with tensors of the same shapes again and again.

    Args:
        function: what to compute.
        record: makes a recording from the function and its inputs; None where none is wanted.
    """

    def __init__(self, function: Function, record: Record | None) -> None:
        self._function, self._record, self._calls = function, record, 0
        self._inputs: tuple[Tensor, ...] = ()
        self._recording: Recording | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the function gives; none of it is written to again."""
        self._calls += 1
        if self._recording is None and self._record is not None and self._calls > UNRECORDED:
            self._begin(self._record, inputs)
        if self._recording is None:
            return self._function(*inputs)
        for place, value in zip(self._inputs, inputs, strict=True):
            place.copy_(value)
        self._recording()
        return tuple(t.clone() for t in self._recording.outputs)

    def _begin(self, record: Record, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(t.detach().clone() for t in inputs)
        try:
            self._recording = record(self._function, self._inputs)
        except RuntimeError as error:  # of a part that cannot be recorded, or of too little memory: without, it runs
            self._record = None
            _log.warning("not recorded, so small systems are slower: %s", str(error).splitlines()[0])
