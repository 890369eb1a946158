"""Neighbour lists against ASE's, and a skin that never misses a pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import primitive_neighbor_list

from atomsim.batch import Batch
from atomsim.models.neighbors import SkinList, _pairs_warp, _sorted, neighbor_list


def random_cell(rng: np.random.Generator, pbc: bool | list[bool] = True) -> Atoms:
    """A cell of any shape, from much smaller than a cutoff to larger, atoms not wrapped."""
    size = rng.choice([2.5, 5.0, 11.0])
    cell = np.eye(3) * size + rng.uniform(-0.45, 0.45, (3, 3)) * size
    if np.linalg.det(cell) < 0:
        cell = cell[[1, 0, 2]]
    n = int(rng.integers(1, 9))
    scaled = rng.uniform(-1.5, 2.5, (n, 3))
    return Atoms("Li" * n, positions=scaled @ cell, cell=cell, pbc=pbc)


def pair_set(i, j, shift) -> set[tuple[int, ...]]:
    return {(int(a), int(b), *(round(float(x)) for x in s)) for a, b, s in zip(i, j, shift, strict=True)}


def ase_pairs(atoms: Atoms, cutoff: float) -> set[tuple[int, ...]]:
    i, j, shift = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell.array, atoms.positions, cutoff)
    return pair_set(i, j, shift)


@pytest.mark.parametrize("cutoff", [3.0, 6.0])
@pytest.mark.parametrize("pbc", [True, False, [True, False, True]])
def test_pairs_equal_those_of_ase_on_random_cells(cutoff, pbc):
    rng = np.random.default_rng(7)
    systems = [random_cell(rng, pbc) for _ in range(12)]
    batch = Batch.pack(systems)
    found = neighbor_list(batch, cutoff)
    for k, atoms in enumerate(systems):
        mine = batch.system[found.i] == k
        start = int(batch.starts[k])
        got = pair_set(found.i[mine] - start, found.j[mine] - start, found.shift[mine])
        assert got == ase_pairs(atoms, cutoff)


def test_pairs_are_sorted_and_vectors_have_their_length():
    batch = Batch.pack([bulk("NaCl", "rocksalt", a=5.6), bulk("Cu", cubic=True)])
    found = neighbor_list(batch, 5.0)
    assert bool((found.i[1:] >= found.i[:-1]).all())
    length = found.vectors(batch).norm(dim=1)
    assert float(length.max()) < 5.0
    assert float(length.min()) == pytest.approx(3.61 / np.sqrt(2))


def test_an_atom_alone_in_vacuum_has_no_neighbours():
    found = neighbor_list(Batch.pack([Atoms("Li", positions=[[0, 0, 0]])]), 6.0)
    assert len(found.i) == 0


def moved(batch: Batch, rng: np.random.Generator, step: float, strain: float) -> Batch:
    deformation = torch.eye(3, dtype=torch.float64) + torch.from_numpy(rng.normal(0, strain, (batch.n_systems, 3, 3)))
    positions = torch.einsum("ac,acd->ad", batch.positions, deformation[batch.system])
    positions = positions + torch.from_numpy(rng.normal(0, step, (batch.n_atoms, 3)))
    return replace(batch, positions=positions, cell=batch.cell @ deformation)


@pytest.mark.parametrize(("step", "strain"), [(0.02, 0.0), (0.0, 0.01), (0.05, 0.01), (0.5, 0.1)])
def test_a_skin_never_misses_a_pair_while_atoms_move_and_cells_change(step, strain):
    rng = np.random.default_rng(11)
    batch = Batch.pack([random_cell(rng) for _ in range(6)])
    skin = SkinList(5.0, skin=0.8)
    for _ in range(15):
        kept, fresh = skin(batch), neighbor_list(batch, 5.0)
        assert torch.equal(kept.i, fresh.i)
        assert torch.equal(kept.j, fresh.j)
        assert torch.equal(kept.shift, fresh.shift)
        batch = moved(batch, rng, step, strain)


def test_a_skin_spares_searches_for_small_steps():
    rng = np.random.default_rng(3)
    batch = Batch.pack([bulk("NaCl", "rocksalt", a=5.6, cubic=True)] * 4)
    skin = SkinList(5.0, skin=0.8)
    for _ in range(10):
        skin(batch)
        batch = moved(batch, rng, 0.01, 0.0)
    assert skin.searched == 4


def test_a_skin_is_not_fooled_by_refills_and_reordering():
    rng = np.random.default_rng(5)
    cells = [bulk("NaCl", "rocksalt", a=5.6, cubic=True) for _ in range(4)]
    for atoms in cells:
        atoms.rattle(0.6, rng=rng)
    batch = Batch.pack(cells)
    skin = SkinList(5.0, skin=0.5)
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [1, 1, 2, 0], [3, 2]):
        now = batch.take(order)
        kept, fresh = skin(now), neighbor_list(now, 5.0)
        assert torch.equal(kept.i, fresh.i)
        assert torch.equal(kept.shift, fresh.shift)


@pytest.mark.gpu
def test_pairs_on_a_gpu_equal_those_on_a_cpu():
    rng = np.random.default_rng(13)
    batch = Batch.pack([random_cell(rng) for _ in range(8)])
    here, there = neighbor_list(batch, 5.0), neighbor_list(batch.to("cuda"), 5.0)
    assert torch.equal(here.i, there.i.cpu())
    assert torch.equal(here.j, there.j.cpu())
    assert torch.equal(here.shift, there.shift.cpu())


@pytest.mark.parametrize("pbc", [True, False, [True, False, True]])
def test_the_batched_search_used_on_gpus_finds_the_same_pairs(pbc):
    rng = np.random.default_rng(17)
    batch = Batch.pack([random_cell(rng, pbc) for _ in range(8)])
    here, there = neighbor_list(batch, 5.0), _sorted(*_pairs_warp(batch, 5.0))
    assert torch.equal(here.i, there.i)
    assert torch.equal(here.j, there.j)
    assert torch.equal(here.shift, there.shift)


def test_the_batched_search_finds_the_same_pairs_in_large_cells():
    rng = np.random.default_rng(19)
    large = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(5)  # as few as get a cell list
    large.rattle(0.2, rng=rng)
    batch = Batch.pack([large])
    here, there = neighbor_list(batch, 4.5), _sorted(*_pairs_warp(batch, 4.5))
    assert torch.equal(here.i, there.i)
    assert torch.equal(here.shift, there.shift)


def test_atoms_far_from_home_have_the_same_neighbours():
    rng = np.random.default_rng(3)
    atoms = Atoms("Li8", positions=rng.uniform(0, 6, (8, 3)), cell=[[6, 0, 0], [1, 5, 0], [0, 2, 7]], pbc=True)
    far = atoms.copy()
    far.positions += rng.integers(-400, 400, (8, 3)) @ atoms.cell.array
    found = []
    for each in (atoms, far):
        batch = Batch.pack([each])
        pairs = neighbor_list(batch, 5.0)
        vectors = pairs.vectors(batch).numpy()
        order = np.lexsort((*vectors.T.round(6), pairs.j.numpy(), pairs.i.numpy()))
        found.append((pairs.i.numpy()[order], pairs.j.numpy()[order], vectors[order]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)
