"""Hops: known networks of published structures, symmetry as it really is, and pymatgen's migration graph."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.errors import InputError
from atomsim.structures.hops import find_hops
from atomsim.structures.network import Edge, dimensionality, edges, percolation
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.voids import find_voids


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


def olivine() -> Atoms:
    """LiFePO4: Pnma, Streltsov et al., Acta Cryst. B 49, 147 (1993)."""
    from pymatgen.core import Lattice, Structure

    structure = Structure.from_spacegroup(
        "Pnma",
        Lattice.orthorhombic(10.332, 6.010, 4.692),
        ["Li", "Fe", "P", "O", "O", "O"],
        [
            [0, 0, 0],
            [0.28222, 0.25, 0.97472],
            [0.09486, 0.25, 0.41820],
            [0.09678, 0.25, 0.74279],
            [0.45710, 0.25, 0.20602],
            [0.16558, 0.04646, 0.28478],
        ],
    )
    return Atoms(AseAtomsAdaptor.get_atoms(structure, msonable=False))


def test_olivine_is_a_one_dimensional_conductor_along_b():
    found = find_hops(olivine(), "Li", max_length_A=3.2)
    (hop,) = found.hops
    assert hop.length_A == pytest.approx(6.010 / 2, abs=1e-3)
    network = edges(found, {hop.name: 0.3})
    assert dimensionality(network, len(found.sites)) == 1
    assert percolation(network, len(found.sites)).thresholds == (0.3, None, None)
    further = find_hops(olivine(), "Li", max_length_A=5.9)
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
