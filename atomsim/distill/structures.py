"""The structures that a recipe's systems stand for, before anything is displaced."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from atomsim.distill.recipe import System
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.random import packing, permute_species


def structures_of(system: System, rng: np.random.Generator) -> list[Atoms]:
    """Return a system's structures: one crystal, its orderings, or random packings.

    Raises:
        InputError: if an ordering or packing cannot be made.
    """
    if system.prototype is None:
        pairs = zip(system.formula, system.density_g_per_cm3, strict=True)
        return [packing(Atoms(f).numbers, density, rng) for f, density in pairs]
    prototype = load_prototype(system.prototype)
    cell = prototype.atoms if system.conventional else prototype.primitive
    if system.x:
        assert system.ion is not None
        chosen = delithiate(
            cell,
            system.ion,
            system.x,
            host_unit=system.host_unit,
            orderings=system.orderings,
            max_atoms=max(system.max_atoms, len(cell)),
            seed=int(rng.integers(2**31)),
        )
        found = [o.atoms for o in chosen.orderings]
    else:
        found = [cell.repeat(system.repeat)]
    if system.shuffled:
        found = [permute_species(atoms, system.shuffled, rng) for atoms in found for _ in range(system.orderings)]
    return [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in found]
