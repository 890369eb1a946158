"""kill -9 at any moment, then the same command: the same records as a run that was left alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from forked import Forked, start_quickly

from atomsim.cli import main
from atomsim.execution import pool
from atomsim.store.run_folder import read_run

KILLS = 10

CAMPAIGN = """
[campaign]
name = "killed"
potential = "faulty"
seed = 1

[[step]]
name = "relaxed"
kind = "relax"
structures = "*.extxyz"
fmax_eV_per_A = 0.005
noise_A = 0.05

[[step]]
name = "again"
kind = "relax"
structures = "relaxed"
fmax_eV_per_A = 0.002
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A path that a shell would trip over."""
    hostile = tmp_path / 'it\'s a "strange" $(path) – Å'
    hostile.mkdir()
    for n in range(6):
        # neon is slow on purpose: kills hit it at work
        write(hostile / f"s{n}.extxyz", bulk("Ne", "fcc", 3.2 + 0.1 * n, cubic=True))
    (hostile / "mine.toml").write_text(CAMPAIGN, encoding="utf-8")
    return hostile


def words(out: str) -> list[str]:
    return ["run", "mine.toml", "--out", out, "--processes", "2", "--loader", "faulty_potentials:load"]


def fork(folder: Path, out: str) -> Forked:
    """The command and its two workers as forks: what is killed is at work, not importing torch."""

    def command() -> None:
        sys.argv = ["atomsim", *words(out)]
        main()

    with (folder / f"{out}.txt").open("ab") as output:
        return Forked(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)


def start(folder: Path, out: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "from atomsim.cli import main; main()", *words(out)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell's background jobs, and all that they start, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(word) for word in task.read_text().split()]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(process: Forked) -> None:
    """Kill a run; its workers must follow it."""
    family = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 300
    while any(alive(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in family), "workers outlived their parent"


def outcomes(folder: Path) -> dict[str, dict[str, dict]]:
    return {step: {r.label: r.outcome() for r in records} for step, records in read_run(folder)[1].items()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for child processes in /proc")
def test_kills_at_random_moments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_quickly(monkeypatch, pool)
    begin = time.monotonic()
    assert fork(folder, "whole").wait(timeout=1800) == 0, (folder / "whole.txt").read_text()
    duration = time.monotonic() - begin

    rng = np.random.default_rng(7)
    kills = 0
    while kills < KILLS:
        process = fork(folder, "killed")
        try:
            code = process.wait(timeout=rng.uniform(0.05, 0.6) * duration)
        except subprocess.TimeoutExpired:
            kill(process)
            kills += 1
            continue
        # it came to its end between kills: compare, and begin anew
        assert code == 0
        assert outcomes(folder / "killed") == outcomes(folder / "whole")
        shutil.rmtree(folder / "killed")

    assert fork(folder, "killed").wait(timeout=1800) == 0, (folder / "killed.txt").read_text()
    assert outcomes(folder / "killed") == outcomes(folder / "whole")
    tasks = [(folder / name / "steps/02-again/tasks.jsonl").read_bytes() for name in ("killed", "whole")]
    assert tasks[0] == tasks[1]


def test_interrupt_says_how_to_go_on(folder: Path) -> None:
    process = start(folder, "run")
    deadline = time.monotonic() + 600
    while not children(process.pid) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors.decode()
    assert "run the same command again" in errors.decode().splitlines()[-1]
    assert "Traceback" not in errors.decode()
