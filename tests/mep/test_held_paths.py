"""Paths of systems with held coordinates: the same barrier as ASE's, and nothing held that moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane
from ase.mep import NEB
from ase.optimize import BFGS
from test_paths import gold_on_aluminium

from atomsim.constraints.projectors import free_axes, free_directions
from atomsim.errors import InputError
from atomsim.mep.neb import path_of, question_of
from atomsim.mep.pairing import paired
from atomsim.mep.path import PathSettings, ReactionPath
from atomsim.mep.rates import frequencies, full_prefactor, vineyard
from atomsim.models.ase import AsePotential
from atomsim.optimize.hessian import partial_hessian

BESIDE = 8
"""An atom of the top layer of aluminium, beside the hop."""


def held(site: str) -> Atoms:
    """An end of the hop of gold; an atom of aluminium beside it keeps to a plane, the gold to another."""
    slab = gold_on_aluminium(site)
    slab.set_constraint([*slab.constraints, FixedPlane([BESIDE], (1, 0, 1)), FixCartesian([len(slab) - 1], (0, 1, 0))])
    return slab


def found_path(settings: PathSettings) -> ReactionPath:
    potential = AsePotential(EMT())
    question = question_of(paired(held("hollow"), held("next")), potential, settings, relax=True)
    return path_of(question, potential)[0].path


def barrier_by_ase() -> float:
    ends = [held("hollow"), held("next")]
    for end in ends:
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.01)
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate(apply_constraint=True)
    BFGS(band, logfile=None).run(fmax=0.01, steps=300)
    energies = [image.get_potential_energy() for image in images]
    return float(max(energies) - energies[0])


@pytest.mark.parametrize("how", ["follow", "band"])
def test_a_hop_beside_a_held_atom_has_the_barrier_that_ase_finds(how):
    settings = PathSettings(images=3, fmax_eV_per_A=0.01, search=how)
    path = found_path(settings)
    assert path.status == "converged"
    assert path.barrier == pytest.approx(barrier_by_ase(), abs=0.002)
    assert path.proof is not None
    assert path.proof.negative_modes == 1
    start = held("hollow")
    free = free_directions(start)
    for image in path.images:
        step = image.positions - start.positions
        np.testing.assert_allclose(np.einsum("aij,aj->ai", np.eye(3) - free, step), 0.0, atol=1e-10)
        assert {type(c) for c in image.constraints} == {FixAtoms, FixedPlane, FixCartesian}
    if how == "follow":
        for mode in (path.proof.mode, path.proof.second_mode):
            np.testing.assert_allclose(np.einsum("aij,aj->ai", free, mode), mode, atol=1e-10)
        attempt, _ = full_prefactor(path, AsePotential(EMT()))
        assert attempt is not None
        assert 1e11 < attempt < 1e14


def test_a_partial_hessian_is_along_what_may_move():
    atoms = gold_on_aluminium("hollow")
    chosen = (BESIDE, len(atoms) - 1)
    whole, calls = partial_hessian(atoms, chosen, AsePotential(EMT()))
    atoms.set_constraint([FixedLine([BESIDE], (1, 2, 2)), FixedPlane([len(atoms) - 1], (0, 1, 1))])
    part, fewer = partial_hessian(atoms, chosen, AsePotential(EMT()))
    free = free_directions(atoms)[list(chosen)]
    frame = np.zeros((6, 6))
    frame[:3, :3], frame[3:, 3:] = free
    np.testing.assert_allclose(part, frame @ whole @ frame, atol=0.02)  # third derivatives times the displacement
    assert (calls, fewer) == (12, 6)


@pytest.mark.parametrize("free", [np.eye(3), np.diag([1.0, 0.0, 1.0]), np.zeros((3, 3))])
def test_free_axes_are_those_of_space_where_they_can_be(free):
    axes = free_axes(torch.from_numpy(free)).numpy()
    np.testing.assert_array_equal(axes, np.eye(3)[np.diagonal(free) == 1])


def test_free_axes_span_what_is_free():
    rng = np.random.default_rng(0)
    for k in (1, 2):
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0][:, :k]
        axes = free_axes(torch.from_numpy(q @ q.T)).numpy()
        np.testing.assert_allclose(axes.T @ axes, q @ q.T, atol=1e-12)


def test_held_directions_have_no_frequency():
    numbers = np.array([3])
    found = vineyard(np.diag([4.0, 2.0, 0.0]), np.diag([-1.0, 2.0, 0.0]), numbers, still=1)
    assert found == pytest.approx(frequencies(4.0 * np.eye(3), numbers)[0], rel=1e-9)  # ν₁ν₂/ν₂


def test_ends_that_constraints_keep_apart_are_refused():
    start, end = held("hollow"), held("next")
    end.set_constraint(end.constraints[:1])
    with pytest.raises(InputError, match="constrained differently"):
        paired(start, end)
    end = held("next")
    end.positions[BESIDE] += [0.2, 0.0, 0.2]
    with pytest.raises(InputError, match=f"Al{BESIDE + 1} is held"):
        paired(start, end)
