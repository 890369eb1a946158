"""Structure files out: the format that the name says, and in extended XYZ all that a structure carries."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from atomsim.constraints.formats import from_selective_dynamics, noted_in_info, selective_dynamics
from atomsim.errors import InputError
from atomsim.io.files import is_special, place_of, replacing, require_other_file
from atomsim.io.metadata import PREFIX, as_it_came
from atomsim.io.readback import check_readback

SUFFIXES = (".extxyz", ".xyz", ".cif", ".vasp", ".traj", ".json", ".db", ".xsf", ".pdb")
"""What is offered where a name says nothing; whatever else ASE writes and reads again is taken too."""
OF_FORMAT = frozenset(
    {"Lattice", "Properties", "pbc", "cell", "symbols", "species", "pos", "positions", "numbers", "Z", "move_mask"}
)
"""Words of the extended XYZ format that no key or column may have; nor those that readers take for results."""
NEXT = "next_key"
"""Stands after a key on trial, as an empty value swallows what follows it."""
CELLS_ONLY = frozenset({"cif", "vasp", "xsf", "vasp-xdatcar"})


def check_target(
    path: Path, structures: Sequence[Atoms] | None = None, inputs: Sequence[Path] = (), *, force: bool = False
) -> None:
    """Find before the work what would keep its result from being written.

    Args:
        path: file to be written.
        structures: what goes in, of which as much will come out; tried on a file that is thrown away.
        inputs: files that were read, which are not overwritten.
        force: overwrite them.

    Raises:
        InputError: naming what is wrong and what is possible.
    """
    target = place_of(path)
    if not target.parent.is_dir():
        raise InputError(f"no folder {target.parent} to write {path.name} in; make it first")
    require_other_file(path, inputs, force=force)
    kind = format_of(path)
    if structures and kind != "extxyz":  # which holds everything
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / f"trial{path.suffix}"
            _write_as(kind, trial, [as_it_came(atoms) for atoms in structures], path.name)
            check_readback(trial if path.suffix else trial.rename(trial.with_name(path.name)), structures, path.name)


def write_structures(path: Path, structures: Sequence[Atoms]) -> None:
    """Write structures in the format that the name says, whole or not at all.

    Extended XYZ holds results, constraints and metadata; other formats what they can.

    Raises:
        InputError: if the name says no format that holds them.
        AtomsimError: if the file cannot be written; an old file is untouched.
    """
    kind = format_of(path)
    with replacing(path) as unfinished:
        _write_as(kind, unfinished, structures, path.name)


def write_extxyz(path: Path, structures: Sequence[Atoms], results: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Write structures as extended XYZ, whole or not at all.

    Args:
        path: file to write; an old one is replaced when the new one is complete.
        structures: what to write; ``info`` and arrays go along.
        results: for each structure, what is known of ``energy`` eV, ``forces`` (n, 3) eV/Å,
            ``stress`` (6,) eV/Å³ in the order xx yy zz yz xz xy, ``magmoms`` (n,) μB. Without it,
            what a structure's calculator has already computed is written.

    Raises:
        InputError: if there are not as many results as structures.
        AtomsimError: if the file cannot be written; an old file is untouched.
    """
    ready = list(structures) if results is None else with_results(structures, results)
    with replacing(path) as unfinished:
        _write_as("extxyz", unfinished, ready, path.name)


def with_results(structures: Sequence[Atoms], results: Sequence[Mapping[str, Any]]) -> list[Atoms]:
    """Return copies of structures with what is known of each on its calculator (see ``write_extxyz``).

    Raises:
        InputError: if there are not as many results as structures.
    """
    if len(results) != len(structures):
        raise InputError(f"{len(results)} results for {len(structures)} structures; want one for each")
    return [_attach(a, r) for a, r in zip(structures, results, strict=True)]


def default_name(stem: str, what: str) -> str:
    """Return ``STEM-WHAT.extxyz``, or a name like it that no reader takes for another format."""
    return openable(f"{stem}-{what}.extxyz")


def openable(name: str) -> str:
    """Return the name of an extended XYZ file such that no reader takes it for another format.

    ASE knows VASP's and other files by parts of their names, capitals counting: POSCAR-relaxed.extxyz is one.
    """
    return next((n for n in (name, name.lower()) if _by_name(n) == "extxyz"), "structures.extxyz")


def format_of(path: Path) -> str:
    """Return ASE's name of the format that a file name says; extended XYZ for pipes and devices.

    Raises:
        InputError: if it says none, or one that is not written, or not read again.
    """
    kind = _by_name(path.name)
    if kind is None and is_special(path):
        return "extxyz"
    if path.suffix.lower() in {".extxyz", ".xyz"} and kind != "extxyz":
        raise InputError(
            f"readers take {path.name!r} for the format {kind!r}, as its name begins like theirs; "
            f"wanted another, such as {default_name(path.stem, 'out')}"
        )
    known = ioformats.get(kind or "")
    if known is None or not (known.can_write and known.can_read) or path.suffix in {".gz", ".bz2", ".xz"}:
        raise InputError(
            f"cannot tell from the name {path.name!r} in which format to write structures; "
            f"wanted one that ends in {', '.join(SUFFIXES)}"
        )
    return str(known.name)


def _by_name(name: str) -> str | None:
    """Return the format that a file name says, as ASE understands it."""
    if name.lower().endswith((".extxyz", ".xyz")):
        # ASE's signatures go before suffixes: POSCAR-relaxed.extxyz would be VASP's
        seen = filetype(name, read=False)
        return "extxyz" if seen in {"extxyz", "xyz"} else str(seen)
    try:
        return str(filetype(name, read=False))
    except UnknownFileTypeError:
        return None


def _write_as(kind: str, path: Path, structures: Sequence[Atoms], name: str) -> None:
    if len(structures) > 1 and (ioformats[kind].single or kind == "vasp"):
        raise InputError(
            f"{name} holds one structure, and there are {len(structures)}; "
            "write them to .extxyz, .traj, .cif, .json or .db, or one by one"
        )
    if kind in CELLS_ONLY and any(atoms.cell.rank < 3 for atoms in structures):
        raise InputError(f"{name} holds crystals only, and one of the structures has no full cell; write to .extxyz")
    how = {"direct": True, "vasp5": True} if kind == "vasp" else {}
    try:
        ready = [extxyz_atoms(a) if kind == "extxyz" else _as_held(a, kind) for a in structures]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what the format cannot hold
            if kind == "db":  # by what it is: the unfinished file has another suffix
                with ase.db.connect(path, type="db", append=False) as database:
                    for atoms in ready:
                        database.write(atoms)
            else:
                ase.io.write(path, ready, format=kind, **how)
    except (OSError, InputError):
        raise
    except Exception as error:  # writers raise whatever they meet
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot write {name}: {reason}; try .extxyz, which holds everything") from error


def _as_held(atoms: Atoms, kind: str) -> Atoms:
    """Return atoms with constraints as a format has them: VASP's flags are along lattice vectors, if they can be."""
    flags = selective_dynamics(atoms) if kind == "vasp" else None
    if flags is None:
        return atoms
    held = atoms.copy()
    held.set_constraint(from_selective_dynamics(flags.tolist()))
    return held


def extxyz_atoms(atoms: Atoms) -> Atoms:
    """Return atoms whose info and arrays extended XYZ gives back as they are, or as nearly as it can."""
    noted = noted_in_info(as_it_came(atoms))
    ready = noted.copy()
    ready.info = {}
    for key, value in noted.info.items():
        kept = _readable(_name(key), value)
        if kept is not None:
            ready.info[_name(key)] = kept
    for name, array in list(ready.arrays.items()):
        if name in {"numbers", "positions"}:
            continue
        del ready.arrays[name]
        column = _column(array)
        if column is not None:
            ready.arrays[_name(name)] = column
    ready.calc = atoms.calc
    return ready


def _name(key: Any) -> str:
    word = "".join("_" if c.isspace() or c in ":=\"'{}[]\\," else c for c in str(key)) or "_"
    return f"{PREFIX}{word}" if word in OF_FORMAT or word in all_properties else word


def _readable(key: str, value: Any) -> Any:
    """Return the value, or JSON that the reader turns into it; None where neither comes back."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(plain, Mapping) and (text := _json(plain)) is not None:
        plain = json.loads(text)
    for way in (value, f"_JSON {_json(plain)}"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about what is not JSON
                back = key_val_str_to_dict(f"{key_val_dict_to_str({key: way})} {NEXT}=1")
            if list(back) == [key, NEXT] and _same(back[key], value, plain):
                return way
        except Exception:  # noqa: S112 - whatever the parser stumbles over, the other way is tried
            continue
    return " ".join(value.split()) if isinstance(value, str) else None  # a comment of several lines


def _json(plain: Any) -> str | None:
    try:
        return json.dumps(plain, default=_listed)
    except (TypeError, ValueError):
        return None


def _listed(value: Any) -> Any:
    """Return arrays within other values as lists."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _same(back: Any, value: Any, plain: Any) -> bool:
    found = back.tolist() if isinstance(back, np.ndarray | np.generic) else back
    if isinstance(plain, tuple):
        plain = list(plain)
    if isinstance(value, bool | str) or isinstance(found, bool | str):
        return type(found) is type(plain) and bool(found == plain)
    return repr(found) == repr(plain) or bool(found == plain)


def _column(array: np.ndarray) -> np.ndarray | None:
    """Return an array as a column of extended XYZ: at most two axes, no blanks in words."""
    if not array.size:
        return None
    flat = array.reshape(len(array), -1) if array.ndim > 2 else array
    if flat.dtype.kind == "u":  # for which the writer has no format
        flat = flat.astype(np.int64 if flat.max() <= np.iinfo(np.int64).max else str)
    if flat.dtype.kind in "bif":
        return flat
    if flat.dtype.kind in "UO" and all(isinstance(v, str | int | float) or v is None for v in flat.ravel()):
        words = ["_".join(str(v).split()) or "_" for v in flat.ravel()]
        return np.array(words).reshape(flat.shape)
    return None


def _attach(atoms: Atoms, results: Mapping[str, Any]) -> Atoms:
    with_results = atoms.copy()
    known = {key: results[key] for key in ("energy", "forces", "stress", "magmoms") if results.get(key) is not None}
    arrays = {key: value if key == "energy" else np.asarray(value, dtype=float) for key, value in known.items()}
    with_results.calc = SinglePointCalculator(with_results, **arrays)
    return with_results
