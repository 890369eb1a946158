"""A run folder that 0.1.0 wrote stays readable, reportable and resumable; one of a later atomsim is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.campaign.status import read_status
from atomsim.errors import InputError
from atomsim.execution.job import Counted, Engine
from atomsim.report import write_report
from atomsim.slurm.collect import collect
from atomsim.store.records import from_line
from atomsim.store.run_folder import RunFolder, read_run

OLD = Path(__file__).parent / "data" / "run-0.1.0"
STATUSES = {
    "crystal": {"done": 1},
    "charged": {"done": 3},
    "relaxed": {"converged": 3},
    "metal": {"converged": 1},
    "electrode": {"done": 1},
    "hops": {"converged": 1},
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the campaign's folder, its run in ``run``."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def ledgers(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob("steps/*/*.jsonl"))}


def rewritten(run: Path, step: str, **changes: object) -> None:
    """Write the first record of a step as another atomsim would, checksum and all."""
    path = run / "steps" / step / "records.jsonl"
    first, *rest = path.read_text().splitlines()
    record = json.loads(first)["record"] | changes
    body = json.dumps(record, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    path.write_text("\n".join([f'{{"sha256":"{digest}","record":{body}}}', *rest]) + "\n")


def test_it_is_listed_and_reported(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atomsim.report.write.save_figures", lambda *_: [])  # drawing them takes half a minute
    assert {s.name: s.statuses for s in read_status(old / "run")} == STATUSES
    assert all(s.done == s.tasks and not s.damaged_lines for s in read_status(old / "run"))
    info, records = read_run(old / "run")
    assert info["versions"]["atomsim"] == "0.1.0"
    page = write_report(old / "run", info, records).read_text()
    assert "Relaxations · relaxed" in page
    assert "A run of 0.1.0" in page
    assert (old / "run" / "exports" / "hops-hops.csv").exists()
    assert (old / "run" / "exports" / "electrode-tables-structures.csv").exists()
    collect(old / "run", ["csv"])


def test_it_is_resumed_without_a_force_call(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of tasks and inputs are what they were: everything counts as done."""
    before = ledgers(old / "run")
    asked: list[int] = []
    real = Counted.__call__
    monkeypatch.setattr(Counted, "__call__", lambda self, batch: asked.append(batch.n_systems) or real(self, batch))
    summary = run_campaign(load_campaign(old / "small.toml"), old / "run", Engine("lj-test", "cpu", processes=0))
    assert summary.ok
    assert [step.done_before for step in summary.steps] == [sum(each.values()) for each in STATUSES.values()]
    assert asked == []
    assert ledgers(old / "run") == before


def test_a_lost_record_is_computed_anew_and_is_the_same_task(old: Path) -> None:
    path = old / "run" / "steps" / "04-metal" / "records.jsonl"
    (was,) = read_run(old / "run")[1]["metal"]
    path.write_text("")
    campaign = load_campaign(old / "small.toml")
    run_campaign(campaign, old / "run", Engine("lj-test", "cpu", processes=0), only=["metal"])
    (now,) = read_run(old / "run")[1]["metal"]
    assert (now.task, now.status) == (was.task, was.status)
    assert now.values["energy_eV"] == pytest.approx(was.values["energy_eV"], abs=1e-9)


def test_a_run_of_another_format_is_refused(old: Path) -> None:
    path = old / "run" / "run.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"format": 9, "versions": {"atomsim": "7.0.0"}}))
    with pytest.raises(
        InputError, match=r"has format 9, .* reads 1; use the atomsim that wrote it \(7\.0\.0\)"
    ) as error:
        read_status(old / "run")
    assert "\n" not in str(error.value)


def test_a_record_of_another_schema_is_refused_not_recomputed(old: Path) -> None:
    """A torn line is computed again; a sound line that says it is of another kind is nobody's damage."""
    rewritten(old / "run", "03-relaxed", schema=2, flavour="new")
    before = ledgers(old / "run")
    for read in (read_status, read_run, lambda run: RunFolder(run).ledger("03-relaxed").read()):
        with pytest.raises(InputError, match=r"step 'relaxed' has schema 2, .* reads 1; use the atomsim that wrote it"):
            read(old / "run")
    with pytest.raises(InputError, match="has schema 2"):
        run_campaign(load_campaign(old / "small.toml"), old / "run", Engine("lj-test", "cpu", processes=0))
    assert ledgers(old / "run") == before


def test_a_record_of_this_schema_with_a_key_more_is_refused_too(old: Path) -> None:
    rewritten(old / "run", "03-relaxed", flavour="new")
    line = (old / "run" / "steps" / "03-relaxed" / "records.jsonl").read_text().splitlines(keepends=True)[0]
    with pytest.raises(InputError, match=r"has keys that this atomsim does not know \(flavour\)"):
        from_line(line)
