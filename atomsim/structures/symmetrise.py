"""The symmetry of a structure that is symmetric but for noise, and the structure without the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import find_mic
from ase.spacegroup.symmetrize import refine_symmetry

from atomsim.errors import InputError

TOLERANCES_A = (1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.1)
"""Tolerances at which symmetry is looked for, Å."""
LARGEST_NOISE_A = 0.05
"""Farthest that an atom is moved to make a structure symmetric, Å: what moves farther is a distortion and no noise."""
P1_TOLERANCES_A = (0.15, 0.2, 0.3)
"""Further tolerances for a structure that has no symmetry at all at the others, Å."""
LARGEST_P1_NOISE_A = 0.08
"""The same limit for a structure without any symmetry: a distorted crystal keeps some, noise leaves none, Å."""
EXACT_A = 1e-3
"""Tolerance of later searches: a structure with less noise, whose symmetry shows at it, is taken as it is, Å."""


@dataclass(frozen=True, eq=False)
class Symmetrised:
    """A structure in its space group."""

    atoms: Atoms
    """With atoms and cell moved to where the symmetry has them; as given where it is that to ``EXACT_A``."""
    space_group: str
    """Symbol and number, ``C2/c (15)``."""
    symprec_A: float
    """Tolerance at which it was found."""
    noise_A: float
    """Farthest that an atom is from where the symmetry has it."""


def symmetrised(atoms: Atoms, symprec_A: float | None = None) -> Symmetrised:
    """Find the highest symmetry that a structure has but for its own noise, and remove the noise.

    Relaxed structures and files with few digits are symmetric only to some hundredths of an ångström. Of all tolerances
    up to 0.1 Å, the one is taken that gives the most operations while no atom has to move by more than 0.05 Å; where
    noise has left no operation at all, up to 0.3 Å and 0.08 Å.

    Args:
        atoms: periodic structure without constraints; what else it carries is kept.
        symprec_A: tolerance to use instead, Å.

    Raises:
        InputError: if spglib finds no symmetry at the tolerance given.
    """
    best: tuple[int, Symmetrised] | None = None
    look = cache(partial(_at, atoms))
    for tolerance in TOLERANCES_A if symprec_A is None else (symprec_A,):
        found = look(tolerance)
        if found is None:
            continue
        if symprec_A is None and best is not None and (found[0] <= best[0] or found[1].noise_A > LARGEST_NOISE_A):
            continue
        best = found
    if best is None:
        wanted = "atoms that do not overlap" if symprec_A is None else "another symprec_A"
        raise InputError(f"{atoms.get_chemical_formula()}: spglib finds no symmetry; want {wanted}")
    return (best if symprec_A is not None else _averaged(atoms, best, look))[1]


def _averaged(
    atoms: Atoms, best: tuple[int, Symmetrised], look: Callable[[float], tuple[int, Symmetrised] | None]
) -> tuple[int, Symmetrised]:
    """Look for more operations than those found, with atoms moved to the mean of all their images.

    spglib puts an orbit where one of its atoms is, and the origin where some atoms have it: where all atoms are noisy,
    others then have to move farther than their own noise.
    """
    alone = best[0] == 1
    limit = LARGEST_P1_NOISE_A if alone else LARGEST_NOISE_A
    for tolerance in (*TOLERANCES_A, *P1_TOLERANCES_A) if alone else TOLERANCES_A:
        found = look(tolerance)
        if found is None or found[0] <= best[0]:
            continue
        mean = _mean_of_images(atoms, found[1], tolerance)
        if mean is not None and mean.noise_A <= limit:
            best = (found[0], mean)
    return best


def _mean_of_images(atoms: Atoms, found: Symmetrised, tolerance: float) -> Symmetrised | None:
    """The structure averaged over the operations of its space group; None where two atoms have one image."""
    places = atoms.get_scaled_positions(wrap=False)
    dataset = spglib.get_symmetry_dataset((atoms.cell.array, places % 1.0, atoms.numbers), symprec=tolerance)
    if dataset is None:
        return None
    moved = np.zeros_like(places)
    strangers = atoms.numbers[:, None] != atoms.numbers
    for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True):
        offset = (places @ rotation.T + translation)[:, None] - places
        offset -= np.round(offset)
        distance = np.where(strangers, np.inf, np.linalg.norm(offset @ atoms.cell.array, axis=2))
        image = distance.argmin(axis=1)
        if len(np.unique(image)) < len(image):
            return None
        moved[image] += offset[np.arange(len(image)), image]
    moved /= len(dataset.rotations)
    moved -= moved.mean(axis=0)  # a shift of all atoms together is no distortion
    clean = atoms.copy()
    clean.set_cell(found.atoms.cell)
    clean.set_positions((places + moved) @ found.atoms.cell.array)
    noise = float(np.linalg.norm(moved @ atoms.cell.array, axis=1).max())
    return Symmetrised(clean, found.space_group, tolerance, noise)


def _at(atoms: Atoms, tolerance: float) -> tuple[int, Symmetrised] | None:
    """Number of operations, and what the structure is, at one tolerance."""
    refined = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
        refine_symmetry(refined, symprec=tolerance)
    except Exception:  # spglib and ASE raise whatever their searches meet; another tolerance may do
        return None
    if dataset is None:
        return None
    moved = refined.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)
    _, distances = find_mic(moved @ atoms.cell.array, atoms.cell, pbc=True)
    noise = float(distances.max() if len(distances) else 0.0)
    strain = float(np.abs(refined.cell.array - atoms.cell.array).max())
    if max(noise, strain, tolerance) > EXACT_A:
        clean = atoms.copy()
        clean.set_cell(refined.cell)
        clean.set_positions(refined.positions)
    else:
        clean = atoms
    name = f"{dataset.international} ({dataset.number})"
    return len(dataset.rotations), Symmetrised(clean, name, tolerance, noise)
