"""Observers of a run: thermodynamics at a moment, and frames collected into a trajectory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atomsim.dynamics.state import MDState
from atomsim.errors import InputError
from atomsim.units import GPA

COLUMNS = (
    "step",
    "potential_eV",
    "kinetic_eV",
    "temperature_K",
    "pressure_GPa",
    "volume_A3",
    "conserved_eV",
)
"""Names of thermodynamic quantities, one row of numbers for each moment."""


def thermodynamics(state: MDState) -> NDArray[np.float64]:
    """Return ``COLUMNS`` of each system, (n_systems, 7)."""
    kinetic = state.kinetic_energy
    columns = (
        state.step.to(kinetic),
        state.evaluation.energy,
        kinetic,
        state.kinetic_temperature,
        state.pressure_tensor.diagonal(dim1=1, dim2=2).mean(dim=1) / GPA,
        state.volume,
        state.conserved,
    )
    return np.stack([c.detach().cpu().numpy() for c in columns], axis=1)


@dataclass(frozen=True)
class Trajectory:
    """Frames of one system at equal intervals."""

    numbers: NDArray[np.int64]
    """Atomic numbers, (n_atoms,)."""
    positions: NDArray[np.float32]
    """Unwrapped, Å, (n_frames, n_atoms, 3)."""
    cells: NDArray[np.float64]
    """Lattice vectors as rows, Å, (n_frames, 3, 3)."""
    pbc: tuple[bool, bool, bool]
    interval_fs: float
    """Time from frame to frame."""
    thermodynamics: NDArray[np.float64]
    """``COLUMNS`` of each frame, (n_frames, 7)."""

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.positions)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one of ``COLUMNS`` over the frames."""
        return np.asarray(self.thermodynamics[:, COLUMNS.index(name)])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays by name."""
        return {
            "numbers": self.numbers,
            "positions": self.positions,
            "cells": self.cells,
            "pbc": np.array(self.pbc),
            "interval_fs": np.array(self.interval_fs),
            "thermodynamics": self.thermodynamics,
        }


@dataclass
class Recorder:
    """Collects frames of one system; call it with states at equal intervals."""

    interval_fs: float
    frames: list[NDArray[np.float32]] = field(default_factory=list, repr=False)
    cells: list[NDArray[np.float64]] = field(default_factory=list, repr=False)
    rows: list[NDArray[np.float64]] = field(default_factory=list, repr=False)
    _of: MDState | None = field(default=None, repr=False)

    def __call__(self, state: MDState) -> None:
        """Keep a frame."""
        if state.n_systems != 1:
            raise InputError(f"a recorder keeps one system: found {state.n_systems}; take them one by one")
        self.frames.append(state.batch.positions.cpu().numpy().astype(np.float32))
        self.cells.append(state.batch.cell[0].cpu().numpy())
        self.rows.append(thermodynamics(state)[0])
        self._of = state

    def trajectory(self) -> Trajectory:
        """Return what was collected."""
        if self._of is None:
            raise InputError("found no frames, wanted one or more; run for longer than the interval between frames")
        batch = self._of.batch
        first, second, third = (bool(p) for p in batch.pbc[0].tolist())
        return Trajectory(
            numbers=batch.numbers.cpu().numpy(),
            positions=np.stack(self.frames),
            cells=np.stack(self.cells),
            pbc=(first, second, third),
            interval_fs=self.interval_fs,
            thermodynamics=np.stack(self.rows),
        )
