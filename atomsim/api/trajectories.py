"""Trajectories that users give: files and lists of Atoms; unwrapped, at known times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atomsim.analysis.msd import unwrapped as joined
from atomsim.api.dynamics import Dynamics
from atomsim.errors import InputError, check_flag, check_number
from atomsim.io.trajectories import Frames, frames_of, read_frames, without_start

WANTED = "files of trajectories, folders of runs, results of atomsim.md, or lists of ASE Atoms"


def trajectories_of(
    given: Any,
    interval_fs: float | None,
    species: Sequence[str] | None,
    *,
    unwrapped: bool = False,
    skip_fs: float = 0.0,
) -> list[Frames]:
    """Return trajectories with unwrapped positions and known times.

    Args:
        given: one or many.
        interval_fs: time from frame to frame; needed where a trajectory does not tell it.
        species: elements of the types of a LAMMPS dump.
        unwrapped: positions are known to be unwrapped.
        skip_fs: time left out at the start.

    Raises:
        InputError: if one cannot be used.
    """
    if interval_fs is not None:
        wanted = "the time from frame to frame, fs, above 0"
        check_number("time_between_frames_fs", interval_fs, wanted, above=0.0)
    check_number("skip_fs", skip_fs, "a time of 0 fs or more", low=0.0)
    check_flag("unwrapped", unwrapped)
    found = [frames for one in _listed(given) for frames in _taken(one, species)]
    if not found:
        raise InputError(f"trajectories: found none, wanted {WANTED}")
    return [_joined(without_start(_timed(f, interval_fs), skip_fs), unwrapped=unwrapped) for f in found]


def _listed(given: Any) -> list[Any]:
    from ase import Atoms

    if isinstance(given, str | os.PathLike | Frames | Dynamics):
        return [given]
    if isinstance(given, Atoms) or not isinstance(given, Iterable):
        raise InputError(f"trajectories: found {type(given).__name__}, wanted {WANTED}")
    many = list(given)
    return [many] if many and isinstance(many[0], Atoms) else many


def _taken(one: Any, species: Sequence[str] | None) -> list[Frames]:
    if isinstance(one, Frames):
        return [one]
    if isinstance(one, str | os.PathLike):
        path = Path(one).expanduser()
        return _of_run(path) if path.is_dir() else [read_frames(path, species)]
    if isinstance(one, Dynamics):
        return [_of_result(one)]
    if isinstance(one, Iterable):
        from ase import Atoms

        frames = list(one)
        if all(isinstance(f, Atoms) for f in frames):
            return [frames_of(frames, "trajectory")]
    raise InputError(f"trajectories: found {type(one).__name__}, wanted {WANTED}")


def _of_run(path: Path) -> list[Frames]:
    """Return all good trajectories of a run folder."""
    from atomsim.store.run_folder import read_run

    found = [Dynamics(r, path=path) for step in read_run(path)[1].values() for r in step if r.kind == "md" and r.good]
    if not found:
        raise InputError(f"{path} has no finished trajectory; wanted a run with a step of kind 'md'")
    return [_of_result(one) for one in found]


def _of_result(result: Dynamics) -> Frames:
    from atomsim.tasks.md_record import frames_of_record

    return frames_of_record(result.record, result.path)


def _timed(frames: Frames, interval_fs: float | None) -> Frames:
    known = frames.interval_fs
    if interval_fs is None:
        if known is None:
            raise InputError(
                f"{frames.source}: the time between frames is not known; give time_between_frames_fs (the time step "
                "times the steps from frame to frame)"
            )
        return frames
    if known is not None and abs(known - interval_fs) > 1e-3 * known:
        raise InputError(
            f"{frames.source}: found time_between_frames_fs={interval_fs:g}, but its frames are {known:g} fs apart; "
            "leave it out, or correct it"
        )
    return replace(frames, interval_fs=float(interval_fs))


def _joined(frames: Frames, *, unwrapped: bool) -> Frames:
    if unwrapped or frames.unwrapped:
        return frames
    try:
        return replace(frames, positions=joined(frames.positions, frames.cells), unwrapped=True)
    except InputError as error:
        raise InputError(f"{frames.source}: {error}") from error
