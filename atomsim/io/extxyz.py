"""Contents of a structure that extended XYZ can hold: info and arrays that its reader gives back as they were."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict

from atomsim.constraints.formats import noted_in_info
from atomsim.io.metadata import GEOMETRY, PREFIX, as_it_came

OF_FORMAT = frozenset(
    {"Lattice", "Properties", "pbc", "cell", "symbols", "species", "pos", "positions", "numbers", "Z", "move_mask"}
)
"""Words of the extended XYZ format that no key or column may have; nor those that readers take for results."""
NEXT = "next_key"
"""Stands after a key on trial, as an empty value swallows what follows it."""


def extxyz_atoms(atoms: Atoms) -> Atoms:
    """Return atoms whose info and arrays extended XYZ gives back as they are, or as nearly as it can."""
    noted = noted_in_info(as_it_came(atoms))
    ready: Atoms = noted.copy()
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
    ways = (value, f"_JSON {_json(plain)}")
    for way in (*ways, *(w.replace("\\", r"\\") for w in ways if isinstance(w, str))):
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


def not_in_extxyz(atoms: Atoms) -> set[str]:
    """Names of what even extended XYZ does not keep."""
    lost = {f"info {key}" for key, value in atoms.info.items() if _readable(_name(key), value) is None}
    arrays = ((name, array) for name, array in atoms.arrays.items() if name not in GEOMETRY)
    return lost | {name for name, array in arrays if array.size and _column(array) is None}


def alike(back: Any, value: Any) -> bool:
    """True if a value of info that was read means what was written."""
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return _same(back, value, plain)
