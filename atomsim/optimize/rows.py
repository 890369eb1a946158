"""Rows of coordinates, and the group that each belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PER_ROW = {"scope": "row"}
PER_GROUP = {"scope": "group"}
MATRIX = {"scope": "matrix"}
"""Square per group over its padded coordinates, (n_groups, 3 × width, 3 × width)."""
OBJECT = {"scope": "object"}
"""A tuple, one object per group."""


@dataclass(frozen=True)
class Rows:
    """Which group each row of three coordinates belongs to; groups are contiguous.

    A group is what one optimizer state moves: a system, or all images of a band.
    """

    group: Tensor
    """(n_rows,), int64, never decreasing."""
    n_groups: int
    known: tuple[int, ...] | None = None
    """Rows in each group, where the host knows them."""

    @classmethod
    def of_sizes(cls, sizes: Sequence[int], device: torch.device) -> Rows:
        """Groups of so many rows each."""
        group = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
        return cls(group, len(sizes), tuple(sizes))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Rows in each group."""
        return tuple(torch.bincount(self.group, minlength=self.n_groups).tolist()) if self.known is None else self.known

    @cached_property
    def counts(self) -> Tensor:
        """Rows in each group, (n_groups,), int64."""
        return torch.tensor(self.sizes, dtype=torch.int64, device=self.group.device)

    @cached_property
    def starts(self) -> Tensor:
        """First row of each group, (n_groups,), int64."""
        return torch.from_numpy(self._ends[:-1].copy()).to(self.group.device)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.sizes])

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

    def dots(self, *pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Several scalar products at once, (n_pairs, n_groups)."""
        products = torch.stack([a * b for a, b in pairs]).sum(dim=2)
        return products.new_zeros(len(pairs), self.n_groups).index_add_(1, self.group, products)

    @cached_property
    def slot(self) -> Tensor:
        """Place of each row in the padded form of its group, (n_rows,), int64."""
        places = [k * self.width + np.arange(size) for k, size in enumerate(self.sizes)]
        return torch.from_numpy(np.concatenate([*places, np.zeros(0, dtype=np.int64)])).to(self.group.device)

    @cached_property
    def width(self) -> int:
        """Rows of the largest group."""
        return max(self.sizes, default=0)

    def pad(self, values: Tensor) -> Tensor:
        """Lay rows out group by group: (n_rows, 3) to (n_groups, 3 × width), zeros behind."""
        if self.alike:
            return values.reshape(self.n_groups, 3 * self.width)
        padded = values.new_zeros(self.n_groups * self.width, 3)
        padded[self.slot] = values
        return padded.view(self.n_groups, 3 * self.width)

    def unpad(self, padded: Tensor) -> Tensor:
        """Undo ``pad``."""
        rows = padded.reshape(self.n_groups * self.width, 3)
        return rows if self.alike else rows[self.slot]

    @property
    def alike(self) -> bool:
        """True if all groups have as many rows, so that there is nothing to pad."""
        return len(set(self.sizes)) == 1

    def of(self, groups: Tensor | Sequence[int]) -> Tensor:
        """Rows of the given groups, in their order."""
        chosen = groups.tolist() if isinstance(groups, Tensor) else groups
        spans = [np.arange(self._ends[k], self._ends[k + 1]) for k in chosen]
        return torch.from_numpy(np.concatenate([*spans, np.zeros(0, dtype=np.int64)])).to(self.group.device)


def clip_groups(step: Tensor, rows: Rows, longest: float) -> Tensor:
    """Scale each group's step so that its length over all rows is at most ``longest``."""
    return step * (longest / rows.norm(step).clamp(min=longest)).index_select(0, rows.group)[:, None]


def clip_rows(step: Tensor, rows: Rows, longest: float | Tensor) -> Tensor:
    """Scale each group's step so that its longest row is at most ``longest``, one for all or (n_groups,)."""
    bound = longest if isinstance(longest, Tensor) else step.new_full((rows.n_groups,), longest)
    return step * (bound / torch.maximum(rows.largest(step), bound)).index_select(0, rows.group)[:, None]


S = TypeVar("S")


def take_state(state: S, rows: Rows, groups: Sequence[int] | Tensor) -> S:
    """Return the state of the given groups, in their order."""
    order = groups.tolist() if isinstance(groups, Tensor) else list(groups)
    chosen_rows = rows.of(order)
    width = 3 * max(rows.sizes[k] for k in order)
    groups = torch.tensor(order, dtype=torch.int64, device=rows.group.device)
    chosen: dict[str, Any] = {}
    for f in fields(state):  # type: ignore[arg-type]
        value, scope = getattr(state, f.name), f.metadata["scope"]
        if scope == "row":
            chosen[f.name] = value[chosen_rows]
        elif scope == "object":
            chosen[f.name] = tuple(value[g] for g in groups.tolist())
        else:
            chosen[f.name] = value[groups] if scope == "group" else value[groups, :width, :width]
    return type(state)(**chosen)


def join_states(states: Sequence[S]) -> S:
    """Concatenate the states of different groups."""
    joined: dict[str, Any] = {}
    for f in fields(states[0]):  # type: ignore[arg-type]
        values = [getattr(s, f.name) for s in states]
        if f.metadata["scope"] == "object":
            joined[f.name] = tuple(one for value in values for one in value)
            continue
        joined[f.name] = torch.cat(_widened(values) if f.metadata["scope"] == "matrix" else values)
    return type(states[0])(**joined)


def _widened(matrices: list[Tensor]) -> list[Tensor]:
    width = max(m.shape[-1] for m in matrices)
    return [torch.nn.functional.pad(m, (0, width - m.shape[-1], 0, width - m.shape[-1])) for m in matrices]


class WithoutMatrix:
    """Common part of methods that keep no matrix."""

    def inverse_hessians(self, state: Any) -> None:  # noqa: ARG002
        """Return None: nothing of the kind was learned."""
        return


class Method(Protocol[S]):
    """An optimizer: how groups start, and how a force becomes a step."""

    def start(self, rows: Rows, force: Tensor, energy: Tensor, guesses: Sequence[Any]) -> S:
        """Return the state of groups that have not moved yet.

        Args:
            rows: the rows of the groups.
            force: (n_rows, 3).
            energy: (n_groups,).
            guesses: what is known of each group's inverse Hessian, Å²/eV, (3 rows, 3 rows), or ``Springs``, or None.
        """
        ...

    def step(self, state: S, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, S]:
        """Return the step of each row, (n_rows, 3), and the state after it."""
        ...

    def inverse_hessians(self, state: S) -> Any:
        """Learned inverse Hessians, Å²/eV, (n_groups, 3 × width, 3 × width), or ``Springs`` of each, or None."""
        ...
