"""Phonons against phonopy with the same calculator, exact limits, saddles, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

import atomsim
from atomsim.errors import InputError
from atomsim.models.ase import AsePotential
from atomsim.relaxation import relax
from atomsim.report.phonons import _bands
from atomsim.store.records import Record
from atomsim.units import KB
from atomsim.vibrations.cells import commensurate_supercell, phonon_supercell, primitive_cell
from atomsim.vibrations.phonons import Phonons, analysed, phonons
from atomsim.vibrations.record import to_values
from atomsim.vibrations.settings import PhononSettings
from atomsim.vibrations.thermal import H_EV_PER_THZ, thermal

EMT_POTENTIAL = AsePotential(EMT(), ["Cu", "Au", "Al"])
SMALL = PhononSettings(supercell_min_A=7.0, max_atoms=64, mesh_A=30.0)


def relaxed(atoms: Atoms, **settings) -> Atoms:
    return relax([atoms], EMT_POTENTIAL, fmax_eV_per_A=1e-4, **settings)[0].atoms


@pytest.fixture(scope="module")
def alloy() -> tuple[Atoms, Phonons]:
    atoms = bulk("Cu", cubic=True, a=3.75)
    atoms.symbols[0] = "Au"
    atoms = relaxed(atoms)
    return atoms, phonons(atoms, EMT_POTENTIAL, SMALL)


@pytest.fixture(scope="module")
def simple_cubic() -> Atoms:
    return relaxed(Atoms("Cu", cell=[2.4] * 3, pbc=True), keep_symmetry=True)


def by_phonopy(primitive: Atoms, matrix: np.ndarray) -> Phonopy:
    """Phonopy as its users have it: one call of an ASE calculator after the other, its own displacements."""
    unit = PhonopyAtoms(primitive.symbols, cell=primitive.cell.array, scaled_positions=primitive.get_scaled_positions())
    phonon = Phonopy(unit, supercell_matrix=matrix.T, primitive_matrix="P")
    phonon.generate_displacements(distance=0.01)
    cells = [Atoms(c.symbols, c.positions, cell=c.cell, pbc=True) for c in phonon.supercells_with_displacements]
    forces = []
    for cell in cells:
        cell.calc = EMT()
        forces.append(cell.get_forces())
    phonon.forces = np.array(forces)
    phonon.produce_force_constants(show_drift=False)
    return phonon


def test_frequencies_and_free_energy_are_those_of_phonopy_with_the_same_calculator(alloy):
    _, found = alloy
    reference = by_phonopy(found.constants.primitive, found.constants.matrix)
    reference.run_qpoints(found.bands.q)
    assert np.abs(reference.qpoints.frequencies - found.bands.frequency_THz).max() < 0.05
    reference.run_mesh(list(found.mesh.numbers), is_gamma_center=True)
    reference.run_thermal_properties(temperatures=[300.0])
    per_atom = float(reference.thermal_properties.free_energy[0]) / 96.4853321 / len(found.constants.primitive)
    assert found.thermal.at(300.0)[0] == pytest.approx(per_atom, abs=1e-3)


def test_a_stable_alloy_has_no_imaginary_mode_and_all_modes_in_its_density(alloy):
    _, found = alloy
    assert found.stable
    assert not found.flags
    n_modes = 3 * len(found.constants.primitive)
    assert np.trapezoid(found.dos.total, found.dos.frequency_THz) == pytest.approx(n_modes, rel=1e-4)
    # the elements' parts of all motion are their shares of the atoms
    gold = np.trapezoid(found.dos.by_element["Au"], found.dos.frequency_THz)
    assert gold == pytest.approx(n_modes / 4, rel=1e-4)
    # three acoustic branches start at nothing
    assert np.abs(found.bands.frequency_THz[0, :3]).max() < 1e-3


def test_a_conventional_cell_gives_the_phonons_of_the_primitive_one_and_says_so():
    cubic, primitive = relaxed(bulk("Al", cubic=True)), relaxed(bulk("Al"))
    wide, narrow = (phonons(a, EMT_POTENTIAL, SMALL) for a in (cubic, primitive))
    assert wide.flags == ("the given cell is 4 primitive cells; all is of the primitive one",)
    assert wide.bands.frequency_THz.shape[1] == 3
    assert wide.mesh.frequency_THz.max() == pytest.approx(narrow.mesh.frequency_THz.max(), abs=0.02)
    assert wide.thermal.at(300.0)[0] == pytest.approx(narrow.thermal.at(300.0)[0], abs=1e-4)


def test_an_oscillator_has_the_textbook_thermal_properties():
    nu = 5.0
    found = thermal(np.full((4, 3), nu), np.ones(4), np.array([0.0, 300.0, 20_000.0]), 1)
    quantum = H_EV_PER_THZ * nu
    x = quantum / (KB * 300.0)
    assert found.zero_point_eV_per_atom == pytest.approx(1.5 * quantum)
    assert found.free_energy_eV_per_atom[1] == pytest.approx(3 * (quantum / 2 + KB * 300 * np.log(1 - np.exp(-x))))
    energy = 3 * quantum * (0.5 + 1 / (np.exp(x) - 1))
    assert found.free_energy_eV_per_atom[1] == pytest.approx(energy - 300 * found.entropy_eV_per_K_per_atom[1])
    assert found.heat_capacity_eV_per_K_per_atom[2] == pytest.approx(3 * KB, rel=1e-4)  # Dulong and Petit


def test_free_energies_are_those_of_the_temperature_asked_for_or_refused(alloy):
    _, found = alloy
    with pytest.raises(InputError, match="computed from 0 to 1000 K; raise t_max_K"):
        found.thermal.at(2000.0)
    exact = found.thermal.at(300.0)
    for keys in ({"t_max_K": 200.0}, {"t_step_K": 250.0}):
        other = analysed(found.constants, "", replace(SMALL, **keys))
        values = to_values(other)
        assert values["free_energy_300K_eV_per_atom"] == pytest.approx(exact[0], abs=1e-9)
        assert values["entropy_300K_eV_per_K_per_atom"] == pytest.approx(exact[1], abs=1e-12)
    assert other.thermal.at(400.0)[0] == pytest.approx(found.thermal.at(400.0)[0], abs=5e-4)


def test_heat_capacity_and_entropy_are_derivatives_of_the_free_energy(alloy):
    heat = alloy[1].thermal
    t = heat.temperature_K
    entropy = -np.gradient(heat.free_energy_eV_per_atom, t)
    assert np.allclose(entropy[20:-1], heat.entropy_eV_per_K_per_atom[20:-1], rtol=1e-3)
    capacity = t * np.gradient(heat.entropy_eV_per_K_per_atom, t)
    assert np.allclose(capacity[20:-1], heat.heat_capacity_eV_per_K_per_atom[20:-1], rtol=1e-2)


def test_imaginary_modes_of_a_saddle_are_named_flagged_and_lead_to_the_lower_structure(simple_cubic):
    how = PhononSettings(supercell_min_A=4.5, max_atoms=64, mesh_A=30.0, follow=True, max_steps=200)
    found = phonons(simple_cubic, EMT_POTENTIAL, how)
    assert not found.stable
    assert "a saddle, not a minimum" in found.flags[0]
    assert "left out of F" in found.flags[1]
    # all wave vectors of the 2 × 2 × 2 supercell have names in a simple cubic lattice
    assert {m.point for m in found.imaginary} <= {"X", "M", "R"}
    assert all(
        m.frequency_THz < -how.imaginary_THz and m.by_element == {"Cu": pytest.approx(1)} for m in found.imaginary
    )
    lower = [end for end in found.lower if end.lower]
    assert min(lower, key=lambda e: e.energy_eV_per_atom).space_group == "Fm-3m (225)"


def test_an_unrelaxed_crystal_is_refused_with_its_force():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.2
    with pytest.raises(InputError, match=r"not relaxed: largest force .* eV/Å.*relax it"):
        phonons(atoms, EMT_POTENTIAL, SMALL)
    found = atomsim.phonons(atoms, EMT(), supercell_min_A=7.0)
    assert found.status == "invalid"
    assert "not relaxed" in found.message
    with pytest.raises(InputError, match="no phonons were computed"):
        _ = found.bands


def test_a_primitive_cell_that_is_none_is_refused(alloy):
    atoms, _ = alloy
    half = [[0.5, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    with pytest.raises(InputError, match="does not repeat by the vectors"):
        primitive_cell(atoms, 0.01, half)
    with pytest.raises(InputError, match="three independent rows"):
        primitive_cell(atoms, 0.01, [[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    face = [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]
    assert len(primitive_cell(bulk("Cu", cubic=True), 0.01, face)) == 1


def test_a_crystal_under_pressure_and_a_small_supercell_are_flagged():
    atoms = relaxed(bulk("Cu"))
    atoms.set_cell(0.98 * atoms.cell.array, scale_atoms=True)
    flags = " ".join(phonons(atoms, EMT_POTENTIAL, PhononSettings(supercell_min_A=20.0, max_atoms=8)).flags)
    assert "GPa: the cell was not relaxed" in flags
    assert "Å apart instead of 20" in flags


def test_what_has_no_lattice_or_constraints_is_refused():
    slab = bulk("Cu", cubic=True)
    slab.pbc = [True, True, False]
    with pytest.raises(InputError, match="phonons need a crystal"):
        phonons(slab, EMT_POTENTIAL, SMALL)


def test_supercells_keep_the_point_group_and_are_as_wide_as_asked_for():
    cell = primitive_cell(bulk("Cu", cubic=True), 0.01)
    matrix = phonon_supercell(cell, 9.0, 100)
    wide = matrix @ cell.cell.array
    assert np.linalg.norm(wide, axis=1).min() >= 9.0
    assert np.allclose(np.linalg.norm(wide, axis=1), np.linalg.norm(wide[0]))
    with pytest.raises(InputError, match="raise it"):
        phonon_supercell(bulk("Cu", cubic=True), 5.0, 3)


@pytest.mark.parametrize("q", [(0.5, 0, 0), (0.5, 0.5, 0), (1 / 3, 1 / 3, 0), (0.25, 0.5, 0), (0, 0, 0)])
def test_a_wave_repeats_in_the_smallest_supercell_that_holds_it(q):
    matrix = commensurate_supercell(np.eye(3) * 3, q)
    phases = matrix @ np.array(q)
    assert np.allclose(phases, np.round(phases))
    order = next(n for n in range(1, 99) if np.allclose(n * np.array(q), np.round(n * np.array(q))))
    assert round(np.linalg.det(matrix)) == order


def test_a_record_holds_all_of_it(alloy):
    atoms, direct = alloy
    found = atomsim.phonons(atoms, EMT(), supercell_min_A=7.0, max_atoms=64, mesh_A=30.0)
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    assert np.abs(again.bands.frequency_THz - direct.bands.frequency_THz).max() < 1e-3
    assert again.free_energy(300.0) == pytest.approx(direct.thermal.at(300.0)[0], abs=1e-6)
    rebuilt = again.phonopy()
    rebuilt.run_qpoints(again.bands.q[:5])
    assert np.abs(rebuilt.qpoints.frequencies - again.bands.frequency_THz[:5]).max() < 1e-3


def test_waves_of_a_supercell_are_grouped_by_symmetry():
    """Those of 3 × 3 × 1 cells of a hexagonal lattice: Γ, one point between Γ and K, and K, which is ± itself."""
    from atomsim.vibrations.stability import _reciprocal_rotations, _stars, commensurate_points

    cell = bulk("Mg")
    points = commensurate_points(np.diag([3, 3, 1]))
    assert len(points) == 9
    assert sorted(len(star) for star in _stars(points, _reciprocal_rotations(cell))) == [1, 2, 6]


def test_no_line_of_a_chart_joins_two_ends_of_a_broken_way():
    way, names = [0.0, 0.5, 1.0, 1.0, 1.5], [[0.0, "Γ"], [1.0, "X|K"], [1.5, "L"]]
    kept = {"distance": way, "frequency_THz": [[0.0], [1.0], [2.0], [9.0], [8.0]], "q": [[0, 0, 0]] * 5, "ticks": names}
    drawn = _bands(Record("t", "s", "phonons", "Cu", "done", values={"bands": kept})).panels[0].series
    assert [list(s.y) for s in drawn] == [[0.0, 1.0, 2.0], [9.0, 8.0]]
