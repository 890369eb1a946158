"""Voids do not depend on the noise that every relaxed structure has."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import make_supercell
from ase.geometry import get_distances
from ase.spacegroup import crystal
from descriptions import spinel, unimodular

from atomsim.structures.prototypes import load_prototype
from atomsim.structures.voids import find_voids


@pytest.mark.parametrize("length", [4.2, 4.66, 5.2])
@pytest.mark.parametrize("noise_A", [1e-4, 1e-3])
def test_antifluorite_has_its_octahedral_void_with_and_without_noise(length, noise_A):
    atoms = crystal(
        ["Li", "O"], [(0.25, 0.25, 0.25), (0, 0, 0)], spacegroup=225, cellpar=[length] * 3 + [90] * 3,
        primitive_cell=True,
    )  # fmt: skip
    noisy = atoms.copy()
    noisy.rattle(noise_A, seed=1)
    for one, cells in ((atoms, 1), (noisy, 1), (atoms * (2, 2, 2), 8)):
        found = find_voids(one)
        assert [v.shape for v in found] == ["octahedral"] * cells
        np.testing.assert_allclose([v.anion_A for v in found], length / 2, atol=5e-3)


@pytest.mark.parametrize("name", ["LiCoO2", "Li2RuO3", "TiS2"])
def test_voids_of_a_rattled_prototype_are_those_of_the_prototype(name):
    atoms = load_prototype(name).primitive
    noisy = atoms.copy()
    noisy.rattle(1e-4, seed=2)
    plain, other = find_voids(atoms), find_voids(noisy)
    assert sorted(v.shape for v in plain) == sorted(v.shape for v in other)
    np.testing.assert_allclose(sorted(v.anion_A for v in plain), sorted(v.anion_A for v in other), atol=2e-3)


@pytest.mark.parametrize("name", ["LiCoO2", "Li2RuO3", "TiS2"])
def test_a_skewed_cell_has_all_voids_of_the_crystal(name):
    atoms = load_prototype(name).primitive
    plain = find_voids(atoms)
    for seed in (1, 2):
        cell = make_supercell(atoms, unimodular(np.random.default_rng(seed)))
        other = find_voids(cell)
        assert [v.shape for v in plain] == [v.shape for v in other]
        places = [np.array([v.fractional for v in found]) @ a.cell.array
                  for found, a in ((plain, atoms), (other, cell))]  # fmt: skip
        apart = get_distances(*places, cell=atoms.cell, pbc=True)[1]
        assert apart.min(axis=0).max() < 1e-3
        assert apart.min(axis=1).max() < 1e-3


def test_voids_of_a_spinel_are_its_empty_wyckoff_positions():
    # 16c, 48f and 8b of Fd-3m, four, twelve and two in a primitive cell; 16c is one site, no ring of six around it
    found = find_voids(spinel(), anion_min_A=1.5)
    assert sorted(v.shape for v in found) == ["octahedral"] * 4 + ["tetrahedral"] * 14
