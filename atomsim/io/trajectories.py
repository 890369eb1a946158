"""Trajectory files of other programs: extended XYZ, ASE's .traj, XDATCAR, LAMMPS dumps."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.errors import InputError, counted

MIN_FRAMES = 3
CLOCKS = ("time_fs", "time_ps", "time", "Time", "step", "Step", "timestep", "Timestep")
"""Where frames keep a time or a step; only the first two say in which unit."""
FS = {"time_fs": 1.0, "time_ps": 1000.0}
SAME_INTERVAL = 1e-4
"""Relative difference up to which intervals are equal."""


@dataclass(frozen=True)
class Frames:
    """Frames of one trajectory at equal times."""

    source: str
    """Name for messages."""
    numbers: NDArray[np.int64]
    positions: NDArray[np.floating]
    """Å, (n_frames, n_atoms, 3)."""
    cells: NDArray[np.float64]
    """Lattice vectors as rows, Å, (n_frames, 3, 3)."""
    pbc: tuple[bool, bool, bool]
    interval_fs: float | None = None
    """Time from frame to frame, where it is known."""
    temperature_K: float | None = None
    """Where it is known."""
    unwrapped: bool = False
    """True if positions are known to be unwrapped."""

    @property
    def atoms(self) -> Atoms:
        """The first frame."""
        return Atoms(numbers=self.numbers, positions=self.positions[0], cell=self.cells[0], pbc=self.pbc)


def read_frames(path: Path, species: Sequence[str] | None = None) -> Frames:
    """Read a trajectory.

    Args:
        path: any trajectory that ASE reads.
        species: elements of the types 1, 2, … of a LAMMPS dump without a column ``element``.

    Raises:
        InputError: if it cannot be read, has fewer than three frames, irregular times, or atoms that change.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name of the trajectory")
    if path.is_dir():
        raise InputError(f"{path} is a folder; wanted a trajectory file")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; wanted a trajectory of {MIN_FRAMES} frames or more")
    how, steps = _lammps(path, species)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # readers warn of what they guess; atoms and cells are checked here
            found = frames_of(_iterate(path, how), str(path))
    except (InputError, PermissionError):
        raise
    except Exception as error:  # parsers raise whatever they meet
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path} cannot be read as a trajectory ({text}); wanted a format that ASE reads") from error
    if steps is not None:
        _interval(steps, str(path))
    return found


def frames_of(structures: Iterable[Atoms], source: str) -> Frames:
    """Return structures as the frames of one trajectory.

    Raises:
        InputError: if there are fewer than three, their times are irregular, or their atoms change.
    """
    first: Atoms | None = None
    positions, cells = [], []
    clocks: list[dict[str, Any]] = []
    for n, atoms in enumerate(structures):
        first = atoms if first is None else first
        _check_frame(atoms, first, n, source)
        positions.append(atoms.positions.copy())
        cells.append(atoms.cell.array.copy())
        clocks.append(atoms.info)
    if first is None or len(positions) < MIN_FRAMES:
        raise InputError(
            f"{source}: found {counted(len(positions), 'frame')}, wanted {MIN_FRAMES} or more; write more of them"
        )
    a, b, c = (bool(p) for p in first.pbc)
    return Frames(
        source, first.numbers.copy(), np.array(positions), np.array(cells), (a, b, c), _interval_of(clocks, source)
    )


def without_start(frames: Frames, skip_fs: float) -> Frames:
    """Return a trajectory of known times without its start.

    Raises:
        InputError: if too few frames are left.
    """
    assert frames.interval_fs is not None
    first = round(skip_fs / frames.interval_fs)
    left = len(frames.positions) - first
    if left < MIN_FRAMES:
        raise InputError(
            f"{frames.source}: skip_fs={skip_fs:g} leaves {max(left, 0)} of {len(frames.positions)} frames, wanted "
            f"{MIN_FRAMES} or more; skip less"
        )
    return replace(frames, positions=frames.positions[first:], cells=frames.cells[first:]) if first else frames


def _check_frame(atoms: Atoms, first: Atoms, n: int, source: str) -> None:
    if len(atoms) != len(first):
        raise InputError(
            f"{source}: frame {n} has {len(atoms)} atoms and the first {len(first)}; wanted the same in all frames"
        )
    if (atoms.numbers != first.numbers).any():
        which = int((atoms.numbers != first.numbers).argmax())
        raise InputError(
            f"{source}: atom {which} is {first.symbols[which]} in the first frame and {atoms.symbols[which]} in frame "
            f"{n}; wanted the same atoms in the same order"
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError(f"{source}: positions or cell of frame {n} are not all finite numbers; correct the file")
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InputError(
            f"{source}: frame {n} has {int((atoms.pbc & (atoms.cell.lengths() > 0)).sum())} periodic directions, "
            "wanted 3 with their lattice vectors; write the cell into the file"
        )


def _interval_of(clocks: Sequence[dict[str, Any]], source: str) -> float | None:
    """Return the time from frame to frame that frames tell, fs; whatever clock there is must be regular."""
    known = None
    for key in CLOCKS:
        values = [c.get(key) for c in clocks]
        if any(isinstance(v, bool) or not isinstance(v, int | float | np.number) for v in values):
            continue
        interval = _interval([float(v) for v in values], f"{source} ({key})")  # type: ignore[arg-type]
        if known is None and key in FS:
            known = interval * FS[key]
    return known


def _interval(times: Sequence[float], source: str) -> float:
    steps = np.diff(np.asarray(times, dtype=float))
    usual = float(np.median(steps))
    odd = np.abs(steps - usual) > SAME_INTERVAL * abs(usual)
    if usual <= 0 or odd.any():
        which = int(odd.argmax())
        raise InputError(
            f"{source}: irregular times: frames {which} and {which + 1} are {steps[which]:g} apart, most are "
            f"{usual:g}; wanted frames at equal times, none twice"
        )
    return usual


def _iterate(path: Path, how: dict[str, Any]) -> Iterable[Atoms]:
    import ase.io

    kind = {"format": "extxyz"} if path.suffix.lower() == ".extxyz" else {}
    found: Iterable[Atoms] = ase.io.iread(path, index=":", do_not_split_by_at_sign=True, **{**kind, **how})
    return found


def _lammps(path: Path, species: Sequence[str] | None) -> tuple[dict[str, Any], list[float] | None]:
    """Return how ASE reads a LAMMPS dump, and the steps of its frames; nothing for another file."""
    with path.open("rb") as file:
        if not file.readline().startswith((b"ITEM: TIMESTEP", b"ITEM: UNITS", b"ITEM: TIME")):
            return {}, None
    steps, columns = [], b""
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b"ITEM: TIMESTEP"):
                steps.append(float(next(file, b"nan")))
            elif not columns and line.startswith(b"ITEM: ATOMS"):
                columns = line
    how: dict[str, Any] = {"format": "lammps-dump-text"}
    names = columns.decode("latin-1").split()[2:]
    if "id" not in names:
        raise InputError(f"{path}: a LAMMPS dump without a column 'id': nothing tells its atoms apart; dump with it")
    if not {"element", "mass"} & set(names):
        if not species:
            raise InputError(
                f"{path}: a LAMMPS dump whose types have no names; wanted species, the elements of types 1, 2, … such "
                "as Li,S,O, or a column 'element' in the dump"
            )
        how["specorder"] = list(species)
    return how, steps
