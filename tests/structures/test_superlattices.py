"""Superlattices and orderings against published counts and an independent enumeration."""

from itertools import pairwise

import numpy as np
import pytest
import spglib
from ase import Atom, Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from atomsim.structures.delithiation import delithiate
from atomsim.structures.ordering_search import shares
from atomsim.structures.orderings import enumerate_orderings
from atomsim.structures.prototypes import load_prototype
from atomsim.structures.supercells import compact_supercell, expand, site_permutations
from atomsim.structures.superlattices import (
    distinct_superlattices,
    has_smaller_cell,
    hermite_normal_forms,
    translation_permutations,
)


def rotations(atoms: Atoms) -> np.ndarray:
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_symmetry(cell, symprec=1e-3)["rotations"]


def counts(host: Atoms, ion: str, cells: int) -> list[int]:
    """Distinct orderings by number of ions, none and all left out, that have no smaller cell."""
    found = np.zeros(host.get_chemical_symbols().count(ion) * cells + 1, dtype=int)
    for lattice in distinct_superlattices(host.cell.array, rotations(host), cells):
        atoms, parent = expand(host, lattice.matrix)
        sites = np.flatnonzero(atoms.symbols == ion)
        group = site_permutations(atoms, sites)
        shifts = translation_permutations(atoms.get_scaled_positions()[sites], parent[sites])
        for n in range(len(found)):
            found[n] += (~has_smaller_cell(enumerate_orderings(n, group)[0], shifts)).sum()
    return found[1:-1].tolist()


# Hart & Forcade 2008, Phys. Rev. B 77, 224115, Table IV (OEIS A159842 for the cubic face-centred lattice)
@pytest.mark.parametrize(
    ("atoms", "published"),
    [
        (bulk("Cu"), [1, 2, 3, 7, 5, 10, 7, 20, 14, 18]),
        (bulk("W"), [1, 2, 3, 7, 5, 10, 7, 20, 14, 18]),
        (bulk("Po", "sc", a=3.3), [1, 3, 3, 9, 5, 13, 7, 24, 14, 23]),
        (bulk("Ti"), [1, 3, 5, 11, 7, 19, 11, 34, 23, 33]),
    ],
    ids=["fcc", "bcc", "sc", "hexagonal"],
)
def test_distinct_superlattices_are_as_many_as_published(atoms, published):
    found = [distinct_superlattices(atoms.cell.array, rotations(atoms), n) for n in range(1, 11)]
    assert [len(lattices) for lattices in found] == published
    for n, lattices in enumerate(found, 1):
        assert sum(lattice.orientations for lattice in lattices) == len(hermite_normal_forms(n))
        assert all(lattice.cells == n for lattice in lattices)


def test_superlattices_of_a_triclinic_cell_are_all_there_are():
    # Σ over divisors: a(n) = Σ_{d | n} d σ(d) sublattices of index n in three dimensions
    assert [len(hermite_normal_forms(n)) for n in range(1, 9)] == [1, 7, 13, 35, 31, 91, 57, 155]


def test_binary_orderings_of_the_face_centred_lattice_are_as_many_as_published():
    # both pure elements belong to one cell; Hart & Forcade 2008 merge A with B, these do not
    assert [sum(counts(bulk("Cu"), "Cu", n)) for n in range(2, 8)] == [2, 6, 19, 28, 80, 104]


def spinel() -> Atoms:
    return crystal(
        ("Li", "Mn", "O"), [(1 / 8, 1 / 8, 1 / 8), (1 / 2, 1 / 2, 1 / 2), (0.263, 0.263, 0.263)],
        spacegroup=227, setting=2, cellpar=[8.24] * 3 + [90] * 3, primitive_cell=True,
    )  # fmt: skip


def olivine() -> Atoms:
    basis = [(0, 0, 0), (0.282, 0.25, 0.975), (0.095, 0.25, 0.418), (0.097, 0.25, 0.743), (0.457, 0.25, 0.206),
             (0.166, 0.046, 0.285)]  # fmt: skip
    return crystal(("Li", "Fe", "P", "O", "O", "O"), basis, spacegroup=62, cellpar=[10.33, 6.01, 4.69, 90, 90, 90])


def p2_nacoo2() -> Atoms:
    basis = [(1 / 3, 2 / 3, 0.75), (0, 0, 0), (1 / 3, 2 / 3, 0.091)]
    return crystal(("Na", "Co", "O"), basis, spacegroup=194, cellpar=[2.84, 2.84, 10.9, 90, 90, 120])


def litis2() -> Atoms:
    host = load_prototype("TiS2").primitive
    host.append(Atom("Li", position=0.5 * host.cell.array[2]))
    return host


# counted with icet 4.0, enumerate_structures (Ångqvist et al. 2019), which follows Hart & Forcade
@pytest.mark.parametrize(
    ("host", "ion", "cells", "expected"),
    [
        (lambda: load_prototype("LiCoO2").primitive, "Li", 4, [12, 9, 12]),
        (lambda: load_prototype("Li2O").primitive, "Li", 3, [3, 10, 7, 10, 3]),
        (lambda: load_prototype("Li2RuO3").primitive, "Li", 1, [3, 10, 17, 22, 17, 10, 3]),
        (lambda: load_prototype("Li2MnO3").primitive, "Li", 2, [15, 35, 79, 86, 79, 35, 15]),
        (lambda: load_prototype("Li2RuO3-R-3").primitive, "Li", 3, [5, 20, 15, 20, 5]),
        (lambda: load_prototype("Li2O2").primitive, "Li", 2, [6, 14, 30, 33, 30, 14, 6]),
        (olivine, "Li", 2, [7, 26, 37, 49, 37, 26, 7]),
        (spinel, "Li", 3, [3, 10, 7, 10, 3]),
        (p2_nacoo2, "Na", 3, [5, 15, 10, 15, 5]),
        (litis2, "Li", 4, [12, 9, 12]),
    ],
    ids=["LiCoO2", "Li2O", "Li2RuO3", "Li2MnO3", "R-3", "Li2O2", "LiFePO4", "LiMn2O4", "P2-NaCoO2", "LiTiS2"],
)
def test_orderings_of_hosts_are_as_many_as_an_independent_code_finds(host, ion, cells, expected):
    assert counts(host(), ion, cells) == expected


def test_the_most_compact_supercell_is_the_most_compact_of_all():
    cell = bulk("Cu").cell.array
    # eight primitive cells of a face-centred lattice: twice its own vectors; four make the cube
    for multiple, shortest in ((8, 2 * 3.61 / 2**0.5), (4, 3.61)):
        lengths = np.linalg.norm(compact_supercell(cell, multiple) @ cell, axis=1)
        assert lengths.min() == pytest.approx(shortest, abs=1e-6)


def test_delithiation_looks_at_every_superlattice_and_size():
    host = p2_nacoo2()
    (count,) = delithiate(host, "Na", [0.5], orderings=4, max_atoms=3 * len(host)).counts
    assert [(size.cells, size.superlattices, size.distinct) for size in count.sizes] == [
        (1, 1, 1),
        (2, 3, 4),
        (3, 5, 10),
    ]
    assert count.enumerated
    assert count.distinct == 15
    one_lattice = delithiate(host, "Na", [0.5], orderings=20, supercell=[[2, 0, 0], [0, 1, 0], [0, 0, 1]]).orderings
    everything = delithiate(host, "Na", [0.5], orderings=20, max_atoms=3 * len(host)).orderings
    assert min(o.ewald_eV / o.host_units for o in everything) <= min(o.ewald_eV / o.host_units for o in one_lattice)


def test_each_way_of_removing_ions_is_counted_once():
    host = p2_nacoo2()
    (count,) = delithiate(host, "Na", [0.5], orderings=100, max_atoms=2 * len(host)).counts
    # 2 of 2 × 2 sites in each of 7 superlattices, without those that repeat after one cell: C(2, 1) in each
    assert count.total == 2 + 7 * (6 - 2)


def test_what_was_looked_at_is_said():
    host = load_prototype("LiCoO2").primitive
    counts = delithiate(host, "Li", [1.0, 0.5], orderings=1, max_atoms=40, enumerate_limit=5000).counts
    assert counts[0].coverage == "all of 1 parent cell, 1 superlattice"
    assert "all of 2 to 4 parent cells, 15 superlattices" in counts[1].coverage
    assert "up to 10 cells" in counts[1].coverage
    (sampled,) = delithiate(host, "Li", [0.5], orderings=1, max_atoms=8, enumerate_limit=1).counts
    assert not sampled.enumerated
    assert sampled.coverage.startswith("a sample of 2 parent cells")


def test_energies_per_host_unit_rank_cells_of_different_size():
    host = load_prototype("LiCoO2").primitive
    orderings = delithiate(host, "Li", [0.5], orderings=12, max_atoms=16).orderings
    assert {o.host_units for o in orderings} == {2, 4}
    assert all(a.ewald_eV / a.host_units <= b.ewald_eV / b.host_units + 1e-6 for a, b in pairwise(orderings))


def test_choices_are_spread_over_the_sizes_of_cells():
    assert shares([1, 4, 10], 4) == [1, 2, 1]
    assert shares([1, 1, 10], 6) == [1, 1, 4]
    assert shares([2, 0, 1], 9) == [2, 0, 1]
    host = p2_nacoo2()
    orderings = delithiate(host, "Na", [0.5], orderings=3, max_atoms=3 * len(host)).orderings
    assert sorted(o.host_units for o in orderings) == [2, 4, 6]


def test_large_superlattices_are_all_counted_and_the_most_compact_is_found():
    crystal_ = bulk("LiF", "rocksalt", a=4.0)
    cell = (crystal_.cell.array, crystal_.get_scaled_positions(), crystal_.numbers)
    lattices = distinct_superlattices(crystal_.cell.array, spglib.get_symmetry(cell)["rotations"], 32)
    assert sum(lattice.orientations for lattice in lattices) == len(hermite_normal_forms(32))
    assert {lattice.cells for lattice in lattices} == {32}
    shortest = [np.linalg.norm(lattice.matrix @ crystal_.cell.array, axis=1).min() for lattice in lattices]
    compact = compact_supercell(crystal_.cell.array, 32) @ crystal_.cell.array
    assert np.linalg.norm(compact, axis=1).min() == pytest.approx(max(shortest))  # 2 × 2 × 2 conventional cells or more
