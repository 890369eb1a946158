"""Imaginary modes, named; and the lower structures that they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import spglib
from ase import Atoms

from atomsim.models.interface import EnergyModel
from atomsim.types import FloatArray, IntArray
from atomsim.vibrations.cells import commensurate_supercell
from atomsim.vibrations.settings import PhononSettings
from atomsim.vibrations.spectrum import ImaginaryMode, Mesh, modes_at, shares_of

if TYPE_CHECKING:
    from phonopy import Phonopy

PUSH_A = 0.1
"""Largest displacement of an atom at the start of a relaxation along a mode, Å."""
SAME_THZ = 0.02
"""Frequencies this near, at wave vectors of one star, are one."""
LOWER_EV = 1e-4
"""A structure lies lower by at least this, eV per atom."""


@dataclass(frozen=True, eq=False)
class Lower:
    """The end of a relaxation along an imaginary mode."""

    mode: ImaginaryMode
    status: str
    """Status of the relaxation: ``converged``, or why not."""
    energy_eV_per_atom: float
    """Over the structure that the phonons are of; negative where it is lower. NaN where it did not end."""
    space_group: str
    atoms: Atoms
    force_calls: int

    @property
    def lower(self) -> bool:
        """True for a converged structure of lower energy."""
        return self.status == "converged" and self.energy_eV_per_atom < -LOWER_EV


def imaginary_modes(
    phonon: Phonopy, primitive: Atoms, matrix: IntArray, mesh: Mesh, limit_THz: float
) -> list[ImaginaryMode]:
    """Return the imaginary modes: all at the wave vectors that the supercell holds, else the lowest on the mesh.

    Modes at the wave vectors of one star are one, named at the first; so are those of one frequency.
    """
    named = {name: np.asarray(q) for name, q in primitive.cell.bandpath(npoints=0).special_points.items()}
    rotations = _reciprocal_rotations(primitive)
    found = []
    for star in _stars(commensurate_points(matrix), rotations):
        frequency, vectors = modes_at(phonon, star[0])
        share = shares_of(vectors, primitive)
        q = (float(star[0][0]), float(star[0][1]), float(star[0][2]))
        point = _point(q, named, rotations)
        for alike in _degenerate(frequency[frequency < -limit_THz]):
            part = {e: float(s[alike].mean()) for e, s in share.items()}
            lowest = float(frequency[alike[0]])
            found.append(ImaginaryMode(q, point, lowest, len(star), len(alike), part, exact=True))
    if found or not (mesh.frequency_THz < -limit_THz).any():
        return sorted(found, key=lambda m: m.frequency_THz)
    n, k = np.unravel_index(int(mesh.frequency_THz.argmin()), mesh.frequency_THz.shape)
    q = (float(mesh.q[n][0]), float(mesh.q[n][1]), float(mesh.q[n][2]))
    part = {e: float(s[n, k]) for e, s in mesh.by_element.items()}
    star, lowest = _star(mesh.q[n], rotations), float(mesh.frequency_THz[n, k])
    return [ImaginaryMode(q, _point(q, named, rotations), lowest, len(star), 1, part, exact=False)]


def _degenerate(frequency: FloatArray) -> list[IntArray]:
    """Places of modes of one frequency, of ascending frequencies."""
    parts = np.flatnonzero(np.diff(frequency) > SAME_THZ) + 1
    return [part for part in np.split(np.arange(len(frequency)), parts) if len(part)]


def commensurate_points(matrix: IntArray) -> FloatArray:
    """Return the wave vectors that repeat in a supercell, (n, 3), each component in (−½, ½], Γ first."""
    cells = round(abs(float(np.linalg.det(matrix))))
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    whole = np.unique(np.round(cells * (grid @ np.linalg.inv(matrix).T)).astype(np.int64) % cells, axis=0)
    q = np.where(2 * whole > cells, whole - cells, whole) / cells
    return q[np.argsort(np.round(np.linalg.norm(q, axis=1), 9), kind="stable")]


def _reciprocal_rotations(primitive: Atoms) -> IntArray:
    """Rotations of the point group and inversion, in the basis of the reciprocal vectors, (n, 3, 3)."""
    cell = (primitive.cell.array, primitive.get_scaled_positions(), primitive.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=1e-3)
    rotations = np.eye(3, dtype=np.int64)[None] if found is None else np.asarray(found.rotations, dtype=np.int64)
    # k' R = k for a wave in a crystal turned by R; time reversal adds −k
    turned = np.round(np.linalg.inv(rotations)).astype(np.int64).transpose(0, 2, 1)
    return np.unique(np.concatenate([turned, -turned]), axis=0)


def _star(q: FloatArray, rotations: IntArray) -> FloatArray:
    """Wave vectors that symmetry makes of one, each once, (n, 3)."""
    images = np.asarray(rotations @ np.asarray(q, dtype=np.float64), dtype=np.float64)
    kept: list[FloatArray] = []
    for image in images:
        if not any(_same(image, other) for other in kept):
            kept.append(image)
    return np.array(kept)


def _stars(points: FloatArray, rotations: IntArray) -> list[FloatArray]:
    """Group wave vectors by symmetry; those of a star that the supercell does not hold are left out."""
    left, stars = list(points), []
    while left:
        images = _star(left[0], rotations)
        own = [any(_same(q, image) for image in images) for q in left]
        stars.append(np.array([q for q, mine in zip(left, own, strict=True) if mine]))
        left = [q for q, mine in zip(left, own, strict=True) if not mine]
    return stars


def _same(one: FloatArray, other: FloatArray) -> bool:
    """Compare two wave vectors up to a reciprocal lattice vector."""
    apart = one - other
    return bool(np.abs(apart - np.round(apart)).max() < 1e-4)


def _point(q: tuple[float, float, float], named: dict[str, FloatArray], rotations: IntArray) -> str:
    """Name of the special point that a wave vector is, up to symmetry."""
    images = _star(np.asarray(q), rotations)
    for name, point in named.items():
        if any(_same(image, point) for image in images):
            return name.replace("G", "Γ")
    return ""


def follow(
    mode: ImaginaryMode,
    phonon: Phonopy,
    primitive: Atoms,
    energy_eV: float,
    potential: EnergyModel,
    how: PhononSettings,
) -> Lower:
    """Displace a crystal along an imaginary mode and relax atoms and cell.

    Args:
        mode: the mode; its wave vector must be rational, as those of a supercell are.
        phonon: force constants.
        primitive: the primitive cell.
        energy_eV: its energy.
        potential: the potential.
        how: settings.
    """
    from atomsim.relaxation.run import iter_relax
    from atomsim.relaxation.settings import RelaxSettings

    pushed = _pushed(mode, phonon, primitive)
    settings = RelaxSettings(fmax_eV_per_A=min(0.01, how.fmax_eV_per_A), max_steps=how.max_steps, seed=how.seed)
    ((_, ended),) = iter_relax([pushed], potential, settings)
    energy = float(ended.energy) / len(pushed) - energy_eV / len(primitive)
    cell = (ended.atoms.cell.array, ended.atoms.get_scaled_positions(), ended.atoms.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=0.01)
    group = f"{found.international} ({found.number})" if found is not None else ""
    return Lower(mode, ended.status, energy, group, ended.atoms, ended.force_calls)


def _pushed(mode: ImaginaryMode, phonon: Phonopy, primitive: Atoms) -> Atoms:
    """The smallest cell that holds a mode, displaced along it."""
    from ase.build import make_supercell

    frequency, vectors = modes_at(phonon, mode.q)
    vector = vectors[:, int(np.argmin(np.abs(frequency - mode.frequency_THz)))].reshape(-1, 3)
    matrix = commensurate_supercell(primitive.cell.array, mode.q)
    cells = round(abs(float(np.linalg.det(matrix))))
    wide: Atoms = make_supercell(primitive, matrix, order="atom-major")
    atom = np.repeat(np.arange(len(primitive)), cells)
    shift = np.round((wide.positions - primitive.positions[atom]) @ np.linalg.inv(primitive.cell.array))
    # phonopy's phase is that of the atom's place (D-type dynamical matrix: exp(2πi q·(r_jl − r_j0)) between cells)
    wave = np.exp(2j * np.pi * shift @ np.asarray(mode.q))[:, None] * vector[atom]
    wave = wave / np.sqrt(primitive.get_masses()[atom])[:, None]
    best = max((np.real(wave * np.exp(1j * t)) for t in np.linspace(0, np.pi, 8, endpoint=False)), key=_largest)
    wide.positions += PUSH_A * best / _largest(best)
    return wide


def _largest(displacement: FloatArray) -> float:
    return float(np.linalg.norm(displacement, axis=1).max())
