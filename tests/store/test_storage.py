"""A task that is killed continues from its saved state, and its frames come out the same to the bit."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from atomsim.errors import AtomsimError, InputError, StorageError
from atomsim.store import artifacts, durable, storage
from atomsim.store.artifacts import artifacts_of, open_artifact, problems_of, prune
from atomsim.store.records import Record
from atomsim.store.state import forget_states
from atomsim.store.storage import Places, Storage, TaskStorage

TASK = "0123456789abcdef"
STEPS = 60


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 7 * (8 + 24))  # seven frames of a step and a position
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: None)  # nothing here takes the power away


def opened(folder: Path, **changes: object) -> TaskStorage:
    words = {"run": folder, "states": folder / "state", "identity": "code", "interval_s": 0.0} | changes
    return Storage(Places(**words)).of(TASK)


def walk(kept: TaskStorage, until: int = STEPS, save_every: int = 4) -> dict[str, dict]:
    """A random walk whose noise is a function of the step; stops without a word at ``until``."""
    state = kept.load_state()
    position, begin = (np.zeros(3), 0) if state is None else (state.arrays["position"], state.step)
    assert state is None or state.facts == {"remark": "x"}
    frames = kept.artifact("trajectory", timestep_fs=2.0)
    for step in range(begin, STEPS):
        if step == until:
            return {}
        position = position + np.random.default_rng(step).normal(size=3)
        frames.append(step=step, position=position)
        if (step + 1) % save_every == 0:
            kept.save_state(step + 1, {"position": position}, {"remark": "x"})
    return kept.finish_artifacts()


def record(found: dict[str, dict], **changes: object) -> Record:
    return Record(TASK, "walked", "walk", "s0", "done", values={"artifacts": found}, **changes)


def states(folder: Path) -> list[Path]:
    return sorted((folder / "state").glob("*.state"), key=lambda p: p.stat().st_mtime_ns)


def test_frames_are_read_one_chunk_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = record(walk(opened(tmp_path)))
    found = open_artifact(tmp_path, made, "trajectory")
    assert (len(found), found.about) == (STEPS, {"timestep_fs": 2.0})
    read: list[Path] = []
    real = artifacts._checked
    monkeypatch.setattr(artifacts, "_checked", lambda path, digest: read.append(path) or real(path, digest))
    frames = iter(found)
    assert next(frames)["step"] == 0
    assert len(read) == 1
    steps = np.cumsum([np.random.default_rng(n).normal(size=3) for n in range(STEPS)], axis=0)
    np.testing.assert_array_equal(found.column("position"), steps)
    assert [int(frame["step"]) for frame in found] == list(range(STEPS))
    assert int(found[-1]["step"]) == STEPS - 1
    np.testing.assert_array_equal(found[30]["position"], steps[30])
    with pytest.raises(IndexError):
        found[STEPS]


@pytest.mark.parametrize("kills", [[3], [5, 9], [30, 31, 32, 58], list(range(1, STEPS, 3))])
def test_any_kills_give_the_same_artifact(tmp_path: Path, kills: list[int]) -> None:
    """No frame is lost, doubled or put into another chunk, whenever and however often it was killed."""
    whole = walk(opened(tmp_path / "whole"))
    for until in kills:
        assert walk(opened(tmp_path / "killed"), until) == {}
    last = opened(tmp_path / "killed")
    assert walk(last) == whole
    assert bool(last.notes.get("continued")) == (max(kills) > 4)


def test_a_kill_after_the_last_frame_keeps_them_all(tmp_path: Path) -> None:
    """As in the relaxation that follows a quench: nothing asks for the artifact again before the record."""
    whole = walk(opened(tmp_path))
    after = opened(tmp_path)
    assert after.load_state().step == STEPS
    assert after.finish_artifacts() == whole


def test_a_kill_costs_the_time_since_the_last_save_and_no_more(tmp_path: Path) -> None:
    walk(opened(tmp_path), until=23, save_every=5)
    state = opened(tmp_path).load_state()
    assert state is not None
    assert state.step == 20


def damaged(data: bytes, how: str) -> bytes:
    if how == "flip":
        return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]
    return {"cut": data[:-7], "empty": b"", "header": b"{" + data, "text": b"not a state\n"}[how]


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "header", "text"])
def test_of_two_generations_the_older_is_taken_if_the_newest_is_damaged(tmp_path: Path, how: str) -> None:
    walk(opened(tmp_path), until=22)
    older, newest = states(tmp_path)
    newest.write_bytes(damaged(newest.read_bytes(), how))
    kept = opened(tmp_path)
    state = kept.load_state()
    assert state is not None
    assert (state.step, kept.notes["damaged_states"]) == (16, 1)
    assert "begun_anew" not in kept.notes
    assert walk(opened(tmp_path)) == walk(opened(tmp_path / "whole"))
    older.write_bytes(damaged(older.read_bytes(), how))


def test_where_both_are_damaged_the_task_begins_anew_and_says_so(tmp_path: Path) -> None:
    walk(opened(tmp_path), until=22)
    for path in states(tmp_path):
        path.write_bytes(damaged(path.read_bytes(), "flip"))
    kept = opened(tmp_path)
    assert walk(kept) == walk(opened(tmp_path / "whole"))
    assert kept.notes == {"damaged_states": 2, "begun_anew": True}


def test_a_state_whose_frames_are_gone_is_not_gone_on_from(tmp_path: Path) -> None:
    walk(opened(tmp_path), until=40)
    next((tmp_path / "artifacts" / TASK).glob("*-000002-*")).unlink()
    kept = opened(tmp_path)
    assert walk(kept) == walk(opened(tmp_path / "whole"))
    assert kept.notes["begun_anew"]


def test_states_of_other_code_or_precision_do_not_count(tmp_path: Path) -> None:
    walk(opened(tmp_path), until=22)
    kept = opened(tmp_path, identity="other code")
    assert kept.load_state() is None
    assert kept.notes == {}


def test_one_who_was_given_up_but_still_runs_harms_nobody(tmp_path: Path) -> None:
    """Two attempts at once, the first from another state: each finishes what it began, both are whole."""
    first = opened(tmp_path, writer="a001")
    first.save_state(1, {"position": np.full(3, 0.5)}, {"remark": "x"})  # as a device that rounds otherwise
    first = opened(tmp_path, writer="a001")
    second = opened(tmp_path, states=tmp_path / "second", writer="a002")
    results = [walk(first, until=50), walk(second, until=50)]
    assert results == [{}, {}]
    one = walk(opened(tmp_path, writer="a001"))
    two = walk(opened(tmp_path, states=tmp_path / "second", writer="a002"))
    assert one != two
    lengths = [len(open_artifact(tmp_path, record(each), "trajectory").column("step")) for each in (one, two)]
    assert lengths == [STEPS - 1, STEPS]
    prune(tmp_path, [record(two)])
    assert problems_of(tmp_path, record(two)) == []
    assert "is missing" in problems_of(tmp_path, record(one))[0]


def test_a_successor_goes_on_from_the_folders_of_those_before(tmp_path: Path) -> None:
    walk(opened(tmp_path, states=tmp_path / "round1"), until=30)
    before = sorted((tmp_path / "round1").iterdir())
    kept = opened(tmp_path, states=tmp_path / "round2", earlier=(tmp_path / "round1", tmp_path / "never-was"))
    assert walk(kept) == walk(opened(tmp_path / "whole"))
    assert sorted((tmp_path / "round1").iterdir()) == before


def test_only_the_named_writers_states_are_forgotten(tmp_path: Path) -> None:
    for writer in ("a001", "a002", "a003"):
        opened(tmp_path, writer=writer).save_state(3)
    forget_states(tmp_path / "state", TASK, ["a001", "a002"])
    assert [path.name.split(".")[1][:4] for path in states(tmp_path)] == ["a003"]


def test_a_full_disk_is_one_line_and_the_task_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        left = [9]

        def full(descriptor: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(durable.os, "fsync", full)
        with pytest.raises(StorageError, match=r"No space left on device; .* run the same command again") as error:
            walk(opened(tmp_path))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.tmp"))
    kept = opened(tmp_path)
    assert walk(kept) == walk(opened(tmp_path / "whole"))
    assert kept.notes["continued"] == 1


@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_a_changed_chunk_is_noticed_when_it_is_read(tmp_path: Path, how: str) -> None:
    made = record(walk(opened(tmp_path)))
    path = next((tmp_path / "artifacts" / TASK).glob("*-000003-*"))
    path.write_bytes(damaged(path.read_bytes(), how))
    found = open_artifact(tmp_path, made, "trajectory")
    assert int(found[0]["step"]) == 0
    with pytest.raises(AtomsimError, match=r"-000003-.* is not what its record names .* restore it") as error:
        found.column("position")
    assert "\n" not in str(error.value)
    assert bool(problems_of(tmp_path, made)) == (how != "flip")  # sizes are looked at, contents only when read


def test_a_missing_or_changed_list_of_chunks_is_noticed(tmp_path: Path) -> None:
    made = record(walk(opened(tmp_path)))
    path = tmp_path / "artifacts" / TASK / artifacts_of(made)["trajectory"]["file"]
    content = path.read_text()
    path.write_text(content.replace("2.0", "1.0"))
    with pytest.raises(AtomsimError, match="is not what its record names"):
        open_artifact(tmp_path, made, "trajectory")
    path.unlink()
    with pytest.raises(AtomsimError, match="is missing; restore it"):
        open_artifact(tmp_path, made, "trajectory")
    with pytest.raises(InputError, match="no artifact 'path'; it has trajectory"):
        open_artifact(tmp_path, made, "path")


def test_what_no_record_names_is_removed_and_nothing_else(tmp_path: Path) -> None:
    walk(opened(tmp_path, states=None), until=40)  # a kill before any state: whole chunks that nobody names
    stray = tmp_path / "artifacts" / TASK / ".trajectory-000009-0123456789ab.npz.host.1.0.tmp"
    stray.write_bytes(b"torn")
    made = record(walk(opened(tmp_path)))
    (tmp_path / "artifacts" / TASK / "trajectory-000001-0123456789ab.npz").write_bytes(b"of another device")
    prune(tmp_path, [made])
    assert problems_of(tmp_path, made) == []
    assert len(list((tmp_path / "artifacts" / TASK).iterdir())) == -(-STEPS // 7) + 1
    prune(tmp_path, [record({})])
    assert not (tmp_path / "artifacts" / TASK).exists()


def test_frames_that_differ_in_shape_are_a_mistake_of_the_step(tmp_path: Path) -> None:
    frames = opened(tmp_path).artifact("path")
    frames.append(positions=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\[3, 3\]"):
        frames.append(positions=np.zeros((3, 3)))


def test_without_a_run_artifacts_live_as_long_as_the_storage() -> None:
    kept = Storage()
    frames = kept.of(TASK).artifact("path")
    frames.append(positions=np.zeros((2, 3)))
    found = kept.of(TASK).finish_artifacts()
    assert kept.of(TASK).load_state() is None
    folder = kept.folder()
    assert len(open_artifact(folder, record(found), "path")) == 1
    del kept, frames
    gc.collect()
    assert not folder.exists()
    assert storage.Storage().folder() != folder
