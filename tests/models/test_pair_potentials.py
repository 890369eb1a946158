"""Lennard-Jones and Morse: known minima, and equality with ASE's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.calculators.morse import MorsePotential as AseMorse
from ase.stress import voigt_6_to_full_3x3_stress

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.models.pair import LennardJones, Morse, switch


def dimer(distance: float) -> Batch:
    return Batch.pack([Atoms("Ar2", positions=[[0, 0, 0], [0, 0, distance]])])


def test_lennard_jones_has_its_minimum_where_it_should():
    potential = LennardJones()
    at_minimum = potential(dimer(2 ** (1 / 6) * 3.4))
    assert at_minimum.energy.item() == pytest.approx(-0.010341, abs=1e-12)
    assert at_minimum.forces.abs().max() < 1e-12
    assert potential(dimer(3.4)).energy.item() == pytest.approx(0.0, abs=1e-12)
    assert potential(dimer(3.0)).forces[1, 2] > 0  # pushes apart
    assert potential(dimer(5.0)).forces[1, 2] < 0
    assert potential(dimer(8.6)).energy.item() == 0.0


def test_morse_has_its_minimum_where_it_should():
    at_minimum = Morse()(dimer(2.866))
    assert at_minimum.energy.item() == pytest.approx(-0.3429, abs=1e-12)
    assert at_minimum.forces.abs().max() < 1e-12


@pytest.mark.parametrize("atoms", [bulk("Ar", "fcc", a=5.1).repeat(2), bulk("Ar", "fcc", a=5.3, cubic=True)])
def test_lennard_jones_equals_that_of_ase(atoms):
    atoms = atoms.copy()
    atoms.rattle(0.1, seed=3)
    atoms.calc = AseLennardJones(sigma=3.4, epsilon=0.010341, rc=8.5, ro=6.8, smooth=True)
    ours = LennardJones()(Batch.pack([atoms]))
    assert ours.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(ours.forces.numpy(), atoms.get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(ours.stress[0].numpy(), voigt_6_to_full_3x3_stress(atoms.get_stress()), atol=1e-12)


@pytest.mark.parametrize("distance", [2.3, 2.866, 4.0, 6.9])
def test_morse_equals_that_of_ase_below_the_switch(distance):
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, distance]])
    atoms.calc = AseMorse(epsilon=0.3429, r0=2.866, rho0=1.3588 * 2.866, rcut1=4.0, rcut2=5.0)
    ours = Morse()(Batch.pack([atoms]))
    assert ours.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(ours.forces.numpy(), atoms.get_forces(), rtol=0, atol=1e-10)


def test_switch_falls_from_one_to_zero_without_a_kink():
    r = torch.linspace(3.0, 6.0, 3001, dtype=torch.float64, requires_grad=True)
    value = switch(r, 4.0, 5.0)
    (slope,) = torch.autograd.grad(value.sum(), r)
    assert torch.all(value[r <= 4.0] == 1.0)
    assert torch.all(value[r >= 5.0] == 0.0)
    assert torch.all(slope <= 0.0)
    assert slope.diff().abs().max() < 0.02  # of a slope of about −2: continuous


def test_sha256_tells_parameters_apart():
    assert LennardJones().sha256 == LennardJones(name="argon").sha256
    assert LennardJones().sha256 != LennardJones(sigma_A=3.41).sha256
    assert LennardJones().sha256 != Morse().sha256


def test_an_onset_beyond_the_cutoff_is_refused():
    with pytest.raises(InputError, match=r"onset_A = 9\.0 and cutoff_A = 8\.5"):
        LennardJones(onset_A=9.0)
