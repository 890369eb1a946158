"""``atomsim.read``, ``atomsim.write`` and ``atomsim.prototypes``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from atomsim.api.arguments import verb
from atomsim.api.inputs import items_of
from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms


@overload
def read(source: str | Path, index: None = None) -> list[Atoms]: ...
@overload
def read(source: str | Path, index: int) -> Atoms: ...
@verb
def read(source: str | Path, index: int | None = None) -> Any:
    """Read all structures of a file, a prototype or a run.

    Args:
        source: file of any format that ASE, pymatgen or gemmi reads, name of a prototype, or folder of a run, whose
            relaxed structures are taken.
        index: number of one structure, from 0, or from the end where negative.

    Returns:
        A list of ASE Atoms with all that the file says of them, or one of them with ``index``. A CIF is read as it
        means it or refused.

    Raises:
        InputError: if there is no such file, or it holds no structure, or not so many.

    Examples:
        >>> import atomsim
        >>> [atoms.get_chemical_formula() for atoms in atomsim.read("LiCoO2")]
        ['Co3Li3O6']
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"source: found {type(source).__name__}, wanted a file, a prototype's name or a run folder")
    if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
        raise InputError(f"index: found {index!r}, wanted a whole number, or nothing for all structures")
    found = _all(source)
    if index is None:
        return found
    if not -len(found) <= index < len(found):
        raise InputError(f"index: found {index}, but {source} holds {len(found)} structures")
    return found[index]


def _all(source: str | os.PathLike[str]) -> list[Atoms]:
    from atomsim.io import read_structures
    from atomsim.io.metadata import as_read
    from atomsim.structures.prototypes import is_prototype, load_prototype, prototype_names

    if isinstance(source, str) and is_prototype(source, Path()):
        return [load_prototype(source).atoms]
    path = Path(source).expanduser()
    if path.is_dir():
        from atomsim.store.export import annotated
        from atomsim.store.run_folder import read_run

        _, records = read_run(path)
        found = [
            annotated(r) for step in records.values() for r in step if r.kind == "relax" and r.good and r.structure
        ]
        if not found:
            raise InputError(f"{path} has no relaxed structure yet; wait for one, or name a file")
        return found
    if not path.exists():
        hint = nearest(str(source), prototype_names())
        raise InputError(f"{str(source)!r} is neither a file, a run nor a prototype;{hint or ' check the name'}")
    return [_labelled(as_read(atoms), atoms) for atoms in read_structures(path)]


def _labelled(plain: Atoms, read: Atoms) -> Atoms:
    """Keep results that the file carries on the calculator."""
    plain.calc = read.calc
    return plain


@verb
def write(path: str | Path, what: Any) -> Path:
    """Write structures or a table, whole or not at all; the format follows from the suffix.

    Args:
        path: ``.extxyz`` (holds everything), ``.cif``, ``.vasp`` or ``POSCAR``, and whatever else ASE writes and reads
            again: structures; ``.json``: pymatgen's entries; ``.csv``: the table of results.
        what: Atoms, a Structure, results, or many of these.

    Returns:
        The path.

    Raises:
        InputError: for a suffix that says no format, or what cannot be written so.
        AtomsimError: if the file cannot be written; an old one is untouched then.

    Examples:
        >>> import atomsim, tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = atomsim.write(pathlib.Path(folder) / "cells.extxyz", ["Li", "LiCoO2"])
        ...     [len(atoms) for atoms in atomsim.read(path)]
        [2, 12]
    """
    from atomsim.io.files import write_atomically
    from atomsim.io.write import write_structures

    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path: found {type(path).__name__}, wanted the name of a file")
    target = Path(path).expanduser()
    if target.suffix == ".csv":
        if not hasattr(what, "to_dataframe"):
            raise InputError(f"{target.name}: found {type(what).__name__}, wanted results with a table")
        write_atomically(target, what.to_dataframe().to_csv(index=False))
        return target
    if target.suffix == ".json":
        entries = getattr(what, "entries", None)
        if entries is None:
            raise InputError(f"{target.name}: found {type(what).__name__}, wanted results with energies, for entries")
        write_atomically(target, json.dumps([entry.as_dict() for entry in entries]) + "\n")
        return target
    write_structures(target, _structures(what))
    return target


def _structures(what: Any) -> list[Atoms]:
    from ase import Atoms

    from atomsim.api.results import Result

    many = what if isinstance(what, Iterable) and not isinstance(what, Atoms | str | os.PathLike) else [what]
    if not hasattr(what, "composition") and all(isinstance(one, Atoms | Result) for one in many):
        found = [one if isinstance(one, Atoms) else one.atoms for one in many]
        if not found:
            raise InputError("nothing to write: found an empty sequence, wanted at least one structure")
        return found
    items, _ = items_of(what)
    for item in items:
        if item.problem:
            raise InputError(f"{item.label}: {item.problem}")
    return [item.atoms for item in items]


@verb
def prototypes() -> pd.DataFrame:
    """Return the prototype library as a table: names, formulas, space groups and citations.

    Returns:
        One row each, ``name`` as the index.

    Raises:
        InputError: never.

    Examples:
        >>> import atomsim
        >>> str(atomsim.prototypes().loc["LiCoO2", "space_group"])  # doctest: +SKIP
        'R-3m'
    """
    import pandas as pd

    from atomsim.structures.prototypes import list_prototypes

    rows = [
        {
            "name": p.name,
            "title": p.title,
            "formula": p.formula,
            "atoms": len(p.atoms),
            "space_group": p.space_group.symbol,
            "positions": p.positions,
            "citation": f"{p.citation.authors}, {p.citation.journal} ({p.citation.year})",
            "doi": p.citation.doi,
        }
        for p in list_prototypes()
    ]
    return pd.DataFrame(rows).set_index("name")
