"""A task that is longer than a walltime is continued by the next worker, from its saved state, and that is no death."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import walks
from conftest_slurm import profile
from simulated import Cluster
from walks import dies_after, installed

from atomsim.execution.job import Engine
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume, start
from atomsim.slurm.policy import judge
from atomsim.slurm.watchdog import Watch
from atomsim.store import artifacts, durable
from atomsim.store.artifacts import problems_of
from atomsim.store.claims import attempts
from atomsim.store.rounds import key_of, known_chunks, rounds
from atomsim.store.run_folder import read_run

ALWAYS = 1e-6
"""Time between saves, s: a save after every step."""


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: None)
    with installed(monkeypatch):
        yield


class Walks:
    """Walks of 40 steps each, submitted, and what one machine makes of them."""

    def __init__(
        self, folder: Path, structures: int = 2, checkpoint_s: float = ALWAYS, chunk_s: float = 1000.0, **faults: float
    ) -> None:
        campaign = walks.make_campaign(folder / "in", structures)
        walks.run(campaign, folder / "local", checkpoint_s=30.0)
        self.expected = walks.outcomes(folder / "local")
        self.out = folder / "run"
        self.cluster = Cluster(folder / "slurm", self.out, np.random.default_rng(5), **faults)
        worker = {"chunk_s": chunk_s, "checkpoint_s": checkpoint_s}
        start(campaign, self.out, Engine("lj-test"), profile(worker=worker), self.cluster.slurm)

    @property
    def step(self) -> Path:
        return self.out / "steps" / "01-walked"

    def closed(self) -> dict:
        return Journal(self.out).closed() or {"why": "", "message": ""}

    def finish(self) -> list[dict]:
        for _ in range(60):
            self.cluster.drain()
            if self.closed()["why"] == "finished":
                return walks.outcomes(self.out)
            resume(self.out, self.cluster.slurm)
        raise AssertionError(self.closed())

    def ends(self) -> list[str]:
        tried = [attempt for each in attempts(self.step).values() for attempt in each]
        return [(attempt.read(self.step, "end") or {"why": "none"})["why"] for attempt in tried]

    def deaths(self) -> dict[str, int]:
        chunks = {key_of(n, c.number): c for n in rounds(self.step) for c in known_chunks(self.step, n)}
        return judge(self.step, attempts(self.step), chunks, set()).deaths


def time_is_up_after(calls: int) -> Callable[[], None]:
    """A worker whose walltime lasts for so many evaluations."""

    def act() -> None:
        real, made = Watch.worked, []

        def worked(self: Watch, number: int) -> None:
            made.append(number)
            if sum(made) >= calls:
                self.why = self.why or "walltime"
            real(self, number)

        Watch.worked = worked
        from atomsim.execution import job as engine

        engine.REPORT_S = 0.0

    return act


@pytest.mark.parametrize("requeues", [True, False])
def test_a_task_longer_than_a_walltime_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requeues: bool
) -> None:
    """Eleven steps a worker, forty a task: put back by Slurm, or continued with in the next round."""
    here = Walks(tmp_path)
    here.cluster.in_child = time_is_up_after(11)
    if not requeues:
        monkeypatch.setattr(type(here.cluster.slurm), "requeue", lambda self, job: False)
    assert here.finish() == here.expected
    assert set(here.ends()) == {"walltime", "done"}
    assert here.ends().count("walltime") >= 6
    assert here.deaths() == {}
    assert (len(rounds(here.step)) > 3) != requeues
    (_, records) = read_run(here.out)
    assert all(r.run["continued"] >= 2 for r in records["walked"])
    assert [line for r in records["walked"] for line in problems_of(here.out, r)] == []
    assert list(here.step.glob("chunks/*.evals")) == []


def test_a_walk_that_no_walltime_saves_ends_with_a_reason(tmp_path: Path) -> None:
    """What was evaluated and not saved is no progress: nobody begins the same walk for ever."""
    here = Walks(tmp_path, structures=1, checkpoint_s=1e6)
    here.cluster.in_child = time_is_up_after(11)
    for _ in range(20):
        here.cluster.drain()
        if here.closed()["why"]:
            break
        resume(here.out, here.cluster.slurm)
    assert here.closed()["why"] == "stopped"
    assert "6 rounds one after another brought nothing" in here.closed()["message"]
    here.cluster.in_child = lambda: None
    resume(here.out, here.cluster.slurm)
    assert here.finish() == here.expected


def test_a_worker_that_always_dies_gets_there_and_repeats_no_step(tmp_path: Path) -> None:
    here = Walks(tmp_path, structures=1)
    here.cluster.in_child = dies_after(9)
    assert here.finish() == here.expected
    (record,) = read_run(here.out)[1]["walked"]
    assert record.run["evaluations"] == 40 - 4 * 9
    assert record.run["continued"] == 4


def test_kills_and_zombies_anywhere(tmp_path: Path) -> None:
    """Whoever was given up and still runs writes states and frames beside its successor's."""
    here = Walks(tmp_path, structures=4, chunk_s=1.7, kill=0.8, lifetime_s=1.0, zombies=0.4)
    assert here.finish() == here.expected
    records = read_run(here.out)[1]["walked"]
    assert [line for r in records for line in problems_of(here.out, r)] == []
    assert here.cluster.kills.total() > 0
