"""``teacher``: errors of a sample of a run's frames, the same after kills, and flags beyond those of a card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from walks import dies_after, in_child, run

import atomsim
from atomsim.analysis.agreement import label_errors
from atomsim.batching.labels import label
from atomsim.campaign.file import Campaign, load_campaign
from atomsim.campaign.plan import plan
from atomsim.errors import InputError
from atomsim.report import write_report
from atomsim.store import durable
from atomsim.store.run_folder import read_run
from atomsim.tasks.teacher import card_errors, flags_of

CAMPAIGN = """
[campaign]
name = "argon"
potential = "lj-test"

[[step]]
name = "moved"
kind = "md"
structures = "argon.extxyz"
temperature_K = 40
duration_ps = 0.08
timestep_fs = 2.0
every_fs = 4.0
teacher = "lennard-jones"
teacher_frames = 3
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


def test_errors_are_those_of_the_frames_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill changes nothing, and both potentials asked again about the frames that were kept say the same."""
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: None)
    made = campaign(tmp_path / "in")
    run(made, tmp_path / "whole")
    in_child(lambda: (dies_after(25)(), run(made, tmp_path / "killed")))
    run(made, tmp_path / "killed")
    info, found = read_run(tmp_path / "whole")
    (one,), (other,) = found["moved"], read_run(tmp_path / "killed")[1]["moved"]
    assert one.outcome() == other.outcome()
    judged = one.values["teacher"]
    assert judged["steps"] == [14, 26, 40]
    moved = atomsim.open_run(tmp_path / "whole")["moved"][0].trajectory
    frames = [moved[step // 2].atoms for step in judged["steps"]]
    own, theirs = (label(frames, atomsim.load_potential(n, device="cpu")) for n in ("lj-test", "lennard-jones"))
    for key, value in label_errors(own, theirs).items():
        assert judged[key] == pytest.approx(value, rel=1e-3), key
    assert "Against the teacher" in write_report(tmp_path / "whole", info, found).read_text()
    short = {"temperature_K": 40, "duration_ps": 0.08, "every_fs": 4.0, "device": "cpu"}
    argon = bulk("Ar", "fcc", 5.26, cubic=True)
    again = atomsim.md(argon, "lj-test", teacher="lennard-jones", **short)
    assert again.record.values["teacher"]["frames"] == 8
    alone = atomsim.md(argon, "lj-test", **short)
    np.testing.assert_array_equal(again.atoms.positions, alone.atoms.positions)
    assert "teacher" not in alone.record.values


def test_what_is_beyond_the_card_is_flagged() -> None:
    stated = card_errors("mace-li-ru-s-o", "chgnet-0.3.0")
    assert set(stated) == {"energy_MAE_meV_per_atom", "forces_MAE_meV_per_A", "stress_MAE_GPa"}
    assert card_errors("mace-li-ru-s-o", "lj-test") == {}
    assert card_errors("lj-test", "chgnet-0.3.0") == {}
    found = {"name": "chgnet-0.3.0", "card": stated, "beyond_card": ["stress_MAE_GPa"], "stress_MAE_GPa": 2.7}
    (flag,) = flags_of(found)
    assert "stress 2.7 GPa" in flag
    assert flags_of(found | {"beyond_card": []}) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (('"lennard-jones"', '"mace-li-ru-s-o"'), r"Ar is not known to mace-li-ru-s-o \(teacher\)"),
        (('"lennard-jones"', '"no-such"'), "teacher: unknown potential"),
        (('"lennard-jones"', '"lj-test"'), "agrees with itself"),
        (("teacher_frames = 3", "teacher_frames = 0"), "teacher_frames"),
    ],
)
def test_a_teacher_that_cannot_judge_is_refused_first(tmp_path: Path, change: tuple[str, str], wanted: str) -> None:
    with pytest.raises(InputError, match=wanted):
        plan(campaign(tmp_path, change), atomsim.load_potential("lj-test", device="cpu"))
