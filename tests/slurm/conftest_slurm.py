"""Campaigns for the tests of clusters: small, cheap, and with a record of what they must give."""

from __future__ import annotations

import json
import shutil
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


_RUN_HERE: dict[str, Path] = {}
"""Runs of campaigns, by all that decides their results: many tests ask for the same."""


@pytest.fixture
def reference(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Campaign], dict[str, list[dict]]]:
    """What ``atomsim run`` on one machine gives; the run is in the folder ``local``."""

    def run(campaign: Campaign) -> dict[str, list[dict]]:
        key = json.dumps([campaign.header.potential, campaign.content()], sort_keys=True)
        if key not in _RUN_HERE:
            folder = tmp_path_factory.mktemp("reference") / "local"
            run_campaign(campaign, folder, Engine(campaign.header.potential, processes=0))
            _RUN_HERE[key] = folder
        shutil.copytree(_RUN_HERE[key], tmp_path / "local")
        return outcomes(tmp_path / "local")

    return run
