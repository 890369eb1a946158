"""What earlier rounds left is used where it may be: of the same packages, and not what a person wants anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_slurm import outcomes
from test_faults import Submitted
from test_ways_out import damage, lose_all

from atomsim.campaign.file import Campaign
from atomsim.errors import InputError
from atomsim.slurm import chunk_worker as working
from atomsim.slurm import planner as planning
from atomsim.slurm.actions import cancel
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume, retry
from atomsim.slurm.status import read_cluster_status
from atomsim.store.claims import checkpoints, earlier_checkpoints
from atomsim.store.rounds import Chunk, Manifest, key_of, read_header, rounds, write_manifest
from atomsim.store.run_folder import read_run

Reference = Callable[[Campaign], dict[str, list[dict]]]


@pytest.fixture
def submitted(tmp_path: Path) -> Submitted:
    return Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})


def test_accepted_versions_replan_what_no_worker_would_take(
    submitted: Submitted, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    lose_all(submitted.cluster.slurm)
    now = planning.versions() | {"torch": "9.9"}
    monkeypatch.setattr(planning, "versions", lambda: now)
    monkeypatch.setattr(working, "versions", lambda: now)
    assert Journal(submitted.out).closed() is None
    assert resume(submitted.out, submitted.cluster.slurm, accept_versions=True).waiting == ["relaxed"]
    assert read_header(submitted.step, 2).job["versions"] == now
    submitted.cluster.drain()
    assert Journal(submitted.out).closed()["why"] == "finished"
    assert outcomes(submitted.out) == reference(submitted.campaign)


def test_versions_are_accepted_only_with_all_the_rest(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    now = planning.versions() | {"torch": "9.9"}
    monkeypatch.setattr(planning, "versions", lambda: now)
    (submitted.campaign.base_dir / "s000.extxyz").write_text((submitted.campaign.base_dir / "s001.extxyz").read_text())
    with pytest.raises(InputError, match="a file that step 'start' reads has changed"):
        resume(submitted.out, submitted.cluster.slurm, accept_versions=True)
    assert Journal(submitted.out).settings().versions != now


def opened(step: Path, number: int, tasks: tuple[str, ...], version: str = "1", discards: tuple[str, ...] = ()) -> Path:
    """Open a round of one chunk, whose worker left evaluations."""
    manifest = Manifest(number, {"versions": {"torch": version}}, 1, ((0, 1),), discards=discards)
    assert write_manifest(step, manifest, [Chunk(0, tasks, ((0, 1),))])
    folder = checkpoints(step, key_of(number, 0))
    folder.mkdir(parents=True)
    return folder


def test_only_what_may_be_replayed_is_read_from_earlier_rounds(tmp_path: Path) -> None:
    opened(tmp_path, 1, ("a", "b"), version="0")
    second = opened(tmp_path, 2, ("a", "b"))
    opened(tmp_path, 3, ("c",))
    fourth = opened(tmp_path, 4, ("a", "b"), discards=("a",))
    opened(tmp_path, 5, ("a", "b"))
    assert earlier_checkpoints(tmp_path, 5, {"a", "b"}) == [fourth]
    assert earlier_checkpoints(tmp_path, 5, {"b"}) == [second, fourth]
    damage(tmp_path / "rounds" / "002.jsonl")
    assert earlier_checkpoints(tmp_path, 5, {"b"}) == [fourth]


def test_nonsense_said_once_is_not_replayed(submitted: Submitted, reference: Reference) -> None:
    """A faulty GPU answers NaN for one structure; its worker then dies in the next one."""

    def sick() -> int:
        import atomsim.execution.job as engine
        from atomsim.execution.checkpoint import Memory
        from atomsim.models.pair import PairPotential

        real, guarded, note, under, made = PairPotential.__call__, engine.guarded, Memory.note, [], []

        def noticed(job: object, task: object, potential: object) -> object:
            under[:] = [task.label]
            return guarded(job, task, potential)

        def call(self: PairPotential, batch: object) -> object:
            evaluation = real(self, batch)
            return replace(evaluation, energy=evaluation.energy * float("nan")) if under == ["s000"] else evaluation

        def dying(self: Memory, *what: object) -> None:
            note(self, *what)
            made.extend(under if under == ["s001"] else [])
            if len(made) == 5:
                self.flush()
                os._exit(137)

        engine.guarded, PairPotential.__call__, Memory.note = noticed, call, dying
        return submitted.work()

    submitted.cluster.call(sick, "worker")
    assert [(r.label, r.good) for r in read_run(submitted.out)[1]["relaxed"]] == [("s000", False)]
    cancel(submitted.out, submitted.cluster.slurm)
    retry(submitted.out, submitted.cluster.slurm)
    assert submitted.finish() == reference(submitted.campaign)


def test_what_is_not_finite_is_not_remembered(tmp_path: Path) -> None:
    import torch
    from ase.build import bulk

    from atomsim.batch import Batch
    from atomsim.execution.checkpoint import Memory, Remembering
    from atomsim.models.load import load_potential

    potential = load_potential("lj-test", device="cpu", dtype=None, trust_file=False)
    batch = Batch.pack([bulk("He", "fcc", a, cubic=True) for a in (4.0, 4.1)])

    class Half:
        sha256, dtype = potential.sha256, potential.dtype

        def __call__(self, batch: Batch) -> object:
            evaluation = potential(batch)
            return replace(evaluation, energy=evaluation.energy * torch.tensor([1.0, float("nan")]))

    first = Remembering(Half(), tmp_path)
    first(batch)
    first.flush()
    assert len(Memory(tmp_path).known) == 1
    again = Remembering(potential, tmp_path)
    assert torch.equal(again(batch).energy, potential(batch).energy)
    assert again.replayed == 1


def test_a_retry_that_is_killed_does_not_look_finished(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted.finish()
    done = read_run(submitted.out)[1]["relaxed"][0]
    monkeypatch.setattr(planning, "to_retry", lambda *a: {"02-relaxed": [done.task]})

    real = planning.open_round

    def killed(*arguments: object, **more: object) -> None:
        real(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(planning, "open_round", killed)
        with pytest.raises(KeyboardInterrupt):
            retry(submitted.out, submitted.cluster.slurm)
    assert read_cluster_status(submitted.out, submitted.cluster.slurm).state.startswith("needs a manual resume")
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]
    assert rounds(submitted.step) == [1, 2]
