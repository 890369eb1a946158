"""Held coordinates stay, and the rest finds the minimum that ASE finds with the same constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixInternals,
    FixScaled,
    FixSymmetry,
    Hookean,
)
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.errors import InputError
from atomsim.models.ase import PotentialCalculator
from atomsim.models.load import load_potential
from atomsim.relaxation import METHODS, relax

HELD = {
    "scaled": [FixScaled([1, 2], (False, False, True)), FixScaled(5, (True, False, True)), FixAtoms([7])],
    "cartesian": [FixCartesian(1, (False, False, True)), FixCartesian([4, 6], (True, True, False))],
    "plane": [FixedPlane([1, 3], (1, 2, 2)), FixCartesian([6], (True, True, True))],
    "line": [FixedLine([1], (1, -1, 3)), FixedLine([2], (0, 0, 1)), FixedPlane([5], (0, 1, 0))],
}


class Scaled(FixScaled):
    """``FixScaled`` with the forces along free lattice vectors; ASE 3.29 takes the cell for its transpose."""

    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None:
        free = np.linalg.pinv(atoms.cell.array[~self.mask]) @ atoms.cell.array[~self.mask]
        forces[self.index] = forces[self.index] @ free


def crystal(constraints: list[FixConstraint]) -> Atoms:
    """Eight atoms in a skew cell, fcc but for noise: one basin."""
    atoms = bulk("Li", "fcc", a=3.15).repeat(2)
    atoms.rattle(0.06, seed=4)
    atoms.set_cell(atoms.cell.array @ np.array([[1.02, 0.01, 0], [0, 0.99, 0], [0, 0.02, 1.01]]), scale_atoms=True)
    atoms.set_constraint(constraints)
    return atoms


@cache
def energy_by_ase(kind: str, cell: bool) -> float:
    atoms = crystal([Scaled(c.index, c.mask) if isinstance(c, FixScaled) else c for c in HELD[kind]])
    atoms.calc = PotentialCalculator(load_potential("lj-test", "cpu"))
    assert BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None).run(fmax=2e-4, steps=500)
    return float(atoms.get_potential_energy())


def assert_held(before: Atoms, after: Atoms) -> None:
    """Assert that no held coordinate has moved, Cartesian or fractional."""
    step = after.positions - before.positions
    fractional = after.cell.scaled_positions(after.positions) - before.cell.scaled_positions(before.positions)
    for constraint in before.constraints:
        index = constraint.index
        if isinstance(constraint, FixAtoms | FixScaled):
            mask = getattr(constraint, "mask", np.ones(3, dtype=bool))
            found = fractional[index][:, mask]
        elif isinstance(constraint, FixCartesian):
            found = step[index][:, constraint.mask]
        elif isinstance(constraint, FixedPlane):
            found = step[index] @ constraint.dir
        else:
            found = np.cross(step[index], constraint.dir)
        np.testing.assert_allclose(found, 0.0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "cell"), [("scaled", False), ("scaled", True), ("cartesian", False), ("plane", False), ("line", False)]
)
def test_held_coordinates_stay_and_the_minimum_is_that_of_ase(kind, cell, method):
    potential, before = load_potential("lj-test", "cpu"), crystal(HELD[kind])
    (found,) = relax(before, potential, cell=cell, method=method, fmax_eV_per_A=2e-4)
    assert found.status == "converged"
    assert found.energy == pytest.approx(energy_by_ase(kind, cell), abs=5e-6)
    assert np.abs(found.atoms.positions - before.positions).max() > 0.02
    assert np.linalg.norm(found.forces, axis=1).max() > 0.01  # raw ones, what constraints bear among them
    assert_held(before, found.atoms)
    kinds = {type(c) for c in before.constraints}
    assert {type(c) for c in found.atoms.constraints} == kinds


def test_a_constrained_system_is_the_same_alone_and_in_company():
    potential = load_potential("lj-test", "cpu")
    systems = [crystal(HELD["plane"]), crystal([]), crystal(HELD["scaled"]), crystal(HELD["line"])]
    alone = relax(systems, potential, cell=False, fmax_eV_per_A=0.01, capacity=Capacity(systems=1))
    together = relax(systems, potential, cell=False, fmax_eV_per_A=0.01, capacity=Capacity(systems=4))
    for a, b in zip(alone, together, strict=True):
        assert (a.status, a.force_calls) == (b.status, b.force_calls)
        np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, atol=1e-9)


@pytest.mark.parametrize("kind", HELD)
def test_noise_and_starts_leave_held_coordinates_alone(kind):
    before = crystal(HELD[kind])
    (found,) = relax(
        before, load_potential("lj-test", "cpu"), cell=False, noise_A=0.03, starts=2, seed=3, fmax_eV_per_A=0.05
    )
    assert_held(before, found.atoms)


@dataclass(frozen=True)
class Pass:
    """Every atom on a mountain pass around the origin: up along x and y, down along z, eV/Å²."""

    stiffness: tuple[float, float, float] = (3.0, 4.0, -5.0)

    def __call__(self, batch: Batch) -> Evaluation:
        k = torch.tensor(self.stiffness, dtype=torch.float64)
        energy = torch.zeros(batch.n_systems, dtype=torch.float64)
        energy = energy.index_add(0, batch.system, 0.5 * (k * batch.positions**2).sum(dim=1))
        return Evaluation(energy, -k * batch.positions, torch.zeros(batch.n_systems, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("constraint", "curvature"),
    [
        (FixCartesian(0, (False, False, True)), 3.0),
        (FixedPlane([0], (0, 0, 1)), 3.0),
        (FixedLine([0], (0, 1, 0)), 4.0),
        (FixedLine([0], (2, 0, 1)), 1.4),
        (FixScaled(0, (False, False, True)), 3.0),
        (FixedPlane([0], (1, 0, 0)), None),
        (FixedLine([0], (1, 0, 1)), None),
    ],
)
def test_a_minimum_is_one_along_what_may_move(constraint, curvature):
    atoms = Atoms("Li2", positions=[(0, 0, 0), (2, 2, 2)], cell=[[4, 0, 0], [1, 4, 0], [0, 0, 4]])
    atoms.set_constraint([constraint, FixAtoms([1])])  # or a shift of all would cost nothing
    (found,) = relax(atoms, Pass(), cell=False, max_steps=20)
    if curvature is None:
        assert found.status != "converged"
    else:
        assert found.status == "converged"
        assert found.lowest_curvature == pytest.approx(curvature, abs=0.1)


def test_a_shift_that_constraints_allow_is_no_soft_mode():
    """Held in z everywhere, the crystal may still slide in the plane, which costs nothing and says nothing."""
    atoms = bulk("Li", "fcc", a=3.15, cubic=True)
    atoms.set_constraint(FixedPlane(range(4), (0, 0, 1)))
    shifts = Batch.pack([atoms]).free_shifts[0]
    np.testing.assert_allclose((shifts.T @ shifts).numpy(), np.diag([1.0, 1.0, 0.0]), atol=1e-12)
    (found,) = relax(atoms, load_potential("lj-test", "cpu"), cell=False)
    assert found.lowest_curvature is not None
    assert found.lowest_curvature > 0.5


@pytest.mark.parametrize("kind", ["cartesian", "plane", "line"])
def test_directions_in_space_and_a_moving_cell_are_refused(kind):
    (found,) = relax(crystal(HELD[kind]), load_potential("lj-test", "cpu"))
    assert found.status == "invalid"
    assert "--no-cell" in found.message
    assert "\n" not in found.message


def test_an_atom_held_along_all_three_axes_is_fixed():
    """Its fractional coordinates stay with a moving cell, as those of FixAtoms, here and in ASE's filters."""
    systems = [crystal([c]) for c in (FixAtoms([1, 4]), FixCartesian([1, 4]), FixScaled([1, 4]))]
    found = relax(systems, load_potential("lj-test", "cpu"), fmax_eV_per_A=0.01)
    for one in found:
        np.testing.assert_allclose(one.atoms.positions, found[0].atoms.positions, atol=1e-12)


def tied(make: Callable[[Atoms], FixConstraint]) -> Atoms:
    atoms = bulk("Li", "fcc", a=3.15, cubic=True)
    atoms.set_constraint(make(atoms))
    return atoms


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: FixBondLengths([[0, 1]]), "FixBondLengths"),
        (lambda _: FixInternals(bonds=[[2.2, [0, 1]]]), "FixInternals"),
        (lambda _: Hookean(a1=0, a2=1, k=5.0, rt=2.0), "Hookean"),
        (lambda _: FixCom(), "FixCom"),
        (lambda _: [FixedPlane([0], (0, 0, 1)), FixedLine([0], (1, 0, 0))], "FixedPlane and FixedLine"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(make, name):
    atoms = tied(make)
    found = relax([atoms, bulk("Li", "fcc", a=3.15)], load_potential("lj-test", "cpu"))
    assert [r.status for r in found] == ["invalid", "converged"]
    assert name in found[0].message
    with pytest.raises(InputError, match=name):
        Batch.pack([atoms])


def test_a_fixed_symmetry_is_kept():
    atoms = bulk("Li", "bcc", a=2.6, cubic=True)  # a saddle under pair forces, kept by its symmetry alone
    free, kept = relax([atoms, tied(FixSymmetry)], load_potential("lj-test", "cpu"))
    assert kept.converged
    atoms.set_constraint(FixSymmetry(atoms))
    (kept,) = relax(atoms, load_potential("lj-test", "cpu"), seed=1)
    assert kept.converged
    assert [type(c) for c in kept.atoms.constraints] == [FixSymmetry]
    lengths = kept.atoms.cell.lengths()
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)
    np.testing.assert_allclose(kept.atoms.get_scaled_positions()[1], 0.5, atol=1e-9)
    (same,) = relax(bulk("Li", "bcc", a=2.6, cubic=True), load_potential("lj-test", "cpu"), keep_symmetry=True)
    assert kept.energy == pytest.approx(same.energy, abs=1e-9)
    assert free.energy < same.energy - 1e-3


@pytest.mark.parametrize(
    ("keywords", "settings", "words"),
    [
        ({}, {"starts": 3}, "starts = 3"),
        ({"adjust_positions": False}, {}, "adjust_positions"),
        ({"adjust_cell": False}, {"cell": True}, "adjust_cell"),
    ],
)
def test_a_symmetry_that_cannot_be_kept_is_refused(keywords, settings, words):
    atoms = tied(lambda a: FixSymmetry(a, **keywords))
    found = relax([atoms, bulk("Li", "fcc", a=3.15)], load_potential("lj-test", "cpu"), **settings)
    assert [r.status for r in found] == ["invalid", "converged"]
    assert words in found[0].message


def test_a_symmetry_that_constraints_break_is_refused():
    potential = load_potential("lj-test", "cpu")
    broken, whole = (bulk("LiF", "wurtzite", a=3.2, c=5.2, u=0.38) for _ in range(2))
    broken.set_constraint(FixAtoms([0]))
    whole.set_constraint(FixAtoms([0, 2]))  # all that the symmetry makes alike
    found = relax([broken, whole], potential, keep_symmetry=True, cell=False)
    assert [r.status for r in found] == ["invalid", "converged"]
    assert "constraints hold" in found[0].message


def test_batches_keep_constraints_through_taking_joining_and_splitting():
    systems = [crystal(HELD[kind]) for kind in HELD] + [crystal([])]
    batch = Batch.join([Batch.pack(systems[:1]), Batch.pack(systems[4:]), Batch.pack(systems[1:4])]).take(
        [0, 2, 3, 4, 1]
    )
    found = batch.to("cpu").split()
    for a, b in zip(systems, found, strict=True):
        again = Batch.pack([b])
        torch.testing.assert_close(again.free, Batch.pack([a]).free, rtol=0, atol=0)
        assert {type(c) for c in a.constraints} == {type(c) for c in b.constraints}
    assert Batch.pack(systems[4:]).rule is None
    assert replace(batch, positions=batch.positions + 1.0).rule is not None
