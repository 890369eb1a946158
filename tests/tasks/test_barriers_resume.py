"""kill -9 in the middle of a hop: it continues from what was evaluated, and ends the same to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from forked import Forked

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.execution.job import Engine
from atomsim.store.run_folder import read_run

CAMPAIGN = """
[campaign]
name = "argon"
potential = "lj-test" # the test loads another
seed = 1

[[step]]
name = "hops"
kind = "barriers"
structures = "argon.extxyz"
ion = "Ar"
max_length_A = 4.0
supercell_min_A = 9.0
max_atoms = 32
images = 3
fmax_eV_per_A = 0.002
end_fmax_eV_per_A = 0.0005
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "argon.extxyz", bulk("Ar", "fcc", a=5.26))
    (tmp_path / "argon.toml").write_text(CAMPAIGN)
    return tmp_path


def start(folder: Path, out: str, checkpoints: str, count: str) -> Forked:
    def run() -> bool:
        engine = Engine("slow", "cpu", processes=0, loader="slow_argon:load", checkpoints=checkpoints, checkpoint_s=0.0)
        return not run_campaign(load_campaign(Path("argon.toml")), Path(out), engine).ok

    return Forked(run, cwd=folder, env=os.environ | {"ARGON_COUNT": count}, stdout=subprocess.DEVNULL)


def evaluated(folder: Path, count: str) -> int:
    file = folder / count
    return file.stat().st_size if file.exists() else 0


def test_a_hop_that_was_killed_goes_on_and_ends_the_same(folder: Path) -> None:
    assert start(folder, "whole", "kept-whole", "count-whole").wait() == 0
    whole = evaluated(folder, "count-whole")

    process = start(folder, "run", "kept", "count-before")
    deadline = time.monotonic() + 900
    while evaluated(folder, "count-before") < 0.6 * whole and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was at work
    before = evaluated(folder, "count-before")
    assert not read_run(folder / "run")[1]["hops"]

    assert start(folder, "run", "kept", "count-after").wait() == 0
    # the call under way when it was killed is lost, and the one whose file was being written; of a band each is three
    assert evaluated(folder, "count-after") <= whole - before + 2 * 3
    (expected,) = read_run(folder / "whole")[1]["hops"]
    (found,) = read_run(folder / "run")[1]["hops"]
    assert found.status == "converged"
    assert found.outcome() == expected.outcome()  # bitwise: numbers are compared as they are
