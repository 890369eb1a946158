"""Campaigns for the tests of clusters: small, cheap, and with a record of what they must give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.execution.job import Engine
from atomsim.slurm.profile import Cluster, parse_profile
from atomsim.store.run_folder import read_run

CAMPAIGN = """
[campaign]
name = "cluster"
potential = "lj-test"
seed = 3

[[step]]
name = "start"
kind = "structures"
structures = ["*.extxyz"]

[[step]]
name = "relaxed"
kind = "relax"
structures = "start"
fmax_eV_per_A = 0.01
noise_A = 0.02

[[step]]
name = "again"
kind = "relax"
structures = "relaxed"
cell = false
fmax_eV_per_A = 0.005
"""

PROFILE = {
    "slurm": {"partition": "gpu", "walltime": "01:00:00"},
    "limits": {"max_running": 2},
    "worker": {"device": "cpu", "processes": 0, "checkpoint_s": 0.05, "chunk_s": 8.0},
}


def make_campaign(folder: Path, structures: int, text: str = CAMPAIGN) -> Campaign:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(structures):
        write(folder / f"s{n:03d}.extxyz", bulk("He", "fcc", 3.2 + 0.05 * (n % 12), cubic=True))
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_campaign(path)


def profile(**changes: dict[str, object]) -> Cluster:
    tables = {table: dict(PROFILE.get(table, {})) | changes.get(table, {}) for table in {*PROFILE, *changes}}
    return parse_profile(tables, "test")


def outcomes(run: Path) -> dict[str, list[dict]]:
    return {step: [r.outcome() for r in records] for step, records in read_run(run)[1].items()}


@pytest.fixture
def reference(tmp_path: Path) -> Callable[[Campaign], dict[str, list[dict]]]:
    """What ``atomsim run`` on one machine gives."""

    def run(campaign: Campaign) -> dict[str, list[dict]]:
        run_campaign(campaign, tmp_path / "local", Engine(campaign.header.potential, processes=0))
        return outcomes(tmp_path / "local")

    return run
