"""Units: eV, Å, fs, K; pressure is eV/Å³ inside and GPa in files and reports."""

from __future__ import annotations

from ase import units as _ase

GPA: float = _ase.GPa
"""One GPa in eV/Å³."""

KB: float = _ase.kB
"""Boltzmann's constant, eV/K."""

FARADAY_MAH: float = 26801.48146
"""Faraday's constant in mAh/mol (96485.33212 C/mol ÷ 3.6 C/mAh, CODATA 2018)."""
