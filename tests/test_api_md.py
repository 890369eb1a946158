"""``atomsim.md``: frames read from disk, the same numbers in memory and in a folder, diffusion of its trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import atomsim
from atomsim.errors import InputError

ARGON = bulk("Ar", "fcc", 5.26, cubic=True)
SHORT = {"temperature_K": 40, "duration_ps": 0.1, "every_fs": 10.0, "device": "cpu"}


def test_frames_are_read_where_they_are_asked_for(tmp_path):
    found = atomsim.md(ARGON, "lj-test", run=tmp_path / "run", **SHORT)
    frames = found.trajectory
    assert len(frames) == 11
    np.testing.assert_allclose(frames[0].atoms.positions, ARGON.positions, atol=1e-5)
    np.testing.assert_allclose(frames[-1].atoms.positions, found.atoms.positions, atol=1e-5)
    assert frames[-1].time_fs == 100.0
    assert frames[-1].atoms.get_potential_energy() == pytest.approx(found.value("energy_eV"))
    assert [a.info["time_fs"] for a in frames.to_ase(every_fs=50.0)] == [0.0, 50.0, 100.0]
    with pytest.raises(InputError, match="multiple of 10 fs"):
        frames.to_ase(every_fs=15.0)
    again = atomsim.open_run(tmp_path / "run")["moved"][0]
    assert again.trajectory.column("temperature_K").tolist() == frames.column("temperature_K").tolist()


def test_memory_and_folder_give_the_same_numbers(tmp_path):
    """Whatever stands beside it, too: noise depends on the structure and the seed alone."""
    alone = atomsim.md(ARGON, "lj-test", **SHORT)
    _, beside = atomsim.md([bulk("Ar", cubic=True, a=5.4), ARGON], "lj-test", run=tmp_path / "run", **SHORT)
    kept = {k: v for k, v in beside.record.values.items() if k != "artifacts"}
    assert kept == alone.record.values
    np.testing.assert_array_equal(alone.atoms.positions, beside.atoms.positions)
    with pytest.raises(InputError, match="with run="):
        _ = alone.trajectory


def test_several_temperatures_are_a_sequence_and_a_bad_structure_is_a_result():
    found = atomsim.md([ARGON, "nothing"], "lj-test", **SHORT | {"temperature_K": [20, 40]})
    assert [r.status for r in found] == ["done", "done", "invalid"]
    assert [r.temperature_K for r in found][:2] == [20.0, 40.0]


def test_trajectories_of_a_run_know_their_time_and_temperature(tmp_path):
    crystal = bulk("LiF", "rocksalt", 4.2, cubic=True)
    found = atomsim.md(crystal, "lj-test", run=tmp_path / "run", **SHORT)
    for given in (found, tmp_path / "run"):
        (row,) = atomsim.diffusion(given, "Li").rows
        assert (row.temperature_K, row.frames, row.length_fs) == (40.0, 11, 100.0)
        assert "too few frames" in row.refused


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"temperature_K": -5}, "temperature in K"),
        ({"temperature_K": float("nan")}, "temperature in K"),
        ({"timestep_fs": 20.0}, "timestep_fs"),
        ({"every_fs": 3.0}, "whole number of time steps"),
        ({"ensemble": "nph"}, "ensemble"),
        ({"keep": "frames"}, "give run="),
    ],
)
def test_what_makes_no_sense_is_refused(change, wanted):
    with pytest.raises(InputError, match=wanted) as error:
        atomsim.md(ARGON, "lj-test", **SHORT | change)
    assert "\n" not in str(error.value)
