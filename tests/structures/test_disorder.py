"""Quasi-random cells are more random than random ones; Coulomb order is lower than random order."""

from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from atomsim.errors import InputError
from atomsim.structures.disorder import electrostatic_order, quasi_random
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.supercells import compact_supercell, expand


def rock_salt(multiple: int) -> tuple[Atoms, np.ndarray]:
    primitive = bulk("LiO", "rocksalt", a=4.12)
    atoms = expand(primitive, compact_supercell(primitive.cell.array, multiple))[0]
    return atoms, np.flatnonzero(atoms.numbers == 3)


def like_pairs(atoms: Atoms, symbol: str, shells=(2.9, 4.1, 5.0)) -> np.ndarray:
    """Probability that a neighbour of ``symbol`` among the cations is ``symbol``, in the first three fcc shells."""
    cations = atoms[atoms.numbers != 8]
    is_it = np.array(cations.get_chemical_symbols()) == symbol
    i, j, d = neighbor_list("ijd", cations, 5.2)
    return np.array([is_it[j][is_it[i] & (abs(d - r) < 0.15)].mean() for r in shells])


def test_pair_correlations_are_random_in_the_first_shells():
    atoms, cations = rock_salt(24)
    result = quasi_random(atoms, cations, {"Li": 16, "Ru": 8}, shells=3, seed=0, steps=6000)
    # A third of the cations are Ru, so a third of each one's cation neighbours should be.
    assert like_pairs(result.atoms, "Ru") == pytest.approx(np.full(3, 1 / 3), abs=0.05)
    assert max(result.excess) < 0.02
    assert result.shells_A == pytest.approx((4.12 / np.sqrt(2), 4.12, 4.12 * np.sqrt(1.5)))


def test_far_more_random_than_a_random_cell():
    atoms, cations = rock_salt(24)
    best = quasi_random(atoms, cations, {"Li": 16, "Ru": 8}, seed=1, steps=4000)
    untouched = [quasi_random(atoms, cations, {"Li": 16, "Ru": 8}, seed=s, steps=1).error for s in range(20)]
    assert best.error < 0.1 * np.median(untouched)


def test_three_species_and_the_rest_of_the_cell_is_left_alone():
    atoms, cations = rock_salt(18)
    result = quasi_random(atoms, cations, {"Li": 6, "Mn": 6, "Ti": 6}, seed=0, steps=3000)
    assert result.atoms.symbols.formula.count() == {"Li": 6, "Mn": 6, "Ti": 6, "O": 18}
    assert np.array_equal(result.atoms.positions, atoms.positions)
    assert set(atoms.get_chemical_symbols()) == {"Li", "O"}


def test_same_seed_same_cell():
    atoms, cations = rock_salt(24)
    first, second, other = (
        quasi_random(atoms, cations, {"Li": 16, "Ru": 8}, seed=s, steps=100).atoms.get_chemical_symbols()
        for s in (0, 0, 1)
    )
    assert first == second
    assert first != other


def test_the_shipped_rock_salt_is_quasi_random():
    atoms = load_prototype("Li2RuO3-rocksalt").atoms
    assert like_pairs(atoms, "Ru") == pytest.approx(np.full(3, 1 / 3), abs=0.03)


def test_coulomb_order_of_rock_salt_cations_beats_random_ones():
    atoms, cations = rock_salt(6)
    charges = {"Li": 1.0, "Ru": 4.0, "O": -2.0}
    ordered = electrostatic_order(atoms, cations, {"Li": 4, "Ru": 2}, charges, seed=0, steps=500)

    def energy(structure):
        q = np.array([charges[s] for s in structure.get_chemical_symbols()])
        return q @ ewald_matrix(structure) @ q

    lowest = np.inf
    for ruthenium in combinations(cations, 2):
        trial = atoms.copy()
        trial.numbers[list(ruthenium)] = 44
        lowest = min(lowest, energy(trial))
    assert energy(ordered) == pytest.approx(lowest)


def test_composition_must_fill_the_sublattice():
    atoms, cations = rock_salt(6)
    with pytest.raises(InputError, match="does not fill a sublattice of 6 sites"):
        quasi_random(atoms, cations, {"Li": 4, "Ru": 1})
    with pytest.raises(InputError, match="no formal charge of O, Ru"):
        electrostatic_order(atoms, cations, {"Li": 4, "Ru": 2}, {"Li": 1.0})
