"""Fences: whatever a zombie writes, and whoever comes twice, each task has one record and it is the right one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from atomsim.errors import AtomsimError
from atomsim.io.files import publish
from atomsim.store.claims import LOCAL, attempts, claim, read_step, seals_for_next, superseded
from atomsim.store.records import Ledger, Record, Task, to_line
from atomsim.store.rounds import (
    Chunk,
    Manifest,
    key_of,
    read_chunks,
    read_header,
    read_tasks,
    rounds,
    task_spans,
    write_manifest,
)
from atomsim.store.run_folder import RunFolder

WHO = {"token": "t", "host": "n0"}


def record(task: str, status: str = "converged", **values: float) -> Record:
    return Record(task, "relaxed", "relax", task, status, values=values)


def open_round(step: Path, number: int, **changes: object) -> None:
    manifest = Manifest(number, {}, 1, ((0, 1),), seals=seals_for_next(step), **changes)
    assert write_manifest(step, manifest, [Chunk(0, ("a", "b"), ((0, 1),))])


def taken(step: Path) -> dict[str, float]:
    return {task: r.values["energy_eV"] for task, r in read_step(step).done.items()}


def test_a_file_is_created_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "x.json"
    assert publish(path, "first")
    assert not publish(path, "second")
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_zombies_records_do_not_count(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    first = claim(tmp_path, key_of(1, 0), WHO)
    Ledger(tmp_path / first.ledger).append(record("a", energy_eV=1.0))
    second = claim(tmp_path, key_of(1, 0), WHO)
    assert superseded(tmp_path, first)
    assert not superseded(tmp_path, second)
    Ledger(tmp_path / first.ledger).append(record("b", energy_eV=-99.0))  # after it was sealed
    assert taken(tmp_path) == {"a": 1.0}
    Ledger(tmp_path / second.ledger).append(record("b", energy_eV=2.0))
    third = claim(tmp_path, key_of(1, 0), WHO)
    Ledger(tmp_path / first.ledger).append(record("c", energy_eV=-99.0))
    assert third.number == 3
    assert taken(tmp_path) == {"a": 1.0, "b": 2.0}


def test_a_new_round_seals_all_before_it(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    first = claim(tmp_path, key_of(1, 0), WHO)
    Ledger(tmp_path / first.ledger).append(record("a", energy_eV=1.0))
    open_round(tmp_path, 2)
    assert "round 2" in superseded(tmp_path, first)
    Ledger(tmp_path / first.ledger).append(record("b", energy_eV=-99.0))
    late = claim(tmp_path, key_of(1, 0), WHO)  # an element of a round that is long over
    Ledger(tmp_path / late.ledger).append(record("b", energy_eV=-99.0))
    assert taken(tmp_path) == {"a": 1.0}
    open_round(tmp_path, 3)  # what was sealed stays sealed
    assert taken(tmp_path) == {"a": 1.0}
    assert rounds(tmp_path) == [1, 2, 3]


def test_only_one_planner_opens_a_round(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    other = Manifest(1, {"other": 1}, 1, ((0, 1),))
    assert not write_manifest(tmp_path, other, [])
    assert read_header(tmp_path, 1).job == {}


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    path = tmp_path / "rounds" / "001.jsonl"
    path.write_text(path.read_text().replace('"a"', '"x"'))
    with pytest.raises(AtomsimError, match="damaged"):
        read_chunks(tmp_path, 1)


def test_flipped_bits_and_torn_lines_are_pending_again(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    first = claim(tmp_path, key_of(1, 0), WHO)
    path = tmp_path / first.ledger
    good, flipped = to_line(record("a", energy_eV=1.0)), to_line(record("b", energy_eV=2.0)).replace("2.0", "2.1")
    path.write_text(good + flipped + to_line(record("c", energy_eV=3.0))[:-20])
    found = read_step(tmp_path)
    assert set(found.done) == {"a"}
    assert found.damaged == 2


def test_the_first_valid_record_of_a_task_wins(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    first = claim(tmp_path, key_of(1, 0), WHO)
    Ledger(tmp_path / first.ledger).append(record("a", energy_eV=1.0))
    Ledger(tmp_path / first.ledger).append(record("a", energy_eV=5.0))
    Ledger(tmp_path / LOCAL).append(record("a", energy_eV=7.0))
    Ledger(tmp_path / LOCAL).append(record("b", energy_eV=8.0))  # 'atomsim run' finished what was left
    assert taken(tmp_path) == {"a": 1.0, "b": 8.0}


def test_discarded_records_give_way_to_new_ones(tmp_path: Path) -> None:
    open_round(tmp_path, 1)
    first = claim(tmp_path, key_of(1, 0), WHO)
    Ledger(tmp_path / first.ledger).append(record("a", "crashed", energy_eV=1.0))
    Ledger(tmp_path / LOCAL).append(record("b", "crashed", energy_eV=2.0))
    open_round(tmp_path, 2, discards=("a", "b"))
    assert taken(tmp_path) == {}
    second = claim(tmp_path, key_of(2, 0), WHO)
    Ledger(tmp_path / second.ledger).append(record("a", energy_eV=3.0))
    Ledger(tmp_path / LOCAL).append(record("b", energy_eV=4.0))
    open_round(tmp_path, 3)
    assert taken(tmp_path) == {"a": 3.0, "b": 4.0}


def test_chunks_read_only_their_own_lines_of_the_tasks(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    tasks = [Task(f"{n:016x}", "relaxed", "relax", f"s{n}", {"numbers": [3] * n}, {"x": "Å"}) for n in range(9)]
    folder.write_tasks("02-relaxed", "hash", tasks)
    step = folder.step("02-relaxed")
    spans = task_spans(step)
    assert list(spans) == [t.id for t in tasks]
    some = [tasks[6], tasks[2], tasks[3]]
    chunk = Chunk(0, tuple(t.id for t in some), tuple(spans[t.id] for t in some))
    assert read_tasks(step, chunk) == some
    folder.write_tasks("02-relaxed", "other", tasks[1:])
    with pytest.raises(AtomsimError, match="not what chunk 0 was planned from"):
        read_tasks(step, chunk)


def test_claims_name_who_made_them(tmp_path: Path) -> None:
    claim(tmp_path, key_of(1, 3), WHO)
    claim(tmp_path, key_of(1, 3), WHO | {"host": "n1"})
    (found,) = attempts(tmp_path).values()
    assert [(a.number, a.claim["host"], a.chunk, a.round) for a in found] == [(1, "n0", 3, 1), (2, "n1", 3, 1)]
    assert json.loads((tmp_path / f"{found[0].stem}.claim.json").read_text())["token"] == "t"


def test_a_stale_view_of_the_folder_gives_no_chunk_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that does not see the newest claim yet (NFS) waits for it, and seals what was written under it."""
    open_round(tmp_path, 1)
    first = claim(tmp_path, key_of(1, 0), WHO)
    Ledger(tmp_path / first.ledger).append(record("a", energy_eV=1.0))
    real, asked = os.listdir, []

    def stale(folder: Path) -> list[str]:
        asked.append(folder)
        return [] if len(asked) < 3 else real(folder)

    monkeypatch.setattr(os, "listdir", stale)
    second = claim(tmp_path, key_of(1, 0), WHO)
    assert (first.number, second.number) == (1, 2)
    assert second.claim["seals"] == {first.ledger: (tmp_path / first.ledger).stat().st_size}
