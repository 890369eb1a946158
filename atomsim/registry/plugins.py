"""Potentials of other packages, found by the entry point groups ``atomsim.potentials`` and ``atomsim.cards``.

A package names the families that it can load, and packages (folders) that hold cards::

    [project.entry-points."atomsim.potentials"]
    springs = "my_package.springs:load"   # load(weights, card, device, dtype) -> Potential

    [project.entry-points."atomsim.cards"]
    my_package = "my_package.cards"       # a folder of TOML cards in the package

The function is imported when a card of its family is loaded; folders are found without importing what is in them.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atomsim.errors import InputError

POTENTIALS, CARDS = "atomsim.potentials", "atomsim.cards"
OWN = ("chgnet", "mace", "sevennet", "lennard-jones", "morse")
"""Families that atomsim loads itself."""


@cache
def card_folders_of_packages() -> tuple[Path, ...]:
    """Return folders of cards in installed packages, by the names of their entry points; missing ones are left out."""
    found: list[Path] = []
    for entry in _entries(CARDS):
        try:
            spec = find_spec(entry.module)
        except ImportError:
            continue
        if spec is not None:
            found += [Path(place) for place in spec.submodule_search_locations or ()]
    return tuple(found)


def families() -> tuple[str, ...]:
    """Return the families that installed packages can load."""
    return tuple(entry.name for entry in _entries(POTENTIALS) if entry.name not in OWN)


def family_loader(family: str) -> Any:
    """Return the function that loads cards of a family: ``load(weights, card, device, dtype)``; None if there is none.

    Raises:
        InputError: if two packages offer it, or it cannot be imported.
    """
    found = [entry for entry in _entries(POTENTIALS) if entry.name == family]
    if not found:
        return None
    if len(found) > 1:
        raise InputError(f"family {family!r} is offered by {' and '.join(map(_package, found))}; uninstall one of them")
    try:
        return found[0].load()
    except Exception as error:  # whatever a foreign package raises
        raise InputError(
            f"family {family!r} of {_package(found[0])} cannot be imported ({type(error).__name__}: {error}); install "
            "one that fits this atomsim, or uninstall it"
        ) from error


def _entries(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))


def _package(entry: EntryPoint) -> str:
    return entry.value if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
