"""Other descriptions of one crystal: cells, origins, orientations and orders of atoms, by a seed."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import make_supercell


def unimodular(rng: np.random.Generator, shears: int = 6) -> np.ndarray:
    """Product of elementary shears: a basis of the same lattice, the more skewed the more there are."""
    basis = np.eye(3, dtype=int)
    for _ in range(shears):
        i, j = rng.choice(3, 2, replace=False)
        shear = np.eye(3, dtype=int)
        shear[i, j] = rng.integers(-2, 3)
        basis = shear @ basis
    return basis


def another(atoms: Atoms, seed: int, *, cells: int = 1) -> Atoms:
    """The same crystal in a skewed cell of so many cells, turned, shifted, its atoms in another order."""
    rng = np.random.default_rng(seed)
    other = make_supercell(atoms, unimodular(rng) @ np.diag([1, 1, cells]))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    other.set_cell(other.cell.array @ (turn * np.sign(np.linalg.det(turn))), scale_atoms=True)
    other.set_scaled_positions(other.get_scaled_positions() + rng.random(3))
    other.wrap()
    return other[rng.permutation(len(other))]


def olivine() -> Atoms:
    """LiFePO4: Pnma, Streltsov et al., Acta Cryst. B 49, 147 (1993)."""
    from ase.spacegroup import crystal

    places = [(0, 0, 0), (0.28222, 0.25, 0.97472), (0.09486, 0.25, 0.41820), (0.09678, 0.25, 0.74279),
              (0.45710, 0.25, 0.20602), (0.16558, 0.04646, 0.28478)]  # fmt: skip
    return crystal(["Li", "Fe", "P", "O", "O", "O"], places, spacegroup=62, cellpar=[10.332, 6.010, 4.692, 90, 90, 90])


def spinel() -> Atoms:
    """LiMn2O4, primitive cell: Fd-3m, origin on Li."""
    from ase.spacegroup import crystal

    places = [(0, 0, 0), (5 / 8, 5 / 8, 5 / 8), (0.3882, 0.3882, 0.3882)]
    return crystal(["Li", "Mn", "O"], places, spacegroup=227, cellpar=[8.25] * 3 + [90] * 3, primitive_cell=True)
