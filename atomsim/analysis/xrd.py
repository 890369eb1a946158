"""Simulated powder diffraction and the angle of a tracked reflection."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator


@dataclass(frozen=True)
class Pattern:
    """Bragg peaks of a powder; the strongest has intensity 100."""

    two_theta: np.ndarray
    """Angles, degrees, increasing, (n_peaks,)."""
    intensity: np.ndarray
    """Kinematic intensities with Lorentz and polarisation factors, (n_peaks,)."""
    radiation: str

    def profile(self, angles: np.ndarray, fwhm: float = 0.2) -> np.ndarray:
        """Return the peaks broadened to Gaussians of a width (degrees) on a grid of angles, (n,)."""
        sigma = fwhm / np.sqrt(8.0 * np.log(2.0))
        offsets = (angles[:, None] - self.two_theta[None, :]) / sigma
        return np.asarray(np.exp(-0.5 * offsets**2) @ self.intensity)


LARGEST_D_A, SMALLEST_D_A = 8.84, 1.2
"""Spacings that a pattern shows, Å: 10 to 80° for CuKa, and the same lines for any other wavelength."""


def angles_shown(radiation: str = "CuKa") -> tuple[float, float]:
    """Return the range of 2θ that shows the same lines with any wavelength, whole degrees: 10 to 80 for CuKa."""
    wavelength = float(_calculator(radiation).wavelength)
    low, high = (2 * np.degrees(np.arcsin(min(1.0, wavelength / (2 * d)))) for d in (LARGEST_D_A, SMALLEST_D_A))
    return float(np.floor(low)), float(min(180.0, np.ceil(high)))


def powder_pattern(
    atoms: Atoms, radiation: str = "CuKa", two_theta: tuple[float, float] | None = None, weakest: float = 0.1
) -> Pattern:
    """Simulate a powder pattern with pymatgen's XRDCalculator.

    No thermal motion, texture, strain or particle size; a supercell's broken symmetry gives many
    weak lines where an experiment sees broad ones.

    Args:
        atoms: the structure.
        radiation: name of the line as pymatgen knows it: ``CuKa`` (mean, 1.54184 Å), ``MoKa`` …
        two_theta: range of angles, degrees; by default that of ``angles_shown``.
        weakest: peaks below this intensity (of 100) are left out.

    Raises:
        InputError: if the radiation is not known.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    shown = two_theta or angles_shown(radiation)
    found = _calculator(radiation).get_pattern(AseAtomsAdaptor.get_structure(bare), two_theta_range=shown)
    angles, intensity = np.asarray(found.x, float), np.asarray(found.y, float)
    seen = intensity >= weakest
    return Pattern(angles[seen], intensity[seen], radiation)


def bragg_angle(d: float, radiation: str = "CuKa") -> float:
    """Return 2θ in degrees of a plane spacing d in Å: λ = 2 d sin θ.

    Raises:
        InputError: if the radiation is not known, or its wavelength exceeds 2 d.
    """
    wavelength = float(_calculator(radiation).wavelength)
    if wavelength > 2 * d:
        raise InputError(f"no reflection of d = {d:g} Å exists at {wavelength:g} Å; take a shorter wavelength")
    return float(2.0 * np.degrees(np.arcsin(wavelength / (2.0 * d))))


def check_radiation(radiation: str) -> None:
    """Raise ``InputError`` for the name of a line that is not known."""
    _calculator(radiation)


@lru_cache(maxsize=8)
def _calculator(radiation: str) -> XRDCalculator:
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS, XRDCalculator

    if radiation not in WAVELENGTHS:
        raise InputError(
            f"unknown radiation {radiation!r};{nearest(radiation, WAVELENGTHS)} known: {', '.join(WAVELENGTHS)}"
        )
    return XRDCalculator(wavelength=radiation)
