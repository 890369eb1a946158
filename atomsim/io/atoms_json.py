"""Structures as JSON, with all that they carry, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from atomsim.constraints.formats import constraints_from_json, constraints_to_json
from atomsim.io.metadata import add_metadata, metadata_to_json


def atoms_to_json(atoms: Atoms, arrays: dict[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Return atoms as JSON, every float exactly (shortest round-trip form).

    Args:
        atoms: structure with its constraints, others than ``FixAtoms`` in a key of their own, and what else it
            carries, in keys of their own too, where there are any.
        arrays: per-atom results to carry along, e.g. ``{"forces": (n, 3), "magmoms": (n,)}``.

    Raises:
        InputError: for a constraint that nothing here can keep.
    """
    from ase.constraints import FixAtoms

    constraints = constraints_to_json(atoms)
    fixed = sorted({int(i) for c in atoms.constraints if isinstance(c, FixAtoms) for i in c.index})
    return (
        {
            "numbers": [int(z) for z in atoms.numbers],
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": [bool(p) for p in atoms.pbc],
            "fixed": fixed,
            "arrays": {k: np.asarray(v, dtype=float).tolist() for k, v in (arrays or {}).items()},
        }
        | ({"constraints": constraints} if constraints else {})
        | metadata_to_json(atoms)
    )


def atoms_from_json(content: dict[str, Any]) -> Atoms:
    """Rebuild what ``atoms_to_json`` wrote; per-atom results become ASE arrays."""
    from ase.constraints import FixAtoms

    atoms = Atoms(numbers=content["numbers"], positions=content["positions"], cell=content["cell"], pbc=content["pbc"])
    add_metadata(atoms, content)
    whole = [FixAtoms(indices=content["fixed"])] if content["fixed"] else []
    atoms.set_constraint([*whole, *constraints_from_json(atoms, content.get("constraints", ()))])
    for name, values in content["arrays"].items():
        atoms.set_array(name, np.asarray(values))
    return atoms
