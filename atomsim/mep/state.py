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
from atomsim.mep.path import Ends, Path, at_positions, path_tangents
from atomsim.mep.proof import Proof
from atomsim.optimize.drive import Group, Outcome
from atomsim.types import FloatArray

Key = tuple[Hashable, int]
"""Hop and number of the start."""

KICK_A = 0.15
"""Longest row of the step off a ridge, Å."""


@dataclass
class Climb:
    """State of one hop's search for its saddle."""

    key: Key
    ends: Ends
    at: FloatArray
    """Where to follow from, Å, (n_atoms, 3)."""
    force: FloatArray
    """There, eV/Å, (n_atoms, 3)."""
    tangent: FloatArray
    """Direction of the path, (n_atoms, 3), of length 1."""
    calls: int = 0
    steps: int = 0
    kicks: int = 0
    bottom: FloatArray | None = None
    """A shallow minimum on top of the path that it was led out of, Å, (n_atoms, 3)."""
    left: int = 0
    """Number of escapes from shallow minima."""
    note: str = ""
    """Caveat about the saddle."""
    begun: int = 0
    """Number of restarts from an image."""
    hessian: FloatArray | None = None
    """As learned, eV/Å²."""
    saddle: Outcome | None = None
    proof: Proof | None = None
    path: Path | None = None
    """When it is done."""
    failed: bool = False
    kicked: bool = False
    """It stands where no force is known."""


@dataclass
class Watched:
    """A projection that keeps what the surface said of each band last."""

    project: ElasticBand
    seen: dict[Hashable, Evaluation] = field(default_factory=dict)

    def __call__(self, batch: Batch, said: Evaluation, group: Tensor, bands: Sequence[Group]) -> Evaluation:
        """Project."""
        for n, band in enumerate(bands):
            self.seen[band.key] = said.take(batch, torch.nonzero(group == n).flatten())
        return self.project(batch, said, group, bands)


def band_between(
    key: Hashable, ends: Ends, positions: FloatArray, spring: float, device: torch.device, hessian: Tensor | None = None
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


def begun(key: Key, ends: Ends, images: Sequence[Atoms], said: Evaluation) -> Climb:
    """Begin at the highest image of a band."""
    energies = np.array([ends.start_energy, *said.energy.tolist(), ends.end_energy])
    top = int(energies[1:-1].argmax()) + 1
    path = [ends.start, *images, ends.end]
    forces = said.forces.cpu().numpy().reshape(len(images), -1, 3)
    climb = Climb(key, ends, images[top - 1].positions, forces[top - 1], path_tangents(path, energies)[top])
    climb.failed = not energies[top] > max(ends.start_energy, ends.end_energy)
    return climb
