"""Structure files: read whatever ASE, pymatgen or gemmi reads; write extended XYZ with results."""

from atomsim.io.structures import read_structures
from atomsim.io.write import write_extxyz

__all__ = ["read_structures", "write_extxyz"]
