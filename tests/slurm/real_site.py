"""A campaign on the test cluster, driven by the command line as a person would."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ase.build import bulk
from ase.io import write
from conftest_slurm import CAMPAIGN, outcomes
from forked import Forked

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.cli import main
from atomsim.execution.job import Engine
from atomsim.slurm.client import RealSlurm
from atomsim.slurm.journal import Journal
from atomsim.slurm.status import read_cluster_status
from atomsim.store.claims import attempts

ROOT = Path(__file__).parents[2]
ONE_STEP = CAMPAIGN.partition('\n[[step]]\nname = "again"')[0] + "\n"
"""A campaign with a single step of work; processes that only start and end are what these tests cost."""
PATIENCE_S = 900.0
"""Longer than anything here takes on a busy machine: it ends tests that would hang, and decides nothing else."""
PROFILE = """
[slurm]
partition = "gpu"
walltime = "{walltime}"
gpus_per_worker = 1
memory_per_worker_MB = 1500
{slurm}
[limits]
max_running = 2
{limits}
[worker]
device = "cpu"
processes = 0
checkpoint_s = 0.5
stop_before_s = {stop_before}
chunk_s = {chunk}
[planner]
memory_MB = 1500
submits = {submits}
"""


class Site:
    """A folder that a shell would trip over, a campaign in it, and the command line."""

    def __init__(self, folder: Path, structures: int, element: str = "He", text: str = CAMPAIGN) -> None:
        self.folder = folder / 'it\'s a "strange" $(path) Å'
        self.folder.mkdir()
        for n in range(structures):
            write(self.folder / f"s{n:03d}.extxyz", bulk(element, "fcc", 3.2 + 0.05 * (n % 12), cubic=True))
        text = text.replace('"lj-test"', '"faulty"')
        (self.folder / "mine.toml").write_text(text, encoding="utf-8")
        self.run = self.folder / "run"
        self.profile()

    def profile(self, **keys: object) -> None:
        known = {"walltime": "00:10:00", "stop_before": 30, "chunk": 16, "submits": "true", "slurm": "", "limits": ""}
        (self.folder / "site.toml").write_text(PROFILE.format(**known | keys), encoding="utf-8")

    def atomsim(self, *words: str, code: int | None = 0) -> str:
        """Run the command line in a fork, as jobs on nodes have interpreters of their own; return what it prints."""

        def command() -> None:
            sys.argv = ["atomsim", *words]
            main()

        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = Forked(command, cwd=self.folder, env=environment(), stdout=output, stderr=errors)
            found = process.wait(timeout=600)
            text = "".join(file.seek(0) or file.read().decode() for file in (output, errors))
        assert code is None or found == code, f"{found}: {text}"
        return text

    def submit(self) -> str:
        return self.atomsim("submit", "mine.toml", "-c", "site.toml", "-o", "run", "--loader", "faulty_potentials:load")

    def status(self) -> dict[str, Any]:
        """What ``atomsim status --json`` prints; asked often, so without a process of its own."""
        return read_cluster_status(self.run, RealSlurm()).to_json()

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Return what a condition gives once that is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.3)
        return found

    def closed(self) -> str:
        return (Journal(self.run).closed() or {"why": ""})["why"]

    def finish(self) -> None:
        self.wait(self.closed)
        assert self.closed() == "finished", self.story()

    def running(self) -> list[tuple[str, Path]]:
        """Jobs that are working on a chunk, and where each will say how it ended."""
        return [
            (a.claim["job"], step / f"{a.stem}.end.json")
            for step in (self.run / "steps").iterdir()
            for each in attempts(step).values()
            for a in each[-1:]
            if a.read(step, "end") is None
        ]

    def kill_node_at_work(self, control: Callable[..., Any]) -> str:
        """Kill the node of a worker and bring it back; again, if the worker had ended by itself just then."""
        while True:
            node, end = self.wait(lambda: nodes_of(self.running()))[0]
            control("kill-node", node)
            time.sleep(1)
            control("start-node", node)
            if not end.exists():
                return node

    def ends(self) -> list[str]:
        """How attempts ended; ``none`` where nobody lived to say it."""
        return [
            (a.read(step, "end") or {"why": "none"})["why"]
            for step in sorted((self.run / "steps").iterdir())
            for each in attempts(step).values()
            for a in each
        ]

    def preempt(self) -> None:
        """Let a more urgent job take both nodes, and wait until it has ended."""
        urgent = ["sbatch", "-p", "urgent", "--exclusive", "-N2", "--mem=100M", "-o", "/dev/null", "--wrap", "sleep 3"]
        subprocess.run([*urgent, "--parsable", "--chdir=/tmp"], check=True, capture_output=True)
        self.wait(lambda: not any(line.name == "wrap" for line in RealSlurm().queue()))

    def story(self) -> str:
        logs = sorted((self.run / "slurm" / "logs").glob("*"))
        queue = subprocess.run(["squeue"], capture_output=True, text=True, check=False).stdout
        return "\n".join([queue, *((p.name + ":\n" + p.read_text()[-1500:]) for p in [self.run / "log.txt", *logs])])


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def expected(site: Site) -> dict[str, list[dict]]:
    """What one machine gives."""
    campaign = load_campaign(site.folder / "mine.toml")
    run_campaign(campaign, site.folder / "local", Engine("faulty", processes=0, loader="faulty_potentials:load"))
    return outcomes(site.folder / "local")


@contextlib.contextmanager
def partition_down() -> Iterator[None]:
    """Nothing starts meanwhile."""
    command = ["scontrol", "update", "PartitionName=gpu"]
    subprocess.run([*command, "State=DOWN"], check=True)
    try:
        yield
    finally:
        subprocess.run([*command, "State=UP"], check=True)


def nodes_of(jobs: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Put nodes in place of jobs, leaving out jobs that do not run."""
    found = []
    for job, end in jobs:
        question = ["squeue", "-h", "-j", job, "-t", "R", "-o", "%N"]
        node = subprocess.run(question, capture_output=True, text=True, check=False).stdout.strip()
        found += [(node, end)] if node else []
    return found
