"""Verdicts: each kind of structure has its own flag, and none of them is called a glass."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from atomsim.amorphous.composition import composition
from atomsim.amorphous.mixture import Crystal, cheapest_mixture
from atomsim.amorphous.starts import Start, make_start
from atomsim.amorphous.verdict import Known, Moving, judge
from atomsim.errors import InputError
from atomsim.structures.prototypes import load_prototype
from atomsim.units import PER_G_CM3

FORMULA = "Li2Ru0.8S0.2O3.2"
SEEDS = (1, 3)


def glass(seed: int) -> Atoms:
    return make_start(composition(FORMULA, 124), Start("units"), seed)


def crystal(seed: int) -> Atoms:
    found = load_prototype("Li2RuO3").atoms * (2, 2, 1)
    found.rotate(30.0 * seed, "z", rotate_cell=True)
    return found


def noisy(seed: int) -> Atoms:
    found = make_start(composition("Li2RuO3", 108), Start("rocksalt"), seed)
    found.positions += np.random.default_rng(seed).normal(0.0, 0.06 * seed, found.positions.shape)
    return found


def separated(seed: int) -> Atoms:
    """A glass of oxide and one of sulfate, cubes of one edge upon each other."""
    oxide, salt = composition("Li2RuO3", 96), composition("Li2SO4", 84)
    lower = make_start(oxide, Start("atoms"), seed)
    edge = lower.cell[0, 0]
    upper = make_start(salt, Start(density_g_per_cm3=salt.mass / edge**3 / PER_G_CM3), seed)
    upper.positions[:, 2] += edge
    both = lower + upper
    both.set_cell([edge, edge, 2 * edge])
    return both


def sulfite(seed: int) -> Atoms:
    """One oxygen of a sulfate taken far away."""
    found = glass(seed)
    sulfur = found[next(a.index for a in found if a.symbol == "S")]
    oxygen = min(
        (a.index for a in found if a.symbol == "O"), key=lambda k: found.get_distance(sulfur.index, k, mic=True)
    )
    found.positions[oxygen] += 2.5 * (found.positions[oxygen] - sulfur.position) / 1.48
    return found


def dioxygen(seed: int) -> Atoms:
    found = glass(seed)
    free = [a.index for a in found if a.symbol == "O"][-2:]
    found.positions[free[1]] = found.positions[free[0]] + [1.25, 0.0, 0.0]
    return found


KINDS = {
    "crystal": crystal,
    "noise on a crystal": noisy,
    "phase-separated": separated,
    "broken unit": sulfite,
    "O2": dioxygen,
}


@pytest.mark.parametrize("flag", KINDS)
def test_each_has_its_own_flag_and_none_is_a_glass(flag):
    for seed in SEEDS:
        found = judge(KINDS[flag](seed))
        assert flag in found.flags, (seed, found.flags)
        assert found.verdict != "glass"
        assert any(found.reasons)


def test_disorder_with_whole_units_is_a_glass_and_a_grain_in_it_a_composite():
    for seed in SEEDS:
        found = judge(glass(seed))
        assert (found.verdict, found.flags) == ("glass", ())
        assert found.values["SO4_whole"] == 4
        assert found.values["S_coordination"] == pytest.approx(4.0)
    grain = make_start(composition(FORMULA, 248), Start("composite", crystal="Li2RuO3", crystal_fraction=0.6), 1)
    assert judge(grain).verdict == "composite"


def test_small_cells_are_not_judged():
    small = make_start(composition(FORMULA, 31), Start("units"), 1)
    found = judge(small)
    assert (found.verdict, found.flags) == ("undecided", ("too small to judge",))


def test_units_are_counted_along_a_trajectory_and_flow_is_seen():
    atoms = glass(2)
    rng = np.random.default_rng(0)
    still = atoms.positions + rng.normal(0, 0.05, (40, 124, 3))
    sulfur = int(np.flatnonzero(atoms.symbols == "S")[0])
    still[10:20, sulfur] += [0.0, 0.0, 9.0]
    cells = np.repeat(atoms.cell.array[None], 40, axis=0)
    values = judge(atoms, Known(moving=Moving(still, cells))).values
    assert (values["SO4_broken_times"], values["SO4_reformed_times"]) == (1, 1)
    moved = atoms.positions + np.cumsum(rng.normal(0, 0.4, (40, 124, 3)), axis=0)
    assert "flowing" in judge(atoms, Known(moving=Moving(moved, cells))).flags


def test_energy_and_density_count_from_the_cheapest_mixture_of_crystals():
    crystals = [
        Crystal("Li2RuO3", {"Li": 2, "Ru": 1, "O": 3}, -36.0, 52.5),
        Crystal("Li2SO4", {"Li": 4, "S": 2, "O": 8}, -84.0, 164.6),
        Crystal("dear Li2SO4", {"Li": 2, "S": 1, "O": 4}, -41.0, 70.0),
    ]
    mixture = cheapest_mixture({"Li": 40, "Ru": 16, "S": 4, "O": 64}, crystals)
    assert mixture.energy_eV == pytest.approx(16 * -36.0 + 4 * -42.0)
    assert mixture.volume_A3 == pytest.approx(16 * 52.5 + 4 * 82.3)
    assert mixture.cells == pytest.approx({"Li2RuO3": 16.0, "Li2SO4": 2.0})
    assert cheapest_mixture({"Li": 2, "O": 1}, crystals) is None
    atoms = glass(1)
    found = judge(atoms, Known(mixture.energy_eV + 12.4, np.eye(3) * 0.01), crystals)
    values = found.values
    assert values["above_crystals_eV_per_atom"] == pytest.approx(0.1)
    assert values["density_ratio"] == pytest.approx(mixture.volume_A3 / atoms.cell.volume)
    assert values["pressure_GPa"] == pytest.approx(-1.602, abs=1e-3)
    assert any("0.850 of that of the crystals" in reason and "loose" in reason for reason in found.reasons)
    assert found.verdict == "glass"


def test_what_is_no_solid_is_refused():
    with pytest.raises(InputError, match="periodic in 0 directions"):
        judge(Atoms("LiO", [[0, 0, 0], [2, 0, 0]]))
    with pytest.raises(InputError, match="one kind of atoms"):
        judge(Atoms("Li8", np.random.default_rng(0).uniform(0, 8, (8, 3)), cell=[8] * 3, pbc=True))
