"""Oxidation states: charge balance exactly, moments with their ambiguity."""

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers

from atomsim.analysis.describe import oxidation
from atomsim.analysis.redox import (
    SPIN_ONLY,
    charge_balance,
    mean_moments,
    moment_state,
    redox_metals,
    states_from_moment,
)

RU = {4: 2.0, 5: 3.0, 6: 2.0}


@pytest.mark.parametrize(
    ("formula", "state"),
    [
        ("Li2RuO3", 4.0),
        ("LiRuO3", 5.0),
        ("RuO3", 6.0),
        ("Na3RuO4", 5.0),
        ("LiCoO2", 3.0),
        ("Li2MnO3", 4.0),
        ("TiS2", 4.0),
        ("Li10Ru4SO16", 4.0),  # 4 Li2RuO3 + Li2SO4: sulfur is +6 beside oxygen
    ],
)
def test_charge_balance(formula, state):
    assert charge_balance(Atoms(formula)) == pytest.approx(state)


def test_no_balance_without_a_redox_metal_or_with_an_unknown_ion():
    assert charge_balance(Atoms("Li2SO4")) is None
    assert charge_balance(Atoms("RuXeO3")) is None


def test_tungsten_and_lithium_are_no_redox_metals():
    assert redox_metals(Atoms("Li2WO4MnNi")) == ["Mn", "Ni"]


@pytest.mark.parametrize(
    ("moment", "states"), [(2.0, [4.0, 6.0]), (3.0, [5.0]), (2.5, [4.5, 5.5]), (1.2, []), (3.4, [])]
)
def test_ruthenium_moments_are_ambiguous_and_bounded(moment, states):
    assert states_from_moment(moment, RU) == pytest.approx(states)


@pytest.mark.parametrize(("element", "state"), [(s, q) for s, states in SPIN_ONLY.items() for q in states])
def test_references_are_unpaired_electrons_of_an_octahedral_field(element, state):
    electrons = (atomic_numbers[element] - 18) % 18 - state  # of a dⁿ shell after the noble gas
    n_t2g, n_eg = min(electrons, 6), max(electrons - 6, 0)
    low = min(n_t2g, 6 - n_t2g) + min(n_eg, 4 - n_eg)
    assert SPIN_ONLY[element][state] in (min(electrons, 10 - electrons), low)


@pytest.mark.parametrize(
    ("element", "moment", "state"), [("Co", 2.7, 2), ("Mn", 4.6, 2), ("Ni", 1.7, 2), ("Ti", 0.9, 3)]
)
def test_moments_of_divalent_metals_name_them(element, moment, state):
    assert moment_state(element, np.array([moment]), near=None).state == pytest.approx(state, abs=0.5)


def test_charge_balance_picks_the_branch():
    assert moment_state("Ru", np.array([2.5, -2.5]), near=4.6).state == pytest.approx(4.5)
    above = moment_state("Ru", np.array([2.5, -2.5]), near=5.8)
    assert above.state == pytest.approx(5.5)
    assert above.ambiguous
    assert above.mean_moment == pytest.approx(2.5)


def test_moments_outside_the_references_give_no_state():
    found = moment_state("Ru", np.array([0.3, 0.4]), near=4.0)
    assert found.state is None
    assert found.without_estimate == 2


def test_no_references_no_estimate():
    assert moment_state("Mo", np.array([1.0]), near=4.0) is None


def test_mean_moment_ignores_the_sign():
    assert mean_moments(Atoms("Ru2O"), np.array([2.0, -3.0, 0.1])) == pytest.approx({"Ru": 2.5, "O": 0.1})


def isolated(formula):
    """Atoms so far apart that only composition speaks."""
    n = len(Atoms(formula))
    return Atoms(formula, positions=np.outer(range(n), [10, 0, 0]), cell=[10 * n, 20, 20], pbc=True)


def with_moments(formula, ru, o):
    atoms = isolated(formula)
    atoms.set_array("magmoms", np.where(atoms.numbers == 44, ru, np.where(atoms.numbers == 8, o, 0.0)))
    return atoms


@pytest.mark.parametrize(
    ("formula", "moment", "verdict"),
    [("Li2RuO3", 2.0, "ambiguous"), ("LiRuO3", 3.0, "agree"), ("RuO3", 3.0, "differ"), ("RuO3", 0.3, "no estimate")],
)
def test_verdict_compares_the_two_estimates(formula, moment, verdict):
    # RuO3 with Ru moments of 3 μB would be Ru⁵⁺ and oxidised oxygen, not the Ru⁶⁺ of charge balance.
    assert oxidation(with_moments(formula, moment, 0.0), ["Ru"])["verdict"] == verdict


def test_without_moments_only_charge_balance_speaks():
    found = oxidation(isolated("Li2RuO3"), ["Ru"])
    assert found["charge_balance"] == pytest.approx(4.0)
    assert found["moments_muB"] is None
    assert found["verdict"] == "no estimate"
