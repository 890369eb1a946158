"""A band of images: what turns the forces on them into those that move the band.

A band never evaluates anything. Its two ends are known and do not move; its images are the
systems of one group, so that they share one optimizer state; and all bands in flight are
projected together, without a loop over bands or images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.constraints.projectors import confined
from atomsim.optimize.entering import Group
from atomsim.optimize.springs import FLOOR


@dataclass(frozen=True)
class Band(Group):
    """Images between two fixed ends; positions are continuous from end to end, never wrapped."""

    start: Batch = field(kw_only=True)
    """The first end, one system."""
    end: Batch = field(kw_only=True)
    """The last end, one system."""
    start_energy: float = field(kw_only=True)
    """eV."""
    end_energy: float = field(kw_only=True)
    """eV."""


@dataclass(frozen=True)
class Neighbourhood:
    """Neighbours of each image of all bands in flight: the images before and after them."""

    before: Tensor
    """From the image before, Å, (n_atoms, 3)."""
    after: Tensor
    """To the image after, Å, (n_atoms, 3)."""
    energy_before: Tensor
    """eV, (n_images,)."""
    energy_after: Tensor
    """eV, (n_images,)."""
    first: Tensor
    """True where an image is the first of its band, (n_images,), bool."""
    last: Tensor
    """True where it is the last."""


@dataclass(frozen=True)
class ElasticBand:
    """Nudged elastic band: the projection that ``drive`` applies.

    Improved tangent and spring force: Henkelman, Jónsson, J. Chem. Phys. 113, 9978 (2000), Eqs. 8–12;
    climbing image: Henkelman, Uberuaga, Jónsson, J. Chem. Phys. 113, 9901 (2000), Eq. 5.
    """

    spring: float = 3.0
    """Spring constant, eV/Å². Near the curvature of the potential, one inverse Hessian fits both."""
    climb: bool = True
    """Let the highest image of each band climb, where it lies above both ends."""

    def __call__(self, batch: Batch, evaluation: Evaluation, group: Tensor, bands: Sequence[Group]) -> Evaluation:
        """Return the evaluation with the forces that move the band."""
        near = neighbourhood(batch, evaluation.energy, group, bands)
        tangent = improved_tangent(batch, evaluation.energy, near)
        forces = batch.free_part(evaluation.forces)
        along = _dot(batch, forces, tangent)
        length_after, length_before = _norm(batch, near.after), _norm(batch, near.before)
        push = self.spring * (length_after - length_before)  # Eq. 12
        if self.climb:
            push = torch.where(climbing_image(evaluation.energy, group, bands), -along, push)
        return replace(evaluation, forces=forces + (push - along)[batch.system, None] * tangent)


def neighbourhood(batch: Batch, energy: Tensor, group: Tensor, bands: Sequence[Group]) -> Neighbourhood:
    """Look up each image's neighbours on its band.

    Args:
        batch: the images of all bands, band after band.
        energy: of the images, eV, (n_images,).
        group: band of each image, (n_images,).
        bands: the bands, each a ``Band``.
    """
    ends = [b for b in bands if isinstance(b, Band)]
    change = torch.ones_like(group, dtype=torch.bool)
    change[1:] = group[1:] != group[:-1]
    first, last = change, change.roll(-1)
    own = torch.arange(batch.n_atoms, device=batch.device)
    size = batch.counts[batch.system]
    before = batch.positions[(own - size).clamp(min=0)]
    after = batch.positions[(own + size).clamp(max=batch.n_atoms - 1)]
    before[first[batch.system]] = torch.cat([b.start.positions for b in ends])
    after[last[batch.system]] = torch.cat([b.end.positions for b in ends])
    energy_before, energy_after = energy.roll(1), energy.roll(-1)
    energy_before[first] = energy.new_tensor([b.start_energy for b in ends])
    energy_after[last] = energy.new_tensor([b.end_energy for b in ends])
    return Neighbourhood(batch.positions - before, after - batch.positions, energy_before, energy_after, first, last)


def improved_tangent(batch: Batch, energy: Tensor, near: Neighbourhood) -> Tensor:
    """Unit tangent of each image, (n_atoms, 3) (Henkelman & Jónsson 2000, Eqs. 8–11)."""
    up, down = near.energy_after - energy, near.energy_before - energy
    rising = (up > 0) & (down < 0)
    falling = (up < 0) & (down > 0)
    larger, smaller = torch.maximum(up.abs(), down.abs()), torch.minimum(up.abs(), down.abs())
    uphill = near.energy_after > near.energy_before
    forward = torch.where(rising, 1.0, torch.where(falling, 0.0, torch.where(uphill, larger, smaller)))
    backward = torch.where(rising, 0.0, torch.where(falling, 1.0, torch.where(uphill, smaller, larger)))
    flat = (forward == 0) & (backward == 0)
    forward, backward = torch.where(flat, 1.0, forward), torch.where(flat, 1.0, backward)
    tangent = forward[batch.system, None] * near.after + backward[batch.system, None] * near.before
    return tangent / _norm(batch, tangent).clamp(min=1e-12)[batch.system, None]


def climbing_image(energy: Tensor, group: Tensor, bands: Sequence[Group]) -> Tensor:
    """Mask of images that are the highest of their band and above both ends, (n_images,), bool."""
    top = energy.new_full((len(bands),), -torch.inf).scatter_reduce(0, group, energy, "amax")
    ends = energy.new_tensor([max(b.start_energy, b.end_energy) for b in bands if isinstance(b, Band)])
    highest = (energy == top[group]) & (top > ends)[group]
    # of equal images the first climbs
    order = torch.cumsum(highest, 0)
    before = torch.zeros_like(top, dtype=order.dtype).scatter_reduce(
        0, group, torch.where(highest, order, torch.iinfo(order.dtype).max), "amin", include_self=False
    )
    return highest & (order == before[group])


def _dot(batch: Batch, a: Tensor, b: Tensor) -> Tensor:
    """Scalar product within each image, (n_images,)."""
    return a.new_zeros(batch.n_systems).index_add_(0, batch.system, (a * b).sum(dim=1))


def _norm(batch: Batch, a: Tensor) -> Tensor:
    return _dot(batch, a, a).sqrt()


def band_inverse(hessian: Tensor, path: Tensor, spring: float, free: Tensor | None = None) -> Tensor:
    """Inverse of the derivative of a band's projected force, guessed from one Hessian for all images.

    Across the tangent τ an image feels the potential, along it the springs:
    J = P H P + 2k ττᵀ on the diagonal, −k ττ′ᵀ between neighbours, P = 1 − ττᵀ.

    Args:
        hessian: of an end, or of its host, eV/Å², (3 n_atoms, 3 n_atoms).
        path: positions of all images, both ends among them, Å, (n_images + 2, n_atoms, 3).
        spring: spring constant, eV/Å².
        free: projectors onto the directions in which atoms may move, (n_atoms, 3, 3); None where all may in all.

    Returns:
        Å²/eV, (3 n_atoms n_images, 3 n_atoms n_images), symmetric and positive definite but for what is held.
    """
    n_images, size = len(path) - 2, hessian.shape[0]
    moving = torch.eye(3, dtype=torch.float64).repeat(size // 3, 1, 1) if free is None else free.cpu()
    values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.T))
    largest = float(values.max())
    floor = min(FLOOR, 0.1 * largest) if largest > 0 else FLOOR  # argon has no curvature as large as FLOOR
    positive = (vectors * values.clamp(min=floor)) @ vectors.T
    tangent = torch.einsum("aij,naj->nai", moving, path[2:] - path[:-2]).reshape(n_images, size)
    tangent = tangent / tangent.norm(dim=1, keepdim=True).clamp(min=1e-12)
    along = tangent[:, :, None] * tangent[:, None, :]
    across = torch.eye(size, dtype=torch.float64) - along
    jacobian = torch.block_diag(*(across @ positive @ across + 2 * spring * along)).clone()
    for n in range(n_images - 1):
        here, next_ = slice(n * size, (n + 1) * size), slice((n + 1) * size, (n + 2) * size)
        coupling = -spring * torch.outer(tangent[n], tangent[n + 1])
        jacobian[here, next_], jacobian[next_, here] = coupling, coupling.T
    every = moving.repeat(n_images, 1, 1)
    held = torch.block_diag(*(torch.eye(3, dtype=torch.float64) - every))
    inverse = confined(torch.linalg.inv(confined(jacobian, every) + held), every)
    return 0.5 * (inverse + inverse.T)
