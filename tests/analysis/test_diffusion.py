"""Diffusivities: exact displacements, error bars that cover, refusals in place of numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from atomsim.analysis.arrhenius import arrhenius, conductivity
from atomsim.analysis.diffusion import CM2_PER_S, diffusion
from atomsim.analysis.hop_count import count_hops
from atomsim.analysis.msd import at_mean_cell, lags_of, msd_by_atom, unwrapped, without_drift
from atomsim.analysis.slope import covariance_matrix, slope_weights
from atomsim.errors import InputError
from atomsim.units import KB

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks import diffusion as sweep
from benchmarks.walks import INTERVAL_FS, INTERVALS_FS, SOUND, UNSOUND, crystal, gaussian, rattling


def naive(positions):
    n = len(positions)
    return np.array([((positions[m:] - positions[: n - m]) ** 2).sum(axis=2).mean(axis=0) for m in range(n)])


@pytest.mark.parametrize("n", [2, 3, 64, 101])
def test_displacements_by_fft_are_those_of_all_time_origins(n):
    positions = 50.0 + np.random.default_rng(n).normal(size=(n, 5, 3)).cumsum(axis=0)
    np.testing.assert_allclose(msd_by_atom(positions), naive(positions), rtol=1e-10, atol=1e-10)


def test_the_covariance_of_a_walk_is_that_of_many_walks():
    rng, lags, steps = np.random.default_rng(1), np.array([1, 3, 10, 25]), 30
    paths = np.concatenate([np.zeros((1, 6000, 3)), rng.normal(size=(steps, 6000, 3)).cumsum(axis=0)])
    seen = np.cov(msd_by_atom(paths)[lags]) / 3  # three independent directions
    np.testing.assert_allclose(seen, covariance_matrix(lags, steps), rtol=0.12)


def test_weights_give_the_slope_of_a_line_whatever_its_intercept():
    lags = np.array([2, 3, 5, 9])
    assert slope_weights(lags, 50) @ (0.7 + 0.3 * lags) == pytest.approx(0.3)


def test_a_drifting_crystal_does_not_diffuse():
    rng = np.random.default_rng(2)
    still, mobile = crystal(rng, gaussian(rng, 200)[0])
    moving = still + np.arange(200)[:, None, None] * [0.1, 0.2, -0.3]
    np.testing.assert_allclose(without_drift(moving, ~mobile), without_drift(still, ~mobile), atol=1e-10)


def test_wrapped_frames_are_joined_or_refused():
    rng = np.random.default_rng(3)
    cells = np.repeat(np.array([[8.0, 0, 0], [1.0, 9.0, 0], [0, 0.5, 7.0]])[None], 60, axis=0)
    path = rng.normal(scale=0.3, size=(60, 4, 3)).cumsum(axis=0)
    fractional = path @ np.linalg.inv(cells[0])
    wrapped = (fractional % 1.0) @ cells[0]
    joined = unwrapped(wrapped, cells)
    np.testing.assert_allclose(joined - joined[0], path - path[0], atol=1e-10)
    with pytest.raises(InputError, match="frames more often"):
        unwrapped(wrapped[::15], cells[::15])


def test_atoms_that_go_with_a_breathing_cell_do_not_move():
    scale = 1.0 + 0.02 * np.sin(np.arange(50))[:, None, None]
    cells = np.eye(3) * 10 * scale
    positions = np.array([[1.0, 2.0, 3.0], [200.0, -90.0, 55.0]]) * scale
    assert np.ptp(at_mean_cell(positions, cells), axis=0).max() < 1e-10


def test_hops_are_counted_once_and_vibrations_never():
    rng, happens = np.random.default_rng(4), np.zeros((999, 20, 1))
    happens[np.arange(50, 950, 60), np.arange(15) % 20] = 3.0
    path = np.concatenate([np.zeros((1, 20, 3)), np.cumsum(happens * [1.0, 0, 0], axis=0)])
    found = count_hops(path + rng.normal(scale=0.2, size=path.shape), INTERVAL_FS)
    assert found.number == 15
    assert found.mean_square_A2 == pytest.approx(9.0, rel=0.2)
    assert found.upper_diffusivity(20, 1e5) > 15 * 9 / (6 * 20 * 1e5)


@pytest.mark.parametrize("name", list(SOUND))
def test_error_bars_cover(name):
    """Bounds wide enough for so few walks; the sweep of 200 is in the benchmarks."""
    row = sweep.coverage(name, 6 if name == "5 % carriers" else 14, seed=100)
    assert row["accepted"] >= 0.8
    assert row["one_sigma"] >= 0.4
    assert row["two_sigma"] >= 0.75
    assert abs(row["bias_percent"]) < 2 + 6 * row["bias_error_percent"]


@pytest.mark.parametrize("name", [*UNSOUND, "flowing"])
def test_what_is_no_diffusion_gives_no_number(name):
    row = sweep.refusals(name, 5, seed=200)
    assert row["numbers"] == 0
    assert row.get("bound_holds", 1.0) >= 0.6


def test_reasons_are_named_with_a_bound():
    wanted = {"few hops": "hops, wanted 10", "drifting": "drifting", "ageing": "not stationary", "one frame": "frames"}
    for name, reason in wanted.items():
        found, _ = sweep.measure(name, 7)
        assert reason in found.refused
        assert (found.upper_bound_cm2_per_s is None) == (name == "one frame")
        assert found.D_cm2_per_s is None
        assert json.loads(json.dumps(found.to_dict()))["refused"] == found.refused


def test_a_run_of_few_vibrations_is_too_short_and_one_of_hops_alone_is_not():
    """12 ps: lags of 0.3, 0.6 and 1.2 ps, a tenth of the run."""
    rng = np.random.default_rng(8)
    positions, mobile = crystal(rng, rattling(rng)[0])
    held = diffusion([positions], INTERVALS_FS["rattling"], mobile)
    assert "from vibrations: 7 ps, wanted 12 ps" in held.refused
    assert held.upper_bound_cm2_per_s > 0
    positions, mobile = crystal(rng, gaussian(rng, 351)[0])
    assert diffusion([positions], INTERVALS_FS["rattling"], mobile).refused is None


def test_no_fit_begins_among_vibrations():
    """Swings of 0.4 ps and jumps of 2.5 Å: at lags of less than a swing ions fly, and are held."""
    rng = np.random.default_rng(9)
    swings, _ = rattling(rng, 2001, ions=12, period_fs=400.0)
    jumps = np.where(rng.random(swings.shape) < 0.01, rng.choice([-2.5, 2.5], swings.shape), 0.0).cumsum(axis=0)
    positions, mobile = crystal(rng, swings + jumps)
    found = diffusion([positions], INTERVALS_FS["rattling"], mobile)
    true = 0.01 * 2.5**2 / 2 * CM2_PER_S / INTERVALS_FS["rattling"]
    assert found.start_fs >= 300.0
    assert found.D_cm2_per_s == pytest.approx(true, abs=2.5 * found.error_cm2_per_s)


def test_replicas_are_averaged_and_tell_of_their_scatter():
    rng = np.random.default_rng(5)
    runs = [crystal(rng, gaussian(rng, 400)[0] * scale) for scale in (0.8, 1.0, 1.2)]
    found = diffusion([r[0] for r in runs], INTERVAL_FS, runs[0][1], temperature_K=900.0)
    assert found.error_cm2_per_s == found.errors_cm2_per_s["replicas"]
    assert found.D_cm2_per_s == pytest.approx(0.15**2 / 2 * CM2_PER_S / INTERVAL_FS * (0.64 + 1 + 1.44) / 3, rel=0.05)
    with pytest.raises(InputError, match="all alike"):
        diffusion([runs[0][0], runs[1][0][:300]], INTERVAL_FS, runs[0][1])


def test_independent_ions_have_a_haven_ratio_of_one_and_few_hops_none():
    rng = np.random.default_rng(11)
    positions, mobile = crystal(rng, gaussian(rng, 2000)[0])
    found = diffusion([positions], INTERVAL_FS, mobile)
    assert found.haven_ratio == pytest.approx(1.0, abs=3 * found.haven_error)
    triple, _ = sweep.measure("triples", 11)
    assert triple.haven_ratio is None or triple.haven_ratio < 0.7


def test_a_liquid_is_measured_against_its_own_centre():
    rng = np.random.default_rng(6)
    path = gaussian(rng, 500, 60)[0]
    everything = np.ones(60, dtype=bool)
    with pytest.raises(InputError, match="no framework is left"):
        diffusion([path], INTERVAL_FS, everything)
    found = diffusion([path], INTERVAL_FS, everything, framework=everything)
    wanted = 0.15**2 / 2 * CM2_PER_S / INTERVAL_FS * (59 / 60)
    assert found.D_cm2_per_s == pytest.approx(wanted, abs=3 * found.error_cm2_per_s)


@pytest.mark.parametrize(
    ("change", "says"), [({"interval_fs": 0.0}, "interval_fs"), ({"mobile": np.zeros(5, bool)}, "no mobile")]
)
def test_inputs_without_sense_are_refused(change, says):
    given = {"replicas": [np.zeros((50, 5, 3))], "interval_fs": 10.0, "mobile": np.arange(5) < 2} | change
    with pytest.raises(InputError, match=says):
        diffusion(**given)
    with pytest.raises(InputError, match="finite"):
        diffusion([np.full((50, 5, 3), np.nan)], 10.0, np.arange(5) < 2)


def test_lags_are_distinct_and_end_where_they_should():
    assert lags_of(100, 10).tolist() == [1, 2, 3, 4, 5, 7, 10]
    assert lags_of(2, 5).tolist() == [1]


def test_an_exact_law_is_found_exactly():
    t = np.array([500.0, 700.0, 1000.0])
    d = 2e-3 * np.exp(-0.4 / (KB * t))
    found = arrhenius(t.tolist(), d.tolist(), (0.1 * d).tolist())
    assert found.activation_energy_eV == pytest.approx(0.4)
    middle, low, high = found.diffusivity(298.0)
    assert middle == pytest.approx(2e-3 * np.exp(-0.4 / (KB * 298)))
    assert low < middle < high
    assert found.extrapolates(298.0)
    assert not found.extrapolates(600.0)


def test_arrhenius_intervals_cover():
    row = sweep.intervals(400, 0)
    for name in ("energy", "room"):
        assert 0.60 <= row[f"{name}_one_sigma"] <= 0.85
        assert row[f"{name}_two_sigma"] >= 0.90


def test_one_temperature_is_no_law():
    with pytest.raises(InputError, match="found 600 K of 3 given"):
        arrhenius([600.0, 800.0, 900.0], [1e-6, None, None], [1e-7, None, None])
    with pytest.raises(InputError, match="above 0"):
        arrhenius([600.0, 800.0], [1e-6, -1e-6], [1e-7, 1e-7])


def test_conductivity_is_that_of_nernst_and_einstein():
    """Li of 1e22 per cm³ with 1e-8 cm²/s at 300 K: 0.62 mS/cm·10 = 6.2e-4 S/cm."""
    assert conductivity(1e-8, 10, 1000.0, 300.0) == pytest.approx(1e22 * 1.602177e-19 * 1e-8 / 0.0258520, rel=1e-4)
    assert conductivity(1e-8, 10, 1000.0, 300.0, haven_ratio=0.5) == pytest.approx(
        2 * conductivity(1e-8, 10, 1000.0, 300.0)
    )
