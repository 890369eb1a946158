"""The kinds of steps, one module each; a campaign's ``[[step]]`` names its ``kind``."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from atomsim.errors import InputError, nearest
from atomsim.tasks.base import StepKind

MODULES = {
    "structures": "atomsim.tasks.structures",
    "delithiate": "atomsim.tasks.delithiate",
    "relax": "atomsim.tasks.relax",
    "electrode": "atomsim.tasks.electrode",
    "barriers": "atomsim.tasks.barriers",
    "evaluate": "atomsim.tasks.evaluate",
    "neb": "atomsim.tasks.neb",
}
"""Module of each kind, imported when it is first used."""


def kind_of(name: str) -> StepKind:
    """Return the module of a kind of step.

    Raises:
        InputError: if there is no such kind.
    """
    if name not in MODULES:
        raise InputError(f"unknown kind {name!r};{nearest(name, MODULES)} kinds are {', '.join(MODULES)}")
    return cast(StepKind, import_module(MODULES[name]))
