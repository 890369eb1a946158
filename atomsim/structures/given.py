"""Between what users hold (ASE, pymatgen, files, names) and what the engine takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from io import IOBase
from pathlib import Path
from typing import Any

from ase import Atoms

from atomsim.batching.capacity import in_one_line
from atomsim.errors import InputError, nearest
from atomsim.io.metadata import as_it_came, as_read
from atomsim.models.interface import EnergyModel
from atomsim.structures.sanity import check_structure

WANTED = "wanted ASE Atoms, a pymatgen Structure or Molecule, a file or the name of a prototype"


class Given:
    """One structure as it came: its atoms, the object that it came as, or why it is not one."""

    def __init__(self, atoms: Atoms, source: Any = None, problem: str = "") -> None:
        self.atoms = atoms
        self.source = source
        """The pymatgen object that ``atoms`` were made from, else None."""
        self.problem = problem
        """Reason why it cannot be computed: found, wanted, next; empty if it can be tried."""


def given_structures(systems: Any) -> Iterator[Given]:
    """Return structures one by one from one or many, of whatever kind.

    A string or path stands for every structure of its file, or for a prototype. What cannot be taken has a
    ``problem`` and no atoms; nothing is raised.
    """
    from pymatgen.core import SiteCollection

    for system in _each(systems):
        try:
            yield from _taken(system)
        except Exception as error:  # adaptors and parsers raise whatever they meet
            source = system if isinstance(system, SiteCollection) else None
            yield Given(Atoms(), source, in_one_line(error))


def require_sound(atoms: Atoms, potential: EnergyModel) -> None:
    """Refuse a structure that this potential cannot say anything sensible about.

    Raises:
        InputError: as ``check_structure`` does.
    """
    check_structure(atoms, getattr(potential, "elements", None))


def _each(systems: Any) -> Iterable[Any]:
    from pymatgen.core import SiteCollection

    kinds = (Atoms, SiteCollection, str, bytes, os.PathLike, IOBase, Mapping)
    single = isinstance(systems, kinds) or not isinstance(systems, Iterable)
    return [systems] if single else systems


def _taken(system: Any) -> Iterator[Given]:
    from pymatgen.core import SiteCollection

    from atomsim.io.convert import from_pymatgen

    if isinstance(system, Atoms):
        yield Given(as_it_came(system))
    elif isinstance(system, SiteCollection):
        yield Given(from_pymatgen(system), source=system)
    elif isinstance(system, str | os.PathLike):
        yield from (Given(as_read(atoms)) for atoms in _named(system))
    else:
        raise InputError(f"found {type(system).__name__}, {WANTED}")


def _named(word: str | os.PathLike[str]) -> list[Atoms]:
    from atomsim.io import read_structures
    from atomsim.structures.prototypes import is_prototype, load_prototype, prototype_names

    if isinstance(word, str) and is_prototype(word, Path()):
        return [load_prototype(word).atoms]
    path = Path(word).expanduser()
    if path.exists():
        return read_structures(path)
    hint = nearest(str(word), prototype_names())
    raise InputError(f"{str(word)!r} is neither a file nor a prototype;{hint or ' check the name'}")
