"""O–O pairs against counted and published cases."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomsim.analysis.oxygen import CLASSES, oxygen_pairs


@pytest.mark.parametrize(
    ("length", "species"),
    [(1.21, "O2"), (1.33, "superoxide"), (1.49, "peroxide"), (2.0, "peroxo-like"), (2.8, "lattice")],
)
def test_published_lengths_fall_into_the_class_of_their_species(length, species):
    dimer = Atoms("O2", [[0, 0, 0], [0, 0, length]], cell=[12, 12, 12], pbc=True)
    pairs = oxygen_pairs(dimer)
    assert pairs.shortest == pytest.approx(length)
    assert pairs.counts() == {name: int(name == species) for name in CLASSES}


def test_rocksalt_has_six_pairs_per_oxygen():
    # Each O of MgO has 12 O neighbours at a/√2 = 2.98 Å, each pair shared by two.
    cell = bulk("MgO", "rocksalt", a=4.212, cubic=True)
    pairs = oxygen_pairs(cell)
    assert len(pairs.length) == 4 * 6
    assert pairs.length == pytest.approx(4.212 / np.sqrt(2))


@pytest.mark.parametrize("repeat", [(1, 1, 1), (1, 2, 3)])
def test_pairs_per_atom_do_not_depend_on_the_cell(repeat):
    primitive = bulk("MgO", "rocksalt", a=4.212)  # one O, which meets only its own images
    assert len(oxygen_pairs(primitive * repeat).length) == 6 * np.prod(repeat)


def test_a_pair_across_the_border_is_found():
    atoms = Atoms("O2", [[0, 0, 0.1], [0, 0, 7.6]], cell=[8, 8, 8], pbc=True)
    assert oxygen_pairs(atoms).shortest == pytest.approx(0.5)


def test_other_elements_do_not_count():
    assert oxygen_pairs(bulk("NaCl", "rocksalt", a=4.0)).shortest is None


def test_classes_cover_all_lengths_once():
    borders = list(CLASSES.values())
    assert borders[0][0] == 0
    assert all(a[1] == b[0] for a, b in pairwise(borders))


def test_histogram_counts_every_pair():
    pairs = oxygen_pairs(bulk("MgO", "rocksalt", a=4.212, cubic=True))
    assert pairs.histogram(np.linspace(1, 3.2, 45)).sum() == len(pairs.length)
