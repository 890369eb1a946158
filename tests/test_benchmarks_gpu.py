"""The command for the day a card is there: rows are written as they come, and a call resumes where one was cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gpu as module

    return module


def rows_of(calls: list[str], broken: set[str]) -> dict:
    def row(key: str):
        def measure(setup, left):
            calls.append(key)
            if key in broken:
                raise RuntimeError("no such kernel\nand a long story")
            if key == "peer":
                raise ModuleNotFoundError("no peer", name="peer-toolkit")
            return f"{key} is 3 ×"

        return (f"what {key} is", "≥ 1 ×", measure)

    return {key: row(key) for key in ("first", "peer", "last")}


def test_a_row_that_fails_costs_no_other_and_is_tried_again(gpu, monkeypatch, tmp_path):
    calls, broken = [], {"first"}
    monkeypatch.setattr(gpu, "ROWS", rows_of(calls, broken))
    setup = gpu.Setup(torch.device("cpu"), "", pretended=True)
    path = tmp_path / "rows.jsonl"
    rows = gpu.run(setup, path, 60)
    assert [r.status for r in rows] == ["failed", "absent", "done"]
    assert "peer-toolkit is not installed" in rows[1].value
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": "last", "wh')  # torn by the end of a lease
    calls.clear()
    broken.clear()
    again = gpu.run(setup, path, 60)
    assert calls == ["first"]
    assert [r.status for r in again] == ["done", "absent", "done"]
    assert "| first | what first is | first is 3 × | ≥ 1 × |" in gpu.table(again)


def test_what_there_is_no_time_for_is_left_to_the_next_call(gpu, monkeypatch, tmp_path, capsys):
    calls = []
    monkeypatch.setattr(gpu, "ROWS", rows_of(calls, set()))
    setup = gpu.Setup(torch.device("cpu"), "", pretended=True)
    assert gpu.run(setup, tmp_path / "rows.jsonl", 0) == []
    assert "left for the next call" in capsys.readouterr().out
    assert [r.key for r in gpu.run(setup, tmp_path / "rows.jsonl", 60, ["last"])] == ["last"]


def test_rows_of_another_card_or_version_are_another_table(gpu, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(gpu, "ROWS", rows_of(calls, set()))
    setup = gpu.Setup(torch.device("cpu"), "", pretended=True)
    path = tmp_path / "rows.jsonl"
    gpu.run(setup, path, 60)
    known = gpu.about(setup)
    monkeypatch.setattr(gpu, "about", lambda setup: {**known, "device": "another card"})
    calls.clear()
    assert len(gpu.run(setup, path, 60)) == 3
    assert len(calls) == 3


def test_without_a_card_it_says_so(gpu, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "no CUDA device" in capsys.readouterr().err
