"""Rows of coordinates, and the group that each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

PER_ROW = {"scope": "row"}
PER_GROUP = {"scope": "group"}
MATRIX = {"scope": "matrix"}
"""Square per group over its padded coordinates, (n_groups, 3 × width, 3 × width)."""


@dataclass(frozen=True)
class Rows:
    """Which group each row of three coordinates belongs to; groups are contiguous.

    A group is what one optimizer state moves: a system, or all images of a band.
    """

    group: Tensor
    """(n_rows,), int64, never decreasing."""
    n_groups: int

    @cached_property
    def counts(self) -> Tensor:
        """Rows in each group, (n_groups,), int64."""
        return torch.bincount(self.group, minlength=self.n_groups)

    @cached_property
    def starts(self) -> Tensor:
        """First row of each group, (n_groups,), int64."""
        return torch.cumsum(self.counts, 0) - self.counts

    def sum(self, values: Tensor) -> Tensor:
        """Sum one number per row over each group: (n_rows,) to (n_groups,)."""
        return values.new_zeros(self.n_groups).index_add_(0, self.group, values)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Scalar product within each group: two (n_rows, 3) to (n_groups,)."""
        return self.sum((a * b).sum(dim=1))

    def norm(self, a: Tensor) -> Tensor:
        """Length within each group: (n_rows, 3) to (n_groups,)."""
        return self.dot(a, a).sqrt()

    def largest(self, a: Tensor) -> Tensor:
        """Longest row of each group: (n_rows, 3) to (n_groups,)."""
        return a.new_zeros(self.n_groups).scatter_reduce(0, self.group, a.norm(dim=1), "amax")

    @cached_property
    def slot(self) -> Tensor:
        """Place of each row in the padded form of its group, (n_rows,), int64."""
        within = torch.arange(len(self.group), device=self.group.device) - self.starts[self.group]
        return self.group * self.width + within

    @cached_property
    def width(self) -> int:
        """Rows of the largest group."""
        return int(self.counts.max()) if self.n_groups else 0

    def pad(self, values: Tensor) -> Tensor:
        """Lay rows out group by group: (n_rows, 3) to (n_groups, 3 × width), zeros behind."""
        padded = values.new_zeros(self.n_groups * self.width, 3)
        padded[self.slot] = values
        return padded.view(self.n_groups, 3 * self.width)

    def unpad(self, padded: Tensor) -> Tensor:
        """Undo ``pad``."""
        return padded.reshape(self.n_groups * self.width, 3)[self.slot]

    def of(self, groups: Tensor) -> Tensor:
        """Rows of the given groups, in their order."""
        spans = zip(*self._spans(groups), strict=True)
        return torch.cat([torch.arange(s, s + n) for s, n in spans]).to(groups.device)

    def _spans(self, groups: Tensor) -> tuple[list[int], list[int]]:
        return self.starts[groups].tolist(), self.counts[groups].tolist()


def clip_groups(step: Tensor, rows: Rows, longest: float) -> Tensor:
    """Scale each group's step so that its length over all rows is at most ``longest``."""
    return step * (longest / rows.norm(step).clamp(min=longest))[rows.group, None]


def clip_rows(step: Tensor, rows: Rows, longest: float | Tensor) -> Tensor:
    """Scale each group's step so that its longest row is at most ``longest``, one for all or (n_groups,)."""
    bound = torch.as_tensor(longest, dtype=step.dtype, device=step.device).expand(rows.n_groups)
    return step * (bound / torch.maximum(rows.largest(step), bound))[rows.group, None]


S = TypeVar("S")


def take_state(state: S, rows: Rows, groups: Tensor) -> S:
    """Return the state of the given groups, in their order."""
    chosen_rows = rows.of(groups)
    width = 3 * int(rows.counts[groups].max())
    chosen: dict[str, Any] = {}
    for f in fields(state):  # type: ignore[arg-type]
        value, scope = getattr(state, f.name), f.metadata["scope"]
        if scope == "row":
            chosen[f.name] = value[chosen_rows]
        else:
            chosen[f.name] = value[groups] if scope == "group" else value[groups, :width, :width]
    return type(state)(**chosen)


def join_states(states: Sequence[S]) -> S:
    """Concatenate the states of different groups."""
    joined: dict[str, Any] = {}
    for f in fields(states[0]):  # type: ignore[arg-type]
        values = [getattr(s, f.name) for s in states]
        joined[f.name] = torch.cat(_widened(values) if f.metadata["scope"] == "matrix" else values)
    return type(states[0])(**joined)


def _widened(matrices: list[Tensor]) -> list[Tensor]:
    width = max(m.shape[-1] for m in matrices)
    return [torch.nn.functional.pad(m, (0, width - m.shape[-1], 0, width - m.shape[-1])) for m in matrices]


class WithoutMatrix:
    """What is alike in methods that keep no matrix."""

    def inverse_hessians(self, state: Any) -> None:  # noqa: ARG002
        """Return None: nothing of the kind was learned."""
        return


class Method(Protocol[S]):
    """An optimizer: how groups start, and how a force becomes a step."""

    def start(self, rows: Rows, force: Tensor, energy: Tensor, guesses: Sequence[Tensor | None]) -> S:
        """Return the state of groups that have not moved yet.

        Args:
            rows: the rows of the groups.
            force: (n_rows, 3).
            energy: (n_groups,).
            guesses: what is known of each group's inverse Hessian, Å²/eV, (3 rows, 3 rows), or None.
        """
        ...

    def step(self, state: S, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, S]:
        """Return the step of each row, (n_rows, 3), and the state after it."""
        ...

    def inverse_hessians(self, state: S) -> Tensor | None:
        """What the method has learned, Å²/eV, (n_groups, 3 × width, 3 × width), or None."""
        ...
