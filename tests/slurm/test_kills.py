"""SIGKILL of workers, planners, submitters and the controller, anywhere: nothing lost, doubled or wrong."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest_slurm import make_campaign, outcomes, profile
from simulated import Cluster

from atomsim.campaign.file import Campaign
from atomsim.execution.job import Engine
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume, start

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
KINDS = ("worker", "planner", "submitter", "controller", "zombie")
Reference = Callable[[Campaign], dict[str, list[dict]]]


def live_through(campaign: Campaign, out: Path, cluster: Cluster, calls: int = 200) -> None:
    """Submit, and be the person who resumes whenever the queue is empty and the work is not done."""
    engine = Engine("lj-test")
    for _ in range(calls):
        journal = Journal(out)
        closed = journal.closed()
        if closed is not None and closed["why"] == "finished":
            return
        if journal.exists:
            cluster.call(lambda: resume(out, cluster.slurm) and 0, "submitter")
        else:
            cluster.call(lambda: start(campaign, out, engine, profile(), cluster.slurm) and 0, "submitter")
        cluster.drain()
    raise AssertionError(f"not finished after {calls} calls: {Journal(out).closed()}")


def killed(kills: Counter) -> int:
    """Deaths of processes; what the controller lost comes on top."""
    return kills["worker"] + kills["planner"] + kills["submitter"]


def survive(tmp_path: Path, campaign: Campaign, expected: dict, kills: int, limit_s: float) -> Counter:
    rng = np.random.default_rng(11)
    total: Counter = Counter()
    deadline = time.monotonic() + limit_s
    number = 0
    while (killed(total) < kills or any(total[kind] == 0 for kind in KINDS)) and time.monotonic() < deadline:
        number += 1
        out = tmp_path / f"run{number}"
        cluster = Cluster(tmp_path / f"slurm{number}", out, rng, kill=0.5, lifetime_s=0.6, lose=0.02, zombies=0.2)
        live_through(campaign, out, cluster)
        total += cluster.kills
        assert outcomes(out) == expected
    return total


@pytest.mark.slow
def test_random_kills(tmp_path: Path, reference: Reference) -> None:
    campaign = make_campaign(tmp_path / "in", 6)
    kills = survive(tmp_path, campaign, reference(campaign), 80, 1800.0)
    assert killed(kills) >= 80  # and more in tests/execution/test_resume.py
    assert min(kills[kind] for kind in KINDS) > 0


@pytest.mark.slow
@pytest.mark.soak
def test_a_thousand_random_kills(tmp_path: Path, reference: Reference) -> None:
    campaign = make_campaign(tmp_path / "in", 16)
    kills = survive(tmp_path, campaign, reference(campaign), 1000, 3000.0)
    print(dict(kills))
    assert killed(kills) >= 1000


def test_undisturbed(tmp_path: Path, reference: Reference) -> None:
    campaign = make_campaign(tmp_path / "in", 8)
    out = tmp_path / "run"
    cluster = Cluster(tmp_path / "slurm", out, np.random.default_rng(0))
    assert cluster.call(lambda: start(campaign, out, Engine("lj-test"), profile(), cluster.slurm) and 0, "submitter")
    cluster.drain()
    assert Journal(out).closed()["why"] == "finished"
    assert outcomes(out) == reference(campaign)
