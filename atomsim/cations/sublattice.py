"""Named sublattices: an element, a layer, an element in a layer, one atom, or several of these joined by ``+``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from atomsim.analysis.stacking import ANIONS, ION_LAYER, METAL_LAYER, find_stacking, require_stacking
from atomsim.errors import InputError, nearest
from atomsim.types import IntArray

LAYERS = (METAL_LAYER, ION_LAYER)


def sites_of(atoms: Atoms, name: str, ion: str = "Li") -> IntArray:
    """Return the atoms that a name stands for, ascending.

    Args:
        atoms: structure.
        name: ``Mn``, ``metal-layer``, ``Li:ion-layer``, ``#12`` (one atom), or several joined by ``+``. Layers hold
            cations; anions are never part of one.
        ion: element between the layers.

    Raises:
        InputError: if a part matches no atom, naming the nearest name that does; or layers are asked of what has none.
    """
    found: set[int] = set()
    for part in name.split("+"):
        found |= set(_part(atoms, part.strip(), ion))
    return np.array(sorted(found), dtype=np.int64)


def known_names(atoms: Atoms, ion: str = "Li") -> list[str]:
    """Names of the sublattices of a structure, its atoms' numbers left out."""
    symbols = np.array(atoms.get_chemical_symbols())
    cations = [str(s) for s in dict.fromkeys(symbols) if s not in ANIONS]
    stacking = find_stacking(atoms, ion)
    if stacking is None:
        return cations
    return [*cations, *LAYERS, *(f"{s}:{layer}" for s in cations for layer in LAYERS if _layered(atoms, s, layer, ion))]


def _part(atoms: Atoms, part: str, ion: str) -> list[int]:
    symbols = np.array(atoms.get_chemical_symbols())
    if part.startswith("#") and part[1:].isdigit():
        if int(part[1:]) >= len(atoms):
            raise InputError(f"sublattice {part!r}: found {len(atoms)} atoms, wanted #0 to #{len(atoms) - 1}")
        return [int(part[1:])]
    element, _, layer = part.partition(":")
    if element in LAYERS and not layer:
        element, layer = "", element
    if layer in LAYERS and (not element or element in symbols):
        require_stacking(atoms, ion)
        found = _layered(atoms, element, layer, ion)
    else:
        found = [] if layer else np.flatnonzero(symbols == element).tolist()
    if not found:
        known = known_names(atoms, ion)
        hint = nearest(part, known)
        raise InputError(
            f"sublattice {part!r} matches no atom of {atoms.get_chemical_formula()};{hint} there are {', '.join(known)}"
        )
    return found


def _layered(atoms: Atoms, element: str, layer: str, ion: str) -> list[int]:
    symbols = np.array(atoms.get_chemical_symbols())
    stacking = find_stacking(atoms, ion)
    if stacking is None:
        return []
    chosen = stacking.in_metal_layer if layer == METAL_LAYER else ~stacking.in_metal_layer
    kind = symbols == element if element else ~np.isin(symbols, ANIONS)
    found: list[int] = np.flatnonzero(chosen & kind).tolist()
    return found


def groups_of(atoms: Atoms, names: Sequence[str], ion: str = "Li") -> list[IntArray]:
    """Return the sites of several sublattices, which must not share an atom and hold two elements or more each.

    Raises:
        InputError: if a name matches nothing, holds one element only, or two share an atom.
    """
    taken: dict[int, str] = {}
    groups = []
    for name in names:
        sites = sites_of(atoms, name, ion)
        elements = sorted({atoms.symbols[n] for n in sites})
        if len(elements) < 2:
            raise InputError(
                f"sublattice {name!r} holds {elements[0]} alone, wanted two elements or more to order; "
                "join sublattices with '+'"
            )
        for n in sites.tolist():
            if n in taken:
                raise InputError(f"sublattices {taken[n]!r} and {name!r} share atom {n}; wanted no atom in two")
            taken[n] = name
        groups.append(sites)
    return groups
