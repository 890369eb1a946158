"""The lowest mode: minima are told from saddles, many systems at a time."""

from __future__ import annotations

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from test_hessian import brute_force

from atomsim.batch import Batch
from atomsim.models.pair import LennardJones
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess
from atomsim.relaxation import relax

STRONG = LennardJones(epsilon_eV=0.5)
"""Argon's forces are far below those of an oxide, for which the thresholds are made."""


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
