"""Standard setting: one set of numbers for a crystal, whatever cell, origin, orientation and order it came in."""

from __future__ import annotations

import numpy as np
import pytest
import spglib
from ase import Atoms
from descriptions import another, olivine, spinel

from atomsim.analysis.lattice import space_group
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.setting import standard_setting

HOSTS = {"LiFePO4": olivine, "LiMn2O4": spinel}
NAMES = ["LiCoO2", "Li2RuO3", "Li2O", "TiS2", "Na3RuO4", "LiMO2", "LiFePO4", "LiMn2O4"]


def host(name: str) -> Atoms:
    return HOSTS[name]() if name in HOSTS else load_prototype(name).atoms


def assert_equal(one: Atoms, other: Atoms) -> None:
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.cell.array, other.cell.array)
    np.testing.assert_array_equal(one.positions, other.positions)


@pytest.mark.parametrize("name", NAMES)
def test_every_description_of_a_crystal_has_the_same_standard_setting_to_the_last_bit(name):
    atoms = host(name)
    found = standard_setting(atoms)
    assert_equal(standard_setting(found), found)
    for seed, cells in ((1, 1), (2, 2), (3, 1)):
        assert_equal(standard_setting(another(atoms, seed, cells=cells)), found)


@pytest.mark.parametrize("name", ["LiCoO2", "Li2RuO3", "LiFePO4"])
def test_the_standard_setting_is_the_same_crystal(name):
    atoms = host(name)
    found = standard_setting(atoms)
    before, after = space_group(atoms, 1e-2), space_group(found, 1e-5)
    assert (before.symbol, before.number) == (after.symbol, after.number)
    assert found.cell.volume / len(found) == pytest.approx(atoms.cell.volume / len(atoms), rel=1e-6)
    small = len(atoms) // len(found)
    for element in set(atoms.symbols):
        # distances within a sphere, atom by atom
        one, other = (distances(a, element) for a in (atoms, found))
        np.testing.assert_allclose(one[::small], other, atol=2e-3)


def distances(atoms: Atoms, element: str) -> np.ndarray:
    from ase.neighborlist import neighbor_list

    i, d = neighbor_list("id", atoms, 4.0)
    return np.sort(d[np.array(atoms.symbols)[i] == element])


def test_a_crystal_and_its_mirror_image_stay_apart():
    from ase.spacegroup import crystal

    quartz = crystal(["Si", "O"], [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)], spacegroup=152,
                     cellpar=[4.916, 4.916, 5.405, 90, 90, 120])  # fmt: skip
    image = Atoms(quartz.numbers, quartz.positions * [1, 1, -1], cell=quartz.cell.array * [1, 1, -1], pbc=True)
    groups = {space_group(standard_setting(a), 1e-3).symbol for a in (quartz, another(quartz, 5))}
    assert groups == {"P3_121"}
    assert space_group(standard_setting(image), 1e-3).symbol == "P3_221"


def test_noise_below_the_tolerance_is_averaged_away():
    exact = load_prototype("LiCoO2").primitive
    noisy = exact.repeat((2, 2, 1))
    noisy.rattle(2e-3, seed=1)
    found = standard_setting(noisy)
    assert len(found) == len(exact)
    tight = spglib.get_symmetry_dataset((found.cell.array, found.get_scaled_positions(), found.numbers), symprec=1e-5)
    assert tight.international == "R-3m"
    np.testing.assert_allclose(found.cell.cellpar(), standard_setting(exact).cell.cellpar(), atol=1e-2)


def test_moments_that_differ_make_atoms_differ_and_travel_along():
    chain = Atoms("Fe2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[2.87] * 3, pbc=True)
    assert len(standard_setting(chain)) == 1
    chain.set_initial_magnetic_moments([2.0, -2.0])
    found = standard_setting(another(chain, 4))
    assert sorted(found.get_initial_magnetic_moments()) == [-2.0, 2.0]
