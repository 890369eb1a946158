"""The framework of a solid: the atoms whose mean position is at rest while ions diffuse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.analysis.coordination import anions_of
from atomsim.errors import InputError, nearest

EVERYTHING = "all"
"""Name of a framework of all atoms: the centre of mass of a liquid."""
CENTRES = frozenset({"B", "C", "N", "Si", "P", "S", "As", "Se", "Cl", "Ge", "Br", "Te", "I", "Al"})
"""Cations that are the centres of polyanions, which may rotate."""


def framework_species(atoms: Atoms, ion: str) -> list[str]:
    """Return the species of the framework for a mobile ion, alphabetically.

    All but the ion; where there are polyanions, such as sulfate, only the cations, as the anions around a centre
    rotate: they move by some Å and nothing flows.
    """
    others = sorted(set(atoms.symbols) - {ion})
    cations = [s for s in others if s not in anions_of(atoms)]
    return cations if CENTRES & set(cations) else others


def masks(atoms: Atoms, ion: str, framework: Sequence[str] | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which atoms are mobile and which are of the framework, (n_atoms,) each.

    Args:
        atoms: one frame.
        ion: symbol of the mobile ion.
        framework: symbols, or ``all``; by ``framework_species`` if not given.

    Raises:
        InputError: if a species is not there, or none is left of the framework.
    """
    symbols = np.array(list(atoms.symbols))
    known = sorted(set(symbols.tolist()))
    for species in [ion, *(s for s in framework or () if s != EVERYTHING)]:
        if species not in known:
            raise InputError(
                f"no {species} in the trajectory;{nearest(species, known)} found {', '.join(known)}; name one of these"
            )
    mobile = symbols == ion
    if framework is not None and EVERYTHING in framework:
        return mobile, np.ones(len(symbols), dtype=bool)
    chosen = framework_species(atoms, ion) if framework is None else list(framework)
    if ion in chosen:
        raise InputError(
            f"framework: found {ion}, which is the mobile ion; name other species, or '{EVERYTHING}' in a liquid"
        )
    rest = np.isin(symbols, chosen)
    if not rest.any():
        raise InputError(
            f"no framework is left: all {len(symbols)} atoms are {ion}; in a liquid give the framework '{EVERYTHING}'"
        )
    return mobile, rest
