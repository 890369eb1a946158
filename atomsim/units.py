"""Units: eV, Å, fs, K; pressure is eV/Å³ inside and GPa in files and reports."""

from __future__ import annotations

import numpy as np
from ase import units as _ase

GPA: float = _ase.GPa
"""One GPa in eV/Å³."""

KB: float = _ase.kB
"""Boltzmann's constant, eV/K."""

FARADAY_MAH: float = 26801.48146
"""Faraday's constant in mAh/mol (96485.33212 C/mol ÷ 3.6 C/mAh, CODATA 2018)."""

PER_G_CM3: float = 0.602214076
"""One g/cm³ in u/Å³ (CODATA 2018)."""

HZ: float = float(np.sqrt(_ase._e / _ase._amu) * 1e10 / (2 * np.pi))
"""Frequency of a curvature of 1 eV/Å² and a mass of 1 u, Hz."""

CM2_PER_A2: float = 1e-16
"""One Å² in cm²."""

ROOM_K: float = 300.0
"""Temperature at which rates and diffusivities are reported, K."""

ACCELERATION: float = 9.648533212e-3
"""One eV/(Å u) in Å/fs² (CODATA 2018: the elementary charge over the atomic mass constant)."""

J_PER_M2: float = 16.02176634
"""One eV/Å² in J/m² (CODATA 2018)."""
