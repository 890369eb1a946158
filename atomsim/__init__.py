"""Batched atomistic simulation with machine-learned potentials.

``atomsim.relax`` relaxes structures; everything else is reached through its module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.relaxation import Relaxation, RelaxSettings, relax

__version__ = "0.1.0"
__all__ = ["RelaxSettings", "Relaxation", "__version__", "relax"]


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and ``atomsim --help`` should not."""
    if name in {"relax", "Relaxation", "RelaxSettings"}:
        from atomsim import relaxation

        return getattr(relaxation, name)
    raise AttributeError(f"module 'atomsim' has no attribute {name!r}")
