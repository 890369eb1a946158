"""Delithiation: reachable compositions, charges, counts, choice, mapping to the parent."""

from math import comb

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.errors import InputError
from atomsim.structures.delithiation import delithiate
from atomsim.structures.electrostatics import ewald_matrix
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.supercells import compact_supercell, expand


@pytest.fixture(scope="module")
def li2ruo3() -> Atoms:
    return load_prototype("Li2RuO3").primitive


@pytest.fixture(scope="module")
def licoo2() -> Atoms:
    return load_prototype("LiCoO2").primitive


def same_structure(a: Atoms, b: Atoms) -> bool:
    return (
        np.array_equal(a.numbers, b.numbers)
        and np.allclose(a.positions, b.positions)
        and np.array_equal(a.cell.array, b.cell.array)
    )


def test_composition_and_host_of_every_ordering(li2ruo3):
    result = delithiate(li2ruo3, "Li", [2.0, 1.5, 1.0, 0.25, 0.0], orderings=3)
    assert result.x_max == 2.0
    assert [c.x for c in result.counts] == [2.0, 1.5, 1.0, 0.25, 0.0]
    for ordering in result.orderings:
        count = ordering.atoms.symbols.formula.count()
        assert count["Ru"] == ordering.host_units
        assert count["O"] == 3 * ordering.host_units
        assert count.get("Li", 0) == pytest.approx(ordering.x * ordering.host_units)


def test_counts_are_binomials_and_ends_are_unique(li2ruo3):
    result = delithiate(li2ruo3, "Li", [2.0, 1.25, 0.0], orderings=100, max_atoms=24)
    assert [c.total for c in result.counts] == [1, comb(8, 5), 1]
    assert [c.distinct for c in result.counts][::2] == [1, 1]
    middle = [o for o in result.orderings if o.x == 1.25]
    assert len(middle) == result.counts[1].distinct == result.counts[1].chosen
    assert sum(o.multiplicity for o in middle) == comb(8, 5)


def test_orderings_come_by_energy_and_are_numbered(li2ruo3):
    result = delithiate(li2ruo3, "Li", [1.5], orderings=5, max_atoms=48)
    assert [o.index for o in result.orderings] == [0, 1, 2, 3, 4]
    energies = [o.ewald_eV / o.host_units for o in result.orderings]
    assert energies == sorted(energies)
    everything = delithiate(li2ruo3, "Li", [1.5], orderings=10_000, max_atoms=48)
    assert energies[0] == min(o.ewald_eV / o.host_units for o in everything.orderings)


def test_energy_is_that_of_an_ewald_sum_over_the_ordering_alone(li2ruo3):
    for ordering in delithiate(li2ruo3, "Li", [1.5, 0.5], orderings=2).orderings:
        structure = AseAtomsAdaptor.get_structure(ordering.atoms)
        # Li+, O2-, and Ru takes up what the missing ions leave.
        structure.add_oxidation_state_by_element({"Li": 1, "O": -2, "Ru": 6 - ordering.x})
        assert structure.charge == pytest.approx(0, abs=1e-9)
        assert ordering.ewald_eV == pytest.approx(EwaldSummation(structure).total_energy, abs=1e-3)


def test_children_map_onto_their_parents(li2ruo3):
    ordering = delithiate(li2ruo3, "Li", [0.5], orderings=1, supercell=[[2, 0, 0], [0, 1, 0], [0, 0, 1]]).orderings[0]
    parent = ordering.parent_index
    assert len(parent) == len(ordering.atoms)
    assert np.array_equal(ordering.atoms.numbers, li2ruo3.numbers[parent])
    assert (np.diff(parent) >= 0).all()  # the parent's order is kept
    # Each atom sits a lattice vector of the parent away from its own parent atom.
    shift = (ordering.atoms.positions - li2ruo3.positions[parent]) @ np.linalg.inv(li2ruo3.cell.array)
    assert np.allclose(shift, np.round(shift), atol=1e-9)
    assert np.allclose(ordering.atoms.cell, np.array(ordering.supercell) @ li2ruo3.cell.array)


def test_smallest_supercell_that_reaches_x(licoo2):
    result = delithiate(licoo2, "Li", [0.5, 0.25, 0.333], orderings=1, max_atoms=16, enumerate_limit=1)
    assert [o.host_units for o in result.orderings] == [2, 4, 3]
    assert result.orderings[2].x == pytest.approx(1 / 3)


def test_same_input_same_answer(li2ruo3):
    runs = [delithiate(li2ruo3, "Li", [1.0], orderings=4, enumerate_limit=10, seed=7) for _ in range(2)]
    assert not runs[0].counts[0].enumerated
    assert all(same_structure(a.atoms, b.atoms) for a, b in zip(*(r.orderings for r in runs), strict=True))
    assert runs[0].counts == runs[1].counts


def test_sampling_finds_the_lowest_of_the_enumeration():
    parent = load_prototype("Li2RuO3").atoms
    cell = np.eye(3, dtype=int).tolist()
    full = delithiate(parent, "Li", [1.5, 1.0], orderings=1, supercell=cell)
    sampled = delithiate(parent, "Li", [1.5, 1.0], orderings=1, enumerate_limit=100, seed=1, supercell=cell)
    assert [c.enumerated for c in full.counts] == [True, True]
    assert [c.enumerated for c in sampled.counts] == [False, False]
    for exact, found in zip(full.orderings, sampled.orderings, strict=True):
        assert found.ewald_eV == pytest.approx(exact.ewald_eV)
        assert found.multiplicity == exact.multiplicity
    for exact, found in zip(full.counts, sampled.counts, strict=True):
        assert found.total == exact.total
        assert found.distinct <= exact.distinct


def test_chosen_orderings_are_symmetry_distinct(li2ruo3):
    orderings = delithiate(li2ruo3, "Li", [1.5], orderings=100, max_atoms=24).orderings
    # Equal Coulomb energies only where nothing but chance makes them so; here none are.
    energies = np.array([o.ewald_eV for o in orderings])
    assert len(np.unique(energies.round(3))) == len(orderings)
    groups = [
        spglib.get_spacegroup((o.atoms.cell.array, o.atoms.get_scaled_positions(), o.atoms.numbers)) for o in orderings
    ]
    assert len(set(groups)) > 1


def test_nothing_given_is_changed(li2ruo3):
    before = li2ruo3.copy()
    delithiate(li2ruo3, "Li", [1.0], orderings=1)
    assert same_structure(before, li2ruo3)


def test_tags_are_what_records_carry(li2ruo3):
    result = delithiate(li2ruo3, "Li", [1.5], orderings=1, max_atoms=24)
    tags = result.tags(result.orderings[0], "Li2RuO3")
    assert tags["parent"] == "Li2RuO3"
    assert (tags["ion"], tags["x"], tags["x_max"], tags["host_units"]) == ("Li", 1.5, 2.0, 4)
    assert tags["supercell"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert set(tags) == {
        "parent", "ion", "x", "x_max", "host_units", "ordering", "multiplicity", "ewald_eV", "supercell",
        "vacancies", "formal_charges", "charges_from",
    }  # fmt: skip


def test_a_mixed_host_counts_in_units_of_mean_composition():
    result = delithiate(load_prototype("LRMO").atoms, "Li", [1.2, 0.2], host_unit=15, orderings=2)
    assert result.x_max == pytest.approx(1.2)
    assert {o.atoms.symbols.formula.count()["Li"] for o in result.orderings} == {18, 3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ion": "Na", "x": [1]}, ["no Na", "Li, Ru, O"]),
        ({"x": [2.5]}, ["x = 2.5", "0 to 2"]),
        ({"x": [-0.1]}, ["x = -0.1", "0 to 2"]),
        ({"x": [1.1], "max_atoms": 24}, ["x = 1.1", "nearest is x = 1", "max_atoms = 24"]),
        ({"x": [1.9], "supercell": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, ["nearest is x = 2", "given supercell"]),
        ({"x": [1], "supercell": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}, ["right-handed"]),
        ({"x": [1], "supercell": [[1, 0], [0, 1]]}, ["three rows"]),
        ({"x": [1], "host_unit": "MnO2"}, ["'MnO2'", "RuO3"]),
        ({"x": [1], "host_unit": "Ru2O5"}, ["'Ru2O5'", "RuO3"]),
        ({"x": [1], "host_unit": "no formula"}, ["'no formula'", "RuO3"]),
        ({"x": [1], "host_unit": 0}, ["host_unit = 0"]),
        ({"x": [1], "orderings": 0}, ["orderings = 0"]),
        ({"x": [1], "charges": {"Mn": 4.0}}, ["Mn", "not in"]),
        ({"x": [1], "charges": {"Ru": 3.0}}, ["charged", "correct"]),
    ],
)
def test_bad_input_is_one_clear_line(li2ruo3, arguments, words):
    with pytest.raises(InputError) as caught:
        delithiate(li2ruo3, **{"ion": "Li", **arguments})
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_metal_is_not_a_host_of_itself():
    with pytest.raises(InputError, match="alone"):
        delithiate(load_prototype("Li").atoms, "Li", [0])


def test_ewald_matrix_gives_madelung_constant_of_rock_salt():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    q = np.array([1.0, -1.0])
    energy = q @ ewald_matrix(atoms) @ q
    # Madelung 1918: E = −1.747565 e²/(4πε₀ r), r = a/2, per ion pair.
    assert energy == pytest.approx(-1.747565 * 14.399645 / 2.82, rel=1e-5)


def test_ewald_matrix_of_a_charged_cell_does_not_depend_on_the_cell_chosen():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    doubled, _ = expand(atoms, compact_supercell(atoms.cell.array, 2))
    one = np.array([1.0, 0.0])
    two = np.repeat(one, 2)
    assert two @ ewald_matrix(doubled) @ two == pytest.approx(2 * (one @ ewald_matrix(atoms) @ one), rel=1e-4)


def test_supercells_are_compact_and_complete(licoo2):
    for multiple in (1, 2, 3, 4, 8):
        matrix = compact_supercell(licoo2.cell.array, multiple)
        assert round(np.linalg.det(matrix)) == multiple
        supercell, parent = expand(licoo2, matrix)
        assert len(supercell) == multiple * len(licoo2)
        assert np.bincount(parent).tolist() == [multiple] * len(licoo2)
    cubic = np.eye(3) * 4.0
    assert np.linalg.norm(compact_supercell(cubic, 8) @ cubic, axis=1).min() >= 8.0
