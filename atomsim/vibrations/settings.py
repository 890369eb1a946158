"""Settings of phonons, checked where they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from atomsim.errors import InputError, check_flag, check_number, check_whole

FEWEST_VOLUMES = 6
"""Volumes below which no equation of state is fitted: four parameters, and one volume left out for the errors."""


@dataclass(frozen=True)
class PhononSettings:
    """Settings of the phonons of a crystal."""

    supercell_min_A: float = 10.0
    """Distance wanted between an atom and its image in the supercell, Å."""
    max_atoms: int = 200
    """Largest supercell that may be used for it."""
    displacement_A: float = 0.02
    """Length of a displacement: large enough for forces in single precision, small enough to be harmonic."""
    symprec_A: float = 0.01
    """Tolerance in which the crystal is symmetric; it is moved to its exact symmetry."""
    primitive_matrix: Sequence[Sequence[float]] | None = None
    """Primitive vectors as rows in units of the given ones; found by symmetry if None."""
    fmax_eV_per_A: float = 0.02
    """Largest force on an atom of what counts as relaxed."""
    mesh_A: float = 60.0
    """Density of the mesh of q points: a length that the waves on it repeat after."""
    t_max_K: float = 1000.0
    """Highest temperature of the thermal properties."""
    t_step_K: float = 10.0
    """Step of the temperatures."""
    imaginary_THz: float = 0.1
    """An imaginary frequency above this counts; below it, it is noise."""
    follow: bool = False
    """Relax along imaginary modes to the lower structure."""
    max_steps: int = 500
    """Largest number of steps of a relaxation along an imaginary mode."""
    volumes: int = 0
    """Volumes of the quasi-harmonic approximation, 6 or more; 0 for none."""
    expansion: float = 0.06
    """The largest of them over the relaxed one, less one; the smallest is half as far below."""
    seed: int = 0
    """Seed of the search for soft modes at the end of such a relaxation."""

    def __post_init__(self) -> None:
        check_number("supercell_min_A", self.supercell_min_A, "a length in Å, 0 or more", low=0.0, high=100.0)
        check_whole("max_atoms", self.max_atoms, "a whole number, 1 or more", low=1)
        check_number("displacement_A", self.displacement_A, "a length from 0.001 to 0.2 Å", low=0.001, high=0.2)
        check_number("symprec_A", self.symprec_A, "a length above 0 and up to 0.5 Å", above=0.0, high=0.5)
        check_number("fmax_eV_per_A", self.fmax_eV_per_A, "a force in eV/Å above 0", above=0.0)
        check_number("mesh_A", self.mesh_A, "a length from 5 to 500 Å", low=5.0, high=500.0)
        check_number("t_max_K", self.t_max_K, "a temperature in K above 0", above=0.0, high=10_000.0)
        check_number("t_step_K", self.t_step_K, "a temperature in K above 0", above=0.0, high=1000.0)
        check_number("imaginary_THz", self.imaginary_THz, "a frequency in THz, 0 or more", low=0.0)
        check_flag("follow", self.follow)
        check_whole("max_steps", self.max_steps, "a whole number, 1 or more", low=1)
        check_whole("volumes", self.volumes, "0, or a whole number of 6 or more", low=0)
        if 0 < self.volumes < FEWEST_VOLUMES:
            raise InputError(f"volumes: found {self.volumes}, wanted 0 for none, or {FEWEST_VOLUMES} or more")
        check_number("expansion", self.expansion, "a part of the volume from 0.01 to 0.3", low=0.01, high=0.3)
