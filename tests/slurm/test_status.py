"""What status says is what is on disk and in the queue, with one look at the queue, also for 100,000 tasks."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest_slurm import PROFILE
from test_faults import Submitted

from atomsim.slurm import chunk_worker as working
from atomsim.slurm.client import Queued, SlurmUnreachableError
from atomsim.slurm.journal import Journal, Settings
from atomsim.slurm.status import QUIET_S, ClusterStatus, read_cluster_status
from atomsim.store.claims import LOCAL, claim
from atomsim.store.records import Ledger, Record, Task, to_line
from atomsim.store.rounds import Chunk, Manifest, key_of, task_spans, write_manifest
from atomsim.store.run_folder import RunFolder

STATUSES = ("converged", "max_steps", "exploded")


class Queue:
    """A Slurm with this in its queue; counts how often it is asked."""

    def __init__(self, lines: Sequence[Queued] = (), down: bool = False) -> None:
        self.lines, self.down, self.asked = list(lines), down, 0

    def queue(self) -> list[Queued]:
        self.asked += 1
        if self.down:
            raise SlurmUnreachableError("Slurm's controller does not answer")
        return self.lines


class Invented:
    """A run in the middle of things, made without running anything."""

    def __init__(self, path: Path, tasks: int, per_chunk: int) -> None:
        self.folder = RunFolder(path)
        self.step = self.folder.step("01-relaxed")
        path.mkdir(parents=True)
        about = {"number": 1, "name": "relaxed", "kind": "relax", "folder": "01-relaxed", "needs": [], "settings": {}}
        (path / "run.json").write_text(json.dumps({"format": 1, "steps": [about]}))
        Journal(path).write_settings(Settings("abc123", "mine.toml", {}, "test", PROFILE, {}))
        self.tasks = [Task(f"{n:016x}", "relaxed", "relax", f"s{n}", {"numbers": [3] * 4}) for n in range(tasks)]
        self.folder.write_tasks("01-relaxed", "hash", self.tasks)
        spans = task_spans(self.step)
        groups = [self.tasks[n : n + per_chunk] for n in range(0, tasks, per_chunk)]
        self.chunks = [
            Chunk(n, tuple(t.id for t in g), tuple(spans[t.id] for t in g), 10.0) for n, g in enumerate(groups)
        ]
        write_manifest(self.step, Manifest(1, {"settings": {}}, len(groups), ((0, len(groups)),)), self.chunks)

    def attempt(self, chunk: int, statuses: Sequence[str], ended: str = "", beat: str = "good") -> None:
        """Invent a worker's work; ``beat`` is good, stale (counts less than there is), silent or none."""
        made = claim(self.step, key_of(1, chunk), {"token": self.token, "job": f"7_{chunk}", "host": "n0"})
        lines = [
            to_line(Record(task, "relaxed", "relax", task, status, values={"energy_eV": 1.0}))
            for task, status in zip(self.chunks[chunk].tasks, statuses, strict=False)
        ]
        (self.step / made.ledger).write_text("".join(lines))
        content = {
            "counts": dict(Counter(statuses)),
            "bytes": sum(map(len, lines)),
            "wall_s": 36.0,
            "work_s": 30.0,
            "weight": 4.0 * len(statuses),
        }
        if beat == "stale":
            content |= {"counts": {}, "bytes": 0}
        path = self.step / f"{made.stem}.beat.json"
        if beat != "none":
            path.write_text(json.dumps(content))
        if beat == "silent":
            os.utime(path, (time.time() - 2 * QUIET_S,) * 2)
        if ended:
            (self.step / f"{made.stem}.end.json").write_text(json.dumps(content | {"why": ended}))

    token = "as-abc123-01r001p000-x"

    def line(self, state: str, *elements: int) -> Queued:
        return Queued("7", self.token, state, elements)

    def status(self, queue: Queue) -> ClusterStatus:
        return read_cluster_status(self.folder.path, queue)


@pytest.fixture
def invented(tmp_path: Path) -> Invented:
    run = Invented(tmp_path / "run", 50, 10)
    run.attempt(0, ["converged"] * 9 + ["exploded"], ended="done")
    run.attempt(1, ["converged"] * 4, beat="stale")
    run.attempt(2, ["max_steps"] * 3, beat="silent")
    return run


def test_counts_are_the_truth(invented: Invented) -> None:
    queue = Queue([invented.line("RUNNING", 1), invented.line("RUNNING", 2), invented.line("PENDING", 3)])
    status = invented.status(queue)
    (step,) = status.steps
    assert queue.asked == 1
    assert status.state == "running"
    assert step.statuses == {"converged": 13, "max_steps": 3, "exploded": 1}
    assert (step.done, step.good, step.tasks) == (17, 13, 50)
    assert (step.running, step.unknown, step.queued, step.waiting) == (6, 7, 10, 10)
    assert step.done + step.running + step.unknown + step.queued + step.waiting == 50
    assert [line.partition(" ")[0] for line in status.silent] == ["7_2"]
    assert step.gpu_hours == pytest.approx(3 * 36 / 3600)


def test_without_an_answer_of_slurm(invented: Invented) -> None:
    status = invented.status(Queue(down=True))
    (step,) = status.steps
    assert step.done == 17
    assert step.running == 6  # it beats
    assert step.unknown == 27
    assert "does not answer" in status.slurm


def test_an_empty_queue_waits_for_a_person(invented: Invented) -> None:
    status = invented.status(Queue())
    assert status.state == "needs a manual resume: 'atomsim resume'"
    assert status.steps[0].waiting == 33
    Journal(invented.folder.path).close("stopped", "because")
    assert (invented.status(Queue()).state, invented.status(Queue()).message) == ("stopped", "because")


def test_what_cancel_has_ended_did_not_die_without_a_word(invented: Invented) -> None:
    assert len(invented.status(Queue()).died) == 2
    Journal(invented.folder.path).close("cancelled")
    assert invented.status(Queue()).died == []


def test_another_job_with_our_id_is_not_ours(invented: Invented) -> None:
    status = invented.status(Queue([Queued("7", "somebody-else", "RUNNING", (1,))]))
    assert status.state.startswith("needs a manual resume")


def test_stuck_jobs_and_submissions_nobody_knows_of(invented: Invented) -> None:
    line = Queued("7", invented.token, "PENDING", (3, 4), "PartitionTimeLimit")
    intent = {"kind": "array", "time": 1.0, "content": {}}
    jobs = invented.folder.path / "slurm" / "jobs"
    jobs.mkdir()
    (jobs / "as-abc123-01r001p001-y.json").write_text(json.dumps(intent))
    status = invented.status(Queue([line]))
    (stuck,) = status.stuck
    assert stuck.startswith("as-abc123-01r001p000-x (7, 2 elements): PartitionTimeLimit; lower [slurm] walltime")
    assert status.state.startswith("needs attention")
    assert status.unsure == ["as-abc123-01r001p001-y"]


def test_a_damaged_record_is_not_counted(invented: Invented) -> None:
    path = next(invented.step.glob("chunks/001-00001.a001.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"1.0", b"9.0", 1))
    assert invented.status(Queue()).steps[0].statuses["converged"] == 12


def test_fractions_of_many_tasks(tmp_path: Path) -> None:
    """Random progress of a larger campaign: counts equal what was invented."""
    rng = np.random.default_rng(5)
    run = Invented(tmp_path / "run", 4000, 40)
    truth: Counter[str] = Counter()
    for chunk in range(0, 100, 2):
        statuses = list(rng.choice(STATUSES, rng.integers(0, 41)))
        truth.update(statuses)
        run.attempt(
            chunk,
            statuses,
            ended="done" if len(statuses) == 40 else "",
            beat=str(rng.choice(["good", "stale", "none"])),
        )
    status = run.status(Queue([run.line("PENDING", *range(1, 100, 2))]))
    (step,) = status.steps
    assert step.statuses == dict(truth)
    assert step.queued == 2000


def test_a_finished_campaign_has_no_deaths_to_make_good(tmp_path: Path) -> None:
    here = Submitted(tmp_path, structures=2, worker={"chunk_s": 100.0})
    here.cluster.in_child = lambda: setattr(working, "run_job", lambda *a: os._exit(137))
    here.finish()
    status = read_cluster_status(here.out, here.cluster.slurm)
    assert (status.state, status.died) == ("finished", [])
    assert status.steps[1].done == 2


def test_records_of_tasks_that_are_no_more_are_not_counted(tmp_path: Path) -> None:
    submitted = Submitted(tmp_path, structures=3, worker={"chunk_s": 100.0})
    submitted.finish()
    Ledger(submitted.out / "steps" / "01-start" / LOCAL).append(Record("f" * 16, "start", "structures", "old", "done"))
    # what the step comes from was made anew, and one structure is no more
    tasks = submitted.step / "tasks.jsonl"
    lines = tasks.read_text().splitlines()
    tasks.write_text("\n".join([lines[0].replace('"tasks": 3', '"tasks": 2'), *lines[1:3]]) + "\n")
    os.utime(tasks, (time.time() + 60,) * 2)
    status = read_cluster_status(submitted.out, submitted.cluster.slurm)
    assert [(s.done, s.tasks) for s in status.steps] == [(3, 3), (2, 2), (3, 3)]
