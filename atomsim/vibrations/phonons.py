"""Phonons of crystals: force constants from batched forces, and all that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms

from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel
from atomsim.optimize.displacements import displaced, displacements
from atomsim.structures.supercells import image_distance
from atomsim.types import FloatArray, IntArray
from atomsim.units import GPA
from atomsim.vibrations.cells import exact_crystal, phonon_supercell, primitive_cell
from atomsim.vibrations.quasi_harmonic import Heated, quasi_harmonic
from atomsim.vibrations.settings import PhononSettings
from atomsim.vibrations.spectrum import Bands, Dos, ImaginaryMode, Mesh, bands_of, dos_of, mesh_of
from atomsim.vibrations.stability import Lower, follow, imaginary_modes
from atomsim.vibrations.thermal import Thermal, thermal

if TYPE_CHECKING:
    from phonopy import Phonopy

PRESSED_GPA = 0.5
"""A crystal under more than this has not been relaxed with its cell."""


@dataclass(frozen=True, eq=False)
class ForceConstants:
    """Forces on displaced supercells, from which phonopy makes the force constants."""

    primitive: Atoms
    """Primitive cell."""
    matrix: IntArray
    """Supercell vectors as rows in units of the primitive ones, (3, 3)."""
    forces: FloatArray
    """On all atoms of each displaced supercell, less those of the perfect one, eV/Å, (n_displaced, n_atoms, 3)."""
    displacement_A: float
    symprec_A: float
    energy_eV: float
    """Energy of the primitive cell."""
    pressure_GPa: float
    fmax_eV_per_A: float
    """Largest force in the perfect crystal."""
    force_calls: int

    @cached_property
    def phonopy(self) -> Phonopy:
        """Phonopy's object with the force constants, translational invariance imposed."""
        phonon = displacements(self.primitive, self.matrix, self.displacement_A, self.symprec_A)
        return _with_constants(phonon, self.forces)


@dataclass(frozen=True, eq=False)
class Phonons:
    """Phonons of one crystal."""

    constants: ForceConstants
    space_group: str
    bands: Bands
    dos: Dos
    thermal: Thermal
    mesh: Mesh = field(repr=False)
    imaginary: tuple[ImaginaryMode, ...] = ()
    """Imaginary modes, the most imaginary first."""
    lower: tuple[Lower, ...] = ()
    """Ends of the relaxations along them, where asked for."""
    flags: tuple[str, ...] = ()
    heated: Heated | None = None
    """Quasi-harmonic values, where asked for."""

    @property
    def stable(self) -> bool:
        """Absence of imaginary modes: the crystal is a minimum for all waves that were looked at."""
        return not self.imaginary

    @property
    def force_calls(self) -> int:
        """Evaluations, those of relaxations along modes included."""
        heated = 0 if self.heated is None else self.heated.force_calls
        return self.constants.force_calls + sum(end.force_calls for end in self.lower) + heated


def force_constants(
    atoms: Atoms, potential: EnergyModel, settings: PhononSettings | None = None, *, capacity: Capacity | None = None
) -> tuple[ForceConstants, str]:
    """Compute the forces on all symmetry-distinct displacements of a supercell, as one batch.

    Args:
        atoms: relaxed crystal; reduced to its primitive cell.
        potential: the potential.
        settings: how.
        capacity: supercells at once; by default one on a CPU and what fits on a device.

    Returns:
        The forces, and the space group.

    Raises:
        InputError: if the crystal is not relaxed, not periodic, constrained, or too large; or a primitive cell that
            was given is none.
    """
    how = settings or PhononSettings()
    crystal, group = exact_crystal(atoms, how.symprec_A)
    primitive = primitive_cell(crystal, how.symprec_A, how.primitive_matrix)
    matrix = phonon_supercell(primitive, how.supercell_min_A, how.max_atoms)
    return constants_at(primitive, matrix, potential, how, capacity), group


def constants_at(
    primitive: Atoms, matrix: IntArray, potential: EnergyModel, how: PhononSettings, capacity: Capacity | None = None
) -> ForceConstants:
    """Compute the forces on all symmetry-distinct displacements of a supercell of an exactly symmetric primitive cell.

    Args:
        primitive: primitive cell.
        matrix: supercell vectors as rows in units of the primitive ones, (3, 3).
        potential: the potential.
        how: displacement, tolerance of the symmetry, and the largest force.
        capacity: supercells at once.

    Raises:
        InputError: if a force on the primitive cell is larger.
    """
    phonon = displacements(primitive, matrix, how.displacement_A, how.symprec_A)
    perfect = Atoms(phonon.supercell.numbers, phonon.supercell.positions, cell=phonon.supercell.cell, pbc=True)
    ((_, at_rest),) = evaluate_all([primitive], potential, capacity)
    fmax = float(at_rest.forces.norm(dim=1).max())
    pressure = -float(torch.einsum("ii->", at_rest.stress[0])) / 3 / GPA
    if not fmax <= how.fmax_eV_per_A:
        raise InputError(
            f"the structure is not relaxed: largest force {fmax:.3g} eV/Å in its exact symmetry, wanted at most "
            f"{how.fmax_eV_per_A:g}; relax it with this potential first, to a smaller fmax_eV_per_A"
        )
    found = _forces([perfect, *displaced(phonon, perfect)], potential, capacity)
    constants = ForceConstants(
        primitive, matrix, found[1:] - found[0], how.displacement_A, how.symprec_A, float(at_rest.energy[0]), pressure,
        fmax, len(found) + 1,
    )  # fmt: skip
    # where a cached property is kept: the symmetry of a large supercell is searched once
    vars(constants)["phonopy"] = _with_constants(phonon, constants.forces)
    return constants


def _with_constants(phonon: Phonopy, forces: FloatArray) -> Phonopy:
    phonon.forces = forces
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    return phonon


def _forces(systems: list[Atoms], potential: EnergyModel, capacity: Capacity | None) -> FloatArray:
    """Forces on systems of one size, eV/Å, (n_systems, n_atoms, 3)."""
    parts = []
    for batch, evaluation in evaluate_all(systems, potential, capacity):
        parts.append(evaluation.forces.reshape(batch.n_systems, -1, 3).cpu().numpy())
    return np.concatenate(parts)


def phonons(
    atoms: Atoms, potential: EnergyModel, settings: PhononSettings | None = None, *, capacity: Capacity | None = None
) -> Phonons:
    """Compute the phonons of a relaxed crystal.

    Args:
        atoms: relaxed crystal.
        potential: the potential.
        settings: how.
        capacity: supercells at once.

    Returns:
        Bands, density of states, thermal properties, imaginary modes and, if asked for, the structures they lead to.

    Raises:
        InputError: as of ``force_constants``.
    """
    how = settings or PhononSettings()
    constants, group = force_constants(atoms, potential, how, capacity=capacity)
    found = analysed(constants, group, how, cells=len(atoms) // len(constants.primitive))
    if how.follow:
        exact = [m for m in found.imaginary if m.exact]
        ends = [follow(m, constants.phonopy, constants.primitive, constants.energy_eV, potential, how) for m in exact]
        found = replace(found, lower=tuple(ends), flags=(*found.flags, *_of_ends(ends)))
    if how.volumes:
        found = _heated(found, potential, how, capacity)
    return found


def _heated(found: Phonons, potential: EnergyModel, how: PhononSettings, capacity: Capacity | None) -> Phonons:
    """Add the quasi-harmonic values of a crystal that is a minimum."""
    if not found.stable:
        flag = "no quasi-harmonic values of a crystal with imaginary modes: follow them to the lower structure first"
        return replace(found, flags=(*found.flags, flag))
    heated = quasi_harmonic(found.constants, found.mesh.numbers, potential, how, capacity)
    return replace(found, heated=heated, flags=(*found.flags, *heated.flags))


def analysed(constants: ForceConstants, group: str, how: PhononSettings, cells: int = 1) -> Phonons:
    """Return what follows from force constants, without an evaluation."""
    phonon, primitive = constants.phonopy, constants.primitive
    mesh = mesh_of(phonon, primitive, how.mesh_A)
    temperatures = np.arange(0.0, how.t_max_K + 0.5 * how.t_step_K, how.t_step_K)
    heat = thermal(mesh.frequency_THz, mesh.weights, temperatures, len(primitive))
    modes = tuple(imaginary_modes(phonon, primitive, constants.matrix, mesh, how.imaginary_THz))
    flags = tuple(_flags(constants, how, modes, heat, cells))
    return Phonons(constants, group, bands_of(phonon, primitive), dos_of(mesh), heat, mesh, modes, (), flags)


def _flags(
    constants: ForceConstants, how: PhononSettings, modes: tuple[ImaginaryMode, ...], heat: Thermal, cells: int
) -> list[str]:
    """Facts that a reader must know before using it."""
    found = []
    exact = [m for m in modes if m.exact]
    if exact:
        found.append(f"a saddle, not a minimum: {len(exact)} imaginary modes, the first {exact[0].name}")
    elif modes:
        found.append(f"imaginary only between the waves of the supercell, {modes[0].name}: repeat in a larger one")
    if heat.left_out > 0:
        found.append(f"{100 * heat.left_out:.2g} % of the modes are imaginary and left out of F, S and Cv")
    if abs(constants.pressure_GPa) > PRESSED_GPA:
        found.append(f"under {constants.pressure_GPa:.2f} GPa: the cell was not relaxed")
    wide = image_distance(constants.matrix @ constants.primitive.cell.array)
    if wide < how.supercell_min_A - 1e-6:
        found.append(
            f"images {wide:.1f} Å apart instead of {how.supercell_min_A:g}: max_atoms = {how.max_atoms} is small"
        )
    if cells > 1:
        found.append(f"the given cell is {cells} primitive cells; all is of the primitive one")
    return found


def _of_ends(ends: Sequence[Lower]) -> list[str]:
    lower = [end for end in ends if end.lower]
    if not lower:
        return ["no lower structure was found along the imaginary modes"] if ends else []
    best = min(lower, key=lambda end: end.energy_eV_per_atom)
    below = f"{-1000 * best.energy_eV_per_atom:.1f} meV/atom"
    return [f"a structure {below} lower, {best.space_group}, lies along {best.mode.name}"]
