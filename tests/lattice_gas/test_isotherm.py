"""Lattice gases that can be enumerated: fit, free energies and voltages against exact sums over all arrangements."""

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.special import logsumexp

from atomsim.errors import InputError
from atomsim.lattice_gas.free_energy import Sampling, bennett
from atomsim.lattice_gas.isotherm import isotherm
from atomsim.lattice_gas.lattice import IonLattice
from atomsim.lattice_gas.model import Datum
from atomsim.units import KB

METAL_EV = -1.9


@pytest.fixture(scope="module")
def host() -> Atoms:
    """Rock salt: one kind of ion site, face-centred."""
    return bulk("LiO", "rocksalt", a=4.2)


def energy_of(cell, occupied: np.ndarray) -> float:
    """A lattice gas with nearest and next-nearest repulsion, and a site energy."""
    near, next_near = cell.pairs[0], cell.pairs[1]
    return float(-3.2 * occupied.sum() + occupied @ (0.03 * near - 0.02 * next_near) @ occupied)


def data_of(lattice: IonLattice, shapes) -> list[Datum]:
    found = []
    for shape in shapes:
        cell = lattice.supercell(np.array(shape))
        for bits in product([0.0, 1.0], repeat=cell.n_sites):
            occupied = np.array(bits)
            vacancies = cell.atoms.get_scaled_positions()[occupied == 0]
            found.append(Datum(np.array(shape), vacancies, energy_of(cell, occupied)))
    return found


SHAPES = ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[2, 0, 0], [0, 1, 0], [0, 0, 2]], [[1, 0, 0], [0, 1, 0], [0, 0, 3]])


def test_pairs_of_a_face_centred_lattice(host):
    lattice = IonLattice.of(host, "Li", 4.3)
    assert np.allclose(lattice.distances_A, [4.2 / np.sqrt(2), 4.2])
    assert np.bincount(lattice.pair_orbits).tolist() == [12, 6]
    for shape in SHAPES:
        cell = lattice.supercell(np.array(shape))
        assert np.allclose(cell.pairs.sum(axis=(1, 2)) / cell.cells, [6, 3]), "bonds per site"
        assert np.allclose(cell.pairs, cell.pairs.transpose(0, 2, 1))


def test_fit_finds_the_energy_and_says_its_error(host):
    lattice = IonLattice.of(host, "Li", 4.3)
    data = data_of(lattice, SHAPES)
    found = isotherm(lattice, data, METAL_EV, max_sites=8, sampling=Sampling(sweeps=40))
    assert found.model.rms_error_eV < 1e-4
    noise = np.random.default_rng(5).normal(0, 0.05, len(data))
    noisy = [Datum(d.matrix, d.vacancies, d.energy_eV + e) for d, e in zip(data, noise, strict=True)]
    worse = isotherm(lattice, noisy, METAL_EV, max_sites=8, sampling=Sampling(sweeps=40))
    assert worse.model.rms_error_eV > 5e-3
    assert (worse.free.model_errors_eV > found.free.model_errors_eV).all()


@pytest.mark.parametrize("temperature_K", [150.0, 300.0])
def test_voltage_equals_the_exact_one(host, temperature_K):
    lattice = IonLattice.of(host, "Li", 4.3)
    found = isotherm(
        lattice,
        data_of(lattice, SHAPES),
        METAL_EV,
        temperature_K=temperature_K,
        max_sites=9,
        sampling=Sampling(sweeps=200),
    )
    cell = found.free.cell
    beta, everything = 1 / (KB * temperature_K), np.array(list(product([0.0, 1.0], repeat=cell.n_sites)))
    energies = np.array([energy_of(cell, s) for s in everything])
    numbers = everything.sum(axis=1).astype(int)
    exact = np.array([-logsumexp(-beta * energies[numbers == n]) / beta for n in range(cell.n_sites + 1)])
    assert np.allclose(found.free.steps_eV, np.diff(exact), atol=2e-3)
    voltages = np.linspace(found.voltage_V.min() - 0.1, found.voltage_V.max() + 0.1, 40)
    weights = -beta * (exact - (METAL_EV - voltages)[:, None] * np.arange(len(exact)))
    mean = np.exp(weights - logsumexp(weights, axis=1, keepdims=True)) @ np.arange(len(exact)) / cell.n_sites
    slope = np.gradient(found.share, found.voltage_V).min()
    assert np.allclose(found.content(voltages, METAL_EV), mean, atol=abs(slope) * 2e-3 + 1e-3)
    assert (np.diff(found.voltage_V) < 1e-9).all(), "no hysteresis: the voltage falls with the content"


def test_bennett_of_a_known_difference():
    """Gaussian works that obey Crooks' theorem: mean ± σ²/2 around the difference, in units of kT."""
    generator, difference, width = np.random.default_rng(3), 4.0, 1.5
    forward = generator.normal(difference + width**2 / 2, width, 20_000)
    reverse = generator.normal(difference - width**2 / 2, width, 5_000)
    assert bennett(forward, reverse) == pytest.approx(difference, abs=0.05)


def test_same_seed_same_curve(host):
    lattice = IonLattice.of(host, "Li", 4.3)
    data = data_of(lattice, SHAPES)
    one, two = (isotherm(lattice, data, METAL_EV, max_sites=8, sampling=Sampling(sweeps=30)) for _ in range(2))
    assert np.array_equal(one.voltage_V, two.voltage_V)


def test_what_cannot_be_fitted_is_refused(host):
    lattice = IonLattice.of(host, "Li", 4.3)
    with pytest.raises(InputError, match="3 relaxed orderings"):
        isotherm(lattice, data_of(lattice, SHAPES)[:3], METAL_EV)
    with pytest.raises(InputError, match="no Na"):
        IonLattice.of(host, "Na", 4.3)
    with pytest.raises(InputError, match="within 1 Å"):
        IonLattice.of(host, "Li", 1.0)
    stranger = Datum(np.eye(3, dtype=int), np.array([[0.25, 0.25, 0.25]]), 0.0)
    with pytest.raises(InputError, match="not empty"):
        isotherm(lattice, [*data_of(lattice, SHAPES), stranger], METAL_EV)
