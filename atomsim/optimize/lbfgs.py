"""L-BFGS: curvature from the last steps, in memory that grows only with the atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.optimize.rows import PER_GROUP, PER_ROW, Rows, WithoutMatrix, clip_rows


@dataclass(frozen=True)
class LbfgsState:
    """The last steps and force changes of all groups, oldest first; unused places are zero."""

    steps: Tensor = field(metadata=PER_ROW)
    """(n_rows, memory, 3)."""
    changes: Tensor = field(metadata=PER_ROW)
    """Changes of the gradient over those steps, (n_rows, memory, 3)."""
    curvature: Tensor = field(metadata=PER_GROUP)
    """1 / (step · change), or 0 for an unused place, (n_groups, memory)."""
    force: Tensor = field(metadata=PER_ROW)
    """Force before the last step, (n_rows, 3)."""
    step: Tensor = field(metadata=PER_ROW)
    """The last step, (n_rows, 3)."""
    moved: Tensor = field(metadata=PER_GROUP)
    """True where there was one, (n_groups,), bool."""


@dataclass(frozen=True)
class Lbfgs(WithoutMatrix):
    """Limited-memory BFGS without a line search.

    Nocedal & Wright, Numerical Optimization, 2nd ed. (2006), Algorithm 7.4.
    """

    memory: int = 20
    stiffness: float = 70.0
    """Curvature assumed before the first step, eV/Å² (as in ASE)."""
    longest_step: float = 0.2
    """Longest step of any row, Å."""

    def start(
        self,
        rows: Rows,
        force: Tensor,
        energy: Tensor,  # noqa: ARG002 (one signature for all methods)
        guesses: Sequence[Tensor | None],  # noqa: ARG002
    ) -> LbfgsState:
        """Start without a memory."""
        history = force.new_zeros(len(force), self.memory, 3)
        return LbfgsState(
            steps=history,
            changes=history.clone(),
            curvature=force.new_zeros(rows.n_groups, self.memory),
            force=force,
            step=torch.zeros_like(force),
            moved=torch.zeros(rows.n_groups, dtype=torch.bool, device=force.device),
        )

    def step(self, state: LbfgsState, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, LbfgsState]:  # noqa: ARG002
        """Return the step of each row, (n_rows, 3), and the state after it."""
        state = _remembered(state, rows, force)
        direction, factors = force, []
        for k in reversed(range(self.memory)):
            factor = state.curvature[:, k] * rows.dot(state.steps[:, k], direction)
            direction = direction - factor[rows.group, None] * state.changes[:, k]
            factors.append(factor)
        direction = direction / self.stiffness
        for k, factor in zip(range(self.memory), reversed(factors), strict=True):
            back = factor - state.curvature[:, k] * rows.dot(state.changes[:, k], direction)
            direction = direction + back[rows.group, None] * state.steps[:, k]
        step = clip_rows(direction, rows, self.longest_step)
        return step, replace(state, force=force, step=step, moved=torch.ones_like(state.moved))


def _remembered(state: LbfgsState, rows: Rows, force: Tensor) -> LbfgsState:
    """Append the last step where it went uphill in gradient; elsewhere it would spoil positivity."""
    change = state.force - force
    along = rows.dot(state.step, change)
    useful = state.moved & (along > 1e-10)

    def appended(history: Tensor, new: Tensor, where: Tensor) -> Tensor:
        longer = torch.cat([history[:, 1:], new[:, None]], dim=1)
        return torch.where(where, longer, history)

    by_row = useful[rows.group][:, None, None]
    return replace(
        state,
        steps=appended(state.steps, state.step, by_row),
        changes=appended(state.changes, change, by_row),
        curvature=appended(state.curvature, 1 / torch.where(useful, along, 1.0), useful[:, None]),
    )
