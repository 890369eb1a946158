"""A package adds a step kind: TOML, check, processes, reports and provenance know it, and its name is its own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest
from forked import start_quickly
from walks import CAMPAIGN, PLUGIN, dies_after, in_child, installed, make_campaign, outcomes, run

from atomsim.campaign.file import describe_keys, load_campaign
from atomsim.campaign.status import read_status
from atomsim.errors import AtomsimError, InputError
from atomsim.execution import pool
from atomsim.report import write_report
from atomsim.slurm.collect import collect
from atomsim.store import artifacts, durable
from atomsim.store.artifacts import open_artifact
from atomsim.store.run_folder import RunFolder, read_run
from atomsim.tasks import MODULES, kind_of, kinds, packages_of


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(monkeypatch):
        yield


def broken(folder: Path, entry: str, code: str = "") -> Path:
    """A package in a folder whose one entry point for step kinds says so."""
    about = folder / "atomsim_broken-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: atomsim-broken\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[atomsim.steps]\n{entry}\n")
    (folder / "atomsim_broken.py").write_text(code)
    return folder


def test_the_example_says_the_same_where_it_is_built_and_where_it_is_installed() -> None:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    installed_as = ConfigParser(delimiters="=")
    installed_as.read(next(PLUGIN.glob("*.dist-info")) / "entry_points.txt")
    assert {group: dict(installed_as[group]) for group in installed_as.sections()} == project["entry-points"]


def test_a_kind_of_a_package_is_listed_checked_and_has_a_version(plugin: None, tmp_path: Path) -> None:
    assert kinds() == (*MODULES, "walk")
    assert packages_of("relax", "walk") == {"atomsim-walk": "0.3.0"}
    rows = describe_keys()['[[step]] kind = "walk"']
    assert {"key": "steps", "type": "integer", "default": "100", "description": "steps of the walk"} in rows
    with pytest.raises(InputError, match="did you mean 'every'"):
        make_campaign(tmp_path, text=CAMPAIGN.replace("every", "evry"))
    with pytest.raises(InputError, match="did you mean 'walk'"):
        make_campaign(tmp_path, text=CAMPAIGN.replace('"walk"', '"walks"'))


def test_without_the_package_there_is_no_such_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown kind 'walk'; kinds are structures, .*barriers"):
        make_campaign(tmp_path)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_campaign_runs_it_to_the_report(plugin: None, tmp_path: Path, processes: int) -> None:
    out = tmp_path / "run"
    assert run(make_campaign(tmp_path / "in"), out, processes=processes, checkpoint_s=30.0).ok
    info, records = read_run(out)
    (record,) = records["walked"]
    assert record.provenance["versions"]["atomsim-walk"] == info["versions"]["atomsim-walk"] == "0.3.0"
    assert record.values["artifacts"]["trajectory"]["frames"] == 20
    assert "Walks · walked" in write_report(out, info, records).read_text()
    (status,) = read_status(out)
    assert (status.artifacts, status.artifact_problems) == (1, ())
    collect(out, ["csv"])
    assert record.values["artifacts"]["trajectory"]["file"] in (out / "exports" / "records.csv").read_text()
    assert not list(RunFolder(out).states("01-walked").glob("*"))


def test_records_are_read_where_the_package_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, installed(patch):
        run(make_campaign(tmp_path / "in"), tmp_path / "run")
    info, records = read_run(tmp_path / "run")
    assert [r.label for r in records["walked"]] == ["s0"]
    assert write_report(tmp_path / "run", info, records).exists()
    assert len(open_artifact(tmp_path / "run", records["walked"][0], "trajectory")) == 20


@pytest.mark.parametrize(
    ("entry", "code", "wanted"),
    [
        ("relax = atomsim_broken", "", "step kind 'relax' of atomsim-broken 1.0: atomsim has a kind of that name"),
        ("walk = atomsim_broken", "", "atomsim-(walk|broken) has a kind of that name already; uninstall atomsim-"),
        ("other = atomsim_broken", "import no_such_module", r"cannot be imported \(ModuleNotFoundError.*uninstall it"),
        ("other = atomsim_broken", "KIND = 'other'", "has no NEEDS_POTENTIAL, Settings, expand, run, summarise, cost"),
    ],
)
def test_a_package_that_cannot_be_used_is_refused_in_one_line(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, code: str, wanted: str
) -> None:
    (tmp_path / "in").mkdir()
    text = CAMPAIGN.replace('"walk"', '"other"') if "other" in entry else CAMPAIGN
    (tmp_path / "in" / "walks.toml").write_text(text)
    with installed(monkeypatch, broken(tmp_path / "site", entry, code)):
        with pytest.raises(InputError, match=wanted) as error:
            load_campaign(tmp_path / "in" / "walks.toml")
        assert "\n" not in str(error.value)


def test_atomsims_own_kinds_stay_usable_beside_a_broken_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installed(monkeypatch, broken(tmp_path, "relax = atomsim_broken")):
        assert kind_of("relax").__name__ == "atomsim.tasks.relax"


@pytest.mark.parametrize("kills", [[7], [13, 13, 13, 13]])
def test_kills_change_nothing_and_cost_no_step_twice(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: list[int]
) -> None:
    """SIGKILL in a walk: the next run continues from the state, evaluates only what is left, and writes the same."""
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 500)
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: None)
    campaign = make_campaign(tmp_path / "in")
    run(campaign, tmp_path / "whole")
    out = tmp_path / "killed"
    left, died = 40, 0
    for calls in kills:
        code = in_child(lambda calls=calls: (dies_after(calls)(), run(campaign, out)))
        assert code == (137 if calls < left else 0)
        left, died = max(0, left - calls), died + bool(code)
    run(campaign, out)
    assert outcomes(out) == outcomes(tmp_path / "whole")
    (record,) = read_run(out)[1]["walked"]
    if left:
        assert record.run["evaluations"] == left
    assert record.run["continued"] == died
    names = [sorted(p.name for p in (each / "artifacts" / record.task).iterdir()) for each in (out, tmp_path / "whole")]
    assert names[0] == names[1]


def test_damaged_states_are_told_of(plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign, out = make_campaign(tmp_path / "in"), tmp_path / "run"
    in_child(lambda: (dies_after(9)(), run(campaign, out)))
    for path in RunFolder(out).states("01-walked").glob("*.state"):
        path.write_bytes(path.read_bytes()[:-3])
    run(campaign, out)
    (record,) = read_run(out)[1]["walked"]
    assert (record.run["begun_anew"], record.run["evaluations"]) == (True, 40)
    assert "begun anew, as its saved states were damaged" in (out / "log.txt").read_text()


@pytest.mark.parametrize("processes", [0, 1])
def test_a_full_disk_ends_the_run_in_one_line_and_leaves_no_record(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """The task is not to blame: with room made, the same command finishes it."""
    start_quickly(monkeypatch, pool)
    campaign, out = make_campaign(tmp_path / "in"), tmp_path / "run"
    run(campaign, tmp_path / "whole")
    in_child(lambda: (dies_after(3)(), run(campaign, out)))
    (out / "artifacts").write_text("stands for a disk that takes nothing more")
    with pytest.raises(AtomsimError, match=r"cannot write artifact trajectory.*run the same command again") as error:
        run(campaign, out, processes=processes)
    assert "\n" not in str(error.value)
    assert read_run(out)[1]["walked"] == []
    (out / "artifacts").unlink()
    run(campaign, out)
    assert outcomes(out) == outcomes(tmp_path / "whole")
