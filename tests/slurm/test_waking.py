"""Nobody is left waiting: held elements, planners that cannot start, and whoever else loses a planner."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest_slurm import make_campaign, outcomes, profile
from simulated import HELD, Cluster, FolderSlurm
from test_faults import Submitted
from typer.testing import CliRunner

from atomsim.campaign.file import Campaign
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.slurm.actions import cancel
from atomsim.slurm.client import Queued, SlurmUnreachableError
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume, retry, start
from atomsim.slurm.status import read_cluster_status
from atomsim.slurm.waking import judge_queue
from atomsim.store.claims import attempts
from atomsim.store.rounds import rounds

Reference = Callable[[Campaign], dict[str, list[dict]]]
ARRAY, PLANNER, WATCH = "as-abc-01r001p000-x", "as-abc-plan-y", "as-abc-watch-z"


@pytest.fixture
def submitted(tmp_path: Path) -> Submitted:
    return Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})


@pytest.mark.parametrize(
    ("lines", "planners_start", "cancelled", "plan"),
    [
        ([Queued("8", PLANNER, "PENDING", reason="Dependency")], True, 0, False),
        ([], True, 0, True),
        ([Queued("7", ARRAY, "COMPLETING", (9,))], True, 0, True),  # it looked before this one ended
        ([Queued("7", ARRAY, "RUNNING", (9,))], True, 0, True),
        ([Queued("7", ARRAY, "PENDING", (9,))], True, 0, False),  # put back
        ([Queued("9", "anothers", "RUNNING")], True, 0, True),
        ([Queued("7", ARRAY, "PENDING", (1, 2), "Resources")], True, 0, False),  # they will look themselves
        ([Queued("7", ARRAY, "PENDING", (1, 2), HELD), Queued("8", PLANNER, "PENDING")], True, 1, False),
        ([Queued("7", ARRAY, "PENDING", (1, 2), HELD)], True, 1, True),
        ([Queued("8", PLANNER, "PENDING", reason="PartitionTimeLimit")], True, 0, True),
        ([Queued("8", PLANNER, "PENDING", reason="Dependency")], False, 0, True),
        ([Queued("8", PLANNER, "RUNNING")], False, 0, False),
        ([Queued("8", PLANNER, "PENDING", reason=HELD)], True, 1, True),
        ([Queued("6", WATCH, "PENDING", reason="BeginTime")], True, 0, True),  # in some hours
        ([Queued("6", WATCH, "RUNNING")], True, 0, False),
    ],
)
def test_the_last_worker_leaves_somebody_to_go_on(
    lines: list[Queued], planners_start: bool, cancelled: int, plan: bool
) -> None:
    me = Queued("7", ARRAY, "RUNNING", (0,))
    found = judge_queue([me, *lines], "abc", {"7_0", "7_9"}, planners_start=planners_start)
    assert (len(found.cancel), found.plan) == (cancelled, plan)


def hold(monkeypatch: pytest.MonkeyPatch, token: str, element: int) -> None:
    """One element of an array could not be started and is held."""
    real = FolderSlurm.queue

    def held(self: FolderSlurm) -> list[Queued]:
        lines = []
        for line in real(self):
            if line.name == token and element in line.elements:
                rest = tuple(e for e in line.elements if e != element)
                lines += [replace(line, elements=(element,), state="PENDING", reason=HELD)]
                lines += [replace(line, elements=rest)] if rest else []
            else:
                lines.append(line)
        return lines

    monkeypatch.setattr(FolderSlurm, "queue", held)


def test_a_held_element_does_not_keep_its_planner_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    here = Submitted(tmp_path, structures=3, worker={"chunk_s": 2.0})
    expected = reference(here.campaign)
    slurm = here.cluster.slurm
    (array,) = (line for line in slurm.queue() if line.name == here.token)
    path = slurm.root / "jobs" / f"{array.job}.json"
    with monkeypatch.context() as patch:
        hold(patch, here.token, 1)
        (stuck,) = read_cluster_status(here.out, slurm).stuck
        assert "launch failed" in stuck
        assert "'atomsim resume" in stuck
        for chunk in (c for c in array.elements if c != 1):
            assert path.exists()
            here.work(chunk, job=f"{array.job}_{chunk}", element=f"{array.job}_{chunk}")
            job = json.loads(path.read_text())
            job["pending"].remove(chunk)
            path.write_text(json.dumps(job)) if job["pending"] else path.unlink()
        assert not path.exists()  # the last worker has cancelled what was held
    here.cluster.drain()  # nobody resumes: the planner has been set free
    assert Journal(here.out).closed()["why"] == "finished"
    assert outcomes(here.out) == expected


def test_where_the_last_job_of_all_is_held_a_watch_continues(tmp_path: Path, reference: Reference) -> None:
    """Workers that ended before saw that another would come; without a watch, status says who must continue."""
    here = Submitted(tmp_path, structures=2, worker={"chunk_s": 2.0}, planner={"watch": "06:00"})
    expected = reference(here.campaign)
    cluster, slurm = here.cluster, here.cluster.slurm
    (array,) = (line for line in slurm.queue() if line.name == here.token)
    assert sum(line.is_watch for line in slurm.queue()) == 1
    cluster.slots, cluster.starts_watches = 1, False
    path = slurm.root / "jobs" / f"{array.job}.json"
    while len(json.loads(path.read_text())["pending"]) > 1:
        cluster.tick()
        time.sleep(0.02)
    cluster.failing_starts = 1
    while not any(line.launch_failed for line in slurm.queue()) or cluster.processes:
        cluster.tick()
        time.sleep(0.02)
    status = read_cluster_status(here.out, slurm)
    assert status.state == "waits for its watch job; 'atomsim resume' is faster"
    assert "launch failed requeued held; a node could not start it" in status.stuck[0]
    cluster.starts_watches = True
    cluster.drain()
    assert Journal(here.out).closed()["why"] == "finished"
    assert outcomes(here.out) == expected
    assert slurm.queue() == []  # no watch is left


def test_workers_plan_where_planners_never_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Reference
) -> None:
    """A planner's walltime above its partition's limit: Slurm takes it, and it waits for ever."""
    campaign, out = make_campaign(tmp_path / "in", 3), tmp_path / "run"
    monkeypatch.setattr(FolderSlurm, "longest", 3600.0)
    cluster = Cluster(tmp_path / "slurm", out, np.random.default_rng(0), starts_planners=False)
    slurm = cluster.slurm
    asked = profile(worker={"chunk_s": 100.0}, planner={"walltime": "02:00:00"})
    report = start(campaign, out, Engine("lj-test"), asked, slurm)
    assert any("[planner] walltime is 120 min, MaxTime of partition gpu 60 min" in note for note in report.notes)
    deadline = time.monotonic() + 900
    while not Journal(out).closed() or cluster.processes:
        assert time.monotonic() < deadline
        cluster.tick()
        time.sleep(0.02)
    assert Journal(out).closed()["why"] == "finished"
    assert outcomes(out) == reference(campaign)
    assert slurm.queue() == []  # no planner is left waiting


def test_a_moved_campaign_goes_on_with_its_copy_and_its_end_is_told(tmp_path: Path, reference: Reference) -> None:
    note = tmp_path / "told"
    command = f"cat >{note}; echo no such mailer >&2; exit 3"  # what is wrong with it stops nothing
    here = Submitted(tmp_path, structures=2, worker={"chunk_s": 100.0}, planner={"notify_command": command})
    expected = reference(here.campaign)
    here.campaign.path.rename(here.campaign.path.with_name("moved.toml"))
    here.cluster.drain()
    assert Journal(here.out).closed()["why"] == "finished"
    assert outcomes(here.out) == expected
    log = (here.out / "log.txt").read_text()
    assert "is not there any more; this run continues with its own copy" in log
    assert note.read_text().startswith(f"{here.out}: finished")
    assert "notify_command ended with 3: no such mailer" in log


def test_what_a_planner_fails_with_is_said_by_status(tmp_path: Path) -> None:
    note = tmp_path / "told"
    command = f'cat >{note}; echo "$ATOMSIM_STATE" >>{note}'
    here = Submitted(tmp_path, structures=2, worker={"chunk_s": 100.0}, planner={"notify_command": command})
    (here.campaign.base_dir / "s000.extxyz").unlink()
    here.cluster.drain()
    status = read_cluster_status(here.out, here.cluster.slurm)
    assert status.state == "needs a manual resume: 'atomsim resume'"
    assert "start" in status.message  # the step whose file it is
    assert status.message in note.read_text()
    assert note.read_text().endswith("planner failed\n")


def test_a_planner_that_slurm_does_not_answer_leaves_its_complaint(
    submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(self: FolderSlurm) -> list[Queued]:
        raise SlurmUnreachableError("Slurm's controller does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(FolderSlurm, "queue", down)
        with pytest.raises(SlurmUnreachableError):
            resume(submitted.out, submitted.cluster.slurm, token="as-x-plan-y")
    assert "does not answer" in read_cluster_status(submitted.out, submitted.cluster.slurm).message
    resume(submitted.out, submitted.cluster.slurm)
    assert read_cluster_status(submitted.out, submitted.cluster.slurm).message == ""


def test_a_run_of_somebody_else_is_left_to_them(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm, before = submitted.cluster.slurm, submitted.cluster.slurm.queue()
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setattr(FolderSlurm, "queue", lambda self: [])  # others' jobs need not be shown
    for act in (resume, cancel, retry):
        with pytest.raises(InputError, match=r"is a run of .* \(\d+\), whose jobs you can neither see"):
            act(submitted.out, slurm)
    status = read_cluster_status(submitted.out, slurm)
    assert "are not shown to you" in status.slurm
    assert status.state == "running"
    monkeypatch.undo()
    assert slurm.queue() == before


def as_user(words: list[str], uid: int) -> tuple[int, str]:
    """Run the command line as a user; return its exit code and what it said."""
    from atomsim.cli import main

    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            output.seek(0)
            return code, output.read()
        code = 1
        try:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            if uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            sys.argv = ["atomsim", *words]
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_account_may_look_and_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # no Slurm: nothing is to be asked of it
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        here = Submitted(Path(name), structures=2, worker={"chunk_s": 100.0})
        here.work()
        for words in (["status", str(here.out)], ["status", "nowhere"], ["cancel", "nowhere"], ["retry"], ["resume"]):
            CliRunner().invoke(app, words)  # imports here what another user may not read
        mine = as_user(["status", str(here.out)], 0)
        before = {p: p.stat().st_mtime_ns for p in here.out.rglob("*")}
        code, text = as_user(["status", str(here.out)], 54321)
        assert (code, mine[0]) == (0, 0), text
        assert text.splitlines()[:5] == mine[1].splitlines()[:5]
        for word in ("resume", "cancel", "retry"):
            code, text = as_user([word, str(here.out)], 54321)
            assert code == 2
            assert re.fullmatch(r"error: .* is a run of \S+ \(0\), whose jobs .*\n", text), text
        assert {p: p.stat().st_mtime_ns for p in here.out.rglob("*")} == before
        for hidden in (here.step / "chunks", here.out / "slurm", here.step / "tasks.jsonl"):
            mode = hidden.stat().st_mode
            hidden.chmod(0)
            code, text = as_user(["status", str(here.out)], 54321)
            if hidden.is_dir():
                assert code == 2
                assert re.fullmatch(r"error: \S+: you may not read or write it; .*\n", text), text
            else:  # how many tasks there are is not known
                assert code == 0, text
                assert not re.search(r"-\d", text), text
            code, text = as_user(["logs", str(here.out), "relaxed/s000"], 54321)
            assert "Traceback" not in text
            assert code == 0 or text.startswith("error: "), text
            hidden.chmod(mode)


def test_an_old_view_of_the_queue_submits_nothing_twice(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sites answer squeue from a cache: what was just submitted is not in it."""
    slurm = submitted.cluster.slurm
    jobs = {(line.job, line.name) for line in slurm.queue()}
    monkeypatch.setattr(FolderSlurm, "knows", lambda self, job, name: (job, name) in jobs)
    monkeypatch.setattr(FolderSlurm, "queue", lambda self: [])
    report = resume(submitted.out, slurm)
    assert [s.what for s in report.submitted if " of step " in s.what] == []
    assert report.waiting == ["relaxed"]
    assert rounds(submitted.step) == [1]


def test_of_three_who_submit_at_once_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError("this file system has no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    campaign, out = make_campaign(tmp_path / "in", 3), tmp_path / "run"
    cluster = Cluster(tmp_path / "slurm", out, np.random.default_rng(0))
    act = lambda: start(campaign, out, Engine("lj-test"), profile(), cluster.slurm) and 0  # noqa: E731
    codes = sorted(os.waitpid(pid, 0)[1] != 0 for pid in [cluster.fork(act) for _ in range(3)])
    assert codes == [False, True, True]
    names = [line.name for line in cluster.slurm.queue()]
    assert len({name.split("-")[1] for name in names}) == 1
    assert len(names) == len(set(names))
    assert sum("-plan-" in name for name in names) == 1
    assert attempts(out / "steps" / "02-relaxed") == {}


def test_cancel_says_what_is_left(submitted: Submitted, monkeypatch: pytest.MonkeyPatch) -> None:
    from atomsim.slurm import actions

    monkeypatch.setattr(actions, "PATIENCE_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(FolderSlurm, "cancel", lambda self, names: None)  # as scancel --name=a,b does
        done = cancel(submitted.out, submitted.cluster.slurm)
        assert len(done.names) == len(done.left) == 2
    done = cancel(submitted.out, submitted.cluster.slurm)
    assert (len(done.names), done.left, done.ending) == (2, (), 0)
    assert submitted.cluster.slurm.queue() == []
