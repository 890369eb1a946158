"""Tables of any run can be written, whatever its structures are called."""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from conftest_slurm import CAMPAIGN, make_campaign

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.campaign.status import read_status
from atomsim.errors import AtomsimError
from atomsim.execution.job import Engine
from atomsim.io.atoms_json import atoms_to_json
from atomsim.report import write_report
from atomsim.slurm.collect import _write_db, collect
from atomsim.store.claims import LOCAL
from atomsim.store.records import Record, to_line
from atomsim.store.run_folder import read_run

Reference = Callable[[Campaign], dict[str, list[dict]]]


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


def test_every_task_id_can_be_collected(tmp_path: Path, reference: Reference) -> None:
    reference(make_campaign(tmp_path / "in", 3))
    record = read_run(tmp_path / "local")[1]["relaxed"][0]
    for task in ("1234567890123456", "12345678901234e5", "0" * 16):
        _write_db(tmp_path / f"{task}.db", [replace(record, task=task)])


def delithiated(tmp_path: Path) -> Path:
    """A run of orderings whose tags are longer than a cell of a table may be."""
    path = tmp_path / "mine.toml"
    path.write_text(
        '[campaign]\nname = "x"\n[[step]]\nname = "orderings"\nkind = "delithiate"\nparent = "LiCoO2"\n'
        "x_per_formula_unit = [0.5]\norderings = 2\nmax_atoms = 16\n"
    )
    run_campaign(load_campaign(path), tmp_path / "run", Engine(None, processes=0))
    return tmp_path / "run"


def test_no_cell_is_too_long_and_nothing_is_lost(tmp_path: Path) -> None:
    out = delithiated(tmp_path)
    ledger = out / "steps" / "01-orderings" / LOCAL
    records = [replace(r, values=r.values | {"long": [0.5] * 50_000}) for r in read_run(out)[1]["orderings"]]
    ledger.write_text("".join(to_line(r) for r in records))
    table, nested = collect(out, ["csv"])
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))  # refuses cells of more than 131,072 characters
    assert max(len(cell) for row in rows for cell in row.values()) < 32_767
    assert [json.loads(line)["long"] for line in nested.read_text().splitlines()] == [[0.5] * 50_000] * len(rows)


def test_orderings_are_found_by_x_and_number_in_the_database(tmp_path: Path) -> None:
    from ase.db import connect

    out = delithiated(tmp_path)
    with connect(collect(out, ["db"])[0]) as database:
        assert database.count("x=0.5,ordering=0") == 1
        assert database.count("x>0.6") == 0
        assert database.count("x_max>=1") == len(read_run(out)[1]["orderings"])


@pytest.mark.parametrize("key", ["é", "2theta_deg", "energy", "CO2", "a b", "µ", "id", "x.y", "label"])
def test_any_key_of_a_number_leaves_a_database_that_opens(tmp_path: Path, key: str) -> None:
    from ase.db import connect

    structure = atoms_to_json(bulk("Ne", "fcc", 4.4))
    record = Record("t", "s", "relax", "1", "converged", structure=structure, tags={key: 3}, values={key: 4.0})
    _write_db(tmp_path / "r.db", [record])
    with connect(tmp_path / "r.db") as database:
        (row,) = database.select(status="converged")
    assert sorted(v for v in row.key_value_pairs.values() if not isinstance(v, str)) == [3, 4]
    assert row.data.tags == {key: 3}


def test_a_run_that_cannot_be_written_is_read_and_the_rest_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = delithiated(tmp_path)
    make, opened = Path.mkdir, Path.open

    def refused(path: Path) -> None:
        if path.is_relative_to(out):
            raise OSError(errno.EROFS, "Read-only file system")

    def mkdir(path: Path, *args: Any, **options: Any) -> None:
        if not path.exists():
            refused(path)
        make(path, *args, **options)

    def open_(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if set(mode) & set("wa+x"):
            refused(path)
        return opened(path, mode, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "open", open_)
    assert read_status(out)[0].done == 2
    with pytest.raises(AtomsimError, match="cannot write in"):
        collect(out)
    with pytest.raises(AtomsimError, match="cannot"):
        write_report(out, *read_run(out))
    with pytest.raises(AtomsimError, match="cannot write in"):
        run_campaign(load_campaign(tmp_path / "mine.toml"), out, Engine(None, processes=0))
