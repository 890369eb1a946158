"""Enumeration against brute force, Burnside's count and pymatgen's structure matcher."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.structures.charges import formal_charges
from atomsim.structures.host_lattice import HostLattice
from atomsim.structures.orderings import (
    choose,
    coulomb_energy,
    enumerate_orderings,
    orbit,
    sample_orderings,
)
from atomsim.structures.supercells import compact_supercell, expand, site_permutations
from atomsim.structures.superlattices import Superlattice


def rock_salt(multiple: int) -> Atoms:
    primitive = bulk("LiF", "rocksalt", a=4.03)
    return expand(primitive, compact_supercell(primitive.cell.array, multiple))[0]


def lithium_group(atoms: Atoms) -> np.ndarray:
    return site_permutations(atoms, np.flatnonzero(atoms.numbers == 3))


def cycle_type(permutation: np.ndarray) -> list[int]:
    seen, lengths = set(), []
    for start in range(len(permutation)):
        length, site = 0, start
        while site not in seen:
            seen.add(site)
            site, length = int(permutation[site]), length + 1
        if length:
            lengths.append(length)
    return lengths


def fixed_orderings(permutation: np.ndarray, n_ions: int) -> int:
    """Coefficient of t^n in the product of (1 + t^cycle): orderings that a permutation leaves alone."""
    polynomial = np.array([1])
    for length in cycle_type(permutation):
        factor = np.zeros(length + 1, dtype=int)
        factor[[0, length]] = 1
        polynomial = np.convolve(polynomial, factor)
    return int(polynomial[n_ions])


@pytest.mark.parametrize("multiple", [4, 6, 8])
def test_permutations_form_a_group(multiple):
    group = lithium_group(rock_salt(multiple))
    members = {p.tobytes() for p in group}
    assert len(members) == len(group)
    assert all(a[b].tobytes() in members for a in group for b in group)


@pytest.mark.parametrize("multiple", [3, 4, 5, 6, 8])
def test_pure_translations_are_in_the_group(multiple):
    # All sites of one primitive-cell species are equivalent by translations alone.
    group = lithium_group(rock_salt(multiple))
    assert {int(p[0]) for p in group} == set(range(multiple))


@pytest.mark.parametrize(("multiple", "n_ions"), [(4, 2), (6, 3), (8, 4), (8, 5), (9, 4), (12, 6)])
def test_orbits_add_up_and_agree_with_burnside(multiple, n_ions):
    group = lithium_group(rock_salt(multiple))
    occupied, multiplicity = enumerate_orderings(n_ions, group)
    assert (occupied.sum(axis=1) == n_ions).all()
    assert multiplicity.sum() == comb(multiple, n_ions)
    burnside = sum(fixed_orderings(p, n_ions) for p in group) / len(group)
    assert len(occupied) == burnside


@pytest.mark.parametrize("n_ions", [1, 2, 3, 4, 5, 6, 7])
def test_orbits_equal_brute_force(n_ions):
    group = lithium_group(rock_salt(8))
    orbits = set()
    for sites in combinations(range(8), n_ions):
        orbits.add(frozenset(frozenset(p[list(sites)].tolist()) for p in group))
    occupied, multiplicity = enumerate_orderings(n_ions, group)
    assert sorted(multiplicity) == sorted(len(o) for o in orbits)
    ours = {frozenset(frozenset(np.flatnonzero(image).tolist()) for image in orbit(row, group)) for row in occupied}
    assert ours == orbits


def test_distinct_orderings_are_those_that_pymatgen_tells_apart():
    atoms = rock_salt(8)
    lithium = np.flatnonzero(atoms.numbers == 3)

    def structure(filled):
        keep = np.ones(len(atoms), dtype=bool)
        keep[lithium] = filled
        return AseAtomsAdaptor.get_structure(atoms[keep])

    everything = []
    for sites in combinations(range(8), 4):
        filled = np.zeros(8, dtype=bool)
        filled[list(sites)] = True
        everything.append(structure(filled))
    # The matcher may also identify cells that only a different supercell's symmetry relates, so
    # it can find fewer; two of its groups must never share one of our orbits.
    matcher = StructureMatcher(primitive_cell=False, scale=False, attempt_supercell=False, ltol=1e-3, stol=1e-3)
    groups = matcher.group_structures(everything)
    occupied, _ = enumerate_orderings(4, lithium_group(atoms))
    ours = matcher.group_structures([structure(row) for row in occupied])
    assert len(ours) == len(groups)
    assert len(occupied) >= len(groups)


def two_body(n_sites, seed=0):
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(n_sites, n_sites))
    return (matrix + matrix.T) / 2, generator.normal(size=n_sites)


def test_sampling_finds_the_ground_state_of_a_case_that_can_be_enumerated():
    identity = np.arange(14)[None, :]
    quadratic, linear = two_body(14)
    everything, _ = enumerate_orderings(7, identity)
    lowest = coulomb_energy(everything, quadratic, linear).min()
    found, multiplicity = sample_orderings(7, identity, quadratic, linear, samples=200, seed=1)
    assert coulomb_energy(found, quadratic, linear).min() == pytest.approx(lowest)
    assert (multiplicity == 1).all()
    assert len(np.unique(found, axis=0)) == len(found)


def test_sampling_repeats_with_its_seed_and_gives_distinct_orbits():
    group = lithium_group(rock_salt(12))
    # An invariant interaction: a function of the distance, as symmetry demands.
    atoms = rock_salt(12)
    distances = atoms[atoms.numbers == 3].get_all_distances(mic=True)
    quadratic = np.where(distances > 0, 1 / np.maximum(distances, 1), 0.0)
    draws = [sample_orderings(6, group, quadratic, np.zeros(12), samples=100, seed=s) for s in (3, 3)]
    assert np.array_equal(draws[0][0], draws[1][0])
    canonical = {orbit(row, group)[0].tobytes() for row in draws[0][0]}
    assert len(canonical) == len(draws[0][0])
    for row, size in zip(*draws[0], strict=True):
        assert len(orbit(row, group)) == size


def test_choice_has_the_lowest_and_is_more_varied_than_the_first_few():
    atoms = rock_salt(12)
    distances = atoms[atoms.numbers == 3].get_all_distances(mic=True)
    occupied, _ = enumerate_orderings(6, lithium_group(atoms))
    energy = np.sort(np.random.default_rng(5).normal(size=len(occupied)))
    histograms = np.array([np.sort(distances[np.ix_(row, row)], axis=None) for row in occupied])
    picked = choose(energy, lambda indices: histograms[indices], 4)
    assert len(picked) == len(set(picked.tolist())) == 4
    assert picked[0] == 0
    assert list(picked) == sorted(picked)

    def spread(rows):
        return min(np.abs(a - b).sum() for a, b in combinations(histograms[rows], 2))

    assert spread(picked) > spread(np.arange(4))


def test_choice_is_everything_when_there_is_little():
    assert list(choose(np.arange(3.0), lambda indices: np.zeros((len(indices), 1)), 5)) == [0, 1, 2]


def test_an_ordering_is_like_itself_in_every_supercell():
    host = bulk("LiF", "rocksalt", a=4.03)
    charges = formal_charges(host)
    small, large = (
        HostLattice.build(host, "Li", Superlattice(np.diag(size), 1), charges) for size in ([2, 1, 1], [2, 1, 2])
    )
    stripe = small.atoms.get_scaled_positions()[small.sites, 0] < 0.25
    same = large.atoms.get_scaled_positions()[large.sites, 0] < 0.25
    assert small.descriptor(stripe[None]) == pytest.approx(large.descriptor(same[None]))
    quadratic, linear, constant = small.coulomb(1)
    energy = coulomb_energy(stripe[None], quadratic, linear) + constant
    quadratic, linear, constant = large.coulomb(2)
    assert coulomb_energy(same[None], quadratic, linear) + constant == pytest.approx(2 * energy, rel=1e-5)
