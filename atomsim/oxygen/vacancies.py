"""Energies of neutral oxygen vacancies, unrelaxed and relaxed, against O2 of the same potential."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from atomsim.analysis.thermochemistry import require_molecule
from atomsim.errors import AtomsimError
from atomsim.models.interface import EnergyModel
from atomsim.models.shared import Shared
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.vacancies import image_distance

OXYGEN_FMAX = 0.005
"""Largest force on O2, eV/Å."""


@dataclass(frozen=True)
class Oxygen:
    """The molecule of a potential."""

    energy_eV: float
    """Per molecule."""
    bond_A: float
    box_A: float
    """Distance to its nearest image."""
    moment: float | None
    """Mean magnitude per atom, μB."""
    force_calls: int

    @property
    def per_atom(self) -> float:
        """½E(O2), eV."""
        return 0.5 * self.energy_eV


def oxygen_molecule(potential: EnergyModel, atoms: Atoms | None = None, shared: Shared | None = None) -> Oxygen:
    """Relax O2 in a box with a potential.

    Args:
        potential: the potential.
        atoms: one molecule in a box; the prototype if not given.
        shared: where it is remembered.

    Raises:
        InputError: if its bond is outside 1.15–1.30 Å or the box is small.
        AtomsimError: if it does not relax.
    """
    given = load_prototype("O2").atoms if atoms is None else atoms
    key = ("O2", given.positions.tobytes(), given.cell.array.tobytes())
    if shared is None:
        return as_molecule(relaxed_oxygen(potential, given))
    return as_molecule(shared.get(potential, key, lambda: relaxed_oxygen(potential, given)))


def relaxed_oxygen(potential: EnergyModel, atoms: Atoms) -> Relaxation:
    """Relax O2 in a box, which is kept."""
    return next(iter_relax([atoms], potential, RelaxSettings(fmax_eV_per_A=OXYGEN_FMAX, cell=False)))[1]


def as_molecule(found: Relaxation) -> Oxygen:
    """Return the molecule that O2 in a box has relaxed to.

    Raises:
        InputError: if its bond is outside 1.15–1.30 Å or the box is small.
        AtomsimError: if it did not relax.
    """
    if not found.converged:
        raise AtomsimError(f"O2 did not relax ({found.status}: {found.message}); use another potential")
    bond = float(found.atoms.get_distance(0, 1, mic=True))
    box = image_distance(found.atoms.cell.array)
    require_molecule(bond, box)
    moment = None if found.magmoms is None else float(np.abs(found.magmoms).mean())
    return Oxygen(found.energy, bond, box, moment, found.force_calls)
