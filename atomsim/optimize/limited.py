"""The quasi-Newton method of large cells: springs, and on top of them what the last steps have taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.optimize.newton import CRAWL, Newton
from atomsim.optimize.rows import OBJECT, PER_GROUP, PER_ROW, Rows
from atomsim.optimize.sparse import Springs

TOLERANCE = 1e-2
"""Tolerance of the springs' solutions: steps do not get better by a smaller one."""


@dataclass(frozen=True)
class LimitedState:
    """Springs, the last steps of all groups, oldest first, and the last accepted point; unused places are zero."""

    springs: tuple[Springs | None, ...] = field(metadata=OBJECT)
    """None where nothing is known."""
    steps: Tensor = field(metadata=PER_ROW)
    """Damped steps, (n_rows, memory, 3)."""
    changes: Tensor = field(metadata=PER_ROW)
    """Changes of the gradient over them, (n_rows, memory, 3)."""
    answers: Tensor = field(metadata=PER_ROW)
    """The springs' inverse Hessian times those changes, (n_rows, memory, 3)."""
    curvature: Tensor = field(metadata=PER_GROUP)
    """1 / (step · change), or 0 for an unused place, (n_groups, memory)."""
    force: Tensor = field(metadata=PER_ROW)
    """Force at the last accepted point, (n_rows, 3)."""
    answer: Tensor = field(metadata=PER_ROW)
    """The springs' inverse Hessian times it, (n_rows, 3)."""
    energy: Tensor = field(metadata=PER_GROUP)
    step: Tensor = field(metadata=PER_ROW)
    predicted: Tensor = field(metadata=PER_GROUP)
    radius: Tensor = field(metadata=PER_GROUP)
    """These four as in ``NewtonState``."""


@dataclass(frozen=True)
class LimitedNewton(Newton):
    """``Newton`` without a matrix: L-BFGS (Nocedal & Wright, Algorithm 7.4) on springs, damped and trusted alike."""

    memory: int = 30

    def start(  # type: ignore[override]
        self, rows: Rows, force: Tensor, energy: Tensor, guesses: Sequence[Tensor | Springs | None]
    ) -> LimitedState:
        """Start from springs, or from the inverse stiffness where there are none."""
        springs = tuple(g if isinstance(g, Springs) else None for g in guesses)
        history, zeros = force.new_zeros(len(force), self.memory, 3), torch.zeros_like(energy)
        return LimitedState(
            springs, history, history, history, force.new_zeros(rows.n_groups, self.memory),
            force, self._answers(springs, rows, force), energy, torch.zeros_like(force), zeros, zeros + self.radius,
        )  # fmt: skip

    def step(self, state: LimitedState, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, LimitedState]:  # type: ignore[override]
        """Return the step of each row, (n_rows, 3), and the state after it."""
        started = bool(state.step.any())
        answer = self._answers(state.springs, rows, force) if started else state.answer
        learned = _remembered(state, rows, force, answer) if started else state
        move = self._judged(state, rows, force, energy, rows.largest(state.step))
        origin = torch.where(move.back, state.answer, answer)
        step, predicted = self._trusted(move, rows, _times(learned, rows, move.force, origin))
        after = replace(
            learned, force=move.force, answer=origin, energy=move.energy,
            step=step, predicted=predicted, radius=move.radius,
        )  # fmt: skip
        return torch.where(move.back, step - state.step, step), after

    def inverse_hessians(self, state: LimitedState) -> tuple[Springs | None, ...]:  # type: ignore[override]
        """Return the springs: what was learned beyond them is not kept."""
        return state.springs

    def _answers(self, springs: Sequence[Springs | None], rows: Rows, force: Tensor) -> Tensor:
        """The springs' inverse Hessians times forces, (n_rows, 3)."""
        parts = torch.split(force, list(rows.sizes))
        answers = [
            part / self.stiffness if one is None else one.solve(part.flatten(), TOLERANCE).view(-1, 3)
            for one, part in zip(springs, parts, strict=True)
        ]
        return torch.cat(answers)


def _times(state: LimitedState, rows: Rows, vector: Tensor, answer: Tensor) -> Tensor:
    """Inverse Hessian times a vector of which the springs' answer is known."""
    used = [k for k in range(state.curvature.shape[1]) if bool(state.curvature[:, k].any())]
    factors: list[Tensor] = []
    for k in reversed(used):
        factor = state.curvature[:, k] * rows.dot(state.steps[:, k], vector)
        vector = vector - factor[rows.group, None] * state.changes[:, k]
        answer = answer - factor[rows.group, None] * state.answers[:, k]
        factors.append(factor)
    for k, factor in zip(used, reversed(factors), strict=True):
        back = factor - state.curvature[:, k] * rows.dot(state.changes[:, k], answer)
        answer = answer + back[rows.group, None] * state.steps[:, k]
    return answer


def _remembered(state: LimitedState, rows: Rows, force: Tensor, answer: Tensor) -> LimitedState:
    """Append the last step, damped to keep the inverse positive definite (see ``newton``)."""
    s, y, springs = state.step, state.force - force, state.answer - answer
    by = _times(state, rows, y, springs)
    sy, yby = rows.dot(s, y), rows.dot(y, by)
    useful = (yby > 1e-16) & ((sy > 0) | (rows.largest(s) > CRAWL))
    theta = torch.where(sy < 0.2 * yby, 0.8 * yby / (yby - sy).clamp(min=1e-300), 1.0)[rows.group, None]
    s = theta * s + (1 - theta) * by
    by_row = useful[rows.group][:, None, None]

    def appended(history: Tensor, new: Tensor, where: Tensor) -> Tensor:
        return torch.where(where, torch.cat([history[:, 1:], new[:, None]], dim=1), history)

    return replace(
        state,
        steps=appended(state.steps, s, by_row),
        changes=appended(state.changes, y, by_row),
        answers=appended(state.answers, springs, by_row),
        curvature=appended(state.curvature, 1 / torch.where(useful, rows.dot(s, y), 1.0), useful[:, None]),
    )
