"""Campaigns on clusters at scale: submitting, status, checkpoints, and 100,000 tasks through a simulated Slurm.

    python -P benchmarks/slurm.py submit --tasks 100000 [--real]
    python -P benchmarks/slurm.py status --tasks 100000
    python -P benchmarks/slurm.py simulate --tasks 100000
    python -P benchmarks/slurm.py checkpoint --potential chgnet-0.3.0

``submit`` plans and submits a campaign whose structures are in one file; with ``--real`` it talks
to the Slurm of ``SLURM_CONF``, else to one that only counts. ``simulate`` runs the same planner against a Slurm with a
clock of its own: workers die at random, controllers lose jobs and give their ids again, zombies write on. Workers
are invented: they write records through the same claims and ledgers, without computing. At its end every
task must have exactly the record that it was to get.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.execution.job import Engine
from atomsim.slurm import planner as planning
from atomsim.slurm.client import Queued, RealSlurm, Slurm
from atomsim.slurm.journal import Journal
from atomsim.slurm.planner import resume, start
from atomsim.slurm.profile import Cluster, parse_profile
from atomsim.slurm.status import read_cluster_status
from atomsim.store.claims import attempts, claim, ledger_lines, lengths, read_step
from atomsim.store.records import record_of, to_line
from atomsim.store.rounds import key_of, read_chunks, read_header, read_tasks
from atomsim.store.run_folder import RunFolder

CAMPAIGN = """
[campaign]
name = "scale"
potential = "lj-test"

[[step]]
name = "relaxed"
kind = "relax"
structures = "all.extxyz"
"""
STEP = "01-relaxed"


def campaign_of(folder: Path, tasks: int) -> Campaign:
    """Write one file with so many structures of one atom, and a campaign that relaxes them."""
    with (folder / "all.extxyz").open("w") as file:
        for n in range(tasks):
            a = 3.0 + n * 1e-6
            file.write(f'1\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3 pbc="T T T"\nHe 0 0 0\n')
    (folder / "scale.toml").write_text(CAMPAIGN)
    return load_campaign(folder / "scale.toml")


def cluster_of(running: int = 64, submitted: int = 2000) -> Cluster:
    """A cluster like many."""
    tables: dict[str, Any] = {
        "slurm": {"partition": "gpu", "walltime": "04:00:00"},
        "limits": {"max_running": running, "max_submitted": submitted},
        "worker": {"device": "cpu", "processes": 0, "seconds_per_atom": 60.0},
        "planner": {"submits": False},
    }
    return parse_profile(tables, "scale")


@dataclass
class CountingSlurm:
    """Takes everything and runs nothing."""

    calls: Counter[str] = field(default_factory=Counter)
    real: Slurm | None = None

    def submit(self, script: Path) -> str:
        """Count, and pass on."""
        self.calls["sbatch"] += 1
        return self.real.submit(script) if self.real else str(self.calls["sbatch"])

    def queue(self) -> list[Queued]:
        """Count, and pass on."""
        self.calls["squeue"] += 1
        return self.real.queue() if self.real else []

    def knows(self, job: str, name: str) -> bool:
        """Pass on."""
        return self.real is not None and self.real.knows(job, name)

    def longest_s(self, partition: str) -> float:
        """Pass on."""
        return self.real.longest_s(partition) if self.real else math.inf

    def cancel(self, names: Sequence[str]) -> None:
        """Pass on."""
        if self.real:
            self.real.cancel(names)

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        """Pass on."""
        if self.real:
            self.real.cancel_lines(lines)

    def requeue(self, job: str) -> bool:
        """Never."""
        del job
        return False


def submit(folder: Path, tasks: int, real: bool) -> dict[str, Any]:
    """Time the parts of submitting."""
    campaign = campaign_of(folder, tasks)
    slurm = CountingSlurm(real=RealSlurm() if real else None)
    engine = Engine("lj-test")
    begin = time.perf_counter()
    expanding = [0.0]
    module = campaign.steps[0].module
    expand = module.expand

    def timed(*arguments: Any) -> Any:
        at = time.perf_counter()
        found = expand(*arguments)
        expanding[0] += time.perf_counter() - at
        return found

    module.expand = timed  # type: ignore[method-assign]
    try:
        report = start(campaign, folder / "run", engine, cluster_of(), slurm)
    finally:
        module.expand = expand  # type: ignore[method-assign]
    total = time.perf_counter() - begin
    if real:
        slurm.cancel([job.token for job in report.submitted])
    header = read_header(folder / "run" / "steps" / STEP, 1)
    return {
        "tasks": tasks,
        "total_s": round(total, 2),
        "of which reading and checking the structures_s": round(expanding[0], 2),
        "chunks": header.chunks,
        "sbatch": slurm.calls["sbatch"],
        "squeue": slurm.calls["squeue"],
        "slurm": "real" if real else "counting",
    }


@dataclass
class Worker:
    """An array element that runs in invented time."""

    job: str
    token: str
    chunk: int
    ends: float
    dies: bool


@dataclass
class SimulatedSlurm:
    """A queue with a clock of its own and bad luck."""

    folder: Path
    rng: np.random.Generator
    slots: int
    death: float
    loss: float
    clock: float = 0.0
    next_id: int = 1
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: list[Worker] = field(default_factory=list)
    zombies: list[tuple[Any, Any]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def submit(self, script: Path) -> str:
        """Accept an array."""
        words = script.read_text().replace("=", " ").split()
        number, first, chunks = (int(words[words.index(w) + 1]) for w in ("--round", "--first", "--chunks"))
        name = words[words.index("--token") + 1]
        job = str(self.next_id)
        self.next_id += 1
        self.jobs[job] = {
            "name": name,
            "round": number,
            "pending": [(first + n, 0) for n in range(chunks)],
            "first": first,
        }
        self.events["arrays"] += 1
        return job

    def queue(self) -> list[Queued]:
        """Return pending and running elements."""
        self.events["squeue"] += 1
        lines = []
        for job, about in self.jobs.items():
            pending = tuple(n - about["first"] for n, _ in about["pending"])
            running = tuple(w.chunk - about["first"] for w in self.running if w.job == job)
            lines += [Queued(job, about["name"], s, e) for s, e in (("PENDING", pending), ("RUNNING", running)) if e]
        return lines

    def knows(self, job: str, name: str) -> bool:
        """Whether a job is in the queue."""
        return any((line.job, line.name) == (job, name) for line in self.queue())

    def longest_s(self, partition: str) -> float:
        """No limits here."""
        del partition
        return math.inf

    def cancel(self, names: Sequence[str]) -> None:
        """Nothing is cancelled here."""

    def requeue(self, job: str) -> bool:
        """Workers here do not ask."""
        del job
        return False

    def drain(self) -> None:
        """Run until the queue is empty, in invented time."""
        while True:
            for job in list(self.jobs):
                about = self.jobs[job]
                if about["pending"] and self.rng.random() < self.loss:
                    self.events["lost arrays"] += 1
                    self.next_id = int(job)  # the id is given again
                    del self.jobs[job]
                    self.running = [w for w in self.running if w.job != job]
                    continue
                while about["pending"] and len(self.running) < self.slots:
                    chunk, _ = about["pending"].pop(0)
                    cost = self.cost(about["round"], chunk) * self.rng.uniform(0.5, 1.5)
                    dies = self.rng.random() < self.death
                    ends = self.clock + (cost * self.rng.random() if dies else cost)
                    self.running.append(Worker(job, about["name"], chunk, ends, dies))
            if not self.running:
                return
            worker = min(self.running, key=lambda w: (w.ends, w.chunk))
            self.running.remove(worker)
            self.clock = worker.ends
            about = self.jobs[worker.job]
            self.work(about["round"], worker)
            if worker.dies and self.rng.random() < 0.7:
                about["pending"].append((worker.chunk, 1))
            if not about["pending"] and not any(w.job == worker.job for w in self.running):
                del self.jobs[worker.job]

    def cost(self, number: int, chunk: int) -> float:
        """Return the time that a chunk is thought to take, s."""
        return self.chunks(number)[chunk].cost_s

    def chunks(self, number: int) -> list[Any]:
        """Return a round's chunks, read once."""
        if getattr(self, "_known", None) is None or self._known[0] != number:
            self._known = (number, read_chunks(self.folder, number))
        return self._known[1]

    def work(self, number: int, worker: Worker) -> None:
        """Write what a worker would write: all of its chunk, or a part with a torn line at the end."""
        key = key_of(number, worker.chunk)
        chunk = self.chunks(number)[worker.chunk]
        made = claim(self.folder, key, {"token": worker.token, "job": worker.job, "host": "n0"})
        tried = attempts(self.folder, key)
        done = {
            record.task
            for name, length in lengths(self.folder, tried).items()
            for _, record in ledger_lines(self.folder / name, length)
            if record
        }
        pending = [task for task in read_tasks(self.folder, chunk) if task.id not in done]
        count = int(self.rng.integers(0, len(pending) + 1)) if worker.dies else len(pending)
        lines = [to_line(right_record(task)) for task in pending[:count]]
        torn = to_line(right_record(pending[count]))[:-30] if worker.dies and count < len(pending) else ""
        (self.folder / made.ledger).write_text("".join(lines) + torn)
        content = {
            "counts": {"converged": count},
            "bytes": len("".join(lines).encode()),
            "work_s": 60.0 * count,
            "weight": count,
        }
        (self.folder / f"{made.stem}.beat.json").write_text(json.dumps(content))
        if worker.dies:
            self.events["deaths"] += 1
            if torn and self.rng.random() < 0.2:
                self.zombies.append((made, pending[count:]))
        else:
            (self.folder / f"{made.stem}.end.json").write_text(json.dumps(content | {"why": "done"}))

    def haunt(self) -> None:
        """Let zombies write wrong records into ledgers that were sealed."""
        for made, tasks in self.zombies:
            with (self.folder / made.ledger).open("a") as file:
                file.writelines("\n" + to_line(replace(right_record(t), status="exploded")) for t in tasks[:5])
            self.events["zombie records"] += len(tasks[:5])
        self.zombies.clear()


def right_record(task: Any) -> Any:
    """Return the record that a task is to get."""
    return record_of(task, "converged", values={"energy_eV": float(int(task.id, 16) % 1000), "n_atoms": 1})


def simulate(folder: Path, tasks: int, seed: int) -> dict[str, Any]:
    """Run a campaign through the simulated Slurm; count what is lost, doubled or wrong."""
    campaign = campaign_of(folder, tasks)
    run = folder / "run"
    slurm = SimulatedSlurm(run / "steps" / STEP, np.random.default_rng(seed), 64, death=0.15, loss=0.0005)
    planning._report = lambda _: None  # not what is measured
    begin = time.perf_counter()
    start(campaign, run, Engine("lj-test"), cluster_of(), slurm)
    rounds = 0
    while (Journal(run).closed() or {"why": ""})["why"] != "finished":
        rounds += 1
        if rounds > 60:
            raise SystemExit(f"does not come to an end: {Journal(run).closed()}")
        slurm.drain()
        started = time.perf_counter()
        resume(run, slurm)
        slurm.haunt()
        print(f"planner {rounds}: {time.perf_counter() - started:.1f} s", flush=True)
    wanted = RunFolder(run).read_tasks(STEP) or []
    done = read_step(run / "steps" / STEP).done
    return {
        "tasks": tasks,
        "lost": sum(task.id not in done for task in wanted),
        "wrong": sum(done[t.id].outcome() != right_record(t).outcome() for t in wanted if t.id in done),
        "doubled": len(done) - len(wanted),
        "planners": rounds + 1,
        "invented_days": round(slurm.clock / 86400, 1),
        "real_s": round(time.perf_counter() - begin, 1),
        **slurm.events,
    }


def status(folder: Path, tasks: int, seed: int) -> dict[str, Any]:
    """Time ``status`` in the middle of a campaign, and compare it with what was invented."""
    campaign = campaign_of(folder, tasks)
    run = folder / "run"
    step = run / "steps" / STEP
    rng = np.random.default_rng(seed)
    counting = CountingSlurm()
    start(campaign, run, Engine("lj-test"), cluster_of(), counting)
    by_id = {task.id: task for task in RunFolder(run).read_tasks(STEP) or []}
    truth: Counter[str] = Counter()
    for chunk in read_chunks(step, 1):
        if rng.random() < 0.2:
            continue
        made = claim(step, key_of(1, chunk.number), {"token": "t", "job": f"1_{chunk.number}", "host": "n0"})
        count = len(chunk.tasks) if rng.random() < 0.8 else int(rng.integers(0, len(chunk.tasks)))
        statuses = rng.choice(["converged", "max_steps", "exploded"], count, p=[0.9, 0.08, 0.02])
        lines = [
            to_line(replace(right_record(by_id[t]), status=str(s), structure=by_id[t].structure))
            for t, s in zip(chunk.tasks, statuses, strict=False)
        ]
        (step / made.ledger).write_text("".join(lines))
        truth.update(str(s) for s in statuses)
        behind = max(0, count - int(rng.integers(0, 20)))  # the last beat is some records old
        counted = count if count == len(chunk.tasks) else behind
        content = {
            "counts": dict(Counter(map(str, statuses[:counted]))),
            "bytes": len("".join(lines[:counted]).encode()),
            "wall_s": 60.0,
            "work_s": 50.0,
        }
        what = "end" if count == len(chunk.tasks) else "beat"
        (step / f"{made.stem}.{what}.json").write_text(json.dumps(content | {"why": "done"}))
    counting.calls.clear()
    begin = time.perf_counter()
    found = read_cluster_status(run, counting)
    seconds = time.perf_counter() - begin
    about = found.steps[0]
    return {
        "tasks": tasks,
        "seconds": round(seconds, 2),
        "squeue": counting.calls["squeue"],
        "equal to the truth": about.statuses == dict(truth),
        "records": truth.total(),
    }


def checkpoint(folder: Path, potential: str) -> dict[str, Any]:
    """Return the share of time that checkpoints take in a relaxation, and their size."""
    from atomsim.execution.checkpoint import Remembering
    from atomsim.models.load import load_potential
    from atomsim.relaxation import RelaxSettings, iter_relax
    from atomsim.structures.prototypes import load_prototype

    atoms = load_prototype("Li2RuO3").atoms
    shares, size = [], 0
    for n in range(4):
        model = Remembering(load_potential(potential, device="cpu"), folder / str(n), 1.0)
        begin = time.perf_counter()
        dict(iter_relax([atoms], model, RelaxSettings(noise_A=0.05, fmax_eV_per_A=0.02)))
        model.flush()
        if n:  # the first warms up
            shares.append(100 * model.spent_s / (time.perf_counter() - begin))
        size = sum(p.stat().st_size for p in (folder / str(n)).iterdir())
    return {"potential": potential, "percent": [round(s, 3) for s in shares], "bytes": size, "atoms": len(atoms)}


def main() -> None:
    """Run one of the benchmarks and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["submit", "status", "simulate", "checkpoint"])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--real", action="store_true", help="submit to the Slurm of SLURM_CONF, then cancel")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="atomsim-slurm-"))
    try:
        if arguments.what == "submit":
            found = submit(folder, arguments.tasks, arguments.real)
        elif arguments.what == "status":
            found = status(folder, arguments.tasks, arguments.seed)
        elif arguments.what == "simulate":
            found = simulate(folder, arguments.tasks, arguments.seed)
        else:
            found = checkpoint(folder, arguments.potential)
        print(json.dumps(found, indent=2))
    finally:
        with suppress(subprocess.SubprocessError):
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
