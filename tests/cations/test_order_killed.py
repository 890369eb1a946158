"""kill -9 in the middle of a search for cation order: it continues, and ends the same to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.io import write
from forked import Forked

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.execution.job import Engine
from atomsim.store.run_folder import read_run

CAMPAIGN = """
[campaign]
name = "salt"
potential = "lj-test" # the test loads another
seed = 1

[[step]]
name = "ordered"
kind = "order"
structures = "salt.extxyz"
sublattices = ["Li+Co"]
relaxations = 6
batch = 6
lowest = 1
sweeps = 20
chains = 2
shells = 1
enumerate_limit = 0
cell = false
fmax_eV_per_A = 0.2
final_fmax_eV_per_A = 0.1
"""


def start(folder: Path, out: str, count: str) -> Forked:
    def run() -> bool:
        engine = Engine("slow", "cpu", processes=0, loader="slow_argon:load", checkpoints=f"{out}-kept", checkpoint_s=0)
        return not run_campaign(load_campaign(Path("salt.toml")), Path(out), engine).ok

    return Forked(run, cwd=folder, env=os.environ | {"ARGON_COUNT": count}, stdout=subprocess.DEVNULL)


def evaluated(folder: Path, count: str) -> int:
    file = folder / count
    return file.stat().st_size if file.exists() else 0


@pytest.mark.soak
def test_a_search_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    atoms = make_supercell(bulk("MgO", "rocksalt", a=5.2, cubic=True), np.diag([2, 1, 1]))
    metals = np.flatnonzero(atoms.symbols == "Mg")
    atoms.symbols[metals] = ["Li", "Co"] * 4
    write(tmp_path / "salt.extxyz", atoms)
    (tmp_path / "salt.toml").write_text(CAMPAIGN)
    assert start(tmp_path, "whole", "count-whole").wait() == 0
    whole = evaluated(tmp_path, "count-whole")

    process = start(tmp_path, "run", "count-before")
    deadline = time.monotonic() + 900
    while evaluated(tmp_path, "count-before") < whole // 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was at work
    assert not read_run(tmp_path / "run")[1]["ordered"]

    before = evaluated(tmp_path, "count-before")
    assert start(tmp_path, "run", "count-after").wait() == 0
    assert evaluated(tmp_path, "count-after") < whole  # what was evaluated is remembered
    assert before >= whole // 2
    (expected,) = read_run(tmp_path / "whole")[1]["ordered"]
    (found,) = read_run(tmp_path / "run")[1]["ordered"]
    assert found.status in ("converged", "done")
    assert found.outcome() == expected.outcome()  # bitwise: numbers are compared as they are
