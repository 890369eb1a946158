"""Crystals whose volume is free: exact relations, a published value of the same potential, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

import atomsim
from atomsim.errors import InputError
from atomsim.models.ase import AsePotential
from atomsim.relaxation import relax
from atomsim.units import GPA, KB
from atomsim.vibrations.phonons import Phonons, phonons
from atomsim.vibrations.quasi_harmonic import QuasiHarmonic, _fitted
from atomsim.vibrations.settings import PhononSettings

METALS = AsePotential(EMT(), ["Cu", "Al", "Au"])
KEYS = {"supercell_min_A": 5.0, "mesh_A": 14.0, "t_max_K": 600.0, "t_step_K": 50.0}
"""A mesh of 7 × 7 × 7 points with Γ among them, whose acoustic modes have no frequency."""
SMALL = PhononSettings(volumes=6, **KEYS)


@pytest.fixture(scope="module")
def copper() -> Phonons:
    return phonons(relax([bulk("Cu")], METALS, fmax_eV_per_A=1e-4)[0].atoms, METALS, SMALL)


@pytest.fixture(scope="module")
def heated(copper) -> QuasiHarmonic:
    assert copper.heated is not None
    assert not copper.flags
    return copper.heated.found


def test_maxwells_relation_holds_between_expansion_stiffness_and_entropy(copper, heated):
    """B times (dV/dT)/V is (dS/dV) at constant temperature; S from phonons at two volumes of their own."""
    entropy, volume = [], []
    for pressure in (-1.0, 1.0):
        atoms = relax([bulk("Cu")], METALS, fmax_eV_per_A=1e-4, pressure_GPa=pressure)[0].atoms
        one = phonons(atoms, METALS, PhononSettings(**KEYS))
        entropy.append(one.thermal.at(300.0)[1])
        volume.append(atoms.get_volume())
    slope = (entropy[0] - entropy[1]) / (volume[0] - volume[1])
    at = heated.at(300.0)
    assert at["bulk_modulus_GPa"] * GPA * at["thermal_expansion_per_K"] == pytest.approx(slope, rel=0.1)


def test_the_cold_crystal_is_the_relaxed_one_but_for_its_zero_point_energy(copper, heated):
    relaxed = copper.constants.primitive.get_volume()
    assert relaxed < heated.volume_A3_per_atom[0] < 1.01 * relaxed
    vibrations = heated.gibbs_eV_per_atom[0] - copper.constants.energy_eV
    assert 0.98 * copper.thermal.zero_point_eV_per_atom < vibrations < copper.thermal.zero_point_eV_per_atom
    # EMT's bulk modulus from its pressures alone
    found = []
    for volume in (0.995, 1.005):
        atoms = copper.constants.primitive.copy()
        atoms.set_cell(atoms.cell.array * volume ** (1 / 3), scale_atoms=True)
        atoms.calc = EMT()
        found.append(-atoms.get_stress()[:3].mean() / GPA)
    assert heated.bulk_modulus_GPa[0] == pytest.approx((found[0] - found[1]) / 0.01, rel=0.05)


def test_heat_capacities_differ_by_what_the_expansion_says(copper, heated):
    """C_P − C_V = T V B ((dV/dT)/V)²."""
    at = heated.at(500.0)
    work = 500.0 * at["volume_A3_per_atom"] * at["bulk_modulus_GPa"] * GPA * at["thermal_expansion_per_K"] ** 2
    assert at["heat_capacity_eV_per_K_per_atom"] - copper.thermal.at(500.0)[2] == pytest.approx(work, abs=0.02 * KB)
    assert work > 0.03 * KB


def test_errors_are_small_where_the_crystal_follows_an_equation_of_state_and_large_where_not(heated, monkeypatch):
    assert (heated.bulk_modulus_error_GPa < 0.02 * heated.bulk_modulus_GPa).all()
    assert heated.at(300.0)["thermal_expansion_error_per_K"] < 0.02 * heated.at(300.0)["thermal_expansion_per_K"]
    crystal = relax([bulk("Cu")], METALS, fmax_eV_per_A=1e-4)[0].atoms
    found = phonons(crystal, Bumpy(EMT(), ["Cu"]), SMALL)
    assert any("do not follow an equation of state" in flag for flag in found.flags)


class Bumpy(AsePotential):
    """Energies with a ripple of 3 meV along the volume that forces and stresses do not know."""

    def __call__(self, batch):
        found = super().__call__(batch)
        atoms = torch.tensor(batch.sizes, dtype=torch.float64)
        volume = torch.linalg.det(batch.cell).abs() / atoms
        return replace(found, energy=found.energy + 0.003 * atoms * torch.sin(8.0 * volume))


def test_values_end_where_the_largest_volume_does():
    atoms = relax([bulk("Al")], METALS, fmax_eV_per_A=1e-4)[0].atoms
    how = PhononSettings(supercell_min_A=5.0, mesh_A=20.0, volumes=6, expansion=0.02, t_max_K=900.0, t_step_K=30.0)
    found = phonons(atoms, METALS, how)
    assert found.heated.found.temperature_K[-1] < 890.0
    assert any("raise expansion" in flag for flag in found.flags)
    assert np.isnan(found.heated.found.at(900.0)["bulk_modulus_GPa"])


def test_a_saddle_has_none_and_few_volumes_are_refused():
    cubic = relax([bulk("Cu", "sc", a=2.4)], METALS, fmax_eV_per_A=1e-4, keep_symmetry=True)[0].atoms
    found = phonons(cubic, METALS, SMALL)
    assert found.heated is None
    assert any("no quasi-harmonic values of a crystal with imaginary modes" in flag for flag in found.flags)
    with pytest.raises(InputError, match="volumes: found 3, wanted 0 for none, or 6 or more"):
        PhononSettings(volumes=3)


def test_the_verb_gives_what_the_library_does(heated):
    host = atomsim.relax(bulk("Cu"), METALS, fmax_eV_per_A=1e-4)
    found = atomsim.phonons(host, METALS, volumes=6, **KEYS)
    assert found.quasi_harmonic.at(300.0) == pytest.approx(heated.at(300.0), rel=1e-3)
    assert atomsim.phonons(host, METALS, **KEYS).quasi_harmonic is None


def test_acoustic_modes_at_rest_are_no_part_of_the_free_energy(copper, heated):
    """G is E + F of the resting crystal but for its expansion, ½ B V (ΔV/V)²."""
    assert copper.mesh.numbers == (7, 7, 7)
    at, volume = heated.at(550.0), copper.constants.primitive.get_volume()
    gained = 0.5 * at["bulk_modulus_GPa"] * GPA * (at["volume_A3_per_atom"] - volume) ** 2 / volume
    resting = copper.constants.energy_eV + copper.thermal.at(550.0)[0]
    assert at["gibbs_eV_per_atom"] == pytest.approx(resting - gained, abs=0.002)
    assert at["thermal_expansion_error_per_K"] < 0.02 * at["thermal_expansion_per_K"]


def test_the_jackknife_of_a_mean_is_its_standard_error(monkeypatch):
    """A fit that returns the mean of the volumes has the error s/√n."""

    def mean_volume(phonopys, temperatures, *_, **__):
        n = len(temperatures) - 1
        volume, zero = np.full(n, np.mean([p.volume for p in phonopys])), np.zeros(n)
        capacity = SimpleNamespace(heat_capacities=zero)
        return SimpleNamespace(
            temperatures=np.asarray(temperatures)[:n], equilibrium_volumes=volume, thermal_expansion=zero,
            bulk_moduli=zero + 1.0, heat_capacity_P=capacity, gibbs_free_energies=zero,
        )  # fmt: skip

    monkeypatch.setattr("phonopy.run_qha", mean_volume)
    cells = [bulk("Cu", a=a) for a in (3.5, 3.55, 3.61, 3.64, 3.7, 3.71)]
    volumes = [c.get_volume() for c in cells]
    kept = [SimpleNamespace(primitive=c, energy_eV=0.0, phonopy=SimpleNamespace(volume=c.get_volume())) for c in cells]
    found = _fitted(kept, (1, 1, 1), SMALL)
    assert found.volume_error_A3_per_atom[0] == pytest.approx(np.std(volumes, ddof=1) / np.sqrt(6))
