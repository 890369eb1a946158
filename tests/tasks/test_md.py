"""Step kind ``md``: trajectories on disk, kills that change nothing, what explodes is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from walks import dies_after, in_child, run

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.errors import InputError
from atomsim.report import write_report
from atomsim.store import artifacts, durable
from atomsim.store.artifacts import open_artifact
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
temperature_K = 40
duration_ps = 0.08
timestep_fs = 2.0
every_fs = 4.0
"""


def campaign(folder: Path, *changes: tuple[str, str]) -> Campaign:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "argon.extxyz", bulk("Ar", "fcc", 5.26, cubic=True))
    text = CAMPAIGN
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "md.toml").write_text(text, encoding="utf-8")
    return load_campaign(folder / "md.toml")


def records(out: Path) -> list:
    return read_run(out)[1]["moved"]


ENSEMBLES = {
    "nve": ("duration_ps", 'ensemble = "nve"\nduration_ps'),
    "npt_flexible": ("duration_ps", 'ensemble = "npt_flexible"\npressure_GPa = 0.1\nduration_ps'),
}


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_kills_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ensemble: str) -> None:
    """SIGKILL three times within a trajectory: records and every byte of frames are those of a run in one piece."""
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 900)
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: None)
    made = campaign(tmp_path / "in", ENSEMBLES[ensemble])
    run(made, tmp_path / "whole")
    for calls in (5, 14, 9):
        assert in_child(lambda calls=calls: (dies_after(calls)(), run(made, tmp_path / "killed"))) == 137
    run(made, tmp_path / "killed")
    (one,), (other,) = records(tmp_path / "whole"), records(tmp_path / "killed")
    assert one.outcome() == other.outcome()
    assert other.run["continued"] == 3
    frames = [open_artifact(tmp_path / run_, r, "trajectory") for run_, r in (("whole", one), ("killed", other))]
    assert len(frames[0]) == len(frames[1]) == 21
    assert frames[0][0]["positions"].dtype == np.float32
    assert all(a["positions"].tobytes() == b["positions"].tobytes() for a, b in zip(*frames, strict=True))


def test_structures_temperatures_and_replicas_to_the_report(tmp_path: Path) -> None:
    changes = (("= 40", "= [20, 40]"), ("timestep_fs", "replicas = 2\ntimestep_fs"), ("0.08", "0.02"))
    out = tmp_path / "run"
    assert run(campaign(tmp_path / "in", *changes), out).ok
    info, found = read_run(out)
    labels = [r.label for r in found["moved"]]
    assert labels == ["argon-20K-1", "argon-20K-2", "argon-40K-1", "argon-40K-2"]
    assert len({r.values["temperature_mean_K"] for r in found["moved"]}) == 4
    assert "Molecular dynamics · moved" in write_report(out, info, found).read_text()


def test_what_explodes_is_said(tmp_path: Path) -> None:
    pulled = 'ensemble = "npt"\npressure_GPa = -10.0\ntau_p_fs = 100.0\ncompressibility_per_GPa = 1.0\nduration_ps'
    made = campaign(tmp_path / "in", ("duration_ps", pulled))
    run(made, tmp_path / "run")
    (record,) = records(tmp_path / "run")
    assert record.status == "exploded"
    assert "volume changed" in record.message
    assert record.values["artifacts"]["trajectory"]["frames"] >= 1


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("timestep_fs = 2.0", "timestep_fs = 0.0"), "greater than 0"),
        (("timestep_fs = 2.0", "timestep_fs = 11.0"), "less than or equal to 10"),
        (("= 40", "= -40"), "above 0 K"),
        (("= 40", "= [40, 40]"), "each temperature once"),
        (("every_fs = 4.0", "every_fs = 5.0"), "whole number of time steps"),
        (("duration_ps = 0.08", "duration_ps = 0.001"), "less than one frame"),
        (("duration_ps", "pressure_GPa = 1.0\nduration_ps"), "leave it out, or take 'npt'"),
        (("duration_ps", 'ensemble = "npt"\ntau_p_fs = 50.0\nduration_ps'), "50 time steps"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: tuple[str, str], wanted: str) -> None:
    with pytest.raises(InputError, match=wanted):
        campaign(tmp_path, change)
