"""Large cells: springs without a dense matrix are the same springs, and lead to the same minima and saddles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixedLine, FixScaled
from test_hessian import brute_force

import atomsim.optimize.sparse
from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.products import Products
from atomsim.optimize.space import Space
from atomsim.optimize.sparse import sparse_springs
from atomsim.optimize.springs import spring_guess, spring_hessian
from atomsim.relaxation import relax
from atomsim.structures.prototypes import load_prototype

STRONG = LennardJones(epsilon_eV=0.5)


@pytest.fixture
def large(monkeypatch):
    """Take every system for a large one."""
    monkeypatch.setattr(atomsim.optimize.sparse, "LARGE", 1)


def oxide() -> Atoms:
    atoms = load_prototype("LiCoO2").primitive.repeat((2, 1, 1))
    atoms.rattle(0.05, seed=2)
    return atoms


def whole(springs) -> torch.Tensor:
    return torch.stack([springs.times(unit) for unit in torch.eye(springs.matrix.shape[0], dtype=torch.float64)])


@pytest.mark.parametrize("cell", [False, True])
def test_the_springs_are_those_of_the_dense_matrix(cell):
    batch, space = Batch.pack([oxide()]), Space(cell=cell)
    dense = spring_hessian(batch, space)
    floor = 1e-3
    sparse = whole(sparse_springs(batch, space, weak=0.0, floor=floor))
    torch.testing.assert_close(sparse - floor * torch.eye(len(dense)), dense, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", [False, True])
def test_what_is_held_neither_moves_nor_couples(cell):
    atoms = oxide()
    rest = FixScaled([4], (True, False, True)) if cell else FixedLine([4], (1, 2, -1))
    atoms.set_constraint([FixAtoms([1]), rest])
    batch, space = Batch.pack([atoms]), Space(cell=cell)
    layout = space.layout(batch)
    springs = sparse_springs(batch, space)
    push = torch.randn(len(layout.system), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    push = space.free_part(batch, push, layout).flatten()
    answer = springs.solve(push, 1e-8)
    free = space.free_part(batch, answer.view(-1, 3), layout).flatten()
    torch.testing.assert_close(free, answer, rtol=0, atol=1e-12)
    torch.testing.assert_close(springs.times(answer), push, rtol=0, atol=1e-6)
    # the root of the inverse, taken twice, is the inverse
    torch.testing.assert_close(springs.root(springs.root(push)), answer, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("method", "cell"), [("newton", False), ("newton", True), ("lbfgs", True)])
def test_a_large_relaxation_ends_on_the_same_minimum(cell, method, monkeypatch):
    atoms, potential = bulk("Li", "fcc", a=3.15).repeat(2), load_potential("lj-test", "cpu")
    atoms.rattle(0.06, seed=4)
    if not cell:
        atoms.set_constraint([FixAtoms([7]), FixedLine([2], (0, 0, 1))])
    usual, sparse = [], []
    for found, threshold in ((usual, 100), (sparse, 1)):
        monkeypatch.setattr(atomsim.optimize.sparse, "LARGE", threshold)
        found += relax(atoms, potential, cell=cell, method=method, fmax_eV_per_A=1e-3)
    assert usual[0].status == sparse[0].status == "converged"
    assert sparse[0].message == ""
    assert sparse[0].energy == pytest.approx(usual[0].energy, abs=1e-5)
    assert sparse[0].force_calls <= 1.3 * usual[0].force_calls
    if not cell:
        np.testing.assert_allclose(sparse[0].atoms.positions[7], atoms.positions[7], atol=1e-12)
        np.testing.assert_allclose(sparse[0].atoms.positions[2, :2], atoms.positions[2, :2], atol=1e-10)


@pytest.mark.parametrize("cell", [False, True])
def test_the_search_finds_the_negative_mode_that_the_dense_one_finds(cell):
    bcc = bulk("Ar", "bcc", a=4.1, cubic=True).repeat((2, 2, 1))  # unstable against a strain, and a wave along [110]
    (found,) = relax(bcc, STRONG, fmax_eV_per_A=1e-5, max_steps=2000, check_minimum=False)
    batch, space = Batch.pack([found.atoms]), Space(cell=cell)
    force = space.force(batch, STRONG(batch), space.layout(batch))
    products = Products(batch, force, STRONG, space)
    values = torch.linalg.eigvalsh(brute_force(found.atoms, STRONG, space))
    for guess in (spring_guess(batch, space), sparse_springs(batch, space)):
        modes = lowest_modes(products, [guess], negative=-0.1)
        assert bool(modes.settled[0])
        assert float(values[0]) - 0.05 < float(modes.curvature[0]) < -0.1
        assert float((modes.mode * modes.product).sum()) == pytest.approx(float(modes.curvature[0]), abs=1e-9)


def test_the_search_excludes_negative_modes_at_a_minimum_and_leaves_saddles(large):
    saddle = bulk("Ar", "bcc", a=4.1, cubic=True).repeat((2, 1, 1))
    blind, seeing = (
        relax(saddle, STRONG, fmax_eV_per_A=1e-3, check_minimum=check, max_steps=2000)[0] for check in (False, True)
    )
    assert blind.status == seeing.status == "converged"
    assert seeing.message == ""
    assert seeing.lowest_curvature > 0
    assert seeing.energy < blind.energy - 0.05


def test_large_systems_are_the_same_alone_and_in_company(monkeypatch):
    """Small and large ones in one call, each in its own way and in the order of the call."""
    monkeypatch.setattr(atomsim.optimize.sparse, "LARGE", 8)
    systems = []
    for n, repeats in enumerate(((2, 2, 2), (1, 1, 2), (2, 2, 3), (1, 2, 2))):
        systems.append(bulk("Li", "fcc", a=3.15).repeat(repeats))
        systems[-1].rattle(0.06, seed=n)
    potential = load_potential("lj-test", "cpu")
    alone = relax(systems, potential, fmax_eV_per_A=0.01, capacity=Capacity(systems=1))
    together = relax(systems, potential, fmax_eV_per_A=0.01, capacity=Capacity(systems=4))
    for system, a, b in zip(systems, alone, together, strict=True):
        assert len(a.atoms) == len(system)
        assert a.status == "converged"
        assert (a.status, a.force_calls) == (b.status, b.force_calls)
        np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, atol=1e-8)
