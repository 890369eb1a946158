"""State of a saddle search, from a rough band to the saddle, and bands between two ends."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.mep.band import Band, ElasticBand, band_inverse
from atomsim.mep.path import Endpoints, ReactionPath, at_positions, path_tangents
from atomsim.mep.proof import Proof
from atomsim.optimize.drive import Outcome
from atomsim.optimize.entering import Group
from atomsim.types import FloatArray

Key = tuple[Hashable, int]
"""Hop and number of the start."""

KICK_A = 0.15
"""Longest row of the step off a ridge, Å."""


@dataclass
class SaddleSearch:
    """State of one hop's search for its saddle."""

    key: Key
    ends: Endpoints
    positions: FloatArray
    """Where to follow from, Å, (n_atoms, 3)."""
    force: FloatArray
    """Force there, eV/Å, (n_atoms, 3)."""
    tangent: FloatArray
    """Direction of the path, (n_atoms, 3), of length 1."""
    calls: int = 0
    steps: int = 0
    kicks: int = 0
    basin_positions: FloatArray | None = None
    """A shallow minimum on top of the path that it was led out of, Å, (n_atoms, 3)."""
    n_escapes: int = 0
    """Number of escapes from shallow minima."""
    note: str = ""
    """Caveat about the saddle."""
    restarts: int = 0
    """Number of restarts from an image."""
    hessian: FloatArray | None = None
    """As learned, eV/Å²."""
    saddle: Outcome | None = None
    proof: Proof | None = None
    path: ReactionPath | None = None
    """When it is done."""
    failed: bool = False
    force_is_stale: bool = False
    """It stands where no force is known."""


@dataclass
class Watched:
    """Projection that keeps the last evaluation of each band."""

    project: ElasticBand
    seen: dict[Hashable, Evaluation] = field(default_factory=dict)

    def __call__(self, batch: Batch, evaluation: Evaluation, group: Tensor, bands: Sequence[Group]) -> Evaluation:
        """Project."""
        for n, band in enumerate(bands):
            self.seen[band.key] = evaluation.take(batch, torch.nonzero(group == n).flatten())
        return self.project(batch, evaluation, group, bands)


def band_between(
    key: Hashable,
    ends: Endpoints,
    positions: FloatArray,
    spring: float,
    device: torch.device,
    hessian: Tensor | None = None,
) -> Band:
    """Return a band between two ends, with what is known of its curvature."""
    path = np.concatenate([[ends.start.positions], positions, [ends.end.positions]])
    first = Batch.pack([ends.start])
    known = ends.curvature() if hessian is None else hessian
    inverse = band_inverse(known, torch.from_numpy(path), spring, ends.free)
    return Band(
        key,
        Batch.pack([at_positions(ends.start, p) for p in positions], device),
        inverse.to(device),
        start=first.to(device),
        end=Batch.pack([ends.end], device),
        start_energy=ends.start_energy,
        end_energy=ends.end_energy,
    )


def begin_search(key: Key, ends: Endpoints, images: Sequence[Atoms], evaluation: Evaluation) -> SaddleSearch:
    """Begin at the highest image of a band."""
    energies = np.array([ends.start_energy, *evaluation.energy.tolist(), ends.end_energy])
    top = int(energies[1:-1].argmax()) + 1
    path = [ends.start, *images, ends.end]
    forces = evaluation.forces.cpu().numpy().reshape(len(images), -1, 3)
    climb = SaddleSearch(key, ends, images[top - 1].positions, forces[top - 1], path_tangents(path, energies)[top])
    climb.failed = not energies[top] > max(ends.start_energy, ends.end_energy)
    return climb
