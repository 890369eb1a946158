"""What happens to one task stays with it; what was done is not done again; a folder is of one run."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from faulty_potentials import Faulty
from forked import start_quickly

from atomsim import relaxation
from atomsim.campaign.file import load_campaign
from atomsim.campaign.observer import RunSummary, Silent, StepSummary
from atomsim.campaign.plan import plan
from atomsim.campaign.run import context_of, run_campaign
from atomsim.campaign.status import read_status
from atomsim.errors import AtomsimError, InputError
from atomsim.execution import pool
from atomsim.execution.dispatch import run_job
from atomsim.execution.job import Engine, Job, batched
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store import records as records_module
from atomsim.store.records import Record, Task
from atomsim.store.run_folder import RunFolder, read_run
from atomsim.tasks import relax
from atomsim.tasks.base import Context

LOADER = "faulty_potentials:load"
CAMPAIGN = """
[campaign]
name = "test"
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
"""


def cell(element: str, a: float) -> Atoms:
    return bulk(element, "fcc", a, cubic=True)


def campaign_of(folder: Path, atoms: Sequence[Atoms], text: str = CAMPAIGN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n, each in enumerate(atoms):
        write(folder / f"s{n}.extxyz", each)
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def go(path: Path, out: Path, processes: int = 0, name: str = "faulty", **options: object) -> RunSummary:
    engine = Engine(name, processes=processes, loader=LOADER)
    return run_campaign(load_campaign(path), out, engine, **options)


def outcomes(out: Path, step: str = "relaxed") -> dict[str, dict]:
    return {r.label: r.outcome() for r in read_run(out)[1][step]}


THREE = [cell("He", 3.3), cell("Ne", 3.4), cell("He", 3.5)]


def test_runs_all_steps_and_leaves_a_readable_folder(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE)
    summary = go(path, tmp_path / "run")
    assert summary.ok
    assert [s.tasks for s in summary.steps] == [3, 3, 3]
    info, records = read_run(tmp_path / "run")
    assert info["campaign_toml"] == CAMPAIGN
    assert info["potential"]["sha256"] == "ab".ljust(64, "0")
    for record in records["relaxed"]:
        assert record.status == "converged"
        assert record.values["fmax_eV_per_A"] <= 0.01
        assert record.provenance["potential"] == {"name": "faulty", "sha256": "ab".ljust(64, "0")}
        assert record.provenance["seed"] == 3
        assert record.provenance["versions"]["torch"]
    exported = read(tmp_path / "run" / "steps" / "02-relaxed" / "structures.extxyz", ":")
    for atoms, record in zip(exported, records["relaxed"], strict=True):
        assert atoms.get_potential_energy() == pytest.approx(record.values["energy_eV"], abs=1e-7)
        np.testing.assert_allclose(atoms.get_forces(), record.structure["arrays"]["forces"], atol=1e-7)
    assert [s.done for s in read_status(tmp_path / "run")] == [3, 3, 3]


def test_how_the_potential_was_computed_is_recorded(tmp_path: Path) -> None:
    task = Task("t", "relaxed", "relax", "t", atoms_to_json(cell("He", 3.4)), {})
    settings = relax.Settings(structures="start")
    job = Job("relax", settings, [task], Context("relaxed", 0, tmp_path), {})
    potential = Faulty("faulty")
    potential.kernel, potential.kernel_note = "slow", "no compiler found"
    (record,) = run_job(job, Engine(processes=0), potential)
    assert record.status == "converged"
    assert record.provenance["kernel"] == "slow"
    assert record.provenance["kernel_note"] == "no compiler found"


def test_a_second_run_does_nothing_again(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE)
    go(path, tmp_path / "run")
    ledger = tmp_path / "run" / "steps" / "02-relaxed" / "records.jsonl"
    before = ledger.read_bytes()
    summary = go(path, tmp_path / "run")
    assert [s.done_before for s in summary.steps] == [3, 3, 3]
    assert ledger.read_bytes() == before


def test_faults_stay_with_their_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nan, an exception and a killed process: siblings are bitwise what they are alone."""
    start_quickly(monkeypatch, pool)
    healthy = campaign_of(tmp_path / "healthy", THREE)
    go(healthy, tmp_path / "alone")
    sick = campaign_of(tmp_path / "sick", [*THREE, cell("Xe", 4.0), cell("Kr", 4.0), cell("Ar", 4.0)])
    summary = go(sick, tmp_path / "together", processes=2)
    assert not summary.ok
    together = outcomes(tmp_path / "together")
    statuses = {label: record["status"] for label, record in together.items()}
    assert statuses == {
        "s0": "converged",
        "s1": "converged",
        "s2": "converged",
        "s3": "not_a_number",
        "s4": "invalid",
        "s5": "crashed",
    }
    assert "ZeroDivisionError" in together["s4"]["message"]
    assert "SIGKILL" in together["s5"]["message"]
    for label, record in outcomes(tmp_path / "alone").items():
        assert together[label]["structure"] == record["structure"]
        assert together[label]["values"] == record["values"]
    assert "s5: crashed" in (tmp_path / "together" / "log.txt").read_text()
    again = summary.steps[2]
    assert again.tasks == 3
    assert again.left_out == (("s3", "not_a_number"), ("s4", "invalid"), ("s5", "crashed"))


def test_unconverged_is_recorded_and_left_out(tmp_path: Path) -> None:
    text = CAMPAIGN.replace("noise_A = 0.02", "max_steps = 1").replace("0.01", "1e-6")
    summary = go(campaign_of(tmp_path, [cell("He", 4.0)], text), tmp_path / "run")
    assert outcomes(tmp_path / "run")["s0"]["status"] == "max_steps"
    assert summary.steps[2].tasks == 0
    assert summary.steps[2].left_out == (("s0", "max_steps"),)
    assert not summary.ok


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_disk_full_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = campaign_of(tmp_path, THREE)
    go(path, tmp_path / "whole")
    synced = 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(records_module.os, "fsync", fsync)
        with pytest.raises(AtomsimError, match="No space left on device") as caught:
            go(path, tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    assert go(path, tmp_path / "run").ok
    assert outcomes(tmp_path / "run", "again") == outcomes(tmp_path / "whole", "again")


def test_a_ledger_cut_anywhere_is_completed(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE)
    go(path, tmp_path / "run")
    whole = {step: outcomes(tmp_path / "run", step) for step in ("relaxed", "again")}
    ledger = tmp_path / "run" / "steps" / "02-relaxed" / "records.jsonl"
    content = ledger.read_bytes()
    for cut in np.random.default_rng(0).integers(0, len(content), 5):
        ledger.write_bytes(content[:cut])
        assert go(path, tmp_path / "run").ok
        assert {step: outcomes(tmp_path / "run", step) for step in whole} == whole


def test_another_campaign_is_refused(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE)
    go(path, tmp_path / "run")
    path.write_text(CAMPAIGN.replace("0.01", "0.02"))
    with pytest.raises(InputError, match=r"'relaxed' fmax_eV_per_A was 0.01, now 0.02.*--out"):
        go(path, tmp_path / "run")
    write(tmp_path / "s0.extxyz", cell("He", 3.9))
    path.write_text(CAMPAIGN)
    with pytest.raises(InputError, match="a file that step 'start' reads has changed"):
        go(path, tmp_path / "run")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE[:1])
    go(path, tmp_path / "run")
    with pytest.raises(InputError, match=r"made with faulty .*this is faulty-cd"):
        go(path, tmp_path / "run", name="faulty-cd")


def test_a_comment_may_change(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE[:1])
    go(path, tmp_path / "run")
    path.write_text(CAMPAIGN + "# better\n")
    assert go(path, tmp_path / "run").steps[1].done_before == 1
    assert read_run(tmp_path / "run")[0]["campaign_toml"].endswith("# better\n")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE[:1])
    with pytest.raises(InputError, match="holds other files"):
        go(path, tmp_path)


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE[:1])
    with RunFolder(tmp_path / "run").locked(), pytest.raises(InputError, match=f"process {os.getpid()} "):
        go(path, tmp_path / "run")
    assert go(path, tmp_path / "run").ok


def test_only_some_steps(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE[:1])
    summary = go(path, tmp_path / "run", only=["start", "again"])
    assert "relaxed" in summary.steps[1].problem
    assert go(path, tmp_path / "run", only=["relaxed"]).ok
    assert go(path, tmp_path / "run", only=["again"]).ok
    with pytest.raises(InputError, match="did you mean 'relaxed'"):
        go(path, tmp_path / "run", only=["relaxd"])


def test_bad_structures_are_refused_before_any_force_call(tmp_path: Path) -> None:
    overlapping = Atoms("He2", positions=[[0, 0, 0], [0.1, 0, 0]], cell=[5, 5, 5], pbc=True)
    path = campaign_of(tmp_path / "overlap", [cell("He", 3.5), overlapping])
    with pytest.raises(InputError, match=r"s1\.extxyz structure 1"):
        go(path, tmp_path / "run1")
    path = campaign_of(tmp_path / "flat", [Atoms("He", cell=[5, 5, 0], pbc=True)])
    with pytest.raises(InputError, match=r"s0\.extxyz"):
        go(path, tmp_path / "run2")
    path = campaign_of(tmp_path / "unknown", [cell("Fr", 5.0)])
    with pytest.raises(InputError, match="Fr, which faulty was not made for"):
        go(path, tmp_path / "run3")
    assert not list(tmp_path.glob("run*/steps/02-relaxed/records.jsonl"))


def test_number_of_processes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_quickly(monkeypatch, pool)
    path = campaign_of(tmp_path, THREE)
    go(path, tmp_path / "here", processes=0)
    go(path, tmp_path / "pool", processes=2)
    assert outcomes(tmp_path / "here") == outcomes(tmp_path / "pool")


def test_noise_depends_on_the_seed_alone(tmp_path: Path) -> None:
    text = CAMPAIGN.replace("noise_A = 0.02", "noise_A = 0.1").replace("fmax_eV_per_A = 0.01", "fmax_eV_per_A = 100.0")
    for seed in (3, 4):
        path = campaign_of(tmp_path / f"{seed}", [cell("He", 3.5)], text.replace("seed = 3", f"seed = {seed}"))
        go(path, tmp_path / f"run{seed}")
    first, second = (outcomes(tmp_path / f"run{seed}")["s0"]["structure"] for seed in (3, 4))
    moved = np.subtract(first["positions"], cell("He", 3.5).positions)
    assert 0.02 < moved.std() < 0.3
    assert not np.allclose(first["positions"], second["positions"])


def test_plan_counts_what_the_run_does(tmp_path: Path) -> None:
    path = campaign_of(tmp_path, THREE)
    engine = Engine("faulty", loader=LOADER)
    plans = plan(load_campaign(path), engine.load())
    assert [(p.tasks, p.atoms, p.largest) for p in plans] == [(3, 12, 4)] * 3
    assert plans[1].elements == ("He", "Ne")
    assert [p.at_most for p in plans] == [False, False, True]
    assert [p.tasks for p in plans] == [s.tasks for s in go(path, tmp_path / "run").steps]


def test_records_carry_tags_and_parents(tmp_path: Path) -> None:
    go(campaign_of(tmp_path, THREE), tmp_path / "run")
    records: dict[str, list[Record]] = read_run(tmp_path / "run")[1]
    for start, relaxed in zip(records["start"], records["relaxed"], strict=True):
        assert relaxed.parents == (start.task,)
        assert relaxed.tags == start.tags
        assert relaxed.label == start.label


def test_tasks_file_lists_what_is_to_be_done(tmp_path: Path) -> None:
    go(campaign_of(tmp_path, THREE), tmp_path / "run")
    lines = (tmp_path / "run/steps/02-relaxed/tasks.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["tasks"] == 3
    assert [json.loads(line)["label"] for line in lines[1:]] == ["s0", "s1", "s2"]


def test_an_exception_in_the_task_itself_stays_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = relaxation.iter_relax

    def fails_for_neon(systems: Sequence[Atoms], *arguments: object, **options: object) -> Iterator:
        for n, atoms in enumerate(systems):
            if "Ne" in atoms.symbols:
                raise KeyError("neon")
            for _, result in real([atoms], *arguments, **options):
                yield n, result

    monkeypatch.setattr(relaxation, "iter_relax", fails_for_neon)
    path = campaign_of(tmp_path, THREE)
    go(path, tmp_path / "run")
    found = outcomes(tmp_path / "run")
    assert {label: r["status"] for label, r in found.items()} == {"s0": "converged", "s1": "crashed", "s2": "converged"}
    assert "KeyError: 'neon'" in found["s1"]["message"]
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()

    # together, as on a GPU: those that the failing batch did not reach are run one by one
    campaign = load_campaign(path)
    potential = Engine("faulty", loader=LOADER).load()
    step = campaign.steps[1]
    tasks = RunFolder(tmp_path / "run").read_tasks(step.folder)
    job = Job("relax", step.settings, tasks, context_of(campaign, step, potential), {}, tmp_path / "log.txt")
    statuses = {o.record.label: o.record.status for o in batched(job, potential)}
    assert statuses == {"s0": "converged", "s1": "crashed", "s2": "converged"}


@pytest.mark.parametrize("processes", [0, 1])
def test_progress_hears_of_everything(tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start_quickly(monkeypatch, pool)

    class Heard(Silent):
        def __init__(self) -> None:
            self.calls, self.records, self.steps = 0, [], []

        def force_calls(self, number: int) -> None:
            self.calls += number

        def task_done(self, record: Record) -> None:
            self.records.append(record)

        def step_finished(self, summary: StepSummary) -> None:
            self.steps.append(summary.name)

    heard = Heard()
    go(campaign_of(tmp_path, THREE), tmp_path / "run", processes=processes, progress=heard)
    assert heard.steps == ["start", "relaxed", "again"]
    assert len(heard.records) == 9
    assert heard.calls == sum(r.values.get("force_calls", 0) for r in heard.records)
