"""Labels: energies, forces and stresses of frames by a teacher, kept in files that are whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.batching.labels import labelled
from atomsim.io import read_structures, write_extxyz
from atomsim.models.interface import EnergyModel, device_of


@dataclass
class Recorder:
    """A potential that keeps every system that it was asked about, with the answer."""

    inner: EnergyModel
    frames: list[Atoms] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where batches must live."""
        device: torch.device = device_of(self.inner)
        return device

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate, and keep the answer."""
        evaluation = self.inner(batch)
        self.frames += labelled(batch, evaluation)
        return evaluation


def largest_force(frame: Atoms) -> float:
    """Return the largest force on an atom of a labelled frame, eV/Å; infinite if one is not a number."""
    forces = frame.calc.results["forces"]
    return float(np.linalg.norm(forces, axis=1).max()) if np.isfinite(forces).all() else np.inf


def evenly(frames: Sequence[Atoms], number: int) -> list[Atoms]:
    """Return so many frames, evenly spaced, the first and the last among them."""
    if len(frames) <= number:
        return list(frames)
    return [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, number).round().astype(int))]


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write labelled frames, whole or not at all; none give an empty file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if frames:
        write_extxyz(path, frames)
    else:
        path.touch()


def read_frames(path: Path) -> list[Atoms]:
    """Read what ``write_frames`` wrote.

    Raises:
        InputError: if the file is damaged.
    """
    return read_structures(path) if path.stat().st_size else []
