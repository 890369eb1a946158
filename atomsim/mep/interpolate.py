"""First guesses of a path between two structures, atoms in the same order and images unwrapped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.constraints.projectors import free_directions
from atomsim.errors import InputError
from atomsim.mep.band import Band, ElasticBand
from atomsim.models.neighbors import neighbor_list
from atomsim.optimize.drive import drive
from atomsim.optimize.fire import Fire
from atomsim.optimize.noise import seeded_noise
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop

IDENTICAL_A = 0.1
"""Ends between which no atom moves further are the same structure, Å."""
SAME_CELL_A = 1e-3
"""Components of cell vectors that differ by no more are the same, Å."""
CLASH = 0.55
"""Atoms nearer than this part of the sum of their covalent radii have collided."""
REACH = 6.0
"""Pairs that are nearer than this somewhere on the straight path enter the IDPP, Å."""


def displacement(start: Atoms, end: Atoms) -> np.ndarray:
    """Shortest displacement of every atom from ``start`` to ``end``, Å, (n_atoms, 3).

    Raises:
        InputError: if the ends differ in cell, in the number, kind or order of atoms, or not at all.
    """
    same_atoms_and_cell(start, end)
    _same_order(start, end)
    moved = between(start, end)
    furthest = float(np.linalg.norm(moved, axis=1).max())
    if furthest < IDENTICAL_A:
        raise InputError(
            f"no atom moves further than {furthest:.3g} Å between the ends; want two different minima: "
            "check that both were relaxed from different sites"
        )
    return moved


def between(start: Atoms, end: Atoms) -> np.ndarray:
    """Shortest displacement of every atom, whatever lattice vectors lie between the ends, Å, (n_atoms, 3)."""
    return np.asarray(find_mic(end.positions - start.positions, start.cell, start.pbc)[0])


def same_atoms_and_cell(start: Atoms, end: Atoms) -> None:
    """Refuse ends that differ in composition, cell or periodicity.

    Raises:
        InputError: naming the difference.
    """
    formulas = f"{start.get_chemical_formula()} and {end.get_chemical_formula()}"
    if len(start) != len(end):
        raise InputError(
            f"ends have {len(start)} and {len(end)} atoms ({formulas}); want the same atoms in the same order"
        )
    if sorted(start.numbers) != sorted(end.numbers):
        raise InputError(f"ends are {formulas}; want one composition")
    if (start.pbc != end.pbc).any():
        periodic = " and ".join(
            "".join(v for v, p in zip("abc", e.pbc, strict=True) if p) or "none" for e in (start, end)
        )
        raise InputError(f"ends are periodic along different cell vectors ({periodic}); want one cell")
    change = float(np.abs(start.cell.array - end.cell.array).max())
    if change > SAME_CELL_A:
        raise InputError(
            f"cells of the ends differ by up to {change:.3g} Å; want one cell: relax the ends at the cell of one"
        )


def _same_order(start: Atoms, end: Atoms) -> None:
    different = np.flatnonzero(start.numbers != end.numbers)
    if len(different):
        n = int(different[0])
        raise InputError(
            f"atom {n + 1} is {start.symbols[n]} in one end and {end.symbols[n]} in the other; "
            "want the same order: match it (--match), or reorder one of the files"
        )


def linear(start: Atoms, moved: np.ndarray, n_images: int) -> np.ndarray:
    """Positions on the straight line between the ends, Å, (n_images, n_atoms, 3), the ends left out."""
    fraction = np.arange(1, n_images + 1) / (n_images + 1)
    return np.asarray(start.positions + fraction[:, None, None] * moved)


def idpp(start: Atoms, moved: np.ndarray, n_images: int, seed: int = 0, number: int = 0) -> np.ndarray:
    """Positions on a path along which distances between atoms, rather than positions, change evenly.

    The image-dependent pair potential of Smidstrup, Pedersen, Stokbro, Jónsson, J. Chem. Phys. 140,
    214106 (2014), Eqs. 4–6, relaxed as a band. Where atoms of the straight path collide, the
    colliding ones are first moved aside, at random, or nothing would break the symmetry.

    Args:
        start: one end.
        moved: displacement to the other, Å, (n_atoms, 3).
        n_images: images between the ends.
        seed: of the direction in which colliding atoms are moved aside.
        number: of the try, each with another direction.

    Returns:
        Å, (n_images, n_atoms, 3).
    """
    aside = seeded_noise(start, seed, "aside", number, also=start.positions + moved)
    guess = _repaired(start, linear(start, moved, n_images), aside)
    ends = [_at(start, start.positions), _at(start, start.positions + moved)]
    images = [_at(start, positions) for positions in guess]
    potential = _Idpp.of(Batch.pack(ends), Batch.pack([ends[0], *images, ends[1]]), n_images)
    first, last = Batch.pack(ends[:1]), Batch.pack(ends[1:])
    band = Band("idpp", Batch.pack(images), start=first, end=last, start_energy=0.0, end_energy=0.0)
    projection = ElasticBand(spring=1.0, climb=False)
    stop = Stop(fmax=0.05, max_steps=150)
    (found,) = drive([band], potential, Fire(), Space(), stop, Capacity(), project=projection)
    positions = found.batch.positions.numpy().reshape(n_images, len(start), 3)
    return positions if np.isfinite(positions).all() else guess


def _at(atoms: Atoms, positions: np.ndarray) -> Atoms:
    placed: Atoms = atoms.copy()
    placed.set_positions(positions, apply_constraint=False)
    return placed


def collisions(atoms: Atoms) -> np.ndarray:
    """Indices of atoms that are nearer to another than any bond, by the other's covalent radius too."""
    pairs = neighbor_list(Batch.pack([Atoms(atoms)]), 2.5)
    i, j = pairs.i.numpy(), pairs.j.numpy()
    length = pairs.vectors(Batch.pack([Atoms(atoms)])).norm(dim=1).numpy()
    radii = covalent_radii[atoms.numbers]
    return np.unique(i[length < CLASH * (radii[i] + radii[j])])


def _repaired(start: Atoms, guess: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Move atoms that collide aside by 0.3 Å, the one that travels furthest."""
    aside = 0.3 * direction / np.linalg.norm(direction, axis=1)[:, None]
    aside = np.einsum("aij,aj->ai", free_directions(start), aside)
    travelled = np.linalg.norm(guess[-1] - guess[0], axis=1)
    repaired = guess.copy()
    for image in repaired:
        hit = collisions(Atoms(start.numbers, image, cell=start.cell, pbc=start.pbc))
        if len(hit):
            mover = int(hit[np.argmax(travelled[hit])])
            image[mover] += aside[mover]
    return repaired


def roughened(path: np.ndarray, fields: np.ndarray, free: np.ndarray | None = None) -> np.ndarray:
    """Displace a path smoothly and at random: a symmetric guess converges to a symmetric ridge.

    Two fields of noise on the atoms, weighted along the path by sin πs and sin 2πs, so the path
    loses site symmetry and its own reversal, and stays smooth.

    Args:
        path: Å, (n_images, n_atoms, 3).
        fields: Å, (2, n_atoms, 3).
        free: projectors onto the directions in which atoms may move, (n_atoms, 3, 3); all directions if not given.
    """
    s = np.arange(1, len(path) + 1) / (len(path) + 1)
    if free is not None:
        fields = np.einsum("aij,kaj->kai", free, fields)
    shape = np.stack([np.sin(np.pi * s), np.sin(2 * np.pi * s)])
    return np.asarray(path + np.einsum("ki,kac->iac", shape, fields))


@dataclass(frozen=True)
class _Idpp:
    """S = Σ w(d) (d − d⁰)², w = d⁻⁴, over fixed pairs, as a potential (Eq. 4 of the paper)."""

    i: Tensor
    """(n_images, n_pairs) as the batch counts atoms."""
    j: Tensor
    translation: Tensor
    """Lattice translation of the second atom, Å, (n_images, n_pairs, 3)."""
    target: Tensor
    """d⁰, Å, (n_images, n_pairs)."""

    @classmethod
    def of(cls, ends: Batch, path: Batch, n_images: int) -> _Idpp:
        """Interpolate the distances of all pairs that come near each other (Eq. 5)."""
        n_atoms = ends.sizes[0]
        near = neighbor_list(path, REACH)
        found = torch.cat([(near.i % n_atoms)[:, None], (near.j % n_atoms)[:, None], near.shift.to(torch.int64)], dim=1)
        once = torch.unique(found[found[:, 0] <= found[:, 1]], dim=0)
        i, j, shift = once[:, 0], once[:, 1], once[:, 2:].to(torch.float64)
        translation = shift @ ends.cell[0]
        first, last = ends.positions[:n_atoms], ends.positions[n_atoms:]
        lengths = [(at[j] + translation - at[i]).norm(dim=1) for at in (first, last)]
        fraction = torch.arange(1, n_images + 1, dtype=torch.float64)[:, None] / (n_images + 1)
        offset = n_atoms * torch.arange(n_images)[:, None]
        target = lengths[0] + fraction * (lengths[1] - lengths[0])
        return cls(i + offset, j + offset, translation.expand(n_images, -1, 3), target)

    def __call__(self, batch: Batch) -> Evaluation:
        d = batch.positions[self.j] + self.translation - batch.positions[self.i]
        length = d.norm(dim=2).clamp(min=0.2)
        away = length - self.target
        slope = 2 * away / length**4 - 4 * away**2 / length**5
        pull = (slope / length)[:, :, None] * d
        forces = torch.zeros_like(batch.positions)
        forces.index_add_(0, self.i.flatten(), pull.flatten(0, 1))
        forces.index_add_(0, self.j.flatten(), -pull.flatten(0, 1))
        return Evaluation(
            energy=(away**2 / length**4).sum(dim=1), forces=forces, stress=forces.new_zeros(batch.n_systems, 3, 3)
        )
