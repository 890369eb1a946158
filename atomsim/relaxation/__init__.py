"""Relaxing structures: the one function that users, tasks and tests call."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomsim.relaxation.public import relax
    from atomsim.relaxation.result import Relaxation
    from atomsim.relaxation.run import default_capacity, iter_relax
    from atomsim.relaxation.settings import CURVATURES, METHODS, RelaxSettings

__all__ = ["CURVATURES", "METHODS", "RelaxSettings", "Relaxation", "default_capacity", "iter_relax", "relax"]

_HOMES = {"Relaxation": "result", "default_capacity": "run", "iter_relax": "run", "relax": "public"}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and the settings need none of it."""
    if name in __all__:
        return getattr(import_module(f"atomsim.relaxation.{_HOMES.get(name, 'settings')}"), name)
    raise AttributeError(f"module 'atomsim.relaxation' has no attribute {name!r}")
