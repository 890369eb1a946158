"""The lattice of a (super)cell in the setting of its parent, layers, and space group.

A child cell is built from the parent's rows as C = M P (M: cell map, rows of integers for a supercell
of the parent's own cell, fractions for one of its primitive cell). After relaxation the same M leads back:
P' = M⁻¹ C' is the parent's cell under the deformation of the child, and a plane (hkl) of the parent
is the plane M·(hkl) of the child, as Miller indices transform like the basis vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from ase.cell import Cell


@dataclass(frozen=True)
class Lattice:
    """Lengths in Å, angles in degrees, volume in Å³."""

    a: float
    b: float
    c: float
    alpha: float
    beta: float
    gamma: float
    volume: float


@dataclass(frozen=True)
class SymmetryFound:
    """A space group and the tolerance it was found with."""

    symbol: str
    number: int
    symprec: float
    """Å."""


@dataclass(frozen=True)
class Layers:
    """The stack of metal layers along a reflection whose d is the distance of neighbouring layers."""

    d_spacing: float
    """Distance of neighbouring layers, Å."""
    slab: float
    """Thickness of the metal–anion slab, S(MO₂): distance of the anion planes around a metal layer, Å."""
    gap: float
    """Height of the ion layer, I(LiO₂): the rest of the distance, Å."""


def parent_cell(cell: np.ndarray, cell_map: np.ndarray) -> np.ndarray:
    """Return the parent's cell under the child's deformation, Å, rows, (3, 3).

    Args:
        cell: relaxed child cell, Å, rows, (3, 3).
        cell_map: M of C = M P before relaxation, (3, 3).
    """
    return np.linalg.solve(np.asarray(cell_map, float), np.asarray(cell, float))


def lattice_of(cell: np.ndarray) -> Lattice:
    """Return lengths, angles and volume of a cell given as rows in Å, (3, 3)."""
    described = Cell(np.asarray(cell, float))
    a, b, c, alpha, beta, gamma = (float(v) for v in described.cellpar())
    return Lattice(a, b, c, alpha, beta, gamma, float(described.volume))


def map_reflection(hkl: Sequence[int], cell_map: np.ndarray) -> np.ndarray:
    """Return the child's indices of a parent's reflection, (3,): h' = M h."""
    return np.asarray(np.asarray(cell_map, float) @ np.asarray(hkl, float))


def d_spacing(cell: np.ndarray, hkl: Sequence[float] | np.ndarray) -> float:
    """Return d = 1 / |h a* + k b* + l c*| in Å, with a*·a = 1; ``cell`` rows in Å, (3, 3)."""
    return float(1.0 / np.linalg.norm(np.linalg.inv(np.asarray(cell, float)) @ np.asarray(hkl, float)))


def layers(
    atoms: Atoms, hkl: Sequence[float] | np.ndarray, metals: Sequence[str], anions: Sequence[str] = ("O",)
) -> Layers | None:
    """Measure slab and ion layer along a reflection (child's indices) that steps by one metal layer.

    An anion's height above its nearest metal layer is taken from phases, so that layers may run through
    cell borders; corrugated planes are averaged. None where the metals do not lie in layers with that period.
    """
    phase = atoms.get_scaled_positions(wrap=False) @ np.asarray(hkl, float)
    symbols = np.array(list(atoms.symbols))
    metal = np.exp(2j * np.pi * phase[np.isin(symbols, list(metals))])
    heights = phase[np.isin(symbols, list(anions))]
    # |⟨e^{iφ}⟩| is 1 for perfect layers and 0 for metals spread evenly; 0.9 allows ±0.07 d of buckling.
    if len(metal) == 0 or len(heights) == 0 or abs(metal.mean()) < 0.9:
        return None
    height = heights - np.angle(metal.mean()) / (2 * np.pi)
    height -= np.round(height)
    d = d_spacing(atoms.cell.array, hkl)
    slab = 2.0 * float(np.abs(height).mean()) * d
    return Layers(d, slab, d - slab)


def space_group(atoms: Atoms, symprec: float) -> SymmetryFound | None:
    """Find the space group by spglib (Togo et al. 2024, STAM-M 4, 2384822); None where it fails.

    Args:
        atoms: structure, periodic along all directions.
        symprec: how far atoms may lie from where symmetry puts them, Å.
    """
    found = _dataset(atoms, symprec)
    return None if found is None else SymmetryFound(str(found.international), int(found.number), symprec)


def is_extinct(atoms: Atoms, hkl: Sequence[float] | np.ndarray, symprec: float) -> bool:
    """True if the space group forbids a reflection: F(h) = F(hR) exp(2πi h·t) for each operation (R, t).

    Args:
        atoms: structure, periodic along all directions; its cell may be a supercell.
        hkl: indices in its cell; where they are not whole, a centring of the setting they come from forbids them.
        symprec: how far atoms may lie from where symmetry puts them, Å.
    """
    h = np.asarray(hkl, float)
    if np.abs(h - np.round(h)).max() > 1e-4:
        return True
    found = _dataset(atoms, symprec)
    if found is None:
        return False
    invariant = np.abs(h @ np.asarray(found.rotations, float) - h).max(axis=1) < 1e-4
    phases = np.asarray(found.translations)[invariant] @ h
    return bool((np.abs(phases - np.round(phases)) > 0.02).any())


def _dataset(atoms: Atoms, symprec: float) -> spglib.SpglibDataset | None:
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        return spglib.get_symmetry_dataset(cell, symprec=symprec)
    except spglib.SpglibError:
        return None
