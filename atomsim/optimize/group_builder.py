"""Groups that the driver takes, from structures: checked, rattled, and with their initial inverse Hessians."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from atomsim.batch import Batch
from atomsim.constraints.rules import require_supported
from atomsim.errors import InputError
from atomsim.optimize.entering import Group
from atomsim.optimize.hessian import Hessian
from atomsim.optimize.noise import seeded_noise
from atomsim.optimize.space import Space
from atomsim.optimize.sparse import is_large, sparse_springs
from atomsim.optimize.springs import invert, spring_guess
from atomsim.optimize.starts import FARTHER_A, Start
from atomsim.optimize.symmetry import KeepSymmetry


@dataclass(frozen=True)
class GroupBuilder:
    """Builder of groups from systems."""

    space: Space
    device: torch.device
    guess: bool
    """Start from the springs, or from a parent's Hessian, as only ``newton`` can."""
    noise: float
    """Standard deviation of the first start's noise, Å."""
    seed: int
    starts: int
    symmetry: KeepSymmetry | None = None
    """Keeps the space group; noise is left out then."""

    def groups(self, number: int, atoms: Atoms, known: Hessian | None) -> list[Group]:
        """Return all starts of the system with this number.

        Raises:
            InputError: for no atoms, constraints that cannot be kept, a periodic direction without a
                lattice vector, or no space group to keep.
        """
        require_supported(atoms, cell=self.space.cell)
        _require_lattice(atoms)
        keys = [Start(number, k) if self.starts > 1 else number for k in range(self.starts)]
        groups = [self._group(key, self._started(atoms, k), known) for k, key in enumerate(keys)]
        if self.symmetry is not None:
            self.symmetry.operations(groups[0])
        return groups

    def _started(self, atoms: Atoms, start: int) -> Atoms:
        noise = self.noise if start == 0 else max(self.noise, FARTHER_A)
        return noisy(atoms, noise, self.seed, start) if noise > 0 and self.symmetry is None else atoms

    def _group(self, key: Hashable, atoms: Atoms, known: Hessian | None) -> Group:
        batch = Batch.pack([atoms])
        if not self.guess:
            return Group(key, batch)
        if is_large(len(atoms)):
            return Group(key, batch, sparse_springs(batch, self.space).to(self.device))
        # small matrices, one by one: an eigensolver on a GPU would stall it
        matrix = None if known is None else known.matrix(self.space.cell)
        if matrix is None or not bool(torch.isfinite(matrix).all()):
            guess = spring_guess(batch, self.space)
        else:
            guess = invert(matrix, batch, self.space)
        return Group(key, batch, guess)  # on the host: the driver copies all that enter together


def noisy(atoms: Atoms, noise: float, seed: int, start: int = 0) -> Atoms:
    """Return a copy with normal noise along free directions; the same structure, seed and start give the same noise."""
    moved: Atoms = atoms.copy()
    moved.set_positions(atoms.positions + noise * seeded_noise(atoms, seed, "start", start))  # respects constraints
    return moved


def packs(atoms: Atoms) -> bool:
    """True if a batch can hold this system."""
    try:
        Batch.pack([atoms])
    except InputError:
        return False
    return True


def _require_lattice(atoms: Atoms) -> None:
    periodic = atoms.cell.array[atoms.pbc]
    rank = int(np.linalg.matrix_rank(periodic)) if len(periodic) else 0
    if rank < len(periodic):
        raise InputError(
            f"{atoms.get_chemical_formula()} is periodic in {len(periodic)} directions with {rank} independent "
            "lattice vectors; set its cell, or pbc to False where it has none"
        )
