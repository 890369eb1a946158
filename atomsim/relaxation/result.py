"""Result of a relaxation: a structure and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomsim.io.metadata import as_it_came, with_geometry
from atomsim.models.interface import EnergyModel
from atomsim.optimize.drive import Outcome
from atomsim.structures.sanity import handedness, lone_atoms

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure


@dataclass(frozen=True)
class Relaxation:
    """A relaxed structure, or the last one of a relaxation that failed: ``status`` says which."""

    atoms: Atoms
    """Final structure; energy, forces, stress and moments also through ``atoms.calc``."""
    energy: float
    """eV."""
    forces: np.ndarray
    """eV/Å, (n_atoms, 3): as the potential gives them, on what constraints hold too."""
    stress: np.ndarray
    """eV/Å³, (3, 3)."""
    magmoms: np.ndarray | None
    """μB, (n_atoms,), or None."""
    status: str
    """``converged``, ``saddle``, ``max_steps``, ``exploded``, ``not_a_number``, ``too_large`` or ``invalid``."""
    message: str
    """Failure and a remedy to try; when converged, empty or what could not be checked."""
    steps: int
    force_calls: int
    fmax: float
    """Largest residual force at the end, eV/Å; forces along what constraints hold do not count."""
    initial_energy: float
    """Energy of the first geometry, noise included, without PV, eV."""
    lowest_curvature: float | None = None
    """Curvature of the softest mode found at the end, eV/Å²; None if it was not looked for, or nothing can move."""
    source: Any = field(default=None, repr=False, compare=False)
    """The pymatgen object that was given, if it was one."""

    @property
    def converged(self) -> bool:
        """True if the result may be used."""
        return self.status == "converged"

    @property
    def structure(self) -> Structure | Molecule:
        """Final structure as pymatgen has it (a Molecule if not periodic), moments as the site property ``magmom``.

        A pymatgen object that was relaxed comes out as its own kind, with all that it carried.
        """
        from atomsim.io.convert import to_pymatgen

        return to_pymatgen(self.atoms, self.magmoms, self.source)


def refusal(atoms: Atoms, message: str) -> Relaxation:
    """Return a system that could not be set up, as it came."""
    atoms = as_it_came(atoms) if isinstance(atoms, Atoms) else Atoms()
    nan = np.full((len(atoms), 3), np.nan)
    return Relaxation(
        atoms=atoms,
        energy=np.nan,
        forces=nan,
        stress=np.full((3, 3), np.nan),
        magmoms=None,
        status="invalid",
        message=message,
        steps=0,
        force_calls=0,
        fmax=np.nan,
        initial_energy=np.nan,
    )


def result_of(outcome: Outcome, source: Atoms, potential: EnergyModel) -> Relaxation:
    """Return how the relaxation of ``source`` ended."""
    (moved,) = outcome.batch.to("cpu").split()
    cell = moved.cell.array * handedness(source)
    atoms = with_geometry(source, moved.positions, cell)
    evaluation = outcome.evaluation
    energy, forces, stress = (
        float(evaluation.energy[0]),
        evaluation.forces.cpu().numpy(),
        evaluation.stress[0].cpu().numpy(),
    )
    magmoms = None if evaluation.magmoms is None else evaluation.magmoms.cpu().numpy()
    results = {"energy": energy, "forces": forces, "stress": stress}
    atoms.calc = SinglePointCalculator(atoms, **results, **({} if magmoms is None else {"magmoms": magmoms}))
    atoms.info.pop("vacancies", None)  # what has moved fits its host's sites no more
    return Relaxation(
        atoms=atoms,
        energy=energy,
        forces=forces,
        stress=stress,
        magmoms=magmoms,
        status=outcome.status,
        message="; ".join(filter(None, (outcome.message, lone_atoms(atoms, potential)))),
        steps=outcome.steps,
        force_calls=outcome.force_calls,
        fmax=outcome.residual,
        initial_energy=outcome.first_energy,
        lowest_curvature=outcome.curvature,
    )
