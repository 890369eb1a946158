"""Step kind ``diffusion``: the numbers of ``atomsim.diffusion``, seeds of a glass as replicas, refusals on the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from walks import run

import atomsim
from atomsim.analysis.diffusivities import TracerDiffusivities, tracer_diffusivities
from atomsim.campaign.file import Campaign, load_campaign
from atomsim.campaign.plan import plan
from atomsim.errors import InputError
from atomsim.io.trajectories import Frames
from atomsim.report import write_report
from atomsim.report.blocks import Table
from atomsim.report.diffusion import diffusion_part
from atomsim.report.steps import part_of
from atomsim.store.records import Record
from atomsim.store.run_folder import read_run

CAMPAIGN = """
[campaign]
name = "argon"
potential = "lj-test"
seed = 3

[[step]]
name = "moved"
kind = "md"
structures = "argon.extxyz"
temperature_K = [300, 500]
replicas = 2
duration_ps = 0.4
timestep_fs = 4.0
every_fs = 8.0

[[step]]
name = "diffused"
kind = "diffusion"
trajectories = "moved"
ion = "Ar"
framework = "all"
skip_ps = 0.04
"""
GLASS = """
[campaign]
name = "glass"
potential = "lj-test"

[[step]]
name = "glasses"
kind = "amorphize"
formula = "ArKr"
n_atoms = 8
seeds = 2
start = "atoms"
density_g_per_cm3 = 1.6
melt_K = 60
end_K = 20
anneal_ps = 0
melt_ps = 0.02
quench_ps = 0.02
every_fs = 10.0
tau_p_fs = 100.0
fmax_eV_per_A = 5.0

[[step]]
name = "moved"
kind = "md"
structures = "glasses"
temperature_K = 20
duration_ps = 0.04
every_fs = 4.0

[[step]]
name = "diffused"
kind = "diffusion"
trajectories = "moved"
ion = "Ar"
"""


def campaign(folder: Path, text: str, *changes: tuple[str, str]) -> Campaign:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "argon.extxyz", bulk("Ar", "fcc", 6.4, cubic=True) * (2, 2, 1))
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "c.toml").write_text(text, encoding="utf-8")
    return load_campaign(folder / "c.toml")


def test_a_step_gives_the_numbers_of_the_verb_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(campaign(tmp_path / "in", CAMPAIGN), out).ok
    info, records = read_run(out)
    exact = atomsim.diffusion(out, "Ar", framework="all", skip_fs=40.0)
    made = atomsim.open_run(out)["diffused"]
    assert [row.D_cm2_per_s for row in made.rows] == [row.D_cm2_per_s for row in exact.rows]
    assert [row.refused for row in made.rows] == [row.refused for row in exact.rows]
    assert [(row.temperature_K, row.replicas) for row in made.rows] == [(300.0, 2), (500.0, 2)]
    assert made.to_dict() == exact.to_dict()
    page = write_report(out, info, records).read_text()
    assert "Diffusion of Ar · argon" in page
    assert "mean squared" in page.lower()


def test_seeds_of_a_glass_are_replicas_and_a_refusal_is_in_the_report(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(campaign(tmp_path / "in", GLASS), out).ok
    (record,) = read_run(out)[1]["diffused"]
    (row,) = record.values["temperatures"]
    assert (record.label, row["replicas"], record.values["trajectories"]) == ("ArKr-atoms", 2, 2)
    assert row["D_cm2_per_s"] is None
    assert "too few frames" in row["refused"]
    assert record.values["room_temperature"] is None
    assert "too few frames" in part_of("diffused", [record]).notices[0].details[0]


def walks(temperature_K: float, scale: float, seed: int) -> Frames:
    rng = np.random.default_rng(seed)
    numbers = np.array([3, 8, 16, 44]).repeat(12)
    path = np.repeat(rng.random((1, 48, 3)) * 12.0, 300, axis=0) + rng.normal(scale=0.05, size=(300, 48, 3))
    path[1:, :12] += rng.normal(scale=0.15 * scale, size=(299, 12, 3)).cumsum(axis=0)
    cells = np.repeat(12.0 * np.eye(3)[None], 300, axis=0)
    return Frames("walk", numbers, path, cells, (True, True, True), 50.0, temperature_K, unwrapped=True)


def test_numbers_refusals_and_their_law_go_through_a_record_to_the_page() -> None:
    found = tracer_diffusivities([walks(400, 0, 1), walks(600, 0.5, 2), walks(900, 1.0, 3)], "Li")
    values = json.loads(json.dumps(found.to_record(), allow_nan=False))
    again = TracerDiffusivities.from_record(values)
    assert again.to_dict() == found.to_dict()
    assert [row.refused is None for row in again.rows] == [False, True, True]
    facts = {"elements": ["Li", "O", "Ru", "S"], "excluded": []}
    part = diffusion_part("d", [Record("t", "d", "diffusion", "g", "done", found.message, values=values | facts)])
    tables = {b.key: b for b in part.sections[0].blocks if isinstance(b, Table)}
    law = found.arrhenius
    assert tables["law"].rows[0][0] == law.activation_energy_eV
    assert tables["diffusivities"].flagged == {0}
    assert [row[2] for row in tables["nagao"].rows] == ["0.39", "6.3e-7"]
    assert "σ of Li at 298 K" in part.headlines[0].label
    assert "400 K: caged" in part.notices[0].details[0]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (('ion = "Ar"', 'ion = "Li"'), "no Li in the trajectory"),
        (('framework = "all"', ""), "no framework is left"),
        (("skip_ps = 0.04", "skip_ps = -1"), "skip_ps"),
        (('trajectories = "moved"', 'trajectories = ["moved", "moved"]'), "each step once"),
        (('trajectories = "moved"', 'trajectories = "argon.extxyz"'), "argon.extxyz"),
    ],
)
def test_bad_settings_are_refused_before_anything_moves(tmp_path: Path, change: tuple[str, str], wanted: str) -> None:
    with pytest.raises(InputError, match=wanted):
        plan(campaign(tmp_path, CAMPAIGN, change), None)


def test_dynamics_with_friction_give_no_diffusivity(tmp_path: Path) -> None:
    out = tmp_path / "run"
    slowed = ('kind = "md"', 'kind = "md"\nensemble = "langevin"')
    assert not run(campaign(tmp_path / "in", CAMPAIGN, slowed, ("duration_ps = 0.4", "duration_ps = 0.04")), out).ok
    (record,) = read_run(out)[1]["diffused"]
    assert record.status == "invalid"
    assert "slows diffusion down" in record.message
