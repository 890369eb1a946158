"""Every optimizer reaches the minimum that ASE reaches, with and without the cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.models.ase import AsePotential
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones, Morse
from atomsim.optimize.drive import drive
from atomsim.optimize.entering import Group
from atomsim.optimize.fire import Fire
from atomsim.optimize.lbfgs import Lbfgs
from atomsim.optimize.newton import Newton
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop
from atomsim.relaxation import METHODS, relax


def alloy(seed: int = 0) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.numbers[:3] = 79
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(atoms.cell.array * [[1.04], [0.98], [1.02]], scale_atoms=True)
    return atoms


def relaxed_by_ase(atoms: Atoms, cell: bool, fmax: float) -> Atoms:
    copy = atoms.copy()
    copy.calc = EMT()
    optimizer = FIRE(FrechetCellFilter(copy) if cell else copy, logfile=None)
    assert optimizer.run(fmax=fmax, steps=2000)
    return copy


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_minimum_is_that_of_ase(method, cell):
    potential = AsePotential(EMT())
    (found,) = relax(alloy(), potential, method=method, cell=cell, fmax_eV_per_A=0.002, max_steps=1000)
    wanted = relaxed_by_ase(alloy(), cell, 0.002)
    assert found.status == "converged"
    assert found.fmax <= 0.002
    assert found.energy == pytest.approx(wanted.get_potential_energy(), abs=1e-3 * len(wanted))
    assert found.atoms.get_volume() == pytest.approx(wanted.get_volume(), rel=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_results_do_not_depend_on_what_else_is_in_flight(method):
    systems = [alloy(seed) for seed in range(4)] + [bulk("Cu", a=3.7)]
    systems = [Atoms(s, calculator=None) for s in systems]
    for s in systems:
        s.numbers[:] = 29
    potential = Morse()
    alone = relax(systems, potential, method=method, fmax_eV_per_A=0.01, capacity=Capacity(systems=1))
    together = relax(systems, potential, method=method, fmax_eV_per_A=0.01, capacity=Capacity(systems=3))
    assert {r.status for r in alone} == {"converged"}
    for a, b in zip(alone, together, strict=True):
        assert b.force_calls == a.force_calls
        assert b.energy == pytest.approx(a.energy, abs=1e-9)
        np.testing.assert_allclose(b.forces, a.forces, atol=1e-9)


def test_pressure_compresses_to_the_pressure_that_was_asked_for():
    from atomsim.units import GPA

    start = bulk("Cu", a=3.7)
    (found,) = relax(start, AsePotential(EMT()), pressure_GPa=20.0, fmax_eV_per_A=0.001)
    assert found.converged
    at_first = AsePotential(EMT())(Batch.pack([start])).energy
    assert found.initial_energy == pytest.approx(float(at_first), abs=1e-9)  # without PV, as ``energy``
    assert -np.trace(found.stress) / 3 / GPA == pytest.approx(20.0, abs=0.05)


def test_fixed_atoms_stay_where_they_are():
    from ase.constraints import FixAtoms

    atoms = alloy()
    atoms.set_constraint(FixAtoms([0, 5]))
    (found,) = relax(atoms, AsePotential(EMT()), cell=False, fmax_eV_per_A=0.01)
    assert found.converged
    np.testing.assert_array_equal(found.atoms.positions[[0, 5]], atoms.positions[[0, 5]])
    assert np.abs(found.atoms.positions - atoms.positions).max() > 0.05


def test_a_known_hessian_spares_most_force_calls():
    """Newton's method proper: with the exact Hessian of a near-harmonic start it needs a few calls."""
    from atomsim.optimize.hessian import hessian
    from atomsim.optimize.springs import invert

    potential, space = LennardJones(), Space(cell=True)
    (minimum,) = relax(bulk("Ar", "fcc", a=5.2, cubic=True), potential, fmax_eV_per_A=1e-5, max_steps=1000)
    start = minimum.atoms.copy()
    start.rattle(0.03, seed=2)
    batch = Batch.pack([start])
    known = invert(hessian(minimum.atoms, potential).matrix(cell=True), batch, space, floor=0.01)
    calls = {}
    for name, guess in (("nothing", None), ("hessian", known)):
        (outcome,) = drive([Group(0, batch, guess)], potential, Newton(), space, Stop(fmax=1e-4), Capacity())
        assert outcome.status == "converged"
        calls[name] = outcome.steps + 1
    assert calls["hessian"] < 0.5 * calls["nothing"]


@pytest.mark.parametrize("method", [Fire(), Lbfgs(), Newton()], ids=METHODS[::-1])
def test_the_start_is_not_changed(method):
    batch = Batch.pack([alloy()])
    numbers = replace(batch, numbers=torch.full_like(batch.numbers, 29))
    before = numbers.positions.clone()
    list(drive([Group(0, numbers)], Morse(), method, Space(cell=True), Stop(fmax=0.1, max_steps=5), Capacity()))
    assert torch.equal(numbers.positions, before)


@pytest.mark.parametrize(("a", "steps"), [(3.5, 8), (3.7, 12), (3.9, 20)])
def test_newton_goes_through_a_region_of_negative_curvature(a, steps):
    """A lattice stretched beyond the inflection of its energy falls back; damping alone would freeze it there."""
    found = {
        method: relax(
            bulk("Cu", a=a, cubic=True), load_potential("lj-test", "cpu"), check_minimum=False, method=method
        )[0]
        for method in ("newton", "lbfgs")
    }
    assert found["newton"].status == "converged"
    assert found["newton"].steps <= steps
    assert found["newton"].energy == pytest.approx(found["lbfgs"].energy, abs=2e-3)
