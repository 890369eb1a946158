"""Pairs and vacancies: how many are distinct, where they are, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell

from atomsim.errors import InputError
from atomsim.structures.pairs import ACROSS, EDGE, KINDS, SHARED, Pair, find_pairs, require_pair
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.vacancies import distinct_sites, find_vacancies, image_distance, wide_supercell


@pytest.mark.parametrize(("name", "sites"), [("Li2RuO3", 3), ("Li2MnO3", 2), ("Li2RuO3-R-3", 1)])
def test_distinct_oxygens(name, sites):
    host = load_prototype(name).primitive
    found = distinct_sites(host, "O")
    assert len(found) == sites
    assert sum(found.values()) == sum(s == "O" for s in host.symbols)


def test_the_pairs_of_rock_salt_are_one_edge_shared_by_two_octahedra():
    crystal = bulk("NiO", "rocksalt", a=4.18, cubic=True)
    (pair,) = find_pairs(crystal)
    assert pair.length_A == pytest.approx(4.18 / 2**0.5)
    assert pair.kind == SHARED
    assert pair.multiplicity == 24  # four oxygens, twelve neighbours each, every pair once
    assert pair.centres == ("Ni", "Ni")


def test_the_kinds_of_a_layered_oxide():
    host = load_prototype("LiCoO2").atoms.repeat((2, 2, 1))
    kinds = {(p.kind, round(p.length_A, 2)) for p in find_pairs(host, longest_A=3.2)}
    # a = 2.816: within the layer an edge of one octahedron, the shorter one below it shared by two
    assert {k for k, _ in kinds} <= set(KINDS)
    assert SHARED in {k for k, _ in kinds}
    assert EDGE in {k for k, _ in kinds}
    across = [p for p in find_pairs(host, longest_A=3.2) if p.kind == ACROSS]
    assert across
    assert all(not p.centres for p in across)


@pytest.mark.parametrize("name", ["Li2RuO3", "Li2MnO3"])
def test_pairs_do_not_depend_on_the_cell(name):
    """All pairs are counted, in any cell: per formula unit as many of each length and kind."""
    host = load_prototype(name).primitive
    double = make_supercell(host, np.array([[1, 1, 0], [0, 1, 0], [0, 0, 2]]))

    def counted(atoms: Atoms) -> dict[tuple[float, str], float]:
        found: dict[tuple[float, str], float] = {}
        for p in find_pairs(atoms):
            key = (round(p.length_A, 3), p.kind)
            found[key] = found.get(key, 0) + p.multiplicity / len(atoms)
        return found

    assert counted(host) == pytest.approx(counted(double))


def test_a_pair_and_its_translation_are_refused():
    chain = Atoms("OMg", positions=[[0, 0, 0], [0, 0, 2.1]], cell=[2.9, 9, 9], pbc=True)
    with pytest.raises(InputError, match="own image: build a supercell"):
        find_pairs(chain)
    with pytest.raises(InputError, match="own image"):
        require_pair(Pair(0, 0, (1, 0, 0), 2.9, EDGE, 1, ()))


def test_what_cannot_be_driven_is_refused():
    with pytest.raises(InputError, match="has no O"):
        find_pairs(bulk("Cu", "fcc", a=3.6, cubic=True))
    with pytest.raises(InputError, match="bond already"):
        require_pair(Pair(0, 1, (0, 0, 0), 1.45, EDGE, 1, ()))
    with pytest.raises(InputError, match="not periodic"):
        find_pairs(Atoms("O2", positions=[[0, 0, 0], [0, 0, 3]]))


def test_vacancies_single_and_pairs():
    host = load_prototype("Li2MnO3").primitive
    single = find_vacancies(host)
    assert [v.kind for v in single] == ["single", "single"]
    both = find_vacancies(host, pairs=True)
    assert len(both) == len(single) + len(find_pairs(host))
    assert len(both[-1].made_in(host)) == len(host) - 2
    with pytest.raises(InputError, match="nothing of the oxide is left"):
        find_vacancies(Atoms("MgO", positions=[[0, 0, 0], [0, 0, 2.1]], cell=[4.2] * 3, pbc=True))


def test_a_supercell_is_as_wide_as_wanted():
    host = load_prototype("Li2RuO3-R-3").primitive
    wide = wide_supercell(host, 8.0, 120)
    assert image_distance(wide.cell.array) >= 8.0
    assert len(wide) <= 120
    assert len(wide) % len(host) == 0
    assert len(wide_supercell(host, 8.0, len(host))) == len(host)
