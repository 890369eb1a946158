"""The lowest mode: minima are told from saddles, many systems at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from test_hessian import brute_force

from atomsim.batch import Batch, Evaluation
from atomsim.batching import Capacity
from atomsim.models.pair import LennardJones
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess
from atomsim.relaxation import RelaxSettings, iter_relax, relax

STRONG = LennardJones(epsilon_eV=0.5)
"""Argon's forces are far below those of an oxide, for which the thresholds are made."""
KRYPTON = 36


def relaxed(atoms: Atoms, **settings) -> Atoms:
    (found,) = relax(atoms, STRONG, fmax_eV_per_A=1e-5, max_steps=2000, check_minimum=False, **settings)
    assert found.converged
    return found.atoms


def minimum() -> Atoms:
    return relaxed(bulk("Ar", "fcc", a=5.2, cubic=True))


def saddle() -> Atoms:
    """bcc argon: every force and stress is zero by symmetry, and it is not a minimum."""
    return relaxed(bulk("Ar", "bcc", a=4.1, cubic=True).repeat((2, 1, 1)))


@pytest.mark.parametrize("cell", [False, True])
def test_the_curvature_bounds_the_lowest_eigenvalue_of_the_whole_hessian(cell):
    space, surface = Space(cell=cell), STRONG
    systems = [minimum(), saddle()]
    batch = Batch.pack(systems)
    guesses = [spring_guess(Batch.pack([s]), space) for s in systems]
    found = lowest_modes(batch, surface, space, guesses, negative=-1e9, tolerance=1e-3, max_products=20)
    for n, atoms in enumerate(systems):
        values = torch.linalg.eigvalsh(brute_force(atoms, surface, space))
        # translations (and rotations, as antisymmetric strains) are the zeros
        lowest = float(values[values.abs() > 1e-4][0])
        assert float(found.curvature[n]) == pytest.approx(lowest, abs=0.03 * float(values[-1]))
    if cell:  # bcc is unstable against a strain
        assert float(found.curvature[0]) > 0 > float(found.curvature[1])


def test_a_relaxation_leaves_a_saddle_that_symmetry_holds_it_on():
    blind, seeing = (
        relax(saddle(), STRONG, fmax_eV_per_A=1e-3, check_minimum=check, max_steps=2000)[0] for check in (False, True)
    )
    per_atom = relaxed(bulk("Ar", "fcc", a=5.2)).calc.results["energy"]
    assert blind.status == "converged"
    assert blind.lowest_curvature is None  # and says that nobody looked
    assert seeing.status == "converged"
    assert seeing.lowest_curvature > 0
    assert seeing.energy < blind.energy - 0.05
    assert seeing.energy / 4 == pytest.approx(per_atom, abs=5e-2)


def test_a_saddle_that_cannot_be_left_is_flagged(monkeypatch):
    import atomsim.optimize.minima

    monkeypatch.setattr(atomsim.optimize.minima, "RESTARTS", 0)
    (found,) = relax(saddle(), STRONG, fmax_eV_per_A=1e-3, max_steps=2000)
    assert found.status == "saddle"
    assert "eV/Å²" in found.message
    assert not found.converged


class Fragile:
    """Krypton is fine where its forces vanish and fails next to it, as told by ``fault``; the others are argon."""

    device = torch.device("cpu")

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, batch: Batch) -> Evaluation:
        said = STRONG(batch)
        pulled = batch.system[said.forces.norm(dim=1) > 1e-3]
        bad = torch.isin(batch.system, pulled) & (batch.numbers == KRYPTON)
        if bad.any() and self.fault == "raises":
            raise ValueError("no self-consistency")
        if self.fault == "out of memory" and batch.n_systems > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        nan = bad & (self.fault == "nan")
        return replace(said, forces=torch.where(nan[:, None], torch.nan, said.forces))


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("fault", ["nan", "raises", "out of memory"])
def test_what_fails_beside_the_minimum_leaves_its_siblings_alone_and_says_so(fault, at_once):
    good, fragile = minimum(), minimum()
    fragile.numbers[:] = KRYPTON
    systems = [good, fragile, good]
    settings = RelaxSettings(fmax_eV_per_A=1e-3)
    found = dict(iter_relax(systems, Fragile(fault), settings, capacity=Capacity(systems=at_once)))
    (alone,) = relax(good, STRONG, settings=settings)
    assert [found[n].status for n in range(3)] == ["converged"] * 3
    for n in (0, 2):
        assert found[n].lowest_curvature == pytest.approx(alone.lowest_curvature, abs=1e-9)
        assert found[n].message == ""
    if fault == "out of memory":
        assert found[1].message == ""
    else:
        assert found[1].lowest_curvature is None
        assert "could not be checked" in found[1].message


@pytest.mark.parametrize("atoms", [Atoms("Ar"), bulk("Ar", a=5.3)], ids=["atom", "crystal"])
def test_where_nothing_can_move_there_is_no_curvature(atoms):
    (found,) = relax(atoms, STRONG, cell=False)
    assert found.status == "converged"
    assert found.lowest_curvature is None
    assert found.message == ""
