"""A real Slurm whose site is strange, or broken in ways that Slurm itself never gets over."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_slurm import outcomes
from real_site import ONE_STEP, Site, expected, partition_down

from atomsim.slurm.check import check_cluster
from atomsim.slurm.client import Queued, RealSlurm
from atomsim.slurm.profile import read_profile

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one cluster: its ports are fixed
BANNER = """#!/bin/bash
echo "* Welcome: 2 nodes are down on"; echo 2026; echo
{sbatch} "$@" || exit $?
echo "Your project has used 93 % of its hours."
"""
HOSTILE = {
    "SBATCH_JOB_NAME": "mine",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_ARRAY_INX": "0",
    "SQUEUE_STATES": "SUSPENDED",
    "SQUEUE_FORMAT": "%i",
    "SCANCEL_NAME": "other",
    "LOGNAME": "somebody-else",
    "USER": "somebody-else",
}


def own_jobs() -> list[Queued]:
    """Jobs of this campaign in the queue; why they wait is Slurm's business and may change."""
    return [line for line in RealSlurm().queue() if line.name.startswith("as-")]


def strange(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that greets in sbatch's answers, and variables that override options, here and on the nodes."""
    folder = site.folder / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text(BANNER.format(sbatch=shutil.which("sbatch")))
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    lines = [f"export PATH={shlex.quote(str(folder))}:$PATH", *(f"export {k}={v}" for k, v in HOSTILE.items())]
    site.profile(walltime="00:10", limits=f"[environment]\nsetup = {json.dumps(lines)}")
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


def test_a_strange_site_and_a_person_who_changes_things(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banner, environment, another's name, bytes in names; edited after submit, resumed, cancelled, resumed again."""
    here = site(3, text=ONE_STEP)
    wanted = expected(here)
    foreign = ["sbatch", "--parsable", "-p", "gpu", "--hold", "--chdir=/tmp", "--wrap", "true", "-J", b"b\xe9ton\xff"]
    subprocess.run(foreign, check=True, capture_output=True)
    strange(here, monkeypatch)
    with partition_down():
        assert "continues when these have ended" in here.submit()
        jobs = own_jobs()
        assert len(jobs) == 2
        limit = ["scontrol", "--oneliner", "show", "job", next(j.job for j in jobs if not j.is_planner)]
        assert "TimeLimit=00:10:00" in subprocess.run(limit, capture_output=True, text=True, check=True).stdout
        text = (here.folder / "mine.toml").read_text().replace("0.01", "0.02")
        (here.folder / "mine.toml").write_text(text)
        assert "continues with its own copy" in here.atomsim("resume", "run")
        assert {line.job for line in own_jobs()} == {line.job for line in jobs}  # nothing twice
        done = json.loads(here.atomsim("cancel", "run", "--json"))
        assert (len(done["cancelled"]), done["left"]) == (2, [])
        assert here.status()["state"] == "cancelled"
        (here.folder / "mine.toml").rename(here.folder / "moved.toml")
        assert [line.name[0] for line in RealSlurm().queue()] == ["b"]  # another job of mine is left alone
        assert "is not there any more" in here.atomsim("resume", "run")
    here.finish()
    assert outcomes(here.run) == wanted


def test_held_elements_and_planners_that_never_start(
    site: Callable[..., Site], slurm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prologs fail, and planners ask for more time than their partition gives: workers see to it that it continues."""
    here = site(3, text=ONE_STEP)
    wanted = expected(here)
    here.profile(chunk=2)
    profile = here.folder / "site.toml"
    profile.write_text(profile.read_text() + 'partition = "short"\nwalltime = "00:30"\n')
    found = here.atomsim("clusters", "check", "site.toml", code=1)
    assert "[planner] walltime" in found
    assert "MaxTime is 00:05:00" in found
    broken = Path(os.environ["SLURM_CONF"]).with_name("prolog-fails")
    broken.touch()
    try:
        assert "[planner] walltime is 30 min" in here.submit()
        here.wait(lambda: len(held_everywhere()) == 3)
        status = here.status()
        assert status["state"].startswith("needs attention")
        assert "launch failed requeued held; a node could not start it" in status["stuck"][0]
    finally:
        broken.unlink()
    for element in held_everywhere()[1:]:
        subprocess.run(["scontrol", "release", element], check=True)
    here.finish()  # nobody resumes, and no planner ever runs
    assert outcomes(here.run) == wanted
    here.wait(lambda: not RealSlurm().queue())
    assert any(
        "cancelled, as no node could start them" in p.read_text() for p in (here.run / "slurm/logs").glob("*.log")
    )


def test_where_every_job_is_held_a_watch_continues(site: Callable[..., Site]) -> None:
    """No worker is left that could look at the queue, and the planner waits for what is held."""
    here = site(2, text=ONE_STEP)
    wanted = expected(here)
    profile = here.folder / "site.toml"
    profile.write_text(profile.read_text() + 'watch = "06:00"\n')
    broken = Path(os.environ["SLURM_CONF"]).with_name("prolog-fails")
    broken.touch()
    try:
        assert "1 watch job" in here.submit()
        here.wait(held_everywhere)  # its one job
    finally:
        broken.unlink()
    assert here.status()["state"].startswith("waits for its watch job")
    held_everywhere()
    (watch,) = (line.job for line in RealSlurm().queue() if line.is_watch)
    subprocess.run(["scontrol", "update", f"JobId={watch}", "StartTime=now"], check=True)  # six hours have passed
    here.finish()
    assert outcomes(here.run) == wanted
    here.wait(lambda: not RealSlurm().queue())  # nor is another watch left


def held_everywhere() -> list[str]:
    """What is held, with nodes taken back that a failed prolog has drained: else the last element waits for one."""
    subprocess.run(["scontrol", "update", "nodename=n0,n1", "state=resume"], check=False, capture_output=True)
    return held()


def held() -> list[str]:
    return [i for line in RealSlurm().queue() if line.launch_failed for i in line.ids]


def test_every_way_to_ask_for_gpus_is_taken(site: Callable[..., Site]) -> None:
    here = site(1)
    for way in ("gres", "gpus", "gpus-per-node", "gpus-per-task", "none"):
        for parallel in (1, 2):
            here.profile(slurm=f'gpu_request = "{way}"\nworkers_per_job = {parallel}')
            findings = check_cluster(read_profile(here.folder / "site.toml"))
            assert all(f.good for f in findings), findings
