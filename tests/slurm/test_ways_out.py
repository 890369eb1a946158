"""Out of every mistake and mishap there is a way: the command that the message names, and it works."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_slurm import make_campaign, profile
from simulated import FolderSlurm
from test_faults import Submitted

from atomsim.campaign.file import Campaign
from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.slurm import chunk_worker as working
from atomsim.slurm import client
from atomsim.slurm.actions import cancel, task_log
from atomsim.slurm.client import Queued, RealSlurm, RejectedError, SlurmUnreachableError
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume, start
from atomsim.slurm.rounds import UNANSWERED
from atomsim.slurm.status import read_cluster_status
from atomsim.store.rounds import read_header, rounds

Reference = Callable[[Campaign], dict[str, list[dict]]]
ENGINE = Engine("lj-test")


class Site(FolderSlurm):
    """Knows one partition and one node, and takes arrays of at most four elements."""

    nodes = 1

    def submit(self, script: Path) -> str:
        text = script.read_text()
        array = re.search(r"--array=0-(\d+)", text)
        if "--partition=gqu" in text:
            raise RejectedError("sbatch refused x: invalid partition specified: gqu")
        if array and int(array[1]) >= 4:
            raise RejectedError("sbatch refused x: Invalid job array specification")
        if "--exclude=" in text and self.nodes == 1:
            raise RejectedError("sbatch refused x: Requested node configuration is not available")
        return super().submit(script)


@pytest.fixture
def submitted(tmp_path: Path) -> Submitted:
    return Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})


def lose_all(slurm: FolderSlurm) -> None:
    for path in slurm.root.glob("jobs/*.json"):
        path.unlink()


def newest_script(out: Path) -> str:
    return max((out / "slurm" / "jobs").glob("*r0*.sh"), key=lambda p: p.stat().st_mtime_ns).read_text()


def test_a_refused_partition_is_corrected_by_submitting_again(tmp_path: Path) -> None:
    campaign, out, slurm = make_campaign(tmp_path / "in", 3), tmp_path / "run", Site(tmp_path / "slurm")
    with pytest.raises(RejectedError, match="invalid partition"):
        start(campaign, out, ENGINE, profile(slurm={"partition": "gqu"}), slurm)
    closed = Journal(out).closed()
    assert (closed["why"], "invalid partition" in closed["message"]) == ("stopped", True)
    assert start(campaign, out, ENGINE, profile(), slurm).waiting == ["relaxed"]
    with pytest.raises(InputError, match=r"submitted already.*atomsim cancel .* another profile"):
        start(campaign, out, ENGINE, profile(), slurm)


def test_a_refused_array_size_is_corrected_by_submitting_again(tmp_path: Path) -> None:
    campaign, out, slurm = make_campaign(tmp_path / "in", 12), tmp_path / "run", Site(tmp_path / "slurm")
    with pytest.raises(RejectedError, match="job array"):
        start(campaign, out, ENGINE, profile(worker={"chunk_s": 2.0}), slurm)
    good = profile(worker={"chunk_s": 2.0}, limits={"max_array_size": 4})
    assert start(campaign, out, ENGINE, good, slurm).waiting == ["relaxed"]
    assert max(len(line.elements) for line in slurm.queue()) == 4


def test_more_than_may_be_submitted_at_once_is_corrected_too(tmp_path: Path) -> None:
    campaign, out = make_campaign(tmp_path / "in", 12), tmp_path / "run"
    slurm = FolderSlurm(tmp_path / "slurm", max_submitted=7)
    with pytest.raises(RejectedError, match="Limit"):
        start(campaign, out, ENGINE, profile(worker={"chunk_s": 2.0}), slurm)
    good = profile(worker={"chunk_s": 2.0}, limits={"max_submitted": 7})
    report = start(campaign, out, ENGINE, good, slurm)
    assert sum(len(line.elements) for line in slurm.queue()) == 5
    assert report.planner


def test_another_shape_of_jobs_is_planned_anew(tmp_path: Path, reference: Reference) -> None:
    """The manifest says how many workers share a job: an old one and a new script would fence one another."""
    here = Submitted(tmp_path, structures=12, worker={"chunk_s": 2.0})
    assert read_header(here.step, 1).workers_per_element == 1
    cancel(here.out, here.cluster.slurm)
    four = profile(worker={"chunk_s": 2.0}, slurm={"workers_per_job": 4})
    start(here.campaign, here.out, ENGINE, four, here.cluster.slurm)
    assert rounds(here.step) == [1, 2]
    header = read_header(here.step, 2)
    assert header.workers_per_element == 4
    assert f"--array=0-{-(-header.chunks // 4) - 1}%" in newest_script(here.out)
    cancel(here.out, here.cluster.slurm)
    one = profile(worker={"chunk_s": 2.0})
    start(here.campaign, here.out, ENGINE, one, here.cluster.slurm)
    assert here.finish() == reference(here.campaign)


def test_the_only_node_is_used_although_its_gpu_failed(tmp_path: Path) -> None:
    here = Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})
    slurm = Site(tmp_path / "slurm")

    def act() -> int:
        from atomsim.models.pair import PairPotential

        def call(self: PairPotential, batch: object) -> object:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        PairPotential.__call__ = call
        os.environ[working.RESTARTED] = "1"
        return working.work(here.place(host="n7"), slurm)

    assert not here.cluster.call(act, "worker")
    assert here.end()["why"] == "bad_device"
    lose_all(slurm)
    report = resume(here.out, slurm)
    assert report.waiting == ["relaxed"]
    assert any("without keeping away from n7" in note for note in report.notes)
    assert "--exclude" not in newest_script(here.out)
    assert read_cluster_status(here.out, slurm).unsure == []


@pytest.mark.parametrize("walltime", ["00:02:00", "00:02:59"])
def test_a_job_without_time_to_work_is_refused(walltime: str) -> None:
    with pytest.raises(InputError, match=r"\[worker\] stop_before_s = 120 .*\[slurm\] walltime = '00:02:.*at most"):
        profile(slurm={"walltime": walltime})
    assert profile(slurm={"walltime": "00:03:00"}).work_s == 60


def damage(manifest: Path) -> None:
    head, _, body = manifest.read_bytes().partition(b"\n")
    manifest.write_bytes(head + b"\n" + body.replace(b",", b"\xff", 1))


def test_a_damaged_round_is_planned_anew(submitted: Submitted, reference: Reference) -> None:
    damage(submitted.step / "rounds" / "001.jsonl")
    assert submitted.work() == 2
    end = submitted.end()
    assert (end["why"], "'atomsim resume' plans anew" in end["message"]) == ("refused", True)
    status = read_cluster_status(submitted.out, submitted.cluster.slurm)
    assert [s.waiting for s in status.steps] == [0, 3, 0]
    assert task_log(submitted.out, "relaxed/s000").attempts == ()
    lose_all(submitted.cluster.slurm)
    assert "damaged" in resume(submitted.out, submitted.cluster.slurm).problems["relaxed"]
    assert Journal(submitted.out).closed()["why"] == "stopped"
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]
    assert rounds(submitted.step) == [1, 2]
    assert submitted.finish() == reference(submitted.campaign)


def test_a_damaged_round_that_nobody_began_is_planned_anew_at_once(submitted: Submitted, reference: Reference) -> None:
    damage(submitted.step / "rounds" / "001.jsonl")
    lose_all(submitted.cluster.slurm)
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]
    assert rounds(submitted.step) == [1, 2]
    assert submitted.finish() == reference(submitted.campaign)


def test_a_damaged_header_is_said_in_a_line(submitted: Submitted) -> None:
    path = submitted.step / "rounds" / "001.jsonl"
    path.write_text(path.read_text().replace('"pieces"', '"pierce"', 1))
    with pytest.raises(InputError, match=r"the header of .*001\.jsonl cannot be read .*restore it"):
        resume(submitted.out, submitted.cluster.slurm)


def test_what_slurm_never_got_is_settled(submitted: Submitted, reference: Reference) -> None:
    slurm = submitted.cluster.slurm
    (submitted.out / "slurm" / "jobs" / f"{submitted.token}.accepted.json").unlink()
    lose_all(slurm)
    assert read_cluster_status(submitted.out, slurm).unsure == [submitted.token]
    assert any("submitted again" in note for note in resume(submitted.out, slurm).notes)
    assert read_cluster_status(submitted.out, slurm).unsure == []
    assert submitted.finish() == reference(submitted.campaign)


def test_an_sbatch_without_an_answer_is_no_worker_that_never_started(tmp_path: Path) -> None:
    class Slow(FolderSlurm):
        def submit(self, script: Path) -> str:
            raise SlurmUnreachableError("sbatch did not answer within 60 s; try again later")

    campaign, out, slurm = make_campaign(tmp_path / "in", 3), tmp_path / "run", Slow(tmp_path / "slurm")
    with pytest.raises(SlurmUnreachableError):
        start(campaign, out, ENGINE, profile(), slurm)
    for _ in range(5):
        with pytest.raises(SlurmUnreachableError):
            resume(out, slurm)
    assert Journal(out).closed() is None
    for number in itertools.count():  # it does not continue like that for ever
        try:
            report = resume(out, slurm)
            break
        except SlurmUnreachableError:
            assert number < UNANSWERED
    assert f"{UNANSWERED} times without an answer" in report.problems["relaxed"]
    assert resume(out, FolderSlurm(tmp_path / "slurm")).waiting == ["relaxed"]


def test_elements_that_slurm_could_not_start_take_no_sibling_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Submitted(tmp_path, structures=12, worker={"chunk_s": 2.0})
    real = FolderSlurm.queue

    def one_held(self: FolderSlurm) -> list[Queued]:
        lines = real(self)
        array = next(line for line in lines if line.name == here.token)
        held = replace(array, elements=(1,), reason="launch failed requeued held")
        others = replace(array, state="RUNNING", elements=tuple(e for e in array.elements if e != 1))
        return [held, others, *(line for line in lines if line is not array)]

    (before,) = (line.elements for line in real(here.cluster.slurm) if line.name == here.token)
    monkeypatch.setattr(FolderSlurm, "queue", one_held)
    report = resume(here.out, here.cluster.slurm)
    assert report.submitted == []
    assert report.waiting == ["relaxed"]
    (left,) = (line.elements for line in real(here.cluster.slurm) if line.name == here.token)
    assert left == tuple(e for e in before if e != 1)


def test_lines_of_the_queue_are_cancelled_by_id_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Fine:
        returncode = 0

    monkeypatch.setattr(client, "ask", lambda command: asked.append(command[3:]) or Fine())
    RealSlurm().cancel_lines(
        [Queued("7", "b", "PENDING", (3, 5)), Queued("8", "a", "PENDING"), Queued("9", "b", "", (1,))]
    )
    assert asked == [["--name=a", "8"], ["--name=b", "7_3", "7_5", "9_1"]]
