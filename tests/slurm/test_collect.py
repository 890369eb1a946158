"""Tables of any run can be written, whatever its structures are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_slurm import CAMPAIGN
from test_faults import Submitted

from atomsim.campaign import Campaign, load_campaign
from atomsim.slurm.collect import collect
from atomsim.worker import Engine, read_run, run_campaign
from atomsim.worker.chunks import LOCAL

Reference = Callable[[Campaign], dict[str, list[dict]]]


@pytest.fixture
def submitted(tmp_path: Path) -> Submitted:
    return Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})


def test_labels_and_ids_that_look_like_numbers_are_collected(tmp_path: Path) -> None:
    from ase.build import bulk
    from ase.db import connect
    from ase.io import write

    (tmp_path / "in").mkdir()
    for name in ("001", "2", "nan"):
        write(tmp_path / "in" / f"{name}.extxyz", bulk("He", "fcc", 3.2, cubic=True))
    path = tmp_path / "in" / "mine.toml"
    path.write_text(CAMPAIGN.replace('"again"', '"1.5"'))
    run_campaign(load_campaign(path), tmp_path / "run", Engine("lj-test", processes=0))
    ledger = tmp_path / "run" / "steps" / "02-relaxed" / LOCAL
    assert ledger.exists()
    with connect(collect(tmp_path / "run", ["db"])[0]) as database:
        (row,) = database.select("label=1.5/001")
        assert (row.data["label"], row.data["step"], row.step) == ("001", "1.5", "s-1.5")
        assert row.task == f"t-{row.data['task']}"
        assert database.count("step=s-relaxed") == 3


@pytest.mark.parametrize("task", ["1234567890123456", "12345678901234e5", "0" * 16])
def test_every_task_id_can_be_collected(tmp_path: Path, task: str, submitted: Submitted) -> None:
    from atomsim.slurm.collect import _write_db

    submitted.finish()
    record = replace(read_run(submitted.out)[1]["relaxed"][0], task=task)
    _write_db(tmp_path / "x.db", [record])
