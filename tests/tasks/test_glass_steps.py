"""Step kinds ``amorphize`` and ``glass``: kills that change nothing, verdicts in the report, bad settings refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from walks import dies_after, in_child, run

import atomsim
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
name = "glasses"
kind = "amorphize"
formula = "ArKr"
n_atoms = 8
seeds = [5]
start = "atoms"
density_g_per_cm3 = 1.6
melt_K = 60
end_K = 20
anneal_K = 40
melt_ps = 0.024
quench_ps = 0.024
anneal_ps = 0.024
every_fs = 8.0
tau_p_fs = 100.0
fmax_eV_per_A = 0.5

[[step]]
name = "verdicts"
kind = "glass"
structures = "glasses"
"""


def campaign(folder: Path, *changes: tuple[str, str]) -> Campaign:
    folder.mkdir(parents=True, exist_ok=True)
    text = CAMPAIGN
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "glass.toml").write_text(text, encoding="utf-8")
    return load_campaign(folder / "glass.toml")


def test_kills_in_melt_quench_and_anneal_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 900)
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: None)
    made = campaign(tmp_path / "in")
    run(made, tmp_path / "whole")
    for calls in (12, 8, 14):
        in_child(lambda calls=calls: (dies_after(calls)(), run(made, tmp_path / "killed")))
    run(made, tmp_path / "killed")
    (one,), (other,) = (read_run(tmp_path / name)[1]["glasses"] for name in ("whole", "killed"))
    assert one.outcome() == other.outcome()
    assert other.run["continued"] >= 2
    frames = [open_artifact(tmp_path / name, r, "trajectory") for name, r in (("whole", one), ("killed", other))]
    assert frames[0].column("step").tolist() == [4 * n for n in range(1, 10)]
    assert frames[0].column("positions").tobytes() == frames[1].column("positions").tobytes()


def test_seeds_to_verdicts_to_the_report(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(campaign(tmp_path / "in", ("seeds = [5]", "seeds = 2")), out).ok
    info, found = read_run(out)
    assert [r.label for r in found["glasses"]] == ["ArKr-atoms-1", "ArKr-atoms-2"]
    one, two = found["glasses"]
    assert one.values["density_g_per_cm3"] != two.values["density_g_per_cm3"]
    assert {r.values["verdict"] for r in found["verdicts"]} <= {"undecided", "crystal", "overlap"}
    assert all("framework_msd_A2" in r.values for r in found["verdicts"])
    page = write_report(out, info, found).read_text()
    assert "Melt and quench · glasses" in page
    assert "Glass or not · verdicts" in page
    made = atomsim.open_run(out)
    assert len(made["glasses"][0].trajectory) == 9
    assert made["verdicts"].verdicts
    again = atomsim.glass(made["glasses"])
    assert [r.value("framework_msd_A2") for r in again] == [r.values["framework_msd_A2"] for r in found["verdicts"]]
    assert [r.value("density_g_per_cm3") for r in again] == [r.values["density_g_per_cm3"] for r in found["verdicts"]]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("melt_K = 60", "melt_K = 20"), "not above the end of the quench"),
        (("n_atoms = 8", "n_atoms = 9"), "nearest sizes are 8 or 10"),
        (("n_atoms = 8", "n_atoms = [8, 10]"), "2 numbers of atoms for 1 formulas"),
        (("1.6", "12.0"), "cannot be packed at 12 g/cm³"),
        (('start = "atoms"', 'start = "units"\nunits = ["SO4"]'), "cannot hold SO4"),
        (("every_fs = 8.0", "every_fs = 5.0"), "whole number of time steps"),
        (("seeds = [5]", "seeds = [5, 5]"), "each once"),
        (('start = "atoms"', 'start = "composite"'), "needs crystal"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, change: tuple[str, str], wanted: str) -> None:
    with pytest.raises(InputError, match=wanted):
        run(campaign(tmp_path / "in", change), tmp_path / "run")
