"""Hops: known networks of published structures, symmetry as it really is, and pymatgen's migration graph."""

from __future__ import annotations

from collections import Counter

import descriptions
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from pymatgen.core import Element
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.errors import InputError
from atomsim.hopping.hops import HopSet, find_hops
from atomsim.hopping.percolation import Edge, dimensionality, percolation
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.supercells import choose_supercell
from atomsim.structures.voids import find_voids


def edges(hops: HopSet, barriers: dict[str, float]) -> list[Edge]:
    """Return all equivalent copies of the hops that have a barrier, by the hop's name.

    Hops beside a second vacancy are left out: they need one more vacancy than the network has.
    """
    return [
        Edge(key[0][0], key[1][0], key[1][1], barriers[hop.name])
        for hop in hops.hops
        if hop.name in barriers and not hop.also_vacant
        for key in hop.members
    ]


def test_neighbours_of_an_fcc_crystal_are_one_hop():
    hops = find_hops(bulk("Al", "fcc", a=4.05), "Al", max_length_A=3.0).hops
    assert [(h.multiplicity, h.mechanism, h.reversible) for h in hops] == [(6, "vacancy", True)]
    assert hops[0].length_A == pytest.approx(4.05 / np.sqrt(2))


def test_a_larger_cell_of_the_same_crystal_has_the_same_distinct_hops():
    small = find_hops(bulk("Al", "fcc", a=4.05), "Al", max_length_A=4.1)
    large = find_hops(bulk("Al", "fcc", a=4.05, cubic=True).repeat((2, 1, 1)), "Al", max_length_A=4.1)
    assert [round(h.length_A, 4) for h in small.hops] == [round(h.length_A, 4) for h in large.hops]
    assert [h.multiplicity for h in small.hops] == [h.multiplicity for h in large.hops]  # per primitive cell


def test_a_dopant_splits_hops_that_the_pure_crystal_has_in_common():
    pure = load_prototype("LiCoO2").primitive.repeat((2, 2, 1))
    doped = pure.copy()
    doped.symbols[int(np.flatnonzero(doped.symbols == "Co")[0])] = "Ni"
    before, after = (find_hops(a, "Li", max_length_A=3.0) for a in (pure, doped))
    assert len(after.hops) > len(before.hops)
    assert sum(h.multiplicity for h in after.hops) == 4 * sum(h.multiplicity for h in before.hops)


@pytest.mark.parametrize(
    ("name", "ion", "longest"), [("LiCoO2", "Li", 3.2), ("Li2RuO3", "Li", 3.4), ("Na3RuO4", "Na", 3.5)]
)
def test_hops_and_their_copies_are_those_of_a_migration_graph(name, ion, longest):
    diffusion = pytest.importorskip("pymatgen.analysis.diffusion.neb.full_path_mapper")
    atoms = load_prototype(name).primitive
    found = find_hops(atoms, ion, max_length_A=longest)
    structure = AseAtomsAdaptor.get_structure(atoms)
    graph = diffusion.MigrationGraph.with_distance(structure, ion, longest, symprec=0.02)
    theirs = Counter(round(h["hop"].length, 3) for h in graph.unique_hops.values())
    ours = Counter(round(h.length_A, 3) for h in found.hops)
    assert ours == theirs
    assert sum(h.multiplicity for h in found.hops) == graph.m_graph.graph.number_of_edges()


def test_olivine_is_a_one_dimensional_conductor_along_b():
    found = find_hops(descriptions.olivine(), "Li", max_length_A=3.2)
    (hop,) = found.hops
    assert hop.length_A == pytest.approx(6.010 / 2, abs=1e-3)
    network = edges(found, {hop.name: 0.3})
    assert dimensionality(network, len(found.sites)) == 1
    assert percolation(network, len(found.sites)).thresholds == (0.3, None, None)
    further = find_hops(descriptions.olivine(), "Li", max_length_A=5.9)
    barriers = {h.name: 0.3 if h.length_A < 3.2 else 2.0 for h in further.hops}
    assert percolation(edges(further, barriers), len(further.sites)).thresholds == (0.3, 2.0, 2.0)


def test_layered_licoo2_conducts_in_two_dimensions():
    found = find_hops(load_prototype("LiCoO2").atoms, "Li", max_length_A=3.2)
    assert dimensionality(edges(found, {h.name: 0.3 for h in found.hops}), len(found.sites)) == 2


def test_dimensionality_counts_independent_rings_of_one_part():
    chain = [Edge(0, 0, (1, 0, 0), 0.1)]
    assert dimensionality([], 2) == 0
    assert dimensionality(chain, 2) == 1
    assert dimensionality([*chain, Edge(1, 1, (0, 1, 0), 0.1)], 2) == 1  # two chains that never meet
    joined = [*chain, Edge(1, 1, (0, 1, 0), 0.1), Edge(0, 1, (0, 0, 0), 0.1)]
    assert dimensionality(joined, 2) == 2
    ladder = [Edge(0, 1, (0, 0, 0), 0.1), Edge(1, 0, (1, 0, 0), 0.1), Edge(1, 0, (1, 0, 0), 0.2)]
    assert dimensionality(ladder, 2) == 1


def test_every_copy_goes_in_the_direction_of_its_hop():
    found = find_hops(load_prototype("Li2RuO3").primitive, "Li", max_length_A=3.4)
    for hop in found.hops:
        kinds = {(found.sites[key[0][0]].kind, found.sites[key[1][0]].kind) for key in hop.members}
        assert kinds == {(found.sites[hop.start].kind, found.sites[hop.end].kind)}


def test_a_hop_through_an_ion_in_between_is_blocked_by_it():
    found = find_hops(load_prototype("LiCoO2").primitive, "Li", max_length_A=5.7)
    straight = [h for h in found.hops if h.length_A == pytest.approx(2 * found.hops[0].length_A, abs=1e-3)]
    assert straight
    assert all(found.host.symbols[h.blocked_by] == "Li" for h in straight)
    assert found.hops[0].blocked_by is None


def test_voids_of_a_layered_oxide_are_its_tetrahedral_sites():
    atoms = load_prototype("LiCoO2").atoms
    full = find_voids(atoms, cation_min_A=1.2)
    assert {v.shape for v in full} == {"tetrahedral"}
    assert len(full) == 2 * sum(atoms.symbols == "O")  # an fcc lattice has two of them per atom
    empty = find_voids(atoms[np.array(atoms.symbols) != "Li"])
    octahedral = [v for v in empty if v.shape == "octahedral"]
    assert len(octahedral) == sum(atoms.symbols == "Li")  # where lithium was


def test_divacancy_hops_name_the_site_that_is_empty_too():
    plain = find_hops(load_prototype("LiCoO2").atoms, "Li", max_length_A=3.0)
    more = find_hops(load_prototype("LiCoO2").atoms, "Li", max_length_A=3.0, divacancies=True)
    extra = [h for h in more.hops if h.mechanism == "divacancy"]
    assert [h.name for h in more.hops[: len(plain.hops)]] == [h.name for h in plain.hops]
    assert len(extra) == 1  # both triangles over an edge of the lattice are equivalent
    assert len(extra[0].also_vacant) == 1


@pytest.mark.parametrize(("ion", "longest", "words"), [("Na", 4.0, "no Na in"), ("Li", 1.0, "raise max_length_A")])
def test_what_cannot_hop_is_refused(ion, longest, words):
    with pytest.raises(InputError, match=words):
        find_hops(load_prototype("LiCoO2").atoms, ion, max_length_A=longest)


def test_hops_of_a_molecule_are_refused():
    with pytest.raises(InputError, match="not periodic"):
        find_hops(Atoms("Li2", positions=[[0, 0, 0], [0, 0, 3]]), "Li")


def summary(found: HopSet) -> list:
    hops = [(h.name, h.length_A, h.mechanism, h.multiplicity, h.bottleneck_A, h.reversible, h.blocked_by)
            for h in found.hops]  # fmt: skip
    return [*hops, *((s.name, s.fractional) for s in found.sites), found.space_group]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LiCoO2", {"divacancies": True, "max_length_A": 5.0}),
        ("LiCoO2", {"interstitials": True}),
        ("Li2O", {"interstitials": True, "divacancies": True}),
        ("TiS2", {"interstitials": True}),
        ("LiFePO4", {"max_length_A": 6.1}),
        ("LiMn2O4", {"interstitials": True, "max_length_A": 3.0}),
    ],
)
def test_any_description_of_a_crystal_has_the_same_hops(name, options):
    made = {"LiFePO4": descriptions.olivine, "LiMn2O4": descriptions.spinel}
    atoms = made[name]() if name in made else load_prototype(name).atoms
    found = find_hops(atoms, "Li", **options)
    supercell = choose_supercell(found.host, 8.0, 4 * len(found.host))
    for seed, cells in ((1, 1), (2, 2)):
        other = find_hops(descriptions.another(atoms, seed, cells=cells), "Li", **options)
        assert summary(other) == summary(found)
        np.testing.assert_array_equal(choose_supercell(other.host, 8.0, 4 * len(found.host)), supercell)


def test_no_divacancy_hop_and_no_obstacle_lies_beyond_a_range_of_cells():
    """LiCoO2 in a skewed cell, counted in a piece of crystal that is larger than anything that is looked for."""
    atoms, longest = load_prototype("LiCoO2").primitive, 5.8
    skewed = make_supercell(atoms, np.array([[1, 0, 0], [5, 1, 0], [2, 6, 1]]))
    found = find_hops(skewed, "Li", max_length_A=longest, divacancies=True)
    assert len(atoms[atoms.symbols == "Li"]) == 1
    lattice = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ atoms.cell.array
    near = lattice[(np.linalg.norm(lattice, axis=1) < longest) & (np.linalg.norm(lattice, axis=1) > 0.3)]
    hops = {mechanism: [h for h in found.hops if h.mechanism == mechanism] for mechanism in ("vacancy", "divacancy")}
    assert 2 * sum(h.multiplicity for h in hops["vacancy"]) == len(near)
    to_all = np.linalg.norm(near[:, None] - near[None], axis=2)
    assert 2 * sum(h.multiplicity for h in hops["divacancy"]) == ((to_all < longest) & (to_all > 0.3)).sum()
    from_ion = atoms.positions - atoms[atoms.symbols == "Li"].positions
    others = [(symbol, at + lattice) for symbol, at in zip(atoms.symbols, from_ion, strict=True)]
    for hop in hops["vacancy"]:
        ends = [v for v in near if abs(np.linalg.norm(v) - hop.length_A) < 1e-3]
        expected = [
            min(
                float(np.min(gap[kept])) - float(Element(symbol).average_ionic_radius)
                for symbol, places in others
                for gap, kept in [passing(places, v)]
            )
            for v in ends
        ]
        assert min(abs(e - hop.bottleneck_A) for e in expected) < 1e-3


def passing(places: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances of places from the line from the origin along a vector, and which are not its ends."""
    part = np.clip(places @ vector / (vector @ vector), 0, 1)
    kept = (np.linalg.norm(places, axis=1) > 0.3) & (np.linalg.norm(places - vector, axis=1) > 0.3)
    return np.linalg.norm(places - part[:, None] * vector, axis=1), kept
