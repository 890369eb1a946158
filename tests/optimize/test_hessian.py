"""Hessians: symmetry saves force calls, not accuracy; children inherit rows and columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.models.pair import LennardJones
from atomsim.optimize.hessian import hessian
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess, spring_hessian
from atomsim.relaxation import RelaxSettings, iter_relax, relax


def brute_force(atoms: Atoms, potential, space: Space, h: float = 1e-3) -> torch.Tensor:
    batch = Batch.pack([atoms])
    layout = space.layout(batch)
    columns = []
    for k in range(3 * len(layout.system)):
        step = torch.zeros(3 * len(layout.system), dtype=torch.float64)
        step[k] = h
        up = space.move(batch, step.view(-1, 3), layout)
        down = space.move(batch, -step.view(-1, 3), layout)
        change = space.force(down, potential(down), layout) - space.force(up, potential(up), layout)
        columns.append(change.flatten() / (2 * h))
    return torch.stack(columns, dim=1)


@pytest.fixture(scope="module")
def minimum() -> Atoms:
    start = bulk("Ar", "hcp", a=3.7, c=6.1)  # two atoms, not cubic: the coupling to strain matters
    (found,) = relax(start, LennardJones(), fmax_eV_per_A=1e-6, max_steps=2000)
    assert found.converged
    return found.atoms


def test_it_equals_brute_force_with_far_fewer_calls(minimum):
    cell = minimum.repeat((2, 1, 1))
    found = hessian(cell, LennardJones())
    wanted = brute_force(cell, LennardJones(), Space(cell=True))
    # third derivatives enter the differences of 0.02 Å displacements
    torch.testing.assert_close(found.matrix(cell=True), wanted, atol=3e-4, rtol=3e-3)
    assert float(wanted.abs().max()) > 0.1
    assert found.force_calls < 2 * wanted.shape[1] / 2


def test_a_child_keeps_the_rows_of_the_atoms_that_it_kept(minimum):
    parent = hessian(minimum.repeat((2, 1, 1)), LennardJones())
    child = parent.of_child([3, 0])
    whole = parent.matrix(cell=False).view(4, 3, 4, 3)
    np.testing.assert_array_equal(child.matrix(cell=False).view(2, 3, 2, 3)[0, :, 1], whole[3, :, 0])
    assert child.matrix(cell=True).shape == (15, 15)


def test_a_molecule_has_no_crystal_hessian():
    with pytest.raises(InputError, match="not periodic"):
        hessian(Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.8]]), LennardJones())


def test_the_spring_model_feels_no_translation_and_its_inverse_is_positive():
    batch = Batch.pack([bulk("NaCl", "rocksalt", a=5.6, cubic=True)])
    space = Space(cell=True)
    matrix = spring_hessian(batch, space)
    translation = torch.zeros(11, 3, dtype=torch.float64)
    translation[:8, 0] = 1.0
    assert float((matrix @ translation.flatten()).abs().max()) < 1e-9
    assert float(torch.linalg.eigvalsh(matrix)[6:].min()) > 0  # 3 translations, 3 rotations as strains
    assert float(torch.linalg.eigvalsh(spring_guess(batch, space)).min()) > 0


def test_a_hessian_that_is_not_finite_is_not_started_from(minimum):
    spoiled = hessian(minimum, LennardJones())
    spoiled = replace(spoiled, strain=torch.full_like(spoiled.strain, torch.nan))
    found = [dict(iter_relax([minimum], LennardJones(), RelaxSettings(), hessians=h))[0] for h in ({0: spoiled}, {})]
    assert found[0].status == "converged"
    assert found[0].force_calls == found[1].force_calls
