"""A real Slurm on this machine, and what it does to campaigns."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from ase.io import write
from conftest_slurm import outcomes
from real_site import ONE_STEP, PATIENCE_S, Site, expected, partition_down

from atomsim.slurm.actions import task_log
from atomsim.slurm.client import RealSlurm

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one cluster: its ports are fixed


def test_a_campaign_goes_through_by_itself(site: Callable[..., Site]) -> None:
    here = site(3)
    with partition_down():  # it must not have ended before the next two commands
        output = here.submit()
        assert "continues when these have ended" in output
        assert "was submitted already" in here.atomsim(
            "submit", "mine.toml", "-c", "site.toml", "-o", "run", "--loader", "faulty_potentials:load", code=2
        )
        assert "is being run on a cluster" in here.atomsim(
            "run", "mine.toml", "-o", "run", "--loader", "faulty_potentials:load", code=2
        )
    here.finish()
    assert outcomes(here.run) == expected(here)
    status = json.loads(here.atomsim("status", "run", "--json"))
    assert status["state"] == "finished"
    assert [s["done"] for s in status["steps"]] == [3, 3, 3]
    here.wait((here.run / "report.html").exists)  # written after the campaign is closed
    table = here.atomsim("collect", "run")
    assert "records.csv" in table
    assert "records.db" in table


@pytest.mark.slow
def test_preemption_and_a_short_walltime(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """A more urgent job takes the nodes, and the walltime is too short for the chunk."""
    here = site(3, element="Ne", text=ONE_STEP)  # slow
    wanted = expected(here)
    monkeypatch.setenv("FAULTY_DELAY_S", "0.5")  # 27 calls for each: some as long as a job may work
    here.profile(walltime="00:02:00", stop_before=60, chunk=1000)
    here.submit()
    here.wait(here.running)
    here.preempt()
    here.finish()
    assert outcomes(here.run) == wanted
    ends = here.ends()
    # Slurm warns of a preemption with the signal of the walltime; before Python listens, only what follows it is heard
    # how much an attempt gets done depends on the machine: it is stopped at least once, and always cleanly or by Slurm
    assert ends[:-1]
    assert set(ends[:-1]) <= {"walltime", "terminated", "none"}
    assert ends[-1] == "done"


@pytest.mark.slow
def test_node_death_and_accounts_that_only_add_the_cause(
    tmp_path: Path, slurm_with_accounts: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With slurmdbd: status names what a worker died of; all else is as it is without."""
    here = Site(tmp_path, 3, element="Ne", text=ONE_STEP)
    wanted = expected(here)
    monkeypatch.setenv("FAULTY_DELAY_S", "0.2")
    here.submit()
    node = here.kill_node_at_work(slurm_with_accounts)
    here.wait(lambda: here.status()["died"])
    here.finish()
    assert outcomes(here.run) == wanted
    assert "none" in here.ends()  # nobody lived to say how the attempt on the dead node ended
    tried = task_log(here.run, "relaxed/s000").attempts
    assert (tried[0]["host"], tried[0]["ended"]) == (node, "no word")
    assert tried[0]["message"].startswith("NODE_FAIL")
    without_accounts(tmp_path / "bin", monkeypatch)
    assert task_log(here.run, "relaxed/s000").attempts == (tried[0] | {"message": ""}, *tried[1:])


def without_accounts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sacct answers as where no accounts are kept."""
    folder.mkdir()
    (folder / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    (folder / "sacct").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
def test_the_controller_dies_after_accepting(site: Callable[..., Site], slurm: Callable[..., Any]) -> None:
    here = site(2, text=ONE_STEP)
    here.submit()
    slurm("kill-controller")
    assert "queue is unknown" in here.atomsim("status", "run")
    slurm("start-controller")
    here.wait(lambda: _answers())
    time.sleep(1)
    if here.status()["state"] not in ("running", "finished"):
        here.atomsim("resume", "run")
    deadline = time.monotonic() + PATIENCE_S
    while not here.closed() and time.monotonic() < deadline:
        time.sleep(2)
        if here.status()["state"].startswith("needs") or here.status()["stuck"]:
            here.atomsim("resume", "run")
    here.finish()
    assert outcomes(here.run) == expected(here)


def _answers() -> bool:
    return subprocess.run(["squeue", "-h"], capture_output=True, check=False, timeout=600).returncode == 0


def test_cancel_and_resume_by_a_person(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_DELAY_S", "0.15")  # it must not have ended before it is cancelled
    here = site(3, element="Ne", text=ONE_STEP)
    here.profile(submits="false")
    output = here.submit()
    assert "run 'atomsim resume run'" in output
    here.wait(here.running)
    here.atomsim("cancel", "run", code=None)  # a busy machine's jobs may take longer to end than it looks
    here.wait(lambda: not RealSlurm().queue())
    assert here.status()["state"] == "cancelled"
    here.profile(submits="false")
    here.atomsim("resume", "run")
    for _ in range(40):
        here.wait(lambda: not RealSlurm().queue())
        if here.closed():
            break
        here.atomsim("resume", "run", code=None)
    here.finish()
    assert outcomes(here.run) == expected(here)


@pytest.mark.soak  # minutes of waiting; CI has the same on the simulated cluster (test_faults)
def test_a_structure_that_kills_its_worker(site: Callable[..., Site]) -> None:
    """Its worker gets SIGKILL, as from a host out of memory: isolated, given up, and said so."""
    here = site(2, text=ONE_STEP)
    healthy = expected(here)
    write(here.folder / "s999.extxyz", bulk("Ar", "fcc", 3.5, cubic=True))
    here.submit()
    here.finish()
    found = {r["label"]: r for r in outcomes(here.run)["relaxed"]}
    killer = found.pop("s999")
    assert killer["status"] == "crashed"
    assert "its worker died 3 times with nothing else to do" in killer["message"]
    assert list(found.values()) == healthy["relaxed"]
    assert "no word" in here.atomsim("logs", "run", "relaxed/s999")


def test_what_can_never_start_is_named(site: Callable[..., Site]) -> None:
    here = site(2)
    here.profile(slurm='constraint = ""', walltime="01:00:00")
    text = (here.folder / "site.toml").read_text().replace('partition = "gpu"', 'partition = "short"', 1)
    (here.folder / "site.toml").write_text(text)
    assert "BAD" in here.atomsim("clusters", "check", "site.toml", code=1)
    here.submit()
    here.wait(lambda: here.status()["stuck"])
    reason, _, cure = here.status()["stuck"][0].partition("; ")
    assert reason.endswith(("PartitionTimeLimit", "PartitionConfig"))  # it depends on which check of Slurm's came first
    assert "lower [slurm] walltime" in cure
    assert "stuck:" in here.atomsim("status", "run")
    here.atomsim("cancel", "run", code=None)


@pytest.mark.slow
def test_limits_of_the_site_are_kept(site: Callable[..., Site]) -> None:
    """More chunks than may be submitted at once: they come in turns."""
    here = site(3, text=ONE_STEP)
    here.profile(limits="max_array_size = 2\nmax_submitted = 3", chunk=2)
    output = here.submit()
    assert "wait until the limit" in output
    here.finish()
    assert outcomes(here.run) == expected(here)


def test_a_wrong_partition_is_said_in_one_line(site: Callable[..., Site]) -> None:
    here = site(1)
    text = (here.folder / "site.toml").read_text().replace('partition = "gpu"', 'partition = "gqu"', 1)
    (here.folder / "site.toml").write_text(text)
    output = here.atomsim(
        "submit", "mine.toml", "-c", "site.toml", "-o", "run", "--loader", "faulty_potentials:load", code=1
    )
    assert "Invalid partition name specified" in output
    assert "Traceback" not in output
    assert "not there; partitions are gpu, short, urgent" in here.atomsim("clusters", "check", "site.toml", code=1)


def test_a_dry_run_writes_and_submits_nothing(site: Callable[..., Site]) -> None:
    here = site(2)
    output = here.atomsim(
        "submit", "mine.toml", "-c", "site.toml", "-o", "run", "--dry-run", "--loader", "faulty_potentials:load"
    )
    assert output.count("#!/bin/bash") == 2
    assert not here.run.exists()
    assert RealSlurm().queue() == []
