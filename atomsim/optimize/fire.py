"""FIRE: damped dynamics that keeps its speed while it runs downhill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.optimize.rows import PER_GROUP, PER_ROW, Rows, WithoutMatrix, clip_groups


@dataclass(frozen=True)
class FireState:
    """Velocities and step sizes of all groups."""

    velocity: Tensor = field(metadata=PER_ROW)
    """(n_rows, 3)."""
    timestep: Tensor = field(metadata=PER_GROUP)
    """(n_groups,)."""
    mixing: Tensor = field(metadata=PER_GROUP)
    """(n_groups,)."""
    downhill: Tensor = field(metadata=PER_GROUP)
    """Steps since the last uphill one, (n_groups,), int64."""


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
        ones = torch.ones(rows.n_groups, dtype=force.dtype, device=force.device)
        return FireState(
            velocity=torch.zeros_like(force),
            timestep=self.timestep * ones,
            mixing=self.mixing * ones,
            downhill=torch.zeros_like(ones, dtype=torch.int64),
        )

    def step(self, state: FireState, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, FireState]:  # noqa: ARG002
        """Return the step of each row, (n_rows, 3), and the state after it."""
        power = rows.dot(force, state.velocity)
        up = power <= 0
        speed, pull = rows.norm(state.velocity), rows.norm(force).clamp(min=1e-300)
        mixed = (1 - state.mixing)[rows.group, None] * state.velocity
        mixed = mixed + (state.mixing * speed / pull)[rows.group, None] * force
        patient = ~up & (state.downhill > self.patience)
        timestep = torch.where(patient, (state.timestep * self.growth).clamp(max=self.longest_timestep), state.timestep)
        timestep = torch.where(up & (speed > 0), timestep * self.shrinkage, timestep)
        mixing = torch.where(patient, state.mixing * self.mixing_decay, state.mixing)
        velocity = torch.where(up[rows.group, None], 0.0, mixed) + timestep[rows.group, None] * force
        step = clip_groups(timestep[rows.group, None] * velocity, rows, self.longest_step)
        after = replace(
            state,
            velocity=velocity,
            timestep=timestep,
            mixing=torch.where(up, self.mixing, mixing),
            downhill=torch.where(up, 0, state.downhill + 1),
        )
        return step, after
