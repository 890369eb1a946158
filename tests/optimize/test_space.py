"""Coordinates: their forces are gradients, and moving keeps what must be kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from atomsim.batch import Batch
from atomsim.models.ase import AsePotential
from atomsim.models.pair import LennardJones
from atomsim.optimize.space import Space
from atomsim.relaxation import METHODS, relax


def argon(a: float = 5.1) -> Atoms:
    atoms = bulk("Ar", "fcc", a=a, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array @ [[1.0, 0.02, 0], [0, 1.03, 0.01], [0, 0, 0.98]], scale_atoms=True)
    return atoms


@pytest.mark.parametrize("pressure", [0.0, 0.01])
@pytest.mark.parametrize("cell", [False, True])
def test_forces_are_minus_the_gradient_of_what_is_minimised(cell, pressure):
    potential, space = LennardJones(), Space(cell=cell, pressure=pressure)
    batch = Batch.pack([argon(), argon(5.3)])
    layout = space.layout(batch)
    force = space.force(batch, potential(batch), layout)
    torch.manual_seed(0)
    direction = torch.randn_like(force)

    def along(h: float) -> float:
        moved = space.move(batch, h * direction, layout)
        return float(space.energy(moved, potential(moved)).sum())

    slope = (along(1e-4) - along(-1e-4)) / 2e-4
    if cell:  # an antisymmetric strain is a rotation: it does no work
        strain = direction[layout.cell_rows]
        direction[layout.cell_rows] = 0.5 * (strain + strain.mT)
    assert slope == pytest.approx(-float((force * direction).sum()), rel=1e-6)


def test_fixed_atoms_feel_nothing_and_the_input_is_untouched():
    atoms = argon()
    atoms.set_constraint(FixAtoms([0, 2]))
    batch = Batch.pack([atoms])
    before = batch.positions.clone()
    space = Space(cell=True)
    layout = space.layout(batch)
    force = space.force(batch, LennardJones()(batch), layout)
    assert bool((force[[0, 2]] == 0).all())
    assert float(force[[1, 3]].abs().min()) > 0
    space.move(batch, force, layout)
    assert torch.equal(batch.positions, before)


def test_a_system_that_is_not_periodic_keeps_its_cell():
    cluster = Atoms("Ar2", positions=[[0, 0, 0], [3.5, 0, 0]], cell=[20, 20, 20])
    batch = Batch.pack([cluster])
    space = Space(cell=True)
    layout = space.layout(batch)
    force = space.force(batch, LennardJones()(batch), layout)
    assert bool((force[layout.cell_rows.flatten()] == 0).all())


def test_the_residual_is_the_one_of_ases_cell_filter():
    from ase.filters import FrechetCellFilter

    atoms = argon()
    batch = Batch.pack([atoms])
    potential = LennardJones()
    evaluation = potential(batch)
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms.calc = SinglePointCalculator(
        atoms,
        energy=float(evaluation.energy),
        forces=evaluation.forces.numpy(),
        stress=full_3x3_to_voigt_6_stress(evaluation.stress[0].numpy()),
    )
    wanted = (FrechetCellFilter(atoms).get_forces() ** 2).sum(axis=1).max() ** 0.5
    assert float(Space(cell=True).residual(batch, evaluation)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("pbc", [(True, True, False), False])
@pytest.mark.parametrize("method", METHODS)
def test_a_slab_and_a_molecule_relax_as_they_do_without_a_cell(method, pbc):
    slab = fcc111("Cu", (2, 2, 3), a=3.6, vacuum=8.0)
    slab.rattle(0.08, seed=1)
    slab.pbc = pbc
    with_cell, without = (
        relax(slab, AsePotential(EMT()), method=method, cell=cell, fmax_eV_per_A=0.01)[0] for cell in (True, False)
    )
    np.testing.assert_array_equal(with_cell.atoms.cell.array, slab.cell.array)
    assert with_cell.status == without.status == "converged"
    assert with_cell.steps == without.steps
    # the six strains that feel nothing are no soft modes either
    assert 0.5 < with_cell.lowest_curvature / without.lowest_curvature < 2


def test_a_strain_of_what_is_not_fully_periodic_is_not_applied():
    slab = argon()
    slab.pbc = (True, True, False)
    batch = Batch.pack([argon(), slab])
    space = Space(cell=True)
    layout = space.layout(batch)
    step = torch.full((len(layout.system), 3), 0.1, dtype=torch.float64)
    moved = space.move(batch, step, layout)
    assert torch.equal(moved.cell[1], batch.cell[1])
    assert torch.equal(moved.positions[4:], batch.positions[4:] + 0.1)
    assert not torch.equal(moved.cell[0], batch.cell[0])
