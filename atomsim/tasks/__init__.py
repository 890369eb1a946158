"""The kinds of steps, one module each; a campaign's ``[[step]]`` names its ``kind``."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from atomsim.errors import InputError, nearest
from atomsim.tasks.kind import StepKind
from atomsim.tasks.plugins import Plugin, plugins

MODULES = {
    "structures": "atomsim.tasks.structures",
    "delithiate": "atomsim.tasks.delithiate",
    "relax": "atomsim.tasks.relax",
    "electrode": "atomsim.tasks.electrode",
    "isotherm": "atomsim.tasks.isotherm",
    "barriers": "atomsim.tasks.barriers",
    "dimerize": "atomsim.tasks.dimerize",
    "oxygen": "atomsim.tasks.oxygen",
    "evaluate": "atomsim.tasks.evaluate",
    "neb": "atomsim.tasks.neb",
    "md": "atomsim.tasks.md",
    "diffusion": "atomsim.tasks.diffusion",
    "phonons": "atomsim.tasks.phonons",
    "order": "atomsim.tasks.order",
    "dope": "atomsim.tasks.dope",
    "effects": "atomsim.tasks.effects",
    "interface": "atomsim.tasks.interface",
    "coherent": "atomsim.tasks.coherent",
    "composite": "atomsim.tasks.composite",
    "amorphize": "atomsim.tasks.amorphize",
    "glass": "atomsim.tasks.glass",
}
"""Module of each kind, imported when it is first used."""


def kinds() -> tuple[str, ...]:
    """Names of all step kinds, those of other packages last.

    Raises:
        InputError: if a package offers a kind that there is already.
    """
    return (*MODULES, *_plugins())


def kind_of(name: str) -> StepKind:
    """Return the module of a kind of step.

    Raises:
        InputError: if there is no such kind, or the package that offers it is broken.
    """
    if name in MODULES:
        return cast(StepKind, import_module(MODULES[name]))
    if name in _plugins():
        return _plugins()[name].load()
    raise InputError(f"unknown kind {name!r};{nearest(name, kinds())} kinds are {', '.join(kinds())}")


def find_kind(name: str) -> StepKind | None:
    """Return the module of a kind, or None where the package that a record's kind came from is not installed."""
    try:
        return kind_of(name)
    except InputError:
        return None


def packages_of(*names: str) -> dict[str, str]:
    """Return the packages that offer some kinds, with their versions; none for atomsim's own kinds."""
    foreign = [name for name in names if name not in MODULES]
    found = _plugins() if foreign else {}
    return {found[name].package: found[name].version for name in foreign if name in found}


def _plugins() -> dict[str, Plugin]:
    return plugins(frozenset(MODULES))
