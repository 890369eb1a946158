"""Several GPUs of a node, pretended: one process each, which sees the card that the allocation names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from faulty_potentials import Faulty
from forked import start_quickly

from atomsim.execution import dispatch, pool
from atomsim.execution.dispatch import run_job
from atomsim.execution.job import Engine, Job, serial
from atomsim.execution.machine import allotted_gpus
from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, Task
from atomsim.tasks import relax
from atomsim.tasks.base import Context

GPUS = ("3", "GPU-5f1c")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An allocation of two cards; returns a folder where processes note what they see."""
    start_quickly(monkeypatch, pool)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(GPUS))
    monkeypatch.setenv("NOTE_GPUS_IN", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(GPUS))
    return tmp_path


def job_of(systems: Sequence[Atoms], log: Path) -> Job:
    settings = relax.Settings(structures="start", noise_A=0.02, fmax_eV_per_A=0.01)
    tasks = [Task(f"t{n}", "relaxed", "relax", f"t{n}", atoms_to_json(a), {}) for n, a in enumerate(systems)]
    return Job("relax", settings, tasks, Context("relaxed", 0, log.parent, "faulty", Faulty("faulty").sha256), {}, log)


def run(job: Job, device: str = "auto") -> dict[str, Record]:
    potential = Faulty("faulty")
    potential.device = torch.device("cuda:0")  # the parent's own copy is never asked
    engine = Engine("faulty", device=device, loader="faulty_potentials:load_on_gpu")
    return {record.label: record for record in run_job(job, engine, potential)}


def helium(count: int) -> list[Atoms]:
    return [bulk("He", "fcc", 3.3 + 0.02 * n, cubic=True) for n in range(count)]


def test_each_gpu_has_a_process_and_tasks_end_as_they_do_alone(two_gpus: Path) -> None:
    job = job_of(helium(11), two_gpus / "log.txt")
    records = run(job)
    seen = sorted(path.read_text(encoding="utf-8") for path in two_gpus.glob("[0-9]*"))
    assert seen == [f"{gpu} as cuda:0" for gpu in GPUS]
    alone = {outcome.record.label: outcome.record for outcome in serial(job, Faulty("faulty"))}
    assert records.keys() == alone.keys()
    for label, record in records.items():
        assert record.status == "converged"
        assert record.provenance["device"] == "cuda:0"
        assert record.values["energy_eV"] == pytest.approx(alone[label].values["energy_eV"], abs=1e-9)


def test_a_task_that_kills_its_process_is_found_among_its_share(two_gpus: Path) -> None:
    systems = helium(9)
    systems[4] = bulk("Ar", "fcc", 4.0, cubic=True)  # kills
    records = run(job_of(systems, two_gpus / "log.txt"))
    statuses = {label: record.status for label, record in records.items()}
    assert statuses == {f"t{n}": "crashed" if n == 4 else "converged" for n in range(9)}
    assert "SIGKILL" in records["t4"].message


def test_a_card_asked_for_by_number_is_used_in_this_process(two_gpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here: list[int] = []

    def batched(job: Job, potential: object) -> list[object]:
        here.append(len(job.tasks))
        return []

    monkeypatch.setattr(dispatch, "batched", batched)
    assert run(job_of(helium(3), two_gpus / "log.txt"), device="cuda:1") == {}
    assert here == [3]


@pytest.mark.parametrize(
    ("device", "variable", "visible", "wanted"),
    [
        ("auto", None, 2, ("0", "1")),
        ("cuda", "2,7", 2, ("2", "7")),
        ("cuda:1", "2,7", 2, ("7",)),
        ("cpu", "2,7", 2, ()),
        ("auto", "2,-1,3", 1, ("2",)),  # CUDA stops reading at an entry that is not there
        ("auto", "", 0, ()),
        ("auto", "MIG-1/2/3", 1, ("MIG-1/2/3",)),
    ],
)
def test_gpus_are_those_of_the_allocation(
    monkeypatch: pytest.MonkeyPatch, device: str, variable: str | None, visible: int, wanted: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert allotted_gpus(device, environment) == wanted
