"""Each thing that a campaign must survive, one by one, against the simulated Slurm."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest_slurm import CAMPAIGN, make_campaign, outcomes, profile
from simulated import Cluster, FolderSlurm

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.errors import AtomsimError, InputError
from atomsim.execution.job import Engine
from atomsim.slurm import chunk_worker as working
from atomsim.slurm import planner as planning
from atomsim.slurm.actions import cancel, task_log
from atomsim.slurm.chunk_worker import work
from atomsim.slurm.client import RejectedError, SlurmUnreachableError
from atomsim.slurm.journal import Journal
from atomsim.slurm.place import ChunkAssignment, place_of
from atomsim.slurm.planner import resume, retry, start
from atomsim.slurm.watchdog import Watch
from atomsim.store.claims import attempts, claim, read_step
from atomsim.store.rounds import key_of, read_header
from atomsim.store.run_folder import read_run

Reference = Callable[[Campaign], dict[str, list[dict]]]
RELAXED = "02-relaxed"


class Submitted:
    """A campaign that was submitted and of which nothing has run."""

    def __init__(self, folder: Path, structures: int = 8, text: str = CAMPAIGN, **changes: dict) -> None:
        self.campaign = make_campaign(folder / "in", structures, text)
        self.out = folder / "run"
        self.cluster = Cluster(folder / "slurm", self.out, np.random.default_rng(0))
        self.report = start(self.campaign, self.out, Engine("lj-test"), profile(**changes), self.cluster.slurm)

    @property
    def step(self) -> Path:
        return self.out / "steps" / RELAXED

    @property
    def token(self) -> str:
        return next(s.token for s in self.report.submitted if " of step " in s.what)

    def place(self, chunk: int = 0, **changes: object) -> ChunkAssignment:
        words = {"token": self.token, "host": "n0", "job": f"1_{chunk}"} | changes
        return ChunkAssignment(self.out, RELAXED, 1, chunk, **words)

    def work(self, chunk: int = 0, **changes: object) -> int:
        return work(self.place(chunk, **changes), self.cluster.slurm)

    def end(self, chunk: int = 0, attempt: int = -1) -> dict:
        return attempts(self.step)[key_of(1, chunk)][attempt].read(self.step, "end")

    def finish(self) -> dict[str, list[dict]]:
        for _ in range(20):
            self.cluster.drain()
            if (Journal(self.out).closed() or {"why": ""})["why"] == "finished":
                return outcomes(self.out)
            resume(self.out, self.cluster.slurm)
        raise AssertionError(Journal(self.out).closed())


@pytest.fixture
def submitted(tmp_path: Path) -> Submitted:
    return Submitted(tmp_path)


def test_an_element_that_runs_twice_does_nothing_the_second_time(submitted: Submitted) -> None:
    assert submitted.work() == 0
    before = read_step(submitted.step).done
    assert submitted.work() == 0
    assert len(attempts(submitted.step)[key_of(1, 0)]) == 1
    assert read_step(submitted.step).done == before


def test_a_chunk_that_another_job_works_on_is_left_to_it(submitted: Submitted) -> None:
    other = claim(submitted.step, key_of(1, 0), {"token": "another", "job": "9_0", "host": "n1"})
    (submitted.step / f"{other.stem}.beat.json").write_text("{}")
    submitted.work()
    assert len(attempts(submitted.step)[key_of(1, 0)]) == 1
    os.utime(submitted.step / f"{other.stem}.beat.json", (1.0, 1.0))  # long silent
    submitted.work()
    assert submitted.end()["why"] == "done"


def test_own_clock_stops_in_time_and_puts_back(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 0.05)
    submitted.work(ends=time.time() + 1.0)
    assert submitted.end()["why"] == "walltime"
    assert (submitted.cluster.root / "requeue-1_0").exists()
    submitted.work(ends=None)
    assert submitted.end()["why"] == "done"


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = Watch.check

    def check(self: Watch) -> None:
        time.sleep(seconds)
        real(self)

    from atomsim.execution.job import Counted

    call = Counted.__call__

    def late(self: Counted, batch: object) -> object:
        time.sleep(seconds)
        return call(self, batch)

    monkeypatch.setattr(Counted, "__call__", late)


def test_a_cancelled_campaign_is_not_put_back(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, 0.05)
    Journal(submitted.out).close("stopped")
    submitted.work(ends=time.time() + 1.0)
    assert not (submitted.cluster.root / "requeue-1_0").exists()
    cancel(submitted.out, submitted.cluster.slurm)
    assert submitted.cluster.slurm.queue() == []
    assert submitted.work(1) == 0
    assert key_of(1, 1) not in attempts(submitted.step)


def test_a_hang_is_ended_by_the_watchdog(tmp_path: Path, reference: Reference) -> None:
    here = Submitted(tmp_path, worker={"hang_s": 8.0})

    def hangs() -> int:
        working.run_job = lambda *a: iter([time.sleep(3600)])
        return here.work()

    started = time.monotonic()
    assert not here.cluster.call(hangs, "worker")
    assert time.monotonic() - started < 1800
    assert here.end()["why"] == "hang"
    assert here.finish() == reference(here.campaign)


def test_work_that_ignores_the_flag_is_ended(tmp_path: Path) -> None:
    here = Submitted(tmp_path, slurm={"walltime": "00:01:00"}, worker={"stop_before_s": 5.0})

    def hangs() -> int:
        working.run_job = lambda *a: iter([time.sleep(3600)])
        return here.work(ends=time.time() + 1.0)

    started = time.monotonic()
    assert here.cluster.call(hangs, "worker")
    assert time.monotonic() - started < 1800
    assert here.end()["why"] == "walltime"


def bad_device(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this node every evaluation fails as on a broken GPU."""
    from atomsim.models.pair import PairPotential

    real = PairPotential.__call__

    def call(self: PairPotential, batch: object) -> object:
        if os.environ.get("TEST_HOST") == host:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return real(self, batch)

    monkeypatch.setattr(PairPotential, "__call__", call)


def test_a_bad_gpu_spoils_no_record_and_its_node_is_avoided_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    here = Submitted(tmp_path)
    expected = reference(here.campaign)
    bad_device("n7", monkeypatch)

    def on_n7(restarted: bool) -> Callable[[], int]:
        def act() -> int:
            os.environ["TEST_HOST"] = "n7"
            os.environ.pop(working.RESTARTED, None)
            if restarted:
                os.environ[working.RESTARTED] = "1"
            return work(here.place(host="n7"), here.cluster.slurm)

        return act

    # the restart replaces the process by its own command; here that is the tests', so it is only noted
    monkeypatch.setattr(working.os, "execv", lambda *a: os._exit(7))
    assert not here.cluster.call(on_n7(False), "worker")
    assert here.end()["why"] == "restart"
    assert not here.cluster.call(on_n7(True), "worker")
    assert here.end()["why"] == "bad_device"
    assert read_step(here.step).done == {}
    for path in here.cluster.root.glob("jobs/*.json"):
        path.unlink()
    resume(here.out, here.cluster.slurm)
    newest = max((here.out / "slurm" / "jobs").glob("*r002*.sh"), key=lambda p: p.stat().st_mtime)
    assert "#SBATCH --exclude=n7\n" in newest.read_text()
    assert here.finish() == expected


def test_a_structure_that_kills_its_worker_is_isolated_and_given_up(tmp_path: Path, reference: Reference) -> None:
    here = Submitted(tmp_path, structures=12, worker={"chunk_s": 100.0})
    expected = reference(here.campaign)
    killer = read_run(tmp_path / "local")[1]["relaxed"][5].task

    def deadly() -> None:
        import atomsim.execution.job as engine

        real = engine.guarded

        def guarded(job: object, task: object, potential: object) -> object:
            if task.id == killer:
                os._exit(137)  # what a host's memory does, seen from outside
            return real(job, task, potential)

        engine.guarded = guarded

    here.cluster.in_child = deadly
    found = here.finish()
    lost = [r for r in found["relaxed"] if r["status"] != "converged"]
    assert [r["label"] for r in lost] == ["s005"]
    assert "its worker died 3 times with nothing else to do" in lost[0]["message"]
    others = [r for r in found["relaxed"] if r["label"] != "s005"]
    assert others == [r for r in expected["relaxed"] if r["label"] != "s005"]
    assert len(found["again"]) == 11
    # a person gives it more memory
    here.cluster.in_child = lambda: None
    retry(here.out, here.cluster.slurm, ["crashed"])
    assert here.finish() == expected


def test_killers_in_one_anothers_company(tmp_path: Path) -> None:
    """Nothing but killers: each is given up after a bounded number of rounds, and the campaign ends."""
    here = Submitted(tmp_path, structures=2, worker={"chunk_s": 100.0})
    here.cluster.in_child = lambda: setattr(working, "run_job", lambda *a: os._exit(137))
    found = here.finish()
    assert [r["status"] for r in found["relaxed"]] == ["crashed", "crashed"]
    assert len(list((here.step / "rounds").iterdir())) <= 5


def test_workers_that_never_start_end_the_campaign_with_a_reason(submitted: Submitted) -> None:
    for _ in range(10):
        for path in submitted.cluster.root.glob("jobs/*.json"):
            path.unlink()  # lost, all of them, every time
        report = resume(submitted.out, submitted.cluster.slurm)
        if report.problems:
            break
    assert "were submitted 3 times and never started" in report.problems["relaxed"]
    assert Journal(submitted.out).closed()["why"] == "stopped"


def test_a_reused_id_is_not_taken_for_ours(submitted: Submitted, reference: Reference) -> None:
    for path in submitted.cluster.root.glob("jobs/*.json"):
        job = json.loads(path.read_text())
        path.write_text(json.dumps(job | {"name": "somebody-else", "array": False, "after": []}))
    report = resume(submitted.out, submitted.cluster.slurm)
    assert any("lost or never started" in note for note in report.notes)
    for path in submitted.cluster.root.glob("jobs/*.json"):
        if "somebody-else" in path.read_text():
            path.unlink()
    assert submitted.finish() == reference(submitted.campaign)


def test_submitter_killed_between_sbatch_and_its_answer(submitted: Submitted) -> None:
    """The queue knows the token: nothing is submitted a second time."""
    for path in (submitted.out / "slurm" / "jobs").glob("*.accepted.json"):
        path.unlink()
    before = len(list((submitted.out / "slurm" / "jobs").glob("*.sh")))
    report = resume(submitted.out, submitted.cluster.slurm)
    assert report.submitted == []
    assert report.waiting == ["relaxed"]
    assert len(list((submitted.out / "slurm" / "jobs").glob("*.sh"))) == before
    assert len(list((submitted.out / "slurm" / "jobs").glob("*.accepted.json"))) == before


def test_controller_down_decides_nothing(submitted: Submitted) -> None:
    (submitted.cluster.root / "down").touch()
    with pytest.raises(SlurmUnreachableError):
        resume(submitted.out, submitted.cluster.slurm)
    assert Journal(submitted.out).closed() is None
    (submitted.cluster.root / "down").unlink()
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]


def test_rejection_part_way(tmp_path: Path, reference: Reference) -> None:
    """The site takes two elements and a planner at once, and refuses the rest: it comes in turns."""
    limits = {"max_array_size": 2, "max_submitted": 1000}
    campaign = make_campaign(tmp_path / "in", 12)
    out = tmp_path / "run"
    cluster = Cluster(tmp_path / "slurm", out, np.random.default_rng(0))
    cluster.in_child = lambda: None
    FolderSlurm.max_submitted = 5
    try:
        chosen = profile(limits=limits, worker={"chunk_s": 2.0})
        slurm = FolderSlurm(cluster.root, max_submitted=5)
        report = start(campaign, out, Engine("lj-test"), chosen, slurm)
        assert any("QOSMaxSubmitJobPerUserLimit" in note for note in report.notes)
        for _ in range(40):
            cluster.drain()
            if (Journal(out).closed() or {"why": ""})["why"] == "finished":
                break
            resume(out, slurm)
    finally:
        FolderSlurm.max_submitted = 10**9
    assert outcomes(out) == reference(campaign)


def test_planners_do_not_chase_one_another(tmp_path: Path) -> None:
    """Where there is work but no job to wait for, the next planner takes its time."""
    campaign = make_campaign(tmp_path / "in", 12)
    out = tmp_path / "run"
    slurm = FolderSlurm(tmp_path / "slurm")
    chosen = profile(limits={"max_array_size": 4, "max_submitted": 6}, worker={"chunk_s": 2.0})
    report = start(campaign, out, Engine("lj-test"), chosen, slurm)
    assert sum(len(line.elements) for line in slurm.queue()) == 4
    first = next((out / "slurm" / "jobs").glob("*plan*.sh")).read_text()
    assert "--dependency=afterany:1\n" in first
    assert "--begin" not in first
    assert report.planner
    # the array runs on, the planner is gone: another one waits for the same array
    for line in slurm.queue():
        if not line.elements:
            (tmp_path / "slurm" / "jobs" / f"{line.job}.json").unlink()
    again = resume(out, slurm)
    assert [s.what for s in again.submitted] == ["1 planner"]


def test_jobs_that_slurm_could_not_start_are_replaced(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    real = FolderSlurm.queue

    def held(self: FolderSlurm) -> list:
        lines = real(self)
        return [replace(q, reason="launch failed requeued held") if q.name == submitted.token else q for q in lines]

    monkeypatch.setattr(FolderSlurm, "queue", held)
    report = resume(submitted.out, submitted.cluster.slurm)
    assert any("jobs of step" in s.what for s in report.submitted)
    assert submitted.token not in {line.name for line in submitted.cluster.slurm.queue()}


def test_a_refused_submission_leaves_nothing_half_done(tmp_path: Path) -> None:
    class Refusing(FolderSlurm):
        def submit(self, script: Path) -> str:
            raise RejectedError("sbatch refused: invalid partition specified: gqu")

    campaign = make_campaign(tmp_path / "in", 2)
    with pytest.raises(AtomsimError, match="invalid partition"):
        start(campaign, tmp_path / "run", Engine("lj-test"), profile(), Refusing(tmp_path / "slurm"))
    assert Journal(tmp_path / "run").submissions() == []


def test_changed_packages_are_refused_or_recorded(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    now = planning.versions() | {"torch": "9.9"}
    monkeypatch.setattr(planning, "versions", lambda: now)
    monkeypatch.setattr(working, "versions", lambda: now)
    with pytest.raises(InputError, match=r"torch was .*, is 9\.9.*--accept-versions"):
        resume(submitted.out, submitted.cluster.slurm)
    assert submitted.work() == 2
    assert "torch is 9.9 here" in submitted.end()["message"]
    assert read_step(submitted.step).done == {}


def test_changed_weights_are_refused(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    path = submitted.step / "rounds" / "001.jsonl"
    sha = read_header(submitted.step, 1).job["context"]["potential_sha256"]
    path.write_text(path.read_text().replace(sha, "0" * 64, 1))
    assert submitted.work() == 2
    assert "the weights of lj-test are" in submitted.end()["message"]
    for job in submitted.cluster.root.glob("jobs/*.json"):
        job.unlink()
    report = resume(submitted.out, submitted.cluster.slurm)
    assert report.problems["relaxed"].startswith("workers refused to work: the weights")
    assert Journal(submitted.out).closed()["why"] == "stopped"


def test_a_changed_campaign_is_another_one(submitted: Submitted, reference: Reference) -> None:
    """It may be edited for the next run while this one continues; under the name of this one it is refused."""
    expected = reference(submitted.campaign)
    path = submitted.campaign.path
    path.write_text(path.read_text().replace("0.01", "0.02"))
    report = resume(submitted.out, submitted.cluster.slurm)
    assert any("mine.toml has changed; this run continues with its own copy" in note for note in report.notes)
    assert submitted.finish() == expected
    with pytest.raises(InputError, match=r"fmax_eV_per_A was 0\.01, now 0\.02"):
        start(load_campaign(path), submitted.out, Engine("lj-test"), profile(), submitted.cluster.slurm)


def test_bad_input_is_found_before_anything_is_submitted(tmp_path: Path) -> None:
    campaign = make_campaign(tmp_path / "in", 2, CAMPAIGN.replace("lj-test", "no-such"))
    slurm = FolderSlurm(tmp_path / "slurm")
    with pytest.raises(InputError, match="unknown potential 'no-such'"):
        start(campaign, tmp_path / "run", Engine("no-such"), profile(), slurm)
    assert slurm.queue() == []


def test_a_full_disk_stops_the_worker_and_loses_nothing(
    submitted: Submitted, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    import errno

    from atomsim.store import records

    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(records.os, "fsync", full)
        with pytest.raises(AtomsimError, match="No space left on device"):
            submitted.work()
    assert submitted.finish() == reference(submitted.campaign)


def test_one_bad_structure_leaves_its_siblings_unchanged(tmp_path: Path, reference: Reference) -> None:
    from ase.build import bulk
    from ase.io import write

    (tmp_path / "in").mkdir()
    healthy = Submitted(tmp_path / "a", structures=5)
    alone = healthy.finish()["relaxed"]
    folder = tmp_path / "b" / "in"
    folder.mkdir(parents=True)
    write(folder / "s999.extxyz", bulk("He", "fcc", 1.05, cubic=True))  # too close: it explodes
    sick = Submitted(tmp_path / "b", structures=5)
    together = {r["label"]: r for r in sick.finish()["relaxed"]}
    assert together.pop("s999")["status"] not in {"", "done"}
    for record in alone:
        assert together[record["label"]] == record


def test_logs_of_a_task(submitted: Submitted) -> None:
    submitted.work()
    found = task_log(submitted.out, "relaxed/s000")
    assert found.record.status == "converged"
    assert found.attempts[0]["host"] == "n0"
    assert found.attempts[0]["ended"] == "done"
    with pytest.raises(InputError, match="did you mean 's00"):
        task_log(submitted.out, "s0000")
    with pytest.raises(InputError, match="several steps"):
        task_log(submitted.out, "s000")


def test_two_planners_at_once(submitted: Submitted) -> None:
    journal = Journal(submitted.out)
    refused = pytest.raises(InputError, match=f"planned by process {os.getpid()}")
    with journal.planning(), refused, journal.planning(wait_s=0.0):
        pass
    assert resume(submitted.out, submitted.cluster.slurm).waiting == ["relaxed"]


def test_a_chunk_beyond_the_end_has_no_work(submitted: Submitted) -> None:
    chunks = read_header(submitted.step, 1).chunks
    env = {"SLURM_ARRAY_TASK_ID": str(chunks)}
    assert place_of(submitted.out, RELAXED, 1, 0, chunks, "t", env) is None
    found = place_of(submitted.out, RELAXED, 1, 0, chunks, "t", {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "5"})
    assert (found.chunk, found.job) == (1, "5_1")
