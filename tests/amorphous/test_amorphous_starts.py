"""Starts of a melt: whole atoms, ionic distances, whole units, and what cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
from matscipy.neighbours import neighbour_list

from atomsim.amorphous.composition import composition
from atomsim.amorphous.contacts import shortest_distances
from atomsim.amorphous.packing import fitted, random_rotation, shortest_pairs
from atomsim.amorphous.starts import Start, make_start
from atomsim.amorphous.units import UNITS, units_in
from atomsim.errors import InputError
from atomsim.units import PER_G_CM3

GLASS = composition("Li2Ru0.8S0.2O3.2", 124)


def test_a_mixture_is_its_formula():
    mixed = composition({"Li2RuO3": 0.8, "Li2SO4": 0.2}, 124)
    assert dict(mixed.counts) == dict(GLASS.counts) == {"Li": 40, "Ru": 16, "S": 4, "O": 64}
    assert not GLASS.warning
    assert "not neutral" in composition("Li3O", 8).warning
    assert units_in(GLASS) == {"SO4": 4}
    assert units_in(composition("Li3PS4", 16)) == {"PS4": 2}


@pytest.mark.parametrize("kind", ["units", "atoms", "rocksalt", "composite"])
def test_no_two_ions_of_a_start_overlap_and_units_are_whole(kind):
    how = Start(kind, crystal="Li2RuO3" if kind == "composite" else None)
    atoms = make_start(GLASS, how, seed=3)
    assert sorted(atoms.symbols) == sorted(GLASS.symbols)
    contacts, whole = shortest_distances(GLASS.charges), kind != "atoms"
    shrink = 0.92 if kind == "rocksalt" else 0.99
    for (a, b), distance in shortest_pairs(atoms).items():
        bonded = whole and {a, b} in ({"S", "O"}, {"O"})
        assert distance > (1.45 if {a, b} == {"S", "O"} else 2.2 if bonded else shrink * contacts[a, b]), (a, b)
    if whole:
        i, d = neighbour_list("id", atoms, {("S", "O"): 1.7})
        assert len(d) == 2 * 4 * 4
        np.testing.assert_allclose(d, UNITS["SO4"].bond_A, atol=1e-6)
        assert len(i)


def test_a_seed_is_a_start_and_another_is_another():
    one, again, other = (make_start(GLASS, Start(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.positions, again.positions)
    assert np.abs(one.positions - other.positions).max() > 1.0


def test_a_density_is_kept_and_one_too_large_is_refused_with_the_largest():
    dense = make_start(GLASS, Start(density_g_per_cm3=4.0), 1)
    assert GLASS.mass / dense.cell.volume / PER_G_CM3 == pytest.approx(4.0)
    with pytest.raises(InputError, match=r"at 8 g/cm³.*largest that could be is [34]\.\d\d"):
        make_start(GLASS, Start(density_g_per_cm3=8.0), 1)


def test_a_shape_is_fitted_by_a_rotation_alone():
    """Never by a reflection: the four corners keep their handedness."""
    rng = np.random.default_rng(2)
    shape = UNITS["SO4"].shape * np.array([1.0, 1.1, 1.2])
    turned = shape @ random_rotation(rng) + rng.normal(size=3)
    np.testing.assert_allclose(fitted(shape, turned), turned, atol=1e-9)
    mirrored = fitted(shape, shape * np.array([-1, 1, 1]))
    assert np.linalg.det(mirrored[1:4] - mirrored[0]) * np.linalg.det(shape[1:4] - shape[0]) > 0


@pytest.mark.parametrize(
    ("act", "wanted"),
    [
        (lambda: composition("Li2Ru0.8S0.2O3.2", 100), "multiples of 31; the nearest sizes are 93 or 124"),
        (lambda: composition("Qx2", 10), "formula"),
        (lambda: composition({"Li2O": -1.0}, 9), "share"),
        (lambda: composition("", 9), "wanted a formula"),
        (lambda: composition("Li2O", 9.0), "whole number of atoms"),
        (lambda: units_in(composition("Li2O", 9), ["SO4"]), "cannot hold SO4: found 0 S"),
        (lambda: units_in(GLASS, ["SO5"]), "did you mean 'SO4'"),
        (lambda: Start("unit"), "wanted one of units, atoms"),
        (lambda: Start("composite"), "needs crystal"),
        (lambda: Start(density_g_per_cm3=float("nan")), "density"),
        (lambda: make_start(GLASS, Start("composite", crystal="Na2O"), 1), "holds no Na2O"),
        (lambda: make_start(GLASS, Start(), -1), "seed"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(act, wanted):
    with pytest.raises(InputError, match=wanted) as error:
        act()
    assert "\n" not in str(error.value)
