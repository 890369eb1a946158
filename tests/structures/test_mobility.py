"""Ions that are part of the framework are refused; anions and rare cations are computed with a note."""

from __future__ import annotations

import re

import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from atomsim.errors import InputError
from atomsim.hopping.hops import find_hops
from atomsim.structures.delithiation import delithiate
from atomsim.structures.mobility import mobility_note, require_mobile
from atomsim.structures.prototypes import load_prototype


def phosphate() -> Atoms:
    """LiFePO4, Pnma."""
    return crystal(
        ["Li", "Fe", "P", "O", "O", "O"],
        [(0, 0, 0), (0.282, 0.25, 0.975), (0.095, 0.25, 0.418), (0.097, 0.25, 0.743), (0.457, 0.25, 0.206),
         (0.166, 0.046, 0.285)],
        spacegroup=62,
        cellpar=[10.33, 6.01, 4.69, 90, 90, 90],
    )  # fmt: skip


HOSTS = {
    "LiFePO4": phosphate,
    "Li2SO4": lambda: load_prototype("Li2SO4").atoms,
    "Li2WO4": lambda: load_prototype("Li2WO4").primitive,
    "Li2RuO3": lambda: load_prototype("Li2RuO3").primitive,
    "Li2O2": lambda: load_prototype("Li2O2").atoms,
    "LiCoO2": lambda: load_prototype("LiCoO2").primitive,
    "Mo6S8": lambda: load_prototype("Mo6S8").primitive,
    "CaF2": lambda: bulk("CaF2", "fluorite", a=5.46),
    "Si": lambda: bulk("Si"),
}
FRAMEWORK = [
    ("LiFePO4", "P", "bonded to O"), ("LiFePO4", "O", "bonded to P"), ("Li2SO4", "S", "bonded to O"),
    ("Li2SO4", "O", "bonded to S"), ("Li2WO4", "W", "+6"), ("Li2RuO3", "Ru", "+4"), ("Li2O2", "O", "bonded to O"),
    ("Si", "Si", "bonded to Si"),
]  # fmt: skip
MOVING = [
    ("LiFePO4", "Li", ""), ("Li2SO4", "Li", ""), ("Li2RuO3", "O", "anion"), ("CaF2", "F", "anion"), ("CaF2", "Ca", ""),
    ("Mo6S8", "S", "anion"), ("LiCoO2", "Co", "not known"), ("LiFePO4", "Fe", "not known"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "ion", "why"), FRAMEWORK)
def test_what_holds_the_framework_is_no_mobile_ion(host: str, ion: str, why: str) -> None:
    atoms = HOSTS[host]()
    with pytest.raises(InputError, match=re.escape(why)) as found:
        find_hops(atoms, ion)
    assert "\n" not in str(found.value)
    with pytest.raises(InputError, match=re.escape(why)):
        delithiate(atoms, ion, [0.0])


@pytest.mark.parametrize(("host", "ion", "note"), MOVING)
def test_what_may_move_is_computed_and_what_seldom_does_is_said(host: str, ion: str, note: str) -> None:
    atoms = HOSTS[host]()
    require_mobile(atoms, ion)
    assert bool(note) == bool(mobility_note(atoms, ion))
    assert note in mobility_note(atoms, ion)
