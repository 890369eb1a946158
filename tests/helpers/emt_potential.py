"""ASE's effective-medium theory as a potential that campaigns of tests can load."""

from __future__ import annotations

from ase.calculators.emt import EMT

from atomsim.models.ase import AsePotential


def load(name: str, device: str = "auto", dtype: str | None = None, trust_file: bool = False) -> AsePotential:
    return AsePotential(EMT(), ["Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt", "C", "N", "O"])
