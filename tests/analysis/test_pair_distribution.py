"""g(r), structure factors, rings and shared edges against naive code, ASE, the Debye formula and known crystals."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry.rdf import get_rdf
from scipy.spatial.distance import pdist, squareform

from atomsim.analysis.pair_distribution import pair_distribution
from atomsim.analysis.polyhedra import angles, bonds, coordination_numbers, ring_counts, sharing
from atomsim.analysis.scattering import form_factor, structure_factor
from atomsim.errors import InputError
from atomsim.structures.prototypes import load_prototype

SEED = 7


def random_cell(n: int = 120, edge: float = 12.0) -> Atoms:
    rng = np.random.default_rng(SEED)
    symbols = rng.permutation(["Li"] * (n // 3) + ["O"] * (n - n // 3))
    return Atoms(symbols, rng.uniform(0, edge, (n, 3)), cell=[edge, edge, 1.1 * edge], pbc=True)


def test_partials_are_those_of_naive_code():
    atoms, bins = random_cell(40, 9.0), 24
    edges = np.linspace(0, 6.0, bins + 1)
    found = pair_distribution(atoms, r_max_A=6.0, bin_A=6.0 / bins)
    symbols, counts = np.array(list(atoms.symbols)), np.zeros(bins)
    shifts = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3), axis=-1).reshape(-1, 3) @ atoms.cell.array
    for i in np.flatnonzero(symbols == "Li"):
        for j in np.flatnonzero(symbols == "O"):
            counts += np.histogram(np.linalg.norm(atoms.positions[j] + shifts - atoms.positions[i], axis=1), edges)[0]
    n_li, n_o = (symbols == "Li").sum(), (symbols == "O").sum()
    naive = counts * atoms.cell.volume / (n_li * n_o * 4 / 3 * np.pi * np.diff(edges**3))
    np.testing.assert_allclose(found.g["Li", "O"], naive, atol=1e-12)
    np.testing.assert_allclose(found.g["O", "Li"], naive, atol=1e-12)
    np.testing.assert_allclose(found.coordination["O", "Li"], np.cumsum(counts) / n_o, atol=1e-12)


def test_partials_are_those_of_ase():
    """ASE's shell volume is 4πr²δ and its density that of all atoms; 1 % beyond the first bins."""
    atoms = random_cell()
    found = pair_distribution(atoms, r_max_A=5.9, bin_A=0.1)
    theirs, r = get_rdf(atoms, 5.9, 59, elements=(8, 8))
    own = found.g["O", "O"]
    far = r > 2.0
    np.testing.assert_allclose(own[far], theirs[far], rtol=0.01)


def test_a_crystal_has_its_coordination():
    salt = pair_distribution(bulk("NaCl", "rocksalt", 5.64, cubic=True), 5.0)
    assert salt.number_within(("Na", "Cl"), 3.0) == pytest.approx(6.0)
    assert salt.number_within(("Na", "Na"), 4.2) == pytest.approx(12.0)
    assert salt.peak(("Na", "Cl"))[0] == pytest.approx(2.82, abs=0.03)


def test_structure_factor_is_that_of_the_debye_formula():
    """A cluster alone in a large box: Σ_ij sin(q r_ij)/(q r_ij), the mean over all directions."""
    rng = np.random.default_rng(SEED)
    cluster = Atoms("O24Li16", rng.uniform(0, 7.0, (40, 3)), cell=[42.0] * 3, pbc=True)
    found = structure_factor(cluster, q_max=6.0, q_step=0.25)
    distance = squareform(pdist(cluster.positions))
    oxygen = np.arange(40) < 24
    for pair, rows, columns in ((("O", "O"), oxygen, oxygen), (("Li", "O"), ~oxygen, oxygen)):
        block = distance[np.ix_(rows, columns)]
        width = 0.3 * found.resolution
        fine = np.linspace(-3, 3, 13) * width
        weight = np.exp(-0.5 * (fine / width) ** 2)
        debye = np.array([
            np.average([np.sinc((q + dq) * block / np.pi).sum() for dq in fine], weights=weight * (q + fine) ** 2)
            for q in found.q
        ])  # fmt: skip
        counts = rows.sum() * columns.sum()
        n, same = len(cluster), pair[0] == pair[1]
        own = (found.faber_ziman[pair] - 1.0) * counts / n + (rows.sum() if same else 0)
        far = found.q > 2.0
        scale = np.sqrt(rows.sum() * columns.sum())
        assert np.sqrt(np.mean((own[far] - debye[far]) ** 2)) < 0.005 * scale


def test_partials_of_random_points_are_one_and_of_a_crystal_have_peaks():
    found = structure_factor(random_cell(600, 20.0), q_max=8.0)
    assert np.nanmean(found.faber_ziman["O", "O"][found.q > 1]) == pytest.approx(1.0, abs=0.05)
    crystal = structure_factor(bulk("NaCl", "rocksalt", 5.64, cubic=True) * (3, 3, 3), q_max=4.0)
    halo = crystal.halo()
    assert halo.q == pytest.approx(2 * np.pi / 2.82, abs=0.05)  # (200)
    assert halo.two_theta == pytest.approx(31.7, abs=0.5)
    assert form_factor("O", np.array([0.0]))[0] == pytest.approx(8.0)


def test_rings_and_shared_edges_are_those_of_known_crystals():
    rutile = load_prototype("RuO2").atoms * (3, 3, 4)
    longest = {"O": 2.5}
    found = bonds(rutile, "Ru", ["O"], longest)
    assert set(coordination_numbers(rutile, "Ru", found)) == {6}
    shared = sharing(found, found)
    assert shared == pytest.approx({"corner": 8.0, "edge": 2.0, "face": 0.0})
    assert angles(found).mean() == pytest.approx(108.0, abs=1.5)  # 12 near 90°, 3 of 180°
    per_ru = {n: k / 72 for n, k in ring_counts(rutile, ["Ru"], ["O"], 2.5).items()}
    assert per_ru[4] == pytest.approx(1.0)  # two edges, each of two octahedra


def test_what_has_no_density_is_refused():
    with pytest.raises(InputError, match="periodic in 0 directions"):
        pair_distribution(Atoms("O2", [[0, 0, 0], [1.2, 0, 0]]))
