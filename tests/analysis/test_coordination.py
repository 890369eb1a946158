"""M–O shells of ideal and distorted octahedra; bond valence against chemistry."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.analysis.bond_valence import calculate_bv_sum
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.analysis.coordination import bond_valence_sums, metal_shell
from atomsim.analysis.describe import describe
from atomsim.structures.prototypes import load_prototype


def octahedron(lengths):
    directions = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    positions = [[10, 10, 10], *(directions * np.asarray(lengths)[:, None] + 10)]
    return Atoms("RuO6", positions, cell=[20, 20, 20], pbc=True)


def test_regular_octahedron():
    shell = metal_shell(octahedron([2.0] * 6), "Ru")
    assert (shell.coordination, shell.n_atoms) == (6, 1)
    assert shell.mean_length == pytest.approx(2.0)
    assert shell.distortion == pytest.approx(0.0, abs=1e-12)


def test_baur_index_of_a_known_distortion():
    # ⟨l⟩ = 2.0; four lengths deviate by 0.1 and two by 0.2.
    shell = metal_shell(octahedron([1.9, 1.9, 1.9, 1.9, 2.2, 2.2]), "Ru")
    assert shell.mean_length == pytest.approx(2.0)
    assert shell.distortion == pytest.approx((4 * 0.1 + 2 * 0.2) / 6 / 2.0)


def test_a_bond_beyond_the_cutoff_does_not_count():
    assert metal_shell(octahedron([2.0] * 5 + [2.7]), "Ru").coordination == 5


def test_an_atom_without_neighbours_has_no_length():
    shell = metal_shell(Atoms("Ru", cell=[9, 9, 9], pbc=True), "Ru")
    assert shell.coordination == 0
    assert np.isnan(shell.mean_length)


def test_bond_valence_of_mgo_is_two():
    sums = bond_valence_sums(bulk("MgO", "rocksalt", a=4.212, cubic=True), "Mg")
    assert sums == pytest.approx([2.0] * 4, abs=0.25)


def test_shorter_bonds_mean_more_valence():
    long, short = (bond_valence_sums(octahedron([length] * 6), "Ru")[0] for length in (2.0, 1.9))
    assert short > long > 2


def test_arrays_and_constraints_do_not_disturb():
    atoms = bulk("MgO", "rocksalt", a=4.212)
    atoms.set_array("magmoms", np.zeros(2))
    atoms.set_array("forces", np.zeros((2, 3)))
    assert len(bond_valence_sums(atoms, "Mg")) == 1


@pytest.mark.parametrize(
    ("anion", "length"), [("F", 2.0), ("Cl", 2.5), ("S", 2.6), ("Se", 2.7), ("Te", 2.9), ("O", 2.1)]
)
def test_a_metal_has_six_neighbours_in_rock_salt_whatever_the_anion(anion, length):
    row = describe(bulk(f"Fe{anion}", "rocksalt", a=2 * length, cubic=True), 4, None)
    assert row["shells"]["Fe"]["coordination"] == 6
    assert row["shells"]["Fe"]["mean_length_A"] == pytest.approx(length)


def test_all_anions_of_an_oxyfluoride_count():
    atoms = bulk("MnO", "rocksalt", a=4.3, cubic=True)
    atoms.symbols[np.flatnonzero(atoms.symbols == "O")[:2]] = "F"
    assert describe(atoms, 4, None)["shells"]["Mn"]["coordination"] == 6


def test_a_shell_that_cannot_be_seen_has_no_number():
    assert describe(bulk("Fe", "bcc", a=2.87), 1, None)["shells"]["Fe"]["coordination"] is None


def test_bond_valence_sums_are_those_of_pymatgen_site_by_site():
    atoms = load_prototype("LRMO").primitive
    atoms.rattle(0.05, seed=3)
    structure = AseAtomsAdaptor.get_structure(atoms)
    expected = [calculate_bv_sum(s, structure.get_neighbors(s, 3.2)) for s in structure if s.specie.symbol == "Mn"]
    assert bond_valence_sums(atoms, "Mn") == pytest.approx(expected, abs=1e-12)
