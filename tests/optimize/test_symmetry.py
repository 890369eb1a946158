"""Keeping the space group through a relaxation, and only where it was asked for."""

from __future__ import annotations

import pytest
import spglib
from ase import Atoms
from ase.build import bulk

from atomsim.models.pair import LennardJones
from atomsim.relaxation import relax


def space_group(atoms: Atoms) -> str:
    return spglib.get_spacegroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-3)


def strained_bcc() -> Atoms:
    return bulk("Ar", "bcc", a=4.3, cubic=True)


@pytest.mark.parametrize("method", ["newton", "lbfgs", "fire"])
def test_the_space_group_is_kept_also_against_an_instability(method):
    strong = LennardJones(epsilon_eV=0.5)
    settings = {"fmax_eV_per_A": 1e-3, "max_steps": 1000, "noise_A": 0.05, "method": method}
    (kept,) = relax(strained_bcc(), strong, keep_symmetry=True, **settings)
    assert kept.converged
    assert space_group(kept.atoms) == space_group(strained_bcc()) == "Im-3m (229)"
    assert kept.atoms.get_volume() != pytest.approx(strained_bcc().get_volume(), rel=1e-3)
    assert kept.lowest_curvature is None  # it may be a saddle: nobody looked
    (free,) = relax(strained_bcc(), strong, **settings)
    assert free.energy < kept.energy - 0.01
