"""The way from a child's cell back to its parent's setting, and the layer reflection there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.errors import InputError
from atomsim.store.records import Record

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.analysis.describe import ParentSetting

SYMPREC_A = 0.01
"""Tolerance of the host's symmetry where no step says which it found, Å."""


def check_reflection(record: Record, reflection: Sequence[int] | None, radiation: str) -> None:
    """Refuse a layer reflection that the host cannot show.

    Args:
        record: an ordering, not yet relaxed.
        reflection: in the parent's setting, as the user gave it.
        radiation: X-ray line.

    Raises:
        InputError: if the wavelength is too long for it, or the host's space group extinguishes it.
    """
    from atomsim.analysis.lattice import d_spacing, is_extinct, map_reflection, space_group
    from atomsim.analysis.xrd import bragg_angle

    if record.structure is None:
        return
    host = _filled(record)
    setting = setting_of(record.tags, record.atoms, reflection)
    if setting is None or setting.reflection is None:
        return
    hkl = map_reflection(setting.reflection, setting.cell_map)
    name = " ".join(str(h) for h in setting.reflection)
    try:
        bragg_angle(d_spacing(host.cell.array, hkl), radiation)
    except InputError as error:
        raise InputError(f"layer_reflection ({name}) with {radiation}: {error}, or another reflection") from error
    symprec = float((record.tags.get("symmetry") or {}).get("symprec_A") or SYMPREC_A)
    if reflection is not None and is_extinct(host, hkl, symprec):
        found = space_group(host, symprec)
        raise InputError(
            f"layer_reflection ({name}) is extinguished by the host's space group "
            f"{found.symbol if found else ''} in the parent's setting; name an order that its layers "
            "show, or leave it out"
        )


def _filled(record: Record) -> Atoms:
    """Return an ordering with its ions back in their places."""
    from ase import Atoms

    from atomsim.structures.hosts import left_sites

    atoms = record.atoms
    left = left_sites(record.tags)
    if left:
        ions = Atoms(
            [left["ion"]] * len(left["vacancies"]), scaled_positions=left["vacancies"], cell=atoms.cell, pbc=True
        )
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True) + ions
    return atoms


def setting_of(tags: Mapping[str, Any], atoms: Atoms, reflection: Sequence[int] | None) -> ParentSetting | None:
    """Return the way from a child's cell to the prototype's, or else to the cell that ``supercell`` counts.

    Args:
        tags: of the child's record.
        atoms: the child.
        reflection: of the layers, as the user gave it; None takes the prototype's where it is known.
    """
    from atomsim.analysis.describe import ParentSetting
    from atomsim.analysis.published import layer_reflection

    if "supercell" not in tags:
        return None
    name = tags.get("prototype")
    known = reflection or (layer_reflection(name) if name else None)
    hkl = None if known is None else (known[0], known[1], known[2])
    cell_map = np.asarray(tags["supercell"], float)
    prototype = _prototype(name) if name else None
    if prototype is None:
        return ParentSetting(cell_map, hkl)
    published = prototype.cell.array
    counted = np.asarray(tags.get("parent_cell", published), float)  # e.g. the primitive cell, in the same setting
    cell_map = cell_map @ counted @ np.linalg.inv(published)
    hosts = [sum(s != tags["ion"] for s in structure.symbols) for structure in (atoms, prototype)]
    # Without this the supercell counts another cell than the prototype's: no lattice is better than a wrong one.
    return ParentSetting(cell_map, hkl) if abs(abs(np.linalg.det(cell_map)) * hosts[1] - hosts[0]) < 1e-3 else None


@lru_cache(maxsize=8)
def _prototype(name: str) -> Atoms | None:
    from atomsim.structures.prototypes import load_prototype

    try:
        return load_prototype(name).atoms
    except InputError:
        return None
