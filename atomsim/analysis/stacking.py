"""Layers of a layered oxide without a known setting: stacking direction, layer of each cation, thicknesses.

A layer is named by what it holds: ``metal-layer`` (the planes of the metals, with ions among them in Li-rich oxides)
and ``ion-layer`` (the planes between the slabs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from atomsim.analysis.lattice import d_spacing
from atomsim.errors import InputError
from atomsim.types import FloatArray, IntArray

METAL_LAYER, ION_LAYER = "metal-layer", "ion-layer"
ANIONS = ("O", "S", "Se", "F", "Cl")
SPACINGS_A = (3.8, 8.0)
"""Distances of neighbouring metal layers that are looked for, Å; planes of rock salt lie below."""
ORDER = 0.75
"""Least |⟨exp(2πi h·r)⟩| of the metals: 1 for perfect layers, 0.83 with one metal of twelve in the ion layer."""
BETWEEN = 0.45
"""Largest |⟨cos 2πz⟩| of the anions' heights z in units of the spacing: they lie about a quarter from the metals."""
ACROSS = 3
"""Anions across the ion layer that count for each anion: those of the octahedra's edges in O3 and O1 stackings."""


@dataclass(frozen=True)
class Stacking:
    """Direction and period of the metal layers of one structure."""

    hkl: tuple[int, int, int]
    """Reflection, in indices of the structure's own cell, that steps by one metal layer."""
    spacing: float
    """Distance of neighbouring metal layers, Å."""
    heights: FloatArray = field(repr=False, compare=False)
    """Height of each atom above its nearest metal layer, in units of the spacing, from −0.5 to 0.5, (n_atoms,)."""
    order: float
    """|⟨exp(2πi h·r)⟩| of the metals."""

    @property
    def in_metal_layer(self) -> np.ndarray:
        """True for each atom that lies nearer to a metal layer than to an ion layer, (n_atoms,)."""
        found: np.ndarray = np.abs(self.heights) < 0.25
        return found


@dataclass(frozen=True)
class LayerStatistics:
    """Thicknesses, averaged over all anions of a cell, with their spread; Å."""

    slab: float
    """Distance of the anion planes around a metal layer, S(MO₂)."""
    gap: float
    """Distance of the anion planes around an ion layer, I(LiO₂)."""
    spacing: float
    """Their sum, the distance of neighbouring metal layers; c/3 of a three-layer cell."""
    slab_spread: float
    """Standard deviation of twice the anions' heights: how corrugated the planes are."""
    across: float
    """Mean anion–anion distance across the ion layer, three nearest of each anion; NaN where there are none."""
    across_spread: float
    """Standard deviation of these distances."""

    @property
    def c(self) -> float:
        """Three spacings: the c axis of an R-3m cell, Å."""
        return 3 * self.spacing


def find_stacking(atoms: Atoms, ion: str = "Li") -> Stacking | None:
    """Find the metal layers of a structure, or None where the metals do not lie in layers.

    Args:
        atoms: structure, periodic along all directions.
        ion: element between the layers; it may stand in the metal layers too.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    anions = np.isin(symbols, ANIONS)
    metals = ~anions & (symbols != ion)
    if not atoms.pbc.all() or not metals.any() or not anions.any():
        return None
    cell = atoms.cell.array
    reach = [int(length / SPACINGS_A[0]) + 1 for length in np.linalg.norm(cell, axis=1)]
    candidates = np.array([h for h in product(*(range(-r, r + 1) for r in reach)) if h > (0, 0, 0)])
    spacing = 1 / np.linalg.norm(candidates @ np.linalg.inv(cell).T, axis=1)
    candidates = candidates[(spacing > SPACINGS_A[0]) & (spacing < SPACINGS_A[1])]
    phases = atoms.get_scaled_positions(wrap=False) @ candidates.T
    waves = np.exp(2j * np.pi * phases)
    centres = waves[metals].mean(axis=0)
    between = np.abs((waves[anions] * np.exp(-1j * np.angle(centres))).real.mean(axis=0))
    order = np.where(between < BETWEEN, np.abs(centres), 0)
    if not len(order) or order.max() < ORDER:
        return None
    best = int(np.argmax(order.round(6)))
    heights = phases[:, best] - np.angle(centres[best]) / (2 * np.pi)
    hkl = tuple(int(h) for h in candidates[best])
    return Stacking((hkl[0], hkl[1], hkl[2]), d_spacing(cell, hkl), heights - np.round(heights), float(order[best]))


def require_stacking(atoms: Atoms, ion: str = "Li") -> Stacking:
    """Return the metal layers of a structure.

    Raises:
        InputError: if it is a molecule, or its metals do not lie in layers.
    """
    if not atoms.pbc.all():
        raise InputError(
            f"layers of {atoms.get_chemical_formula()}: found a structure that is not periodic in three directions, "
            "wanted a layered crystal; name sublattices by their element"
        )
    found = find_stacking(atoms, ion)
    if found is None:
        raise InputError(
            f"layers of {atoms.get_chemical_formula()}: its metals do not lie in layers between layers of {ion}, "
            "wanted a layered oxide; name sublattices by their element"
        )
    return found


def layer_statistics(atoms: Atoms, ion: str = "Li") -> LayerStatistics | None:
    """Measure slab, ion layer and the distances across it, averaged over a cell; None where it has no layers."""
    stacking = find_stacking(atoms, ion)
    if stacking is None:
        return None
    anions = np.flatnonzero(np.isin(atoms.get_chemical_symbols(), ANIONS))
    thickness = 2 * np.abs(stacking.heights[anions]) * stacking.spacing
    slab = float(thickness.mean())
    gap = stacking.spacing - slab
    across = _across(atoms, stacking, anions, gap)
    return LayerStatistics(
        slab=slab,
        gap=gap,
        spacing=stacking.spacing,
        slab_spread=float(thickness.std()),
        across=float(across.mean()) if len(across) else float("nan"),
        across_spread=float(across.std()) if len(across) else float("nan"),
    )


def _across(atoms: Atoms, stacking: Stacking, anions: IntArray, gap: float) -> FloatArray:
    """Distances of each anion on a slab's top to its nearest ones on the next slab's bottom, Å."""
    normal = np.linalg.inv(atoms.cell.array) @ np.asarray(stacking.hkl, float) * stacking.spacing  # of length 1
    i, j, d, vectors = neighbor_list(
        "ijdD", Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), gap + 1.6
    )
    step = vectors @ normal
    chosen = np.isin(i, anions) & np.isin(j, anions) & (stacking.heights[i] > 0) & (stacking.heights[j] < 0)
    chosen &= (step > 0.5 * gap) & (step < 1.5 * gap)
    found: list[float] = []
    for top in np.unique(i[chosen]):
        found += np.sort(d[chosen & (i == top)])[:ACROSS].tolist()
    return np.array(found)
