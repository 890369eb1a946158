"""FIRE: damped dynamics that keeps its speed while it runs downhill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from atomsim.optimize.rows import PER_GROUP, PER_ROW, Rows, WithoutMatrix, clip_groups


@dataclass(frozen=True)
class FireState:
    """Velocities and step sizes of all groups."""

    velocity: Tensor = field(metadata=PER_ROW)
    """(n_rows, 3)."""
    pace: Tensor = field(metadata=PER_GROUP)
    """Time step, mixing of velocity and force, and steps since the last uphill one, (n_groups, 3)."""


@dataclass(frozen=True)
class Fire(WithoutMatrix):
    """Fast inertial relaxation engine, with the defaults of ASE.

    Bitzek, Koskinen, Gähler, Moseler, Gumbsch, Phys. Rev. Lett. 97, 170201 (2006).
    """

    timestep: float = 0.1
    longest_timestep: float = 1.0
    longest_step: float = 0.2
    """Longest step of a group, norm over all its rows, Å."""
    patience: int = 5
    growth: float = 1.1
    shrinkage: float = 0.5
    mixing: float = 0.1
    mixing_decay: float = 0.99

    def start(
        self,
        rows: Rows,
        force: Tensor,
        energy: Tensor,  # noqa: ARG002 (one signature for all methods)
        guesses: Sequence[Tensor | None],  # noqa: ARG002
    ) -> FireState:
        """Start at rest."""
        # what is at rest counts as going uphill
        pace = force.new_tensor([[self.timestep / self.shrinkage, self.mixing, 0.0]]).expand(rows.n_groups, 3)
        return FireState(velocity=torch.zeros_like(force), pace=pace)

    def step(self, state: FireState, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, FireState]:  # noqa: ARG002
        """Return the step of each row, (n_rows, 3), and the state after it."""
        power, speed, pull = rows.dots(
            (force, state.velocity), (state.velocity, state.velocity), (force, force)
        ).unbind(0)
        up = power <= 0
        _, mixing, downhill = state.pace.unbind(1)
        pace = self._next_pace(state.pace, up, downhill)
        turning = mixing * speed.sqrt().masked_fill(up, 0.0) / pull.sqrt()  # a group without forces has converged
        kept = 1 - mixing.masked_fill(up, 1.0)  # nothing where it went uphill
        of_row = torch.stack([kept, turning, pace.select(1, 0)]).index_select(1, rows.group)
        kept, turning, timestep = of_row[:, :, None].unbind(0)
        velocity = kept * state.velocity + turning * force + timestep * force
        step = clip_groups(timestep * velocity, rows, self.longest_step)
        return step, FireState(velocity, pace)

    def _next_pace(self, pace: Tensor, up: Tensor, downhill: Tensor) -> Tensor:
        """Faster where it has gone downhill for long, slower where it went uphill."""
        case = (downhill > self.patience).to(torch.int64).masked_fill(up, 2)
        factor, largest, added = _paces(self, pace.device).index_select(1, case).unbind(0)
        return torch.minimum(pace * factor, largest) + added


@lru_cache(maxsize=8)
def _paces(fire: Fire, device: torch.device) -> Tensor:
    """Factors of time step, mixing and steps downhill, their upper limits, and their increments.

    Rows are for groups going downhill, for those going downhill for long, and for those going uphill; (3, 3, 3).
    """
    free = [math.inf, math.inf, math.inf]
    factor = [[1.0, 1.0, 1.0], [fire.growth, fire.mixing_decay, 1.0], [fire.shrinkage, 0.0, 0.0]]
    largest = [free, [fire.longest_timestep, math.inf, math.inf], free]
    added = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, fire.mixing, 0.0]]
    return torch.tensor([factor, largest, added], dtype=torch.float64).to(device)
