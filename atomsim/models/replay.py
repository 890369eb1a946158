"""Evaluations of batches whose shapes stay, recorded once on a GPU and replayed.

A host needs some 30 µs to ask a GPU for one operation, and most of a small system's take 3. A CUDA graph asks for all
of them at once, but its shapes are fixed. So batches are laid out with room to spare, and one recording serves while
neighbours come and go, and while systems leave and enter a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from atomsim.batch import Batch

_log = logging.getLogger(__name__)

UNRECORDED = 3
"""Calls before the recording, which costs as much as some five of them."""
SPARE = 0.25
"""Part of what is needed that room is made for on top."""
EMPTIEST = 3.0
"""Factor by which room may be too large before it is made anew."""


class Recording(Protocol):
    """Operations on tensors that stay where they are."""

    outputs: tuple[Tensor, ...]
    """Tensors that they write to."""

    def __call__(self) -> None:
        """Do them again, with what the inputs are now."""
        ...


Record = Callable[[Callable[[], tuple[Tensor, ...]], torch.device], Recording]
"""Makes a recording of a function that reads tensors which stay where they are."""


class CudaGraph:
    """A recording on a CUDA device."""

    def __init__(self, function: Callable[[], tuple[Tensor, ...]], device: torch.device) -> None:
        self._graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            function()  # allocates what libraries keep for a stream
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()  # a stream's memory serves no other
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.outputs = function()
            finally:
                self._graph.capture_end()
        torch.cuda.current_stream(device).wait_stream(stream)

    def __call__(self) -> None:
        """Do it again."""
        self._graph.replay()


def recorder(device: torch.device) -> Record | None:
    """Return how to record on a device; None where that cannot be done."""
    return CudaGraph if device.type == "cuda" else None


_plain = ContextVar("plain", default=False)


@contextmanager
def plainly() -> Iterator[None]:
    """Evaluate as if nothing were kept, and keep nothing: to measure what an evaluation itself takes."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """True within ``plainly``."""
    return _plain.get()


class Replay:
    """A function of a layout, positions and cells, called with tensors of the same shapes again and again.

    Args:
        function: reads nothing else that changes, and asks the device nothing.
        layout: a dataclass of tensors, which are kept and written to.
        record: makes a recording; None where none is wanted.
    """

    def __init__(
        self, function: Callable[[Any, Tensor, Tensor], tuple[Tensor, ...]], layout: Any, record: Record | None
    ) -> None:
        self._function, self._layout, self._record, self._calls = function, layout, record, 0
        self._geometry: tuple[Tensor, Tensor] | None = None
        self._recording: Recording | None = None

    def lay(self, layout: Any) -> None:
        """Take another layout of the same shapes."""
        for place, value in zip(_tensors(self._layout), _tensors(layout), strict=True):
            place.copy_(value)

    def __call__(self, positions: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        """Return what the function gives; none of it is written to again."""
        self._calls += 1
        if self._recording is None and self._record is not None and self._calls > UNRECORDED:
            self._begin(self._record, positions, cell)
        if self._recording is None or self._geometry is None:
            return self._function(self._layout, positions, cell)
        self._geometry[0].copy_(positions)
        self._geometry[1].copy_(cell)
        self._recording()
        return tuple(t.clone() for t in self._recording.outputs)

    def _begin(self, record: Record, positions: Tensor, cell: Tensor) -> None:
        self._geometry = there = (positions.clone(), cell.clone())
        try:
            self._recording = record(lambda: self._function(self._layout, *there), positions.device)
        except RuntimeError as error:  # of a part that cannot be recorded, or of too little memory: without, it runs
            self._record = None
            _log.warning("not recorded, so small systems are slower: %s", str(error).splitlines()[0])


def _tensors(layout: Any) -> Iterator[Tensor]:
    for f in fields(layout):
        value = getattr(layout, f.name)
        if isinstance(value, Tensor):
            yield value
        elif is_dataclass(value):
            yield from _tensors(value)
        elif isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, Tensor))


def room_for(needs: Sequence[int], room: Sequence[int] | None) -> tuple[int, ...]:
    """Return room for what is needed: the old one where everything fits and it is not far too large, else a new one."""
    fits = room is not None and all(n <= r for n, r in zip(needs, room, strict=True))
    if room is not None and fits and sum(room) <= EMPTIEST * sum(needs) + 100:
        return tuple(room)
    return tuple(n + int(SPARE * n) + 8 for n in needs)


def padded(batch: Batch, n_systems: int, n_atoms: int, reach: float) -> Batch:
    """Add systems in cells of edge ``reach`` (Å), and atoms of the first one's kind, all in the last."""
    cell, positions = padded_geometry(batch, n_systems, n_atoms, reach)
    more = n_atoms - batch.n_atoms
    return Batch(
        positions=positions,
        cell=cell,
        numbers=torch.cat([batch.numbers, batch.numbers[:1].expand(more)]),
        system=torch.cat([batch.system, batch.system.new_full((more,), n_systems - 1)]),
        pbc=torch.cat([batch.pbc, torch.ones_like(batch.pbc[:1]).expand(n_systems - batch.n_systems, 3)]),
        fixed=torch.cat([batch.fixed, torch.zeros_like(batch.fixed[:1]).expand(more)]),
    )


def padded_geometry(batch: Batch, n_systems: int, n_atoms: int, reach: float) -> tuple[Tensor, Tensor]:
    """Cells, (n_systems, 3, 3), and positions, (n_atoms, 3), of a padded batch."""
    edge = reach * torch.eye(3, dtype=batch.cell.dtype, device=batch.device)
    cell = torch.cat([batch.cell, edge.expand(n_systems - batch.n_systems, 3, 3)])
    return cell, torch.cat([batch.positions, batch.positions.new_zeros(n_atoms - batch.n_atoms, 3)])
