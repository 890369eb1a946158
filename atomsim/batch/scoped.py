"""Rows of dataclasses of tensors by the scope that each field declares; transfers to the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

PER_ATOM = {"scope": "atom"}
PER_SYSTEM = {"scope": "system"}


def take_scoped(record: T, atoms: Tensor | slice, systems: Tensor | slice) -> T:
    """Select rows of every tensor field of a dataclass by the field's declared scope."""
    index = {"atom": atoms, "system": systems}
    chosen: dict[str, Any] = {}
    for f in fields(record):  # type: ignore[arg-type]
        value = getattr(record, f.name)
        chosen[f.name] = None if value is None else value[index[f.metadata["scope"]]]
    return type(record)(**chosen)


def join_scoped(records: Sequence[T]) -> T:
    """Concatenate every tensor field of several dataclasses of one type."""
    joined: dict[str, Any] = {}
    for f in fields(records[0]):  # type: ignore[arg-type]
        values = [getattr(r, f.name) for r in records]
        joined[f.name] = None if any(v is None for v in values) else torch.cat(values)
    return type(records[0])(**joined)


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return tensors on the CPU, fetched from a device in one transfer; integers are to be below 2⁵³."""
    if all(t.device.type == "cpu" for t in tensors):
        return list(tensors)
    flat = torch.cat([t.detach().to(torch.float64).flatten() for t in tensors]).cpu()
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape).to(t.dtype) for part, t in zip(parts, tensors, strict=True)]
