"""With what a result was made: versions of packages, and the potential."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.models.interface import Potential


PACKAGES = ("atomsim", "torch", "chgnet", "mace-torch", "ase", "pymatgen", "numpy", "spglib")


def describe(potential: Potential) -> dict[str, Any]:
    """Return what identifies a potential, JSON-able."""
    return {
        "name": potential.name,
        "sha256": potential.sha256,
        "device": str(potential.device),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "cutoff_A": float(potential.cutoff),
        "elements": sorted(potential.elements),
    }


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
