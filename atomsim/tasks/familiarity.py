"""Distance of a structure from the training of the potential that judges it, as values of its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


def familiarity_values(atoms: Atoms, potential: object) -> dict[str, Any]:
    """Return the unfamiliarity of a structure, with a flag above 1; nothing where the potential does not know it."""
    from atomsim.models.familiarity import unfamiliarity

    if not len(atoms) or not np.isfinite(atoms.positions).all():
        return {}
    found = unfamiliarity([atoms], potential)
    if found is None:
        return {}
    value = round(found[0], 3)
    if value <= 1:
        return {"unfamiliarity": value}
    name = getattr(potential, "name", "the potential")
    flag = (
        f"unlike what {name} learned from ({value:.1f} times the distance up to which its errors hold): "
        "check it with its teacher, or a universal potential"
    )
    return {"unfamiliarity": value, "flags": [flag]}
