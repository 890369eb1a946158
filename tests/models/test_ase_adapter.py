"""Any ASE calculator as a potential."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.stress import voigt_6_to_full_3x3_stress

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.models.ase import AsePotential


class Magnetic(Calculator):
    """Gives moments, no stress, and meddles with torch as some calculators do."""

    implemented_properties = ("energy", "forces", "magmoms")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        torch.set_default_dtype(torch.float64)
        n = len(atoms)
        self.results = {"energy": 1.5 * n, "forces": np.ones((n, 3)), "magmoms": np.arange(n, dtype=float)}


class Lazy(Calculator):
    implemented_properties = ("energy",)


def test_equals_the_calculator():
    systems = [bulk("Cu", cubic=True), bulk("Au"), Atoms("CuAu", positions=[[0, 0, 0], [2.4, 0.3, 0]])]
    for k, atoms in enumerate(systems[:2]):
        atoms.rattle(0.1, seed=k)
    batch = Batch.pack(systems)
    found = AsePotential(EMT(), ["Cu", "Au"])(batch)
    for k, atoms in enumerate(systems):
        atoms.calc = EMT()
        assert found.energy[k].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(found.forces[batch.system == k].numpy(), atoms.get_forces(), atol=1e-12)
    stress = voigt_6_to_full_3x3_stress(systems[0].get_stress())
    np.testing.assert_allclose(found.stress[0].numpy(), stress, atol=1e-12)
    assert found.stress[2].abs().max() == 0.0


def test_forces_on_fixed_atoms_are_those_of_the_calculator():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    free = AsePotential(EMT())(Batch.pack([atoms]))
    atoms.set_constraint(FixAtoms([0, 1]))
    assert torch.equal(AsePotential(EMT())(Batch.pack([atoms])).forces, free.forces)


def test_moments_come_through_a_missing_stress_is_zero_and_torch_is_as_before():
    found = AsePotential(Magnetic())(Batch.pack([Atoms("Fe2", cell=[3, 3, 6], pbc=True), Atoms("Fe")]))
    assert torch.get_default_dtype() == torch.float32
    assert found.magmoms.tolist() == [0.0, 1.0, 0.0]
    assert found.energy.tolist() == [3.0, 1.5]
    assert found.stress.abs().max() == 0.0


def test_elements_by_symbol_and_bad_input():
    assert AsePotential(EMT(), ["Cu", 79]).elements == {29, 79}
    with pytest.raises(InputError, match="Ru"):
        AsePotential(EMT(), ["Cu"])(Batch.pack([Atoms("Ru")]))
    with pytest.raises(InputError, match="not an element"):
        AsePotential(EMT(), ["Xx"])
    with pytest.raises(InputError, match="Lazy gives no forces"):
        AsePotential(Lazy())


def test_a_potential_is_a_calculator_for_ase():
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    from atomsim.models.ase import PotentialCalculator
    from atomsim.models.load import load_potential
    from atomsim.relaxation import relax

    potential = load_potential("lj-test", "cpu")
    atoms = bulk("LiO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.1, seed=3)
    atoms.calc = PotentialCalculator(potential)
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.002, steps=500)
    (found,) = relax(atoms, potential, fmax_eV_per_A=0.002, check_minimum=False)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-3 * len(atoms))
