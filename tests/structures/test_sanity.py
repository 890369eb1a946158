"""Structures that cannot be computed are named, with what is wrong and where."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from atomsim.errors import InputError
from atomsim.structures.sanity import check_structure


def refuse(atoms: Atoms, *words: str, elements=None) -> None:
    with pytest.raises(InputError) as caught:
        check_structure(atoms, elements)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_good_structures_pass():
    check_structure(bulk("NaCl", "rocksalt", a=5.64), frozenset({11, 17}))
    check_structure(molecule("H2O"))
    check_structure(Atoms("Li", cell=[3, 3, 3], pbc=True))
    check_structure(Atoms("C", cell=[2.5, 2.5, 0], pbc=[True, True, False]))
    check_structure(Atoms("Li", cell=[[0, 5, 0], [5, 0, 0], [0, 0, 5]], pbc=True))  # left-handed


def test_overlap_names_the_pair_and_the_distance():
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.append("O")
    atoms.positions[-1] = atoms.positions[2] + [0.3, 0, 0]
    refuse(atoms, f"{atoms.symbols[2]}3", "O9", "0.300 Å")


def test_overlap_across_the_boundary_and_with_its_own_image():
    atoms = Atoms("Li2", positions=[[0.1, 2, 2], [3.9, 2, 2]], cell=[4, 4, 4], pbc=True)
    refuse(atoms, "Li1 and Li2", "0.200 Å")
    refuse(Atoms("Cs", cell=[1.5, 6, 6], pbc=True), "Cs1 and Cs1", "1.500 Å")


def test_two_atoms_on_one_site():
    refuse(Atoms("LiRu", positions=np.zeros((2, 3)), cell=[5, 5, 5], pbc=True), "Li1 and Ru2", "0.000 Å")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([[5, 0, 0], [0, 5, 0], [5, 5, 0]], ["volume is 0", "vector"]),
        ([[5, 0, 0], [0, 5, 0], [0, 0, 0]], ["vector 3", "zero"]),
        ([[5, 0, 0], [0, 5, 0], [0, 0, 0.02]], ["0.02 Å", "units"]),
        ([[5, 0, 0], [0, np.nan, 0], [0, 0, 5]], ["cell vector", "finite"]),
    ],
)
def test_bad_cells(cell, words):
    refuse(Atoms("Li", cell=cell, pbc=True), *words)


def test_not_a_number_names_the_atom():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.positions[1, 2] = np.nan
    refuse(atoms, "Cl2", "finite")


@pytest.mark.parametrize("far", [1e5, 1e12, -1e30])
def test_what_is_far_away_is_refused_at_once(far):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.positions[1, 0] = far
    refuse(atoms, "Cl2", "10000 Å from the origin")


def test_unknown_elements():
    refuse(bulk("NaCl", "rocksalt", a=5.64), "Cl", "not known to the potential", elements=frozenset({11}))
    refuse(Atoms("X", cell=[5, 5, 5], pbc=True), "X", "no such element")
    refuse(Atoms(numbers=[200], cell=[5, 5, 5], pbc=True), "200", "no such element")


def test_no_atoms():
    refuse(Atoms(), "0 atoms")
