"""Bands, densities of states and single modes from the force constants of a crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from atomsim.types import FloatArray

if TYPE_CHECKING:
    from phonopy import Phonopy

BAND_POINTS = 40
"""q points of the longest segment of a band structure."""
SIGMA_THZ = 0.15
"""Standard deviation of the Gaussians of a density of states."""
DOS_POINTS = 400


@dataclass(frozen=True, eq=False)
class Bands:
    """Frequencies along lines between special points."""

    distance: FloatArray
    """Length of the way, 1/Å, (n,)."""
    frequency_THz: FloatArray
    """(n, n_modes); imaginary ones negative."""
    q: FloatArray
    """In units of the reciprocal vectors of the primitive cell, (n, 3)."""
    ticks: tuple[tuple[float, str], ...]
    """Distance and name of the special points."""


@dataclass(frozen=True, eq=False)
class Dos:
    """Density of states, states per THz and primitive cell."""

    frequency_THz: FloatArray
    """(n,)."""
    by_element: dict[str, FloatArray]
    """Part of each element's motion, (n,) each."""

    @property
    def total(self) -> FloatArray:
        """Density of all modes, (n,); its integral is their number."""
        return np.asarray(np.sum(list(self.by_element.values()), axis=0))


@dataclass(frozen=True)
class ImaginaryMode:
    """A mode of imaginary frequency: along it the energy falls."""

    q: tuple[float, float, float]
    """One wave vector of its star, in units of the reciprocal vectors of the primitive cell."""
    point: str
    """Name of the special point, such as ``X``; empty where it has none."""
    frequency_THz: float
    """Negative."""
    multiplicity: int
    """Wave vectors in its star."""
    degeneracy: int
    """Modes of this frequency at each."""
    by_element: dict[str, float]
    """Share of each element in its motion."""
    exact: bool
    """True where the wave repeats in the supercell; elsewhere the frequency is interpolated."""

    @property
    def name(self) -> str:
        """Name for people, such as ``X (0.5, 0, 0.5), 2.31i THz, Ti 81 %``."""
        where = "(" + ", ".join(f"{c:.3g}" for c in self.q) + ")"
        who = max(self.by_element, key=lambda e: self.by_element[e])
        start = f"{self.point} {where}" if self.point else f"q = {where}"
        return f"{start}, {abs(self.frequency_THz):.2f}i THz, {who} {100 * self.by_element[who]:.0f} %"


@dataclass(frozen=True, eq=False)
class Mesh:
    """Modes on the irreducible points of a mesh."""

    q: FloatArray
    """(n_q, 3)."""
    weights: FloatArray
    """(n_q,)."""
    frequency_THz: FloatArray
    """(n_q, n_modes)."""
    by_element: dict[str, FloatArray]
    """Share of each element in each mode, (n_q, n_modes) each."""
    numbers: tuple[int, ...]
    """Points along each reciprocal vector."""


def bands_of(phonon: Phonopy, primitive: Atoms) -> Bands:
    """Return the band structure along the path of Setyawan & Curtarolo 2010, Comput. Mater. Sci. 49, 299, by ASE."""
    path = primitive.cell.bandpath(npoints=0)
    points = {name: np.asarray(q) for name, q in path.special_points.items()}
    reciprocal = np.linalg.inv(primitive.cell.array).T
    lines = [line for part in _parts(path.path) for line in pairwise(part)]
    longest = max(np.linalg.norm((points[b] - points[a]) @ reciprocal) for a, b in lines)
    distance: list[float] = []
    qs: list[FloatArray] = []
    ticks: list[tuple[float, str]] = []
    way = 0.0
    for start, end in lines:
        length = float(np.linalg.norm((points[end] - points[start]) @ reciprocal))
        share = np.linspace(0.0, 1.0, max(2, round(BAND_POINTS * length / longest)))
        qs += list(points[start] + share[:, None] * (points[end] - points[start]))
        distance += list(way + share * length)
        if ticks and ticks[-1][0] == way and ticks[-1][1] != start:
            ticks[-1] = (way, f"{ticks[-1][1]}|{start}")
        elif not ticks:
            ticks.append((way, start))
        way += length
        ticks.append((way, end))
    named = tuple((at, name.replace("G", "Γ")) for at, name in ticks)
    return Bands(np.array(distance), frequencies(phonon, qs), np.array(qs), named)


def _parts(path: str) -> list[list[str]]:
    from ase.dft.kpoints import parse_path_string

    return [list(part) for part in parse_path_string(path) if len(part) > 1]


def frequencies(phonon: Phonopy, q: Sequence[FloatArray]) -> FloatArray:
    """Return the frequencies at some wave vectors, THz, (n_q, n_modes)."""
    phonon.run_qpoints(np.asarray(q))
    found: Any = phonon.qpoints
    return np.array(found.frequencies)


def modes_at(phonon: Phonopy, q: Sequence[float]) -> tuple[FloatArray, Any]:
    """Return frequencies, THz, (n_modes,), and eigenvectors in columns, (3 n, n_modes), complex."""
    return phonon.get_frequencies_with_eigenvectors(list(q))


def mesh_of(phonon: Phonopy, primitive: Atoms, mesh_A: float) -> Mesh:
    """Return the modes on a mesh of q points, the irreducible ones with their weights."""
    reciprocal = np.linalg.norm(np.linalg.inv(primitive.cell.array), axis=0)
    numbers = [max(1, round(mesh_A * float(length))) for length in reciprocal]
    phonon.run_mesh(numbers, with_eigenvectors=True, is_mesh_symmetry=True, is_gamma_center=True)
    found: Any = phonon.mesh
    shares = shares_of(np.array(found.eigenvectors), primitive)
    weights = np.array(found.weights, dtype=np.float64)
    return Mesh(np.array(found.qpoints), weights, np.array(found.frequencies), shares, tuple(numbers))


def shares_of(eigenvectors: Any, primitive: Atoms) -> dict[str, FloatArray]:
    """Return the share of each element in modes: eigenvectors (…, 3 n, n_modes) to (…, n_modes)."""
    square = np.abs(eigenvectors) ** 2
    symbols = np.repeat(primitive.get_chemical_symbols(), 3)
    return {element: square[..., symbols == element, :].sum(axis=-2) for element in dict.fromkeys(symbols.tolist())}


def dos_of(mesh: Mesh) -> Dos:
    """Return the density of states by Gaussians, parted by elements."""
    low, high = float(mesh.frequency_THz.min()), float(mesh.frequency_THz.max())
    axis = np.linspace(low - 5 * SIGMA_THZ, high + 5 * SIGMA_THZ, DOS_POINTS)
    share = mesh.weights / mesh.weights.sum()
    found = {element: np.zeros(DOS_POINTS) for element in mesh.by_element}
    for n, frequency in enumerate(mesh.frequency_THz):
        gauss = np.exp(-0.5 * ((axis[:, None] - frequency) / SIGMA_THZ) ** 2) / (SIGMA_THZ * np.sqrt(2 * np.pi))
        for element, part in mesh.by_element.items():
            found[element] += share[n] * gauss @ part[n]
    return Dos(axis, found)
