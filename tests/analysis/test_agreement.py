"""Agreement of two potentials: differences are told where they are, and not where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from atomsim.analysis.agreement import agreement, relaxed_agreement, summarise
from atomsim.errors import InputError
from atomsim.units import GPA


def evaluation(atoms: Atoms, energy: float, push: float = 0.0, stress: float = 0.0) -> Atoms:
    atoms = atoms.copy()
    forces = np.zeros((len(atoms), 3))
    forces[0, 0] = push
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=np.full(6, stress * GPA))
    return atoms


OXIDE = bulk("LiO", "rocksalt", a=4.2, cubic=True)


def test_one_structure():
    row = agreement("oxide", evaluation(OXIDE, -16.0, 0.1), evaluation(OXIDE, -15.2, 0.4, 2.0))
    assert (row.label, row.formula, row.n_atoms) == ("oxide", "Li4O4", 8)
    assert row.energy_b_eV_per_atom - row.energy_a_eV_per_atom == pytest.approx(0.1)
    assert row.forces_largest_eV_per_A == pytest.approx(0.3)
    assert row.forces_MAE_eV_per_A == pytest.approx(0.3 / 24)
    assert row.stress_MAE_GPa == pytest.approx(2.0)
    with pytest.raises(InputError, match="wanted one structure twice"):
        agreement("oxide", evaluation(OXIDE, 0.0), evaluation(OXIDE[:4], 0.0))


def test_many_structures_and_another_zero_of_energy():
    """A constant offset of a formula's energies is no disagreement within the formula."""
    rows = [agreement(str(k), evaluation(OXIDE, -k), evaluation(OXIDE, -k + 0.8 + 0.08 * (k % 2))) for k in range(4)]
    found = summarise(rows)
    assert found.structures == 4
    assert found.energy_offset_meV_per_atom == pytest.approx(105.0)
    assert found.energy_MAE_within_formula_meV_per_atom == pytest.approx(5.0)
    assert summarise(rows[:1]).energy_MAE_within_formula_meV_per_atom is None
    with pytest.raises(InputError, match="nothing to compare"):
        summarise([])


def test_forces_are_pooled_over_components_and_the_mean_of_structures_is_another_number():
    one, many = OXIDE[:1], OXIDE.repeat((2, 1, 1))
    rows = [agreement(str(len(a)), evaluation(a, 0.0), evaluation(a, 0.0, 0.3)) for a in (one, many)]
    found = summarise(rows)
    assert found.forces_MAE_meV_per_A == pytest.approx(600 / (3 * 17))
    assert found.forces_MAE_mean_of_structures_meV_per_A == pytest.approx((100 + 300 / 48) / 2)


def test_relaxed_structures_differ_by_strain_and_displacement():
    strained = OXIDE.copy()
    strained.set_cell(OXIDE.cell.array * [[1.02], [1.0], [1.0]], scale_atoms=True)
    row = relaxed_agreement("x", OXIDE, strained, (-16.0, -15.0), ("converged", "converged"))
    assert row.volume_percent == pytest.approx(2.0)
    assert row.length_percent == pytest.approx(2.0)
    assert row.displacement_A == pytest.approx(0.0, abs=1e-9)
    moved = OXIDE.copy()
    moved.positions += 1.0  # the whole crystal: nothing has changed
    moved.positions[0, 0] += 0.4
    row = relaxed_agreement("x", OXIDE, moved, (-16.0, -16.0), ("converged", "max_steps"))
    assert row.displacement_A == pytest.approx(np.sqrt(0.4**2 * (1 / 8 - 1 / 64)))
    assert row.volume_percent == pytest.approx(0.0)
