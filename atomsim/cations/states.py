"""Oxidation states read from 3d moments, atom by atom, where they may be read."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.analysis.redox import MOMENTS_NAME_STATES, SPIN_ONLY, states_from_moment


def metal_states(atoms: Atoms, moments: np.ndarray) -> dict[str, Any]:
    """Mean moment of each metal whose moments may name a state, and how many atoms are nearest to each state.

    An estimate by spin-only moments; elements of the 4d and 5d rows are never read.

    Args:
        atoms: structure.
        moments: μB, (n_atoms,).
    """
    found: dict[str, Any] = {}
    symbols = np.array(atoms.get_chemical_symbols())
    for element in sorted(MOMENTS_NAME_STATES & set(symbols.tolist())):
        sizes = np.abs(np.asarray(moments, float))[symbols == element]
        counts: Counter[str] = Counter()
        for size in sizes:
            states = states_from_moment(float(size), SPIN_ONLY[element])
            # a little beyond the references, as the potential's moments are, still names the nearest of them
            near = min(SPIN_ONLY[element], key=lambda s: (abs(SPIN_ONLY[element][s] - size), s))
            counts[f"{round(states[0])}+" if len(states) == 1 else f"{near}+"] += 1
        found[element] = {
            "moments_muB": [round(float(m), 3) for m in sizes],
            "mean_moment_muB": float(sizes.mean()),
            "by_state": dict(sorted(counts.items())),
        }
    return found
