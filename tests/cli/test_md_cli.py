"""``atomsim md`` makes a run folder that continues, and that ``atomsim diffusion`` takes."""

from __future__ import annotations

import json

import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.store.run_folder import read_run

TIMES = ("--duration", "0.1ps", "--every", "10fs")


def call(*words: object):
    return CliRunner().invoke(app, [*map(str, words)])


def test_a_run_folder_is_made_gone_on_with_and_analysed(tmp_path):
    write(tmp_path / "salt.extxyz", bulk("LiF", "rocksalt", 4.2, cubic=True))
    words = ("md", tmp_path / "salt.extxyz", "-p", "lj-test", "-n", 0, "-T", 40, 60, *TIMES, "-o", tmp_path / "run")
    first = call(*words, "--json")
    assert first.exit_code == 0, first.output
    rows = json.loads(first.stdout)["trajectories"]
    assert [(row["label"], row["status"]) for row in rows] == [("salt-40K", "done"), ("salt-60K", "done")]
    before = [r.run for r in read_run(tmp_path / "run")[1]["moved"]]
    assert "salt-40K: the cell is 4.2 Å wide, less than two cutoffs of the potential" in call(*words).stdout
    assert [r.run for r in read_run(tmp_path / "run")[1]["moved"]] == before  # nothing was computed twice
    found = call("diffusion", tmp_path / "run", "--json")
    assert found.exit_code == 1, found.output
    content = json.loads(found.stdout)["temperatures"]
    assert [row["temperature_K"] for row in content] == [40.0, 60.0]
    assert all("too few frames" in row["refused"] for row in content)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("--timestep", "0fs"), "timestep"),
        (("--timestep", "20fs"), "timestep"),
        (("--timestep", "2"), "wanted a time with its unit"),
        (("-T", "-5"), "temperature"),
        (("--ensemble", "nph"), "ensemble"),
        (("--pressure", "1"), "leave it out, or take 'npt'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, change, wanted):
    words = ("md", "Li2O", "-p", "lj-test", "-n", 0, "-T", 40, *TIMES, "-o", tmp_path / "run")
    found = call(*words, *change)
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.strip().splitlines()
    assert wanted in line
    assert not (tmp_path / "run").exists()
