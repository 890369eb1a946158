"""Batched atomistic simulation with machine-learned potentials.

``atomsim.relax`` relaxes structures, ``atomsim.neb`` joins two of them by a minimum-energy path; everything else is
reached through its module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.mep.neb import neb
    from atomsim.mep.result import MinimumEnergyPath
    from atomsim.relaxation import Relaxation, RelaxSettings, relax

__version__ = "0.1.0"
__all__ = ["MinimumEnergyPath", "RelaxSettings", "Relaxation", "__version__", "neb", "relax"]

_HOMES = {
    "MinimumEnergyPath": "atomsim.mep.result",
    "RelaxSettings": "atomsim.relaxation",
    "Relaxation": "atomsim.relaxation",
    "neb": "atomsim.mep.neb",
    "relax": "atomsim.relaxation",
}
"""Modules of the public names."""


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and ``atomsim --help`` should not."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'atomsim' has no attribute {name!r}")
