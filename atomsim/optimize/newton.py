"""A trust-region quasi-Newton method that can start from what is already known.

The inverse Hessian of each group is kept whole and updated by BFGS, so it can begin as the
inverse of a parent's Hessian or of a spring model (see ``hessian``) and then needs a
fraction of the force calls. A step that raises the energy is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from atomsim.optimize.rows import MATRIX, PER_GROUP, PER_ROW, Rows, clip_rows

CRAWL = 0.06
"""Longest row of a step, Å, below which negative curvature along it shrinks no step further."""


@dataclass(frozen=True)
class NewtonState:
    """Inverse Hessians, and the last accepted point of all groups."""

    inverse: Tensor = field(metadata=MATRIX)
    """Inverse Hessian, Å²/eV, (n_groups, 3 × width, 3 × width), zero beyond a group's rows."""
    force: Tensor = field(metadata=PER_ROW)
    """Force at the last accepted point, (n_rows, 3)."""
    energy: Tensor = field(metadata=PER_GROUP)
    """Energy there, eV, (n_groups,)."""
    step: Tensor = field(metadata=PER_ROW)
    """Step that led from there to the present point, (n_rows, 3); zero at the start."""
    predicted: Tensor = field(metadata=PER_GROUP)
    """Energy that the quadratic model promised for that step, eV, (n_groups,), not positive."""
    radius: Tensor = field(metadata=PER_GROUP)
    """Longest row that the next step may have, Å, (n_groups,)."""


class _Point(Protocol):
    """Last accepted point, as in ``NewtonState``."""

    @property
    def force(self) -> Tensor: ...
    @property
    def energy(self) -> Tensor: ...
    @property
    def step(self) -> Tensor: ...
    @property
    def predicted(self) -> Tensor: ...
    @property
    def radius(self) -> Tensor: ...


@dataclass(frozen=True)
class _Move:
    """From where the next step starts, and how far it may go."""

    back: Tensor
    """Rows whose last step is taken back, (n_rows, 1), bool."""
    force: Tensor
    energy: Tensor
    radius: Tensor


@dataclass(frozen=True)
class Newton:
    """Quasi-Newton with a dense inverse Hessian per group; for groups up to about 300 rows.

    BFGS update: Nocedal & Wright, Numerical Optimization, 2nd ed. (2006), Eq. 6.17, damped
    after Powell (ibid., Procedure 18.2, for the inverse) so that it stays positive definite;
    trust radius: ibid., Algorithm 4.1, on the longest row.
    """

    stiffness: float = 70.0
    """Curvature assumed where nothing is known, eV/Å²."""
    radius: float = 0.15
    """Trust radius at the start, longest row, Å."""
    largest_radius: float = 0.3
    """Largest trust radius, Å."""
    smallest_radius: float = 1e-3
    """Smallest trust radius, Å."""
    noise: float = 1e-6
    """Relative rise of the energy that is rounding and not a failed step."""
    conservative: bool = True
    """Forces are the gradient of the energy. If not, as on a band, the trust radius follows the forces alone."""

    def start(self, rows: Rows, force: Tensor, energy: Tensor, guesses: Sequence[Tensor | None]) -> NewtonState:
        """Start from the guesses, or from the inverse stiffness where there is none."""
        width = 3 * rows.width
        known = [g for g in guesses if g is not None]
        at = known[0].device if known else force.device  # fresh guesses are on the host: one copy for all
        inverse = torch.zeros(rows.n_groups, width, width, dtype=force.dtype, device=at)
        for n, (guess, count) in enumerate(zip(guesses, rows.sizes, strict=True)):
            size = 3 * count
            inverse[n, :size, :size] = (
                torch.eye(size, dtype=force.dtype, device=at) / self.stiffness if guess is None else guess
            )
        inverse = inverse.to(force.device)
        zeros = torch.zeros_like(energy)
        return NewtonState(inverse, force, energy, torch.zeros_like(force), zeros, zeros + self.radius)

    def step(self, state: NewtonState, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, NewtonState]:
        """Return the step of each row, (n_rows, 3), and the state after it."""
        # a band's steps cross negative curvature as a rule, and its trust radius follows the forces
        length = rows.largest(state.step)
        inverse = _updated(state, rows, force, length if self.conservative else None)
        move = self._judged(state, rows, force, energy, length)
        newton = rows.unpad(_times(inverse, rows.pad(move.force)))
        step, predicted = self._trusted(move, rows, newton)
        after = NewtonState(inverse, move.force, move.energy, step, predicted, move.radius)
        return torch.where(move.back, step - state.step, step), after

    def inverse_hessians(self, state: NewtonState) -> Tensor:
        """Return the inverse Hessians as updated so far."""
        return state.inverse

    def _judged(self, state: _Point, rows: Rows, force: Tensor, energy: Tensor, length: Tensor) -> _Move:
        """Take the last step back where it failed, and adapt the radius; ``length`` is that step's longest row."""
        rise = energy - state.energy
        moved = state.predicted < 0
        failed = moved & (rise > self.noise * energy.abs()) & self.conservative
        if self.conservative:
            radius = self._next_radius(state, length, rise, moved, failed)
        else:
            radius = self._radius_by_force(state, rows, length, force)
        # from a failed step go back, and start again from the point before it
        back = failed.index_select(0, rows.group)[:, None]
        return _Move(back, torch.where(back, state.force, force), torch.where(failed, state.energy, energy), radius)

    def _trusted(self, move: _Move, rows: Rows, newton: Tensor) -> tuple[Tensor, Tensor]:
        """Return a Newton step within the trust radius, and the energy that it promises, eV."""
        step = clip_rows(newton, rows, move.radius)
        gain, *squares = rows.dots((move.force, step), (newton, newton), (step, step)).unbind(0)
        full, clipped = (square.sqrt() for square in squares)
        return step, (0.5 * clipped / full.clamp(min=1e-300) - 1) * gain

    def _next_radius(self, state: _Point, length: Tensor, rise: Tensor, moved: Tensor, failed: Tensor) -> Tensor:
        ratio = rise / state.predicted.masked_fill(~moved, -1.0)
        poor = failed | ((ratio < 0.25) & (state.predicted < -1e-4))
        good = moved & (ratio > 0.75) & (length > 0.99 * state.radius)
        radius = torch.where(poor, (0.5 * length).clamp(min=self.smallest_radius), state.radius)
        return torch.where(good, (2 * radius).clamp(max=self.largest_radius), radius)

    def _radius_by_force(self, state: _Point, rows: Rows, length: Tensor, force: Tensor) -> Tensor:
        """Halve the radius where the force has grown by half, widen it slowly where it has fallen."""
        before, now = rows.norm(state.force), rows.norm(force)
        poor = (length > 0) & (now > 1.5 * before)
        shrunk = (0.5 * length).clamp(min=self.smallest_radius)
        widened = (1.5 * state.radius).clamp(max=self.radius)
        return torch.where(poor, shrunk, torch.where((length > 0) & (now < before), widened, state.radius))


def _updated(state: NewtonState, rows: Rows, force: Tensor, length: Tensor | None) -> Tensor:
    """BFGS update of the inverse Hessians by the last step, damped to stay positive definite.

    Along a step of negative curvature the damping shrinks the inverse fivefold, and again with every
    step, until nothing moves. Given the steps' ``length``, the inverse is left as it is (the other remedy of
    Nocedal & Wright, p. 537) where they are below ``CRAWL`` already; longer ones may overshoot.
    """
    s, y = rows.pad(state.step), rows.pad(state.force - force)
    by = _times(state.inverse, y)
    sy, yby = (s * y).sum(dim=1), (y * by).sum(dim=1)
    useful = yby > 1e-16
    if length is not None:
        useful = useful & ((sy > 0) | (length > CRAWL))
    theta = (0.8 * yby / (yby - sy).clamp(min=1e-300)).masked_fill(sy >= 0.2 * yby, 1.0)[:, None]
    s = theta * s + (1 - theta) * by
    sy = (s * y).sum(dim=1)
    useless = ~useful
    rho = (1 / sy.masked_fill(useless, 1.0)).masked_fill(useless, 0.0)
    factor = rho * (1 + rho * yby)
    column, row = s[:, :, None], s[:, None, :]
    outer = by[:, :, None] * row
    return state.inverse + (factor.view(-1, 1, 1) * column * row - rho.view(-1, 1, 1) * (outer + outer.mT))


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Each matrix times its vector: (n, m, m) and (n, m) to (n, m)."""
    return torch.bmm(matrices, vectors[:, :, None])[:, :, 0]
