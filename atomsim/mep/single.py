"""One path between two given structures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms

from atomsim.batch import Batch
from atomsim.constraints import require_supported
from atomsim.errors import AtomsimError, InputError
from atomsim.mep.barrier import Ends, Path, PathSettings, find_paths
from atomsim.mep.interpolate import displacement
from atomsim.mep.legs import resolve
from atomsim.models.interface import Surface
from atomsim.projectors import free_directions
from atomsim.relaxation import RelaxSettings, iter_relax

TRAVELS = 0.5
"""Atoms that go at least this part of the longest way are those that travel."""
HELD_A = 0.01
"""A held atom that lies further from its place in the other end has been moved, Å."""


def find_path(
    start: Atoms, end: Atoms, surface: Surface, settings: PathSettings | None = None, *, relax_ends: bool = True
) -> Path:
    """Find the minimum-energy path between two structures.

    Args:
        start: one end; atoms in the same order, and the same cell, as the other.
        end: the other.
        surface: the potential.
        settings: how.
        relax_ends: relax both first, at fixed cell; otherwise they are taken as minima. Constraints, the same in both,
            hold along the path too.

    Returns:
        The path; where it runs through a minimum, both parts joined.

    Raises:
        InputError: if the ends differ in composition, order, cell or constraints, or where these hold an atom, or
            are the same.
        AtomsimError: if an end cannot be relaxed.
    """
    chosen = settings or PathSettings()
    _held_alike(start, end, displacement(start, end))
    how = RelaxSettings(
        fmax_eV_per_A=0.4 * chosen.fmax_eV_per_A,
        cell=False,
        max_steps=300 if relax_ends else 0,
        check_minimum=relax_ends,
    )
    found = dict(iter_relax([start, end], surface, how))
    for n, name in enumerate(("start", "end")):
        if relax_ends and not found[n].converged:
            raise AtomsimError(f"the {name} cannot be relaxed ({found[n].status}: {found[n].message})")
    first, last = found[0].atoms, found[1].atoms
    moved = displacement(first, last)
    moved = np.einsum("aij,aj->ai", free_directions(first), moved)
    shifts = Batch.pack([first]).free_shifts[0].numpy()
    moved = moved - moved[_still(moved)].mean(axis=0) @ shifts.T @ shifts  # a drift of the whole
    length = np.linalg.norm(moved, axis=1)
    moving = tuple(int(n) for n in np.flatnonzero(length >= TRAVELS * length.max()))
    first.calc = None
    ends = Ends("path", first, moved, found[0].energy, found[1].energy, moving)
    (path,) = find_paths([ends], surface, chosen)
    path = resolve(path, ends, surface, chosen).path
    return replace(path, force_calls=path.force_calls + sum(r.force_calls for r in found.values()))


def _held_alike(start: Atoms, end: Atoms, moved: np.ndarray) -> None:
    """Raise if the constraints of two ends differ, or hold what must travel."""
    require_supported(start)
    require_supported(end)
    free = free_directions(start)
    if np.abs(free - free_directions(end)).max() > 1e-6:
        raise InputError("the ends are constrained differently; want the same constraints in both")
    across = np.linalg.norm(moved - np.einsum("aij,aj->ai", free, moved), axis=1)
    if across.max() > HELD_A:
        n = int(across.argmax())
        raise InputError(
            f"atom {n} is held, but lies {across[n]:.3g} Å from there in the other end; "
            "move it to the same place in both ends, or remove its constraint"
        )


def _still(moved: np.ndarray) -> np.ndarray:
    """Atoms that do not travel; all where all do."""
    length = np.linalg.norm(moved, axis=1)
    still = length < TRAVELS * length.max()
    return still if still.any() else np.ones_like(still)
