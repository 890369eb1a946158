"""Agreement of two potentials: energies, forces, stresses, and relaxed structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from atomsim.errors import InputError
from atomsim.units import GPA


@dataclass(frozen=True)
class Agreement:
    """Two potentials, a and b, on one structure; differences are b − a."""

    label: str
    formula: str
    n_atoms: int
    energy_a_eV_per_atom: float
    energy_b_eV_per_atom: float
    forces_MAE_eV_per_A: float
    """Mean absolute difference of force components."""
    forces_largest_eV_per_A: float
    """Largest length of a force's difference."""
    forces_mean_eV_per_A: float
    """Mean absolute component of a's forces, to compare with."""
    stress_MAE_GPa: float


@dataclass(frozen=True)
class RelaxedAgreement:
    """One structure relaxed by two potentials; differences are b − a."""

    label: str
    status_a: str
    status_b: str
    energy_a_eV_per_atom: float
    energy_b_eV_per_atom: float
    volume_percent: float
    length_percent: float
    """Change of the cell's length that differs most."""
    displacement_A: float
    """Root mean square distance of atoms at equal fractional coordinates of a's cell, their mean taken out."""


def agreement(label: str, a: Atoms, b: Atoms) -> Agreement:
    """Compare two labelled copies of one structure.

    Args:
        label: name of the structure.
        a: with energy, forces and stress of the first potential.
        b: of the second.

    Raises:
        InputError: if they are not the same atoms.
    """
    if (a.numbers != b.numbers).any() if len(a) == len(b) else True:
        raise InputError(f"{label}: found {a.symbols} and {b.symbols}, wanted one structure twice")
    off = b.get_forces() - a.get_forces()
    return Agreement(
        label=label,
        formula=a.get_chemical_formula(),
        n_atoms=len(a),
        energy_a_eV_per_atom=a.get_potential_energy() / len(a),
        energy_b_eV_per_atom=b.get_potential_energy() / len(b),
        forces_MAE_eV_per_A=float(np.abs(off).mean()),
        forces_largest_eV_per_A=float(np.linalg.norm(off, axis=1).max()),
        forces_mean_eV_per_A=float(np.abs(a.get_forces()).mean()),
        stress_MAE_GPa=float(np.abs(b.get_stress() - a.get_stress()).mean()) / GPA,
    )


def label_errors(own: Sequence[Atoms], reference: Sequence[Atoms]) -> dict[str, float]:
    """Return mean absolute errors and root mean squares over labelled frames; forces and stresses by component.

    Args:
        own: frames with the labels of the potential that is judged.
        reference: the same frames with those that it is judged by.
    """
    pairs = list(zip(own, reference, strict=True))
    energy = np.array([(a.get_potential_energy() - b.get_potential_energy()) / len(a) for a, b in pairs])
    forces = np.concatenate([(a.get_forces() - b.get_forces()).ravel() for a, b in pairs])
    stress = np.concatenate([a.get_stress() - b.get_stress() for a, b in pairs])
    return {
        "energy_MAE_meV_per_atom": 1e3 * float(np.abs(energy).mean()),
        "energy_RMSE_meV_per_atom": 1e3 * float(np.sqrt((energy**2).mean())),
        "forces_MAE_meV_per_A": 1e3 * float(np.abs(forces).mean()),
        "forces_RMSE_meV_per_A": 1e3 * float(np.sqrt((forces**2).mean())),
        "stress_MAE_GPa": float(np.abs(stress).mean()) / GPA,
    }


def relaxed_agreement(
    label: str, a: Atoms, b: Atoms, energies_eV: tuple[float, float], statuses: tuple[str, str]
) -> RelaxedAgreement:
    """Compare what two potentials relaxed one structure to."""
    lengths = 100 * (b.cell.lengths() / a.cell.lengths() - 1) if a.cell.rank == 3 else np.zeros(3)
    volume = 100 * (b.cell.volume / a.cell.volume - 1) if a.cell.rank == 3 else 0.0
    return RelaxedAgreement(
        label=label,
        status_a=statuses[0],
        status_b=statuses[1],
        energy_a_eV_per_atom=energies_eV[0] / len(a),
        energy_b_eV_per_atom=energies_eV[1] / len(b),
        volume_percent=float(volume),
        length_percent=float(lengths[np.abs(lengths).argmax()]),
        displacement_A=displacement(a, b),
    )


def displacement(a: Atoms, b: Atoms) -> float:
    """Return the r.m.s. distance of atoms at equal fractional coordinates of a's cell, their mean taken out, Å."""
    if a.cell.rank < 3:
        moved = b.positions - a.positions
    else:
        moved = find_mic((b.get_scaled_positions(wrap=False) @ a.cell.array) - a.positions, a.cell, a.pbc)[0]
    moved = moved - moved.mean(axis=0)
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


@dataclass(frozen=True)
class Summary:
    """Agreement over all structures: each counts once, but in forces every component of every atom does."""

    structures: int
    energy_MAE_meV_per_atom: float
    energy_offset_meV_per_atom: float
    """Mean of b − a: potentials of another level of theory have another zero."""
    energy_MAE_within_formula_meV_per_atom: float | None
    """Error of energies relative to the mean of all structures of one reduced formula; None where none has two."""
    forces_MAE_meV_per_A: float
    """Pooled: over all components of all atoms of all structures."""
    forces_MAE_mean_of_structures_meV_per_A: float
    """Each structure counting once, however many atoms it has."""
    forces_largest_meV_per_A: float
    stress_MAE_GPa: float


def summarise(rows: Sequence[Agreement]) -> Summary:
    """Average over structures.

    Raises:
        InputError: if there are none.
    """
    if not rows:
        raise InputError("nothing to compare: found 0 structures, wanted at least one")
    off = 1e3 * np.array([r.energy_b_eV_per_atom - r.energy_a_eV_per_atom for r in rows])
    within: list[float] = []
    formulas = [Atoms(r.formula).symbols.formula.reduce()[0].format("hill") for r in rows]
    for formula in sorted(set(formulas)):
        of_one = off[[f == formula for f in formulas]]
        if len(of_one) > 1:
            within += np.abs(of_one - of_one.mean()).tolist()
    return Summary(
        structures=len(rows),
        energy_MAE_meV_per_atom=float(np.abs(off).mean()),
        energy_offset_meV_per_atom=float(off.mean()),
        energy_MAE_within_formula_meV_per_atom=float(np.mean(within)) if within else None,
        forces_MAE_meV_per_A=1e3
        * float(np.average([r.forces_MAE_eV_per_A for r in rows], weights=[r.n_atoms for r in rows])),
        forces_MAE_mean_of_structures_meV_per_A=1e3 * float(np.mean([r.forces_MAE_eV_per_A for r in rows])),
        forces_largest_meV_per_A=1e3 * max(r.forces_largest_eV_per_A for r in rows),
        stress_MAE_GPa=float(np.mean([r.stress_MAE_GPa for r in rows])),
    )
