"""Seeded noise belongs to the crystal: not to its orientation, the order of its atoms or a place in a list."""

from __future__ import annotations

from io import StringIO

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.spatial.transform import Rotation

from atomsim.mep.find import first_guess
from atomsim.mep.path import Endpoints, PathSettings
from atomsim.models.load import load_potential
from atomsim.optimize.group_builder import noisy
from atomsim.optimize.noise import seeded_noise
from atomsim.relaxation import RelaxSettings, iter_relax


def crystal(seed: int = 0) -> Atoms:
    atoms = bulk("LiO", "rocksalt", a=4.2, cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1.01, 0.04, 0], [0, 0.98, 0.03], [0, 0, 1.02]], scale_atoms=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def turned(atoms: Atoms, rotation: np.ndarray) -> Atoms:
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ rotation)
    other.set_positions(atoms.positions @ rotation)
    return other


def filed(atoms: Atoms) -> Atoms:
    text = StringIO()
    ase.io.write(text, atoms, format="extxyz")
    text.seek(0)
    return ase.io.read(text, format="extxyz")


ROTATION = Rotation.random(random_state=3).as_matrix()


@pytest.mark.parametrize("atoms", [crystal(), bulk("LiO", "rocksalt", a=4.0, cubic=True)], ids=["general", "symmetric"])
def test_noise_turns_with_the_crystal_and_goes_with_its_atoms(atoms):
    noise = seeded_noise(atoms, 7, "test")
    np.testing.assert_allclose(seeded_noise(turned(atoms, ROTATION), 7, "test"), noise @ ROTATION, atol=1e-9)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(seeded_noise(atoms[order], 7, "test"), noise[order], atol=1e-9)
    elsewhere = atoms.copy()
    elsewhere.positions += [[3], [0], [-2], [0], [0], [1], [0], [0]] * atoms.cell.array[1]  # images of the same atoms
    np.testing.assert_allclose(seeded_noise(elsewhere, 7, "test"), noise, atol=1e-9)


def test_no_digit_is_a_boundary():
    """Neither a round trip through a file nor last bits change it, wherever coordinates lie."""
    for n in range(50):
        atoms = crystal(n)
        noise = seeded_noise(atoms, 0, "test")
        np.testing.assert_allclose(seeded_noise(filed(atoms), 0, "test"), noise, atol=1e-4)
        near = atoms.copy()
        near.positions += np.random.default_rng(n).uniform(-1e-12, 1e-12, (8, 3))
        np.testing.assert_allclose(seeded_noise(near, 0, "test"), noise, atol=1e-8)


def test_it_is_normal_and_independent_of_what_it_should_be():
    atoms = crystal()
    fields = np.array([seeded_noise(atoms, seed, "test") for seed in range(200)])
    assert fields.std() == pytest.approx(1.0, abs=0.03)
    assert (fields**4).mean() == pytest.approx(3.0, abs=0.3)
    between = np.einsum("sac,sbc->ab", fields, fields) / (3 * 200)
    assert np.abs(between - np.eye(8)).max() < 0.2  # neighbours go their own ways
    lithium_away = crystal()
    del lithium_away[0]
    for other in (
        [seeded_noise(atoms, seed, "another purpose")[1:] for seed in range(200)],
        [seeded_noise(atoms, seed, "test", 1)[1:] for seed in range(200)],
        [seeded_noise(atoms, seed + 200, "test")[1:] for seed in range(200)],
    ):
        assert abs((fields[:, 1:] * np.array(other)).mean()) < 0.1
    same_seed = np.array([seeded_noise(lithium_away, seed, "test") for seed in range(200)])
    assert abs((fields[:, 1:] * same_seed).mean()) < 0.6  # another structure, other noise


def test_symmetric_crystals_lose_their_symmetry():
    import spglib

    atoms = noisy(bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2), 0.05, seed=0)
    found = spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), 0.01)
    assert found.startswith("P1 ")


def test_a_molecule_carries_its_noise_along():
    water = Atoms("H2O", positions=[[0.8, 0.6, 0], [-0.8, 0.6, 0], [0, 0, 0]])
    away = water.copy()
    away.positions += [5, -3, 2]
    np.testing.assert_allclose(seeded_noise(away, 1, "test"), seeded_noise(water, 1, "test"), atol=1e-9)


def test_a_turned_permuted_or_filed_crystal_relaxes_to_the_same_end():
    potential, settings = (
        load_potential("lj-test", "cpu"),
        RelaxSettings(0.01, cell=False, noise_A=0.1, seed=2, starts=2),
    )
    order = np.random.default_rng(1).permutation(8)
    systems = [crystal(), turned(crystal(), ROTATION), crystal()[order], filed(crystal()), crystal()]
    found = dict(iter_relax(systems, potential, settings))
    for n in range(1, 5):
        assert found[n].initial_energy == pytest.approx(found[0].initial_energy, abs=1e-5)
        assert found[n].energy == pytest.approx(found[0].energy, abs=1e-4)
    assert found[4].energy == found[0].energy  # whatever its place in the list


def test_the_guess_of_a_path_turns_with_the_crystal():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))[:-1]
    moved = np.zeros((7, 3))
    moved[2] = [1.8, 0.1, 1.8]
    settings = PathSettings(images=3, noise_A=0.05, seed=3)
    guesses = [
        first_guess(Endpoints("a", turned(atoms, r), moved @ r, 0.0, 0.0, (2,)), settings, 0)
        for r in (np.eye(3), ROTATION)
    ]
    np.testing.assert_allclose(guesses[1], guesses[0] @ ROTATION, atol=1e-5)
    again = first_guess(Endpoints("a", atoms, moved, 0.0, 0.0, (2,)), settings, 1)
    assert np.abs(again - guesses[0]).max() > 0.02  # of another start
