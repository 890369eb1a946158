"""Results of ``atomsim.md``: one a trajectory, whose frames are read from disk when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.api.results import Result
from atomsim.api.views import axes
from atomsim.errors import InputError, counted
from atomsim.store.artifacts import Artifact, artifacts_of, open_artifact

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

ARTIFACT = "trajectory"


@dataclass(frozen=True)
class Frame:
    """One moment of a trajectory."""

    time_fs: float
    values: dict[str, float]
    """Thermodynamics by name: ``temperature_K``, ``pressure_GPa``, ``potential_eV`` …"""
    atoms: Atoms
    """Positions are unwrapped."""


class Trajectory:
    """Frames of one trajectory, read chunk by chunk: ``traj[i].atoms``, ``traj.to_ase(every_fs=100)``."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        about = artifact.about
        self.numbers = np.asarray(about["numbers"])
        """Atomic numbers, (n_atoms,)."""
        self.pbc = tuple(bool(p) for p in about["pbc"])
        self.interval_fs = float(about["interval_fs"])
        """Time from frame to frame."""
        self.columns = tuple(about["columns"])
        """Names of thermodynamic quantities."""

    def __len__(self) -> int:
        return len(self._artifact)

    def __getitem__(self, number: int) -> Frame:
        at = number + len(self) if number < 0 else number
        return self._frame(at, self._artifact[number])

    def __iter__(self) -> Iterator[Frame]:
        return (self._frame(n, frame) for n, frame in enumerate(self._artifact))

    def column(self, name: str) -> np.ndarray:
        """Return one quantity of all frames: ``positions``, ``cell``, ``time_fs`` or one of ``columns``.

        Raises:
            InputError: for another name.
        """
        if name in ("positions", "cell"):
            return self._artifact.column(name)
        if name == "time_fs":
            return np.arange(len(self)) * self.interval_fs
        if name not in self.columns:
            known = ", ".join(("positions", "cell", "time_fs", *self.columns))
            raise InputError(f"no column {name!r}; wanted one of {known}")
        return np.asarray(self._artifact.column("thermodynamics")[:, self.columns.index(name)])

    def to_ase(self, every_fs: float | None = None) -> list[Atoms]:
        """Return frames as ASE Atoms with energy, their time as ``info["time_fs"]``.

        Args:
            every_fs: time between them, a multiple of ``interval_fs``; all if not given.

        Raises:
            InputError: if frames are not so far apart.
        """
        stride = 1 if every_fs is None else round(every_fs / self.interval_fs)
        if stride < 1 or (every_fs is not None and abs(stride * self.interval_fs - every_fs) > 1e-6 * every_fs):
            raise InputError(f"found every_fs={every_fs!r}, wanted a multiple of {self.interval_fs:g} fs")
        return [frame.atoms for n, frame in enumerate(self) if n % stride == 0]

    def _frame(self, number: int, frame: dict[str, np.ndarray]) -> Frame:
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        values = dict(zip(self.columns, frame["thermodynamics"].tolist(), strict=True))
        time = number * self.interval_fs
        positions = frame["positions"].astype(float)
        atoms = Atoms(numbers=self.numbers, positions=positions, cell=frame["cell"], pbc=self.pbc)
        atoms.info["time_fs"] = time
        atoms.calc = SinglePointCalculator(atoms, energy=values["potential_eV"])
        return Frame(time, values, atoms)

    def __repr__(self) -> str:
        return f"<Trajectory: {counted(len(self), 'frame')} every {self.interval_fs:g} fs>"


@dataclass(frozen=True, eq=False, repr=False)
class Dynamics(Result):
    """One trajectory: means, drift, and its frames where a run folder keeps them. ``atoms`` is the last frame."""

    path: Path | None = field(default=None)
    """Folder of the run; None in memory."""
    columns = ("temperature_mean_K", "pressure_mean_GPa", "drift_meV_per_atom_per_ps")

    @property
    def temperature_K(self) -> float:  # noqa: N802 - units are in names
        """Temperature of the bath, or for ``nve`` of the first velocities."""
        return float(self.tags.get("temperature_K", np.nan))

    @property
    def drift_meV_per_atom_per_ps(self) -> float:  # noqa: N802
        """Slope of the conserved quantity of the ensemble."""
        return self.value("drift_meV_per_atom_per_ps")

    @cached_property
    def trajectory(self) -> Trajectory:
        """The frames.

        Raises:
            InputError: where none were kept.
        """
        if self.path is None or ARTIFACT not in artifacts_of(self.record):
            raise InputError(f"{self.label}: frames are files and were not kept; run atomsim.md with run='runs/x'")
        return Trajectory(open_artifact(self.path, self.record, ARTIFACT))

    def plot(self, ax: Axes | None = None, *, column: str = "temperature_K") -> Axes:
        """Draw ``temperature_K``, ``pressure_GPa``, ``potential_eV`` or ``conserved_eV`` against time.

        Args:
            ax: axes to draw on; new ones if not given.
            column: what to draw.

        Returns:
            The axes.

        Raises:
            InputError: for another column, or without frames.
        """
        series: dict[str, Any] = self.record.values.get("series", {})
        if column not in series or column == "time_ps":
            raise InputError(f"no column {column!r}; wanted one of {', '.join(k for k in series if k != 'time_ps')}")
        drawn = axes(ax)
        drawn.plot(series["time_ps"], series[column], label=self.label)
        drawn.set_xlabel("time, ps")
        drawn.set_ylabel(column.replace("_", " "))
        return drawn

    def _in_words(self) -> str:
        if "temperature_mean_K" not in self.record.values:
            return ""
        return f", {self.value('duration_ps'):g} ps at {self.value('temperature_mean_K'):.0f} K on average"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("atoms", "trajectory")}
