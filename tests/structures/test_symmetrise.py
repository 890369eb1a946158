"""Symmetry of noisy structures: found, said, and restored; true distortions are kept."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.geometry import find_mic
from ase.spacegroup import crystal

from atomsim.errors import InputError
from atomsim.structures.delithiation import delithiate
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.symmetrise import symmetrised


@pytest.mark.parametrize("name", ["Li2RuO3", "LiCoO2", "Li2SO4", "Na3RuO4"])
def test_noise_of_a_relaxed_structure_does_not_hide_its_symmetry(name):
    exact = load_prototype(name).atoms
    noisy = exact.copy()
    noisy.rattle(0.005, seed=1)
    strain = 5e-4 * np.random.default_rng(2).normal(size=(3, 3))
    noisy.set_cell(noisy.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    found = symmetrised(noisy)
    assert found.space_group == symmetrised(exact).space_group
    assert 0 < found.noise_A < 0.05
    assert np.abs(found.atoms.positions - noisy.positions).max() < 0.1
    assert symmetrised(found.atoms, 1e-3).space_group == found.space_group
    assert np.array_equal(found.atoms.numbers, noisy.numbers)


@pytest.mark.parametrize("name", ["Li2RuO3", "LRMO", "O2", "Li"])
def test_an_exact_structure_comes_back_as_it_is(name):
    atoms = load_prototype(name).atoms
    assert symmetrised(atoms).atoms is atoms


def test_a_true_distortion_is_kept():
    # tetragonal BaTiO3, Kwei et al. 1993, J. Phys. Chem. 97, 2368: titanium 0.08 Å off the centre of its oxygens
    distorted = crystal(
        ("Ba", "Ti", "O", "O"), [(0, 0, 0), (0.5, 0.5, 0.5224), (0.5, 0.5, -0.0244), (0.5, 0, 0.4895)],
        spacegroup=99, cellpar=[3.9943, 3.9943, 4.0346, 90, 90, 90],
    )  # fmt: skip
    assert symmetrised(distorted).space_group == "P4mm (99)"


def test_coordinates_of_three_digits_give_the_orderings_of_exact_ones():
    exact = load_prototype("LiCoO2").atoms
    rounded = exact.copy()
    rounded.set_scaled_positions(exact.get_scaled_positions().round(3))
    counts = [
        delithiate(
            symmetrised(atoms).atoms, "Li", [2 / 3], orderings=1, supercell=np.eye(3, dtype=int).tolist()
        ).counts[0]
        for atoms in (exact, rounded)
    ]
    assert counts[0].distinct == counts[1].distinct == 1


def test_a_tolerance_that_is_given_is_used():
    noisy = load_prototype("LiCoO2").atoms.copy()
    noisy.rattle(0.01, seed=3)
    assert symmetrised(noisy, 1e-3).space_group == "P1 (1)"
    assert symmetrised(noisy, 0.2).space_group == "R-3m (166)"


def test_atoms_on_one_point_have_no_symmetry():
    with pytest.raises(InputError, match="no symmetry"):
        symmetrised(Atoms("Li2", positions=[(0, 0, 0), (0, 0, 0)], cell=[3, 3, 3], pbc=True))


@pytest.mark.parametrize("seed", [0, 1, 3, 10])
def test_noise_that_is_small_and_yet_hides_the_symmetry_is_removed(seed):
    """Such noise is below what is moved elsewhere, but not below the tolerance of the search for orderings."""
    exact = load_prototype("LiCoO2").primitive
    noisy = exact.copy()
    noise = np.random.default_rng(seed).normal(size=(len(noisy), 3))
    noisy.positions += 5e-4 * noise / np.linalg.norm(noise, axis=1)[:, None]
    found = symmetrised(noisy)
    counts = [delithiate(host, "Li", [0.5], max_atoms=16).counts[0] for host in (exact, found.atoms)]
    assert found.space_group == "R-3m (166)"
    assert counts[0].distinct == counts[1].distinct
    assert counts[0].total == counts[1].total


@pytest.mark.parametrize("amplitude", [0.03, 0.05])
@pytest.mark.parametrize("described", ["as it is", "skewed and permuted"])
@pytest.mark.parametrize("name", ["LiCoO2", "Li2RuO3"])
def test_random_displacements_do_not_hide_the_symmetry_in_any_description(name, described, amplitude):
    exact = load_prototype(name).atoms
    generator = np.random.default_rng(5)
    noise = generator.normal(size=(len(exact), 3))
    noise *= amplitude * generator.random((len(exact), 1)) / np.linalg.norm(noise, axis=1)[:, None]
    noisy = exact.copy()
    noisy.positions += noise
    if described != "as it is":
        noisy = make_supercell(noisy, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])[generator.permutation(len(exact))]
    found = symmetrised(noisy)
    assert found.space_group == symmetrised(exact).space_group == symmetrised(found.atoms, 1e-3).space_group
    moved = find_mic(found.atoms.positions - noisy.positions, noisy.cell)[0]
    assert np.linalg.norm(moved - moved.mean(axis=0), axis=1).max() < 2 * amplitude


@pytest.mark.parametrize("shift", [0.09, 0.15])
def test_one_atom_off_its_place_is_no_noise(shift):
    moved = load_prototype("LiCoO2").atoms.copy()
    moved.positions[0] += shift * np.array([2, 3, 6]) / 7
    assert symmetrised(moved).space_group in ("P1 (1)", "Cm (8)")  # the lattice of all others is R-3m
