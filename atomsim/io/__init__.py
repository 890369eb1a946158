"""Structure files: read whatever ASE, pymatgen or gemmi reads; write extended XYZ with results.

Also the files and folders that users name (``files``), and what structures carry besides geometry (``metadata``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.io.structures import read_structures
    from atomsim.io.write import write_extxyz

__all__ = ["read_structures", "write_extxyz"]

_HOMES = {"read_structures": "atomsim.io.structures", "write_extxyz": "atomsim.io.write"}


def __getattr__(name: str) -> Any:
    """Import on first use: ASE and pymatgen take seconds, and ``io.files`` needs neither."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'atomsim.io' has no attribute {name!r}")
