"""Whoever died or stopped is continued from: across rounds, and after a person has removed the cause."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_faults import Submitted

from atomsim.campaign.file import Campaign
from atomsim.slurm import chunk_worker as working
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume
from atomsim.store.claims import attempts
from atomsim.store.rounds import rounds
from atomsim.store.run_folder import read_run

Reference = Callable[[Campaign], dict[str, list[dict]]]


def dies_after(calls: int) -> Callable[[], None]:
    """A worker that is gone after so many evaluations of its own, all of them in its checkpoint."""

    def act() -> None:
        from atomsim.execution.checkpoint import Memory

        real, made = Memory.note, []

        def note(self: Memory, *what: object) -> None:
            real(self, *what)
            made.append(1)
            if len(made) == calls:
                self.flush()
                os._exit(137)

        Memory.note = note

    return act


@pytest.fixture
def submitted(tmp_path: Path) -> Submitted:
    return Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})


def test_a_worker_that_always_dies_gets_there_as_long_as_it_gets_on(submitted: Submitted, reference: Reference) -> None:
    """Nine evaluations, then death, nobody requeues: each round continues from what the earlier ones evaluated."""
    submitted.cluster.in_child = dies_after(9)
    for _ in range(60):
        submitted.cluster.drain()
        if (Journal(submitted.out).closed() or {"why": ""})["why"] == "finished":
            break
        resume(submitted.out, submitted.cluster.slurm)
    submitted.cluster.in_child = lambda: None
    assert submitted.finish() == reference(submitted.campaign)
    # a relaxation of these takes more evaluations than one worker lives for
    assert len(rounds(submitted.step)) > 3
    assert list(submitted.step.glob("chunks/*.evals")) == []


def test_a_worker_that_dies_before_its_first_task_is_not_held_against_tasks(
    submitted: Submitted, reference: Reference
) -> None:
    """Whoever is killed while the model loads was not killed by a structure; after six rounds a person is asked."""
    submitted.cluster.in_child = lambda: setattr(working, "_load", lambda *a: os._exit(137))
    submitted.cluster.drain()
    closed = Journal(submitted.out).closed()
    assert closed["why"] == "stopped"
    assert "6 rounds one after another brought nothing" in closed["message"]
    submitted.cluster.in_child = lambda: None
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]
    assert submitted.finish() == reference(submitted.campaign)


def test_after_jobs_that_never_started_a_person_can_go_on(submitted: Submitted, reference: Reference) -> None:
    for _ in range(10):
        for path in submitted.cluster.root.glob("jobs/*.json"):
            path.unlink()
        if resume(submitted.out, submitted.cluster.slurm).problems:
            break
    assert Journal(submitted.out).closed()["why"] == "stopped"
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]
    assert submitted.finish() == reference(submitted.campaign)


def test_after_workers_that_refused_a_person_can_go_on(
    submitted: Submitted, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node had other packages; its environment is right again."""
    with monkeypatch.context() as patch:
        patch.setattr(working, "versions", lambda: {"torch": "9.9"})
        submitted.cluster.drain()
    assert Journal(submitted.out).closed()["why"] == "stopped"
    assert "refused to work" in Journal(submitted.out).closed()["message"]
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]
    assert submitted.finish() == reference(submitted.campaign)


def test_a_structure_that_kills_after_a_while_is_given_up_all_the_same(tmp_path: Path, reference: Reference) -> None:
    """It gets on a little each time at first, and then never again."""
    here = Submitted(tmp_path, structures=2, worker={"chunk_s": 100.0})
    expected = reference(here.campaign)
    killer = read_run(tmp_path / "local")[1]["relaxed"][0].task

    def deadly() -> None:
        import atomsim.execution.job as engine
        from atomsim.execution.checkpoint import Memory

        guarded, note, under_way = engine.guarded, Memory.note, []

        def noticed(job: object, task: object, potential: object) -> object:
            under_way[:] = [task.id]
            return guarded(job, task, potential)

        def deadly_note(self: Memory, keys: list, *what: object) -> None:
            if under_way == [killer] and len(self.known) >= 5:
                os._exit(137)
            note(self, keys, *what)
            self.flush()
            self.known |= dict.fromkeys(keys, b"")

        engine.guarded, Memory.note = noticed, deadly_note

    here.cluster.in_child = deadly
    found = here.finish()
    statuses = {r["label"]: r["status"] for r in found["relaxed"]}
    assert statuses == {"s000": "crashed", "s001": "converged"}
    assert [r for r in found["relaxed"] if r["label"] == "s001"] == [
        r for r in expected["relaxed"] if r["label"] == "s001"
    ]
    tried = [a for each in attempts(here.step).values() for a in each]
    assert len(tried) <= 12
