"""Metadata of structures besides geometry: info, tags, moments, charges, masses, velocities, any array.

What came in goes out. Names under which results are written and read stay free for results: an ``energy`` or
``forces`` that came in continues as ``input_energy`` or ``input_forces``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from ase import Atoms

PREFIX = "input_"
"""Begins the name of what came in under the name of a result."""
RESULTS = frozenset({"energy", "free_energy", "forces", "stress", "magmoms"})
"""Results that a relaxation finds anew."""
GEOMETRY = frozenset({"numbers", "positions"})
OF_READERS = frozenset({"spacegroup", "spacegroup_kinds", "unit_cell", "occupancy"})
"""Keys that ASE's CIF reader notes of the file; after a relaxation they need not be true."""
ARRAY, DTYPE = "__array__", "dtype"


def with_geometry(source: Atoms, positions: np.ndarray, cell: np.ndarray) -> Atoms:
    """Return plain ASE Atoms like ``source`` elsewhere: all that it carries, but no calculator."""
    atoms = Atoms(cell=cell, pbc=source.pbc, celldisp=source.get_celldisp(), info=_free_of_results(source.info))
    atoms.arrays = {name: array.copy() for name, array in _free_of_results(source.arrays).items()}
    atoms.arrays["positions"] = np.array(positions, dtype=float)
    atoms.constraints = [deepcopy(constraint) for constraint in source.constraints]
    return atoms


def as_it_came(source: Atoms) -> Atoms:
    """Return plain ASE Atoms equal to ``source``, results of earlier calculations left behind."""
    return with_geometry(source, source.positions, source.cell.array)


def as_read(atoms: Atoms) -> Atoms:
    """Return atoms as a file had them: charges and the like stay, which readers take for results; old results go."""
    from ase.calculators.singlepoint import SinglePointCalculator

    kept = as_it_came(atoms)
    read = atoms.calc.results if isinstance(atoms.calc, SinglePointCalculator) else {}
    for name, value in read.items():
        if name in RESULTS or value is None or name in kept.arrays or name in kept.info:
            continue
        if np.ndim(value) > 0 and len(value) == len(atoms):
            kept.set_array(name, np.asarray(value))
        else:
            kept.info[name] = value
    return kept


def metadata_to_json(atoms: Atoms) -> dict[str, Any]:
    """Return ``info``, ``columns`` (arrays that came in) and ``celldisp`` as JSON; only what there is.

    Arrays named as results are results and not among them. What JSON cannot hold is named in ``left_out``.
    """
    left_out: list[str] = []
    info = _encoded({k: v for k, v in atoms.info.items() if k not in OF_READERS}, left_out)
    own = {k: v for k, v in atoms.arrays.items() if k not in GEOMETRY | RESULTS | OF_READERS}
    content: dict[str, Any] = {"info": info, "columns": _encoded(own, left_out), "left_out": sorted(left_out)}
    if np.any(atoms.get_celldisp()):
        content["celldisp"] = atoms.get_celldisp().ravel().tolist()
    return {key: value for key, value in content.items() if value}


def add_metadata(atoms: Atoms, content: Mapping[str, Any]) -> None:
    """Give atoms back what ``metadata_to_json`` noted."""
    atoms.info.update({key: _decoded(value) for key, value in content.get("info", {}).items()})
    for name, value in content.get("columns", {}).items():
        atoms.set_array(name, np.asarray(_decoded(value)))
    if "celldisp" in content:
        atoms.set_celldisp(content["celldisp"])


def without_metadata(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a structure's JSON without what does not decide a result."""
    return {k: v for k, v in content.items() if k not in {"info", "columns", "celldisp", "left_out"}}


def merged(came_in: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Join what came in with what is ours; of two equal names the one that came in is prefixed."""
    return {f"{PREFIX}{k}" if k in ours else k: v for k, v in came_in.items()} | dict(ours)


def _free_of_results(named: Mapping[Any, Any]) -> dict[Any, Any]:
    return {f"{PREFIX}{key}" if key in RESULTS else key: value for key, value in named.items()}


def _encoded(named: Mapping[Any, Any], left_out: list[str]) -> dict[str, Any]:
    found = {}
    for key, value in named.items():
        try:
            found[str(key)] = _encode(value)
            json.dumps(found[str(key)], allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            found.pop(str(key), None)
            left_out.append(str(key))
    return found


def _encode(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {ARRAY: repr(value), DTYPE: "float64"}
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if isinstance(value, Mapping):
        return {str(key): _encode(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} is not JSON")


def _encode_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind == "O":
        return {ARRAY: _encode(array.tolist()), DTYPE: "object"}
    if array.dtype.kind not in "biufU":
        raise TypeError(f"arrays of {array.dtype} are not JSON")
    finite = array.dtype.kind != "f" or np.isfinite(array).all()
    return {ARRAY: (array if finite else array.astype("U32")).tolist(), DTYPE: array.dtype.str}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if ARRAY not in value:
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value[ARRAY], str):
        return float(value[ARRAY])
    if value[DTYPE] != "object":
        return np.asarray(value[ARRAY]).astype(value[DTYPE])
    inner = _decoded(value[ARRAY])
    array = np.empty(len(inner), dtype=object)
    for n, item in enumerate(inner):
        array[n] = item
    return array
