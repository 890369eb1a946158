"""Labels: what a teacher says of frames, kept in files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from atomsim.batch import Batch, Evaluation
from atomsim.io import read_structures, write_extxyz
from atomsim.models.interface import Surface

ATOMS_AT_ONCE = {"cpu": 200, "cuda": 20_000}


def label(frames: Sequence[Atoms], surface: Surface) -> list[Atoms]:
    """Return the frames with energy, forces and stress of a surface, batch by batch."""
    device = getattr(surface, "device", torch.device("cpu"))
    found: list[Atoms] = []
    for some in batches(frames, ATOMS_AT_ONCE[device.type]):
        batch = Batch.pack(some, device)
        found += labelled(batch, surface(batch))
    return [_with_info(new, old) for new, old in zip(found, frames, strict=True)]


def labelled(batch: Batch, said: Evaluation) -> list[Atoms]:
    """Return the systems of a batch with what was said of them."""
    energies, forces, stresses = (t.detach().cpu().numpy() for t in (said.energy, said.forces, said.stress))
    found = []
    for n, (atoms, first) in enumerate(zip(batch.to("cpu").split(), batch.starts.tolist(), strict=True)):
        results = {
            "energy": float(energies[n]),
            "forces": forces[first : first + len(atoms)],
            "stress": full_3x3_to_voigt_6_stress(stresses[n]),
        }
        atoms.set_constraint()
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def _with_info(new: Atoms, old: Atoms) -> Atoms:
    new.info.update(old.info)
    return new


def batches(frames: Sequence[Atoms], atoms_at_once: int) -> Iterable[list[Atoms]]:
    """Yield frames in order, as many at once as a number of atoms allows."""
    some: list[Atoms] = []
    for frame in frames:
        if some and sum(map(len, some)) + len(frame) > atoms_at_once:
            yield some
            some = []
        some.append(frame)
    if some:
        yield some


@dataclass
class Recorder:
    """A surface that keeps every system that it was asked about, with the answer."""

    inner: Surface
    frames: list[Atoms] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where batches must live."""
        device: torch.device = getattr(self.inner, "device", torch.device("cpu"))
        return device

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate, and keep the answer."""
        said = self.inner(batch)
        self.frames += labelled(batch, said)
        return said


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
