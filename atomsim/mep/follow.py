"""Eigenvector following: from the neighbourhood of a saddle up one mode and down all others.

The Hessian of each system is kept whole, indefinite, and updated from the forces met on the way, so it can begin
as that of the host with what was measured of the moving ion put in. The last of the way to a saddle, for which a
band moves all its images, a single system then goes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from atomsim.constraints.projectors import confined
from atomsim.optimize.rows import MATRIX, PER_GROUP, PER_ROW, Rows, clip_rows
from atomsim.types import FloatArray

SOFTEST = 0.01
"""Curvatures below this part of the largest are not believed: steps along soft modes stay short."""
DISTINCT = 0.2
"""Gap below the next mode, as a part of the largest curvature × SOFTEST, to which the followed mode is put."""


@dataclass(frozen=True)
class FollowState:
    """Hessians, and the last point of all groups."""

    hessian: Tensor = field(metadata=MATRIX)
    """eV/Å², (n_groups, 3 × width, 3 × width), zero beyond a group's rows."""
    mode: Tensor = field(metadata=PER_ROW)
    """The mode that is followed, (n_rows, 3), of length 1 in each group; zero at the start."""
    force: Tensor = field(metadata=PER_ROW)
    """Force at the last point, (n_rows, 3)."""
    step: Tensor = field(metadata=PER_ROW)
    """Step that led from there, (n_rows, 3); zero at the start."""
    radius: Tensor = field(metadata=PER_GROUP)
    """Longest row that the next step may have, Å, (n_groups,)."""


@dataclass(frozen=True)
class Follow:
    """Quasi-Newton search for a saddle of first order, one dense Hessian per group.

    The step is Newton's with the curvature's sign turned for the followed mode, and positive for all
    others (Cerjan, Miller, J. Chem. Phys. 75, 2800 (1981)); followed is the lowest mode at the start (see
    ``with_lowest``) and then the one that overlaps most with it (Baker, J. Comput. Chem. 7, 385 (1986)). Update:
    the mixture of SR1 and PSB by Bofill, J. Comput. Chem. 15, 1 (1994).
    """

    radius: float = 0.15
    """Longest row of a step, Å."""
    smallest_radius: float = 0.01
    """Smallest trust radius, Å."""

    def start(self, rows: Rows, force: Tensor, energy: Tensor, guesses: Sequence[Tensor | None]) -> FollowState:
        """Start from Hessians: a group's guess is here not an inverse, and must be there."""
        width = 3 * rows.width
        hessian = force.new_zeros(rows.n_groups, width, width)
        for n, guess in enumerate(guesses):
            assert guess is not None
            hessian[n, : len(guess), : len(guess)] = guess
        still = torch.zeros_like(force)
        return FollowState(hessian, still, force, still, torch.zeros_like(energy) + self.radius)

    def step(self, state: FollowState, rows: Rows, force: Tensor, energy: Tensor) -> tuple[Tensor, FollowState]:
        """Return the step of each row, (n_rows, 3), and the state after it."""
        del energy
        hessian = _updated(state, rows, force)
        values, vectors = (t.to(force.device) for t in torch.linalg.eigh(hessian.cpu()))  # small: not worth a GPU
        overlap = torch.einsum("gi,gik->gk", rows.pad(state.mode), vectors).abs()
        chosen = torch.where(overlap.amax(dim=1) == 0, values.argmin(dim=1), overlap.argmax(dim=1))
        mode = vectors.gather(2, chosen[:, None, None].expand(-1, vectors.shape[1], 1))[:, :, 0]
        floor = (SOFTEST * values.amax(dim=1, keepdim=True)).clamp(min=1e-6)
        curvature = torch.maximum(values.abs(), floor)
        curvature = curvature.scatter(1, chosen[:, None], -curvature.gather(1, chosen[:, None]))
        along = torch.einsum("gik,gi->gk", vectors, rows.pad(force))
        newton = rows.unpad(torch.einsum("gik,gk->gi", vectors, along / curvature))
        radius = self._next_radius(state, rows, force)
        step = clip_rows(newton, rows, radius)
        return step, FollowState(hessian, rows.unpad(mode), force, step, radius)

    def inverse_hessians(self, state: FollowState) -> Tensor:
        """Return the Hessians as updated so far: as at the start, not inverted."""
        return state.hessian

    def _next_radius(self, state: FollowState, rows: Rows, force: Tensor) -> Tensor:
        """Halve the radius where the force has grown; widen it where the model promised the force that was met."""
        moved = rows.norm(state.step) > 0
        change = force - state.force
        promised = -rows.unpad(torch.einsum("gij,gj->gi", state.hessian, rows.pad(state.step)))
        wrong = rows.norm(change - promised) / rows.norm(change).clamp(min=1e-12)
        grown = rows.norm(force) > 1.2 * rows.norm(state.force)
        shrunk = (0.5 * rows.largest(state.step)).clamp(min=self.smallest_radius)
        widened = (1.5 * state.radius).clamp(max=self.radius)
        return torch.where(moved & grown, shrunk, torch.where(moved & (wrong < 0.7), widened, state.radius))


def _updated(state: FollowState, rows: Rows, force: Tensor) -> Tensor:
    """Bofill's update of the Hessians by the last step."""
    s, y = rows.pad(state.step), rows.pad(state.force - force)
    rest = y - torch.einsum("gij,gj->gi", state.hessian, s)
    ss, rs, rr = (s * s).sum(dim=1), (rest * s).sum(dim=1), (rest * rest).sum(dim=1)
    useful = (ss > 1e-16) & (rr > 1e-16)
    ss, rr = torch.where(useful, ss, 1.0), torch.where(useful, rr, 1.0)
    part = rs**2 / (ss * rr)
    safe = torch.where(rs.abs() > 1e-8 * (ss * rr).sqrt(), rs, torch.inf)
    sr1 = rest[:, :, None] * rest[:, None, :] / safe[:, None, None]
    outer = rest[:, :, None] * s[:, None, :]
    psb = (outer + outer.mT) / ss[:, None, None] - (rs / ss**2)[:, None, None] * s[:, :, None] * s[:, None, :]
    change = part[:, None, None] * sr1 + (1 - part)[:, None, None] * psb
    return state.hessian + torch.where(useful[:, None, None], change, 0.0)


def informed(hessian: FloatArray, directions: FloatArray, products: FloatArray) -> FloatArray:
    """Put what was measured into a Hessian: symmetric, and exact along the directions.

    Args:
        hessian: what is thought, eV/Å², (n, n).
        directions: orthonormal, (k, n).
        products: the true Hessian times each, eV/Å², (k, n).
    """
    rest = np.eye(len(hessian)) - directions.T @ directions
    small = directions @ products.T
    cross = products.T @ directions
    found = rest @ hessian @ rest + cross + cross.T - directions.T @ (0.5 * (small + small.T)) @ directions
    return np.asarray(0.5 * (found + found.T))


def with_lowest(hessian: FloatArray, direction: FloatArray) -> FloatArray:
    """Make the mode that overlaps most with a direction the lowest, and negative: the one to be followed."""
    values, vectors = np.linalg.eigh(hessian)
    chosen = int(np.abs(vectors.T @ direction.ravel()).argmax())
    small = SOFTEST * values[-1]
    lowest = min(values[chosen], -small, values[0] - DISTINCT * small if chosen else np.inf)
    mode = vectors[:, chosen]
    return np.asarray(hessian + (lowest - values[chosen]) * np.outer(mode, mode))


def held(hessian: FloatArray, free: Tensor) -> FloatArray:
    """Make what constraints hold stiff in a Hessian, and lift every curvature that is too soft or negative.

    Args:
        hessian: eV/Å², (3 n_atoms, 3 n_atoms).
        free: projectors onto the directions in which atoms may move, (n_atoms, 3, 3).
    """
    moving = confined(torch.from_numpy(hessian), free).numpy()
    values, vectors = np.linalg.eigh(0.5 * (moving + moving.T))
    found = (vectors * np.clip(values, SOFTEST * values[-1], None)) @ vectors.T
    stiff = values[-1] * torch.block_diag(*(torch.eye(3, dtype=free.dtype) - free))
    return np.asarray((confined(torch.from_numpy(found), free) + stiff).numpy())
