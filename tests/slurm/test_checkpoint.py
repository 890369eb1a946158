"""A task that is begun again continues from its checkpoint, to the bit, whatever was done to the file."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch, Evaluation
from atomsim.errors import AtomsimError
from atomsim.execution import checkpoint
from atomsim.execution.checkpoint import Remembering
from atomsim.execution.job import Counted, EvaluationCounter
from atomsim.models.load import load_potential
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax

SETTINGS = RelaxSettings(noise_A=0.05, fmax_eV_per_A=0.01, seed=1)


class Stop(BaseException):
    pass


class Counting:
    """Counts evaluations; stops everything after so many."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.inner = load_potential("lj-test", device="cpu")
        self.calls, self.stop_after = 0, stop_after
        self.device = self.inner.device

    def __call__(self, batch: Batch) -> Evaluation:
        if self.calls >= self.stop_after:
            raise Stop
        self.calls += batch.n_systems
        return self.inner(batch)


def cells() -> list[Atoms]:
    return [bulk("He", "fcc", a, cubic=True) for a in (3.3, 3.6)]


def relax(potential: object, systems: list[Atoms] | None = None) -> list[Relaxation]:
    found = dict(iter_relax(systems or cells()[:1], potential, SETTINGS))
    return [found[n] for n in range(len(found))]


def same(a: Relaxation, b: Relaxation) -> bool:
    return (
        a.energy == b.energy
        and a.force_calls == b.force_calls
        and np.array_equal(a.forces, b.forces)
        and np.array_equal(a.atoms.positions, b.atoms.positions)
        and np.array_equal(a.atoms.cell.array, b.atoms.cell.array)
    )


def interrupted(folder: Path, after: int, interval_s: float = 0.0) -> None:
    with pytest.raises(Stop):
        relax(Remembering(Counting(after), folder, interval_s))


@pytest.mark.parametrize("after", [1, 7, 20])
def test_goes_on_bitwise(tmp_path: Path, after: int) -> None:
    plain = Counting()
    (whole,) = relax(plain)
    interrupted(tmp_path, after)
    again = Counting()
    remembering = Remembering(again, tmp_path)
    (resumed,) = relax(remembering)
    assert same(whole, resumed)
    assert again.calls == plain.calls - after
    assert remembering.replayed == after


def test_lost_work_is_at_most_what_came_since_the_last_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock)

    class Ticking(Counting):
        def __call__(self, batch: Batch) -> Evaluation:
            nonlocal clock
            clock += 1.0
            return super().__call__(batch)

    with pytest.raises(Stop):
        relax(Remembering(Ticking(18), tmp_path, interval_s=5.0))
    assert len(Remembering(Counting(), tmp_path).memory.known) >= 18 - 5


@pytest.mark.parametrize("damage", ["cut", "flip", "noise in front", "empty"])
def test_damage_costs_work_but_never_gives_a_wrong_answer(tmp_path: Path, damage: str) -> None:
    (whole,) = relax(Counting())
    interrupted(tmp_path, 12)
    (path,) = tmp_path.glob("*.evals")
    data = bytearray(path.read_bytes())
    block = len(data) // 12
    if damage == "cut":
        data = data[: -block // 2]
    elif damage == "flip":
        data[5 * block + block // 2] ^= 4
    elif damage == "noise in front":
        data = bytearray(b"\0" * 1000) + data
    else:
        data = bytearray()
    path.write_bytes(data)
    left = len(Remembering(Counting(), tmp_path).memory.known)
    assert left == {"cut": 11, "flip": 11, "noise in front": 12, "empty": 0}[damage]
    again = Counting()
    assert same(relax(Remembering(again, tmp_path))[0], whole)


def test_a_batch_is_answered_in_parts(tmp_path: Path) -> None:
    """A system known from another batch is not evaluated; its neighbours are, and the order is kept."""
    batch = Batch.pack(cells())
    first = Remembering(Counting(), tmp_path, 0.0)
    alone = first(batch.take([1]))
    counting = Counting()
    both = Remembering(counting, tmp_path)(batch)
    assert counting.calls == 1
    direct = Counting()(batch)
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(getattr(both, name), getattr(direct, name), rtol=0, atol=1e-12)
    assert both.energy[1] == alone.energy[0]
    assert both.energy.dtype == torch.float64


def test_another_system_is_not_mistaken(tmp_path: Path) -> None:
    atoms = cells()[0]
    Remembering(Counting(), tmp_path, 0.0)(Batch.pack([atoms]))
    others = [atoms.copy() for _ in range(4)]
    others[0].positions[0, 0] = np.nextafter(others[0].positions[0, 0], 1)
    others[1].set_cell(atoms.cell.array * (1 + 1e-15))
    others[2].numbers[0] = 10
    others[3].pbc = (True, True, False)
    counting = Counting()
    Remembering(counting, tmp_path)(Batch.pack(others))
    assert counting.calls == 4


def test_finished_tasks_leave_nothing_behind(tmp_path: Path) -> None:
    remembering = Remembering(Counting(), tmp_path, 0.0)
    for n in range(5):
        remembering(Batch.pack([bulk("He", "fcc", 3.0 + 0.1 * n)]))
        remembering.next_task()
    assert len(list(tmp_path.glob("*.evals"))) <= 2


def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembering = Remembering(Counting(), tmp_path, 1e9)
    remembering(Batch.pack(cells()))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(AtomsimError, match="No space left on device"):
        remembering.flush()


class InTwoPrecisions(Counting):
    """A potential in float32 that has itself in float64."""

    def __init__(self, stop_after: int = 10**9, dtype: str = "float32") -> None:
        super().__init__(stop_after)
        self.inner = load_potential("lj-test", device="cpu", dtype=dtype)
        self.name, self.sha256, self.dtype = self.inner.name, self.inner.sha256, self.inner.dtype
        if dtype == "float32":
            self.double = InTwoPrecisions(stop_after, "float64")


FINE = replace(SETTINGS, fmax_eV_per_A=0.001)


def finely(potential: object) -> Relaxation:
    ((_, found),) = iter_relax(cells()[:1], potential, FINE)
    return found


@pytest.mark.parametrize("after", [1, 4])
def test_double_precision_goes_on_bitwise_too(tmp_path: Path, after: int) -> None:
    """What float64 said near the minimum is remembered, and never taken for what float32 says there."""
    plain = InTwoPrecisions()
    whole = finely(plain)
    assert plain.double.calls > after
    stopping = InTwoPrecisions()
    stopping.double.stop_after = after
    with pytest.raises(Stop):
        finely(Remembering(stopping, tmp_path, 0.0))
    again = InTwoPrecisions()
    remembering = Remembering(again, tmp_path)
    assert same(whole, finely(remembering))
    assert again.double.calls == plain.double.calls - after
    assert remembering.double.replayed == after
    assert again.calls == plain.calls - stopping.calls


def test_an_answer_in_another_precision_does_not_count(tmp_path: Path) -> None:
    batch = Batch.pack(cells())
    Remembering(InTwoPrecisions(dtype="float64"), tmp_path, 0.0)(batch)
    single = InTwoPrecisions()
    evaluation = Remembering(single, tmp_path)(batch)
    assert single.calls == batch.n_systems
    assert torch.equal(evaluation.forces, single.inner(batch).forces)


def test_every_evaluation_is_told_of_in_both_precisions(tmp_path: Path) -> None:
    heard: list[int] = []
    tally = EvaluationCounter(heard.append)
    potential = InTwoPrecisions()
    finely(Counted(Remembering(potential, tmp_path), tally))
    tally.flush()
    assert potential.double.calls > 0
    assert sum(heard) == potential.calls + potential.double.calls


def test_a_potential_without_double_precision_has_none_when_wrapped(tmp_path: Path) -> None:
    assert not hasattr(Counted(Remembering(Counting(), tmp_path), EvaluationCounter(print)), "double")


def test_a_folder_removed_by_whoever_took_over_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "chunk.evals"
    remembering = Remembering(Counting(), folder, 1e9)
    batch = Batch.pack(cells())
    remembering(batch)
    shutil.rmtree(folder)
    remembering.flush()
    remembering.next_task()
    assert remembering(batch).energy.shape == (batch.n_systems,)


def test_what_others_left_is_read_and_never_written(tmp_path: Path) -> None:
    before = Remembering(Counting(), tmp_path / "earlier", 0.0)
    batch = Batch.pack(cells())
    evaluation = before(batch)
    (file,) = (tmp_path / "earlier").glob("*.evals")
    content = file.read_bytes()
    counting = Counting()
    later = Remembering(counting, tmp_path / "later", 0.0, [tmp_path / "earlier", tmp_path / "never-was"])
    assert torch.equal(later(batch).forces, evaluation.forces)
    assert counting.calls == 0
    later(batch.take([0]))
    assert file.read_bytes() == content
