"""A real Slurm on this machine, and what it does to campaigns."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from ase.io import write
from conftest_slurm import CAMPAIGN, outcomes

from atomsim.campaign import load_campaign
from atomsim.slurm.check import check_cluster
from atomsim.slurm.client import RealSlurm
from atomsim.slurm.journal import Journal
from atomsim.slurm.profile import read_profile
from atomsim.worker import Engine, run_campaign
from atomsim.worker.chunks import attempts

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]  # one cluster: its ports are fixed
HERE = Path(__file__).parents[1]
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

    def __init__(self, folder: Path, structures: int, element: str = "He") -> None:
        self.folder = folder / 'it\'s a "strange" $(path) Å'
        self.folder.mkdir()
        for n in range(structures):
            write(self.folder / f"s{n:03d}.extxyz", bulk(element, "fcc", 3.2 + 0.05 * (n % 12), cubic=True))
        text = CAMPAIGN.replace('"lj-test"', '"faulty"')
        (self.folder / "mine.toml").write_text(text, encoding="utf-8")
        self.run = self.folder / "run"
        self.profile()

    def profile(self, **keys: object) -> None:
        known = {"walltime": "00:10:00", "stop_before": 30, "chunk": 16, "submits": "true", "slurm": "", "limits": ""}
        (self.folder / "site.toml").write_text(PROFILE.format(**known | keys), encoding="utf-8")

    def atomsim(self, *words: str, code: int | None = 0) -> str:
        command = [sys.executable, "-P", "-m", "atomsim.cli", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, check=False, timeout=600
        )
        assert code is None or done.returncode == code, f"{done.returncode}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def submit(self) -> str:
        return self.atomsim("submit", "mine.toml", "-c", "site.toml", "-o", "run", "--loader", "faulty_potentials:load")

    def status(self) -> dict[str, Any]:
        return json.loads(self.atomsim("status", "run", "--json"))

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
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def expected(site: Site) -> dict[str, list[dict]]:
    """What one machine gives."""
    campaign = load_campaign(site.folder / "mine.toml")
    run_campaign(campaign, site.folder / "local", Engine("faulty", processes=0, loader="faulty_potentials:load"))
    return outcomes(site.folder / "local")


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def site(tmp_path: Path, slurm: object) -> Iterator[Callable[..., Site]]:
    yield lambda *arguments, **options: Site(tmp_path, *arguments, **options)
    deadline = time.monotonic() + 120
    while RealSlurm().queue() and time.monotonic() < deadline:
        subprocess.run(["scancel", "--me"], check=False)
        time.sleep(0.5)


def test_a_campaign_goes_through_by_itself(site: Callable[..., Site]) -> None:
    here = site(6)
    with partition_down():  # it must not have ended before the next two commands
        said = here.submit()
        assert "goes on when these have ended" in said
        assert "was submitted already" in here.atomsim(
            "submit", "mine.toml", "-c", "site.toml", "-o", "run", "--loader", "faulty_potentials:load", code=2
        )
        assert "is being run on a cluster" in here.atomsim(
            "run", "mine.toml", "-o", "run", "--loader", "faulty_potentials:load", code=2
        )
    here.finish()
    assert outcomes(here.run) == expected(here)
    status = here.status()
    assert status["state"] == "finished"
    assert [s["done"] for s in status["steps"]] == [6, 6, 6]
    assert (here.run / "report.html").exists()
    table = here.atomsim("collect", "run")
    assert "records.csv" in table
    assert "records.db" in table


@contextlib.contextmanager
def partition_down() -> Iterator[None]:
    """Nothing starts meanwhile."""
    command = ["scontrol", "update", "PartitionName=gpu"]
    subprocess.run([*command, "State=DOWN"], check=True)
    try:
        yield
    finally:
        subprocess.run([*command, "State=UP"], check=True)


@pytest.mark.slow
def test_node_death_preemption_and_a_short_walltime(
    site: Callable[..., Site], slurm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walltime is too short for the chunk, a more urgent job takes the nodes, and a node dies."""
    here = site(8, element="Ne")  # slow
    wanted = expected(here)
    monkeypatch.setenv("FAULTY_DELAY_S", "0.2")
    here.profile(walltime="00:01:00", stop_before=35, chunk=1000)
    here.submit()
    here.wait(here.running)
    here.preempt()
    here.wait(lambda: len(here.ends()) >= 2)
    here.kill_node_at_work(slurm)
    here.finish()
    assert outcomes(here.run) == wanted
    ends = here.ends()
    assert "none" in ends  # nobody lived to say how the attempt on the dead node ended
    assert ends.count("walltime") >= 2  # Slurm warns of a preemption with the same signal
    assert ends.count("done") == len(list((here.run / "steps").glob("*/rounds")))


def nodes_of(jobs: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Put nodes in place of jobs, leaving out jobs that do not run."""
    found = []
    for job, end in jobs:
        question = ["squeue", "-h", "-j", job, "-t", "R", "-o", "%N"]
        node = subprocess.run(question, capture_output=True, text=True, check=False).stdout.strip()
        found += [(node, end)] if node else []
    return found


@pytest.mark.slow
def test_accounts_only_add_the_cause(
    tmp_path: Path, slurm_with_accounts: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With slurmdbd: status names what a worker died of; all else is as it is without."""
    here = Site(tmp_path, 3, element="Ne")
    wanted = expected(here)
    monkeypatch.setenv("FAULTY_DELAY_S", "0.3")
    here.submit()
    node = here.kill_node_at_work(slurm_with_accounts)
    here.wait(lambda: here.status()["died"])
    here.finish()
    tried = json.loads(here.atomsim("logs", "run", "relaxed/s000", "--json"))["attempts"]
    assert (tried[0]["host"], tried[0]["ended"]) == (node, "no word")
    assert tried[0]["message"].startswith("NODE_FAIL")
    assert outcomes(here.run) == wanted


@pytest.mark.slow
def test_the_controller_dies_after_accepting(site: Callable[..., Site], slurm: Callable[..., Any]) -> None:
    here = site(4)
    here.submit()
    slurm("kill-controller")
    assert "queue is unknown" in here.atomsim("status", "run")
    slurm("start-controller")
    here.wait(lambda: _answers())
    time.sleep(1)
    if here.status()["state"] not in ("running", "finished"):
        here.atomsim("resume", "run")
    deadline = time.monotonic() + PATIENCE_S
    while not here.closed() and time.monotonic() < deadline:
        time.sleep(2)
        if here.status()["state"].startswith("waiting") or here.status()["stuck"]:
            here.atomsim("resume", "run")
    here.finish()
    assert outcomes(here.run) == expected(here)


def _answers() -> bool:
    return subprocess.run(["squeue", "-h"], capture_output=True, check=False, timeout=600).returncode == 0


def test_cancel_and_resume_by_a_person(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_DELAY_S", "0.1")  # it must not have ended before it is cancelled
    here = site(6, element="Ne")
    here.profile(submits="false")
    said = here.submit()
    assert "run 'atomsim resume run'" in said
    here.wait(here.running)
    here.atomsim("cancel", "run", code=None)  # a busy machine's jobs may take longer to end than it looks
    here.wait(lambda: not RealSlurm().queue())
    assert here.status()["state"] == "cancelled"
    here.profile(submits="false")
    here.atomsim("resume", "run")
    for _ in range(40):
        here.wait(lambda: not RealSlurm().queue())
        if here.closed():
            break
        here.atomsim("resume", "run", code=None)
    here.finish()
    assert outcomes(here.run) == expected(here)


@pytest.mark.slow
def test_a_structure_that_kills_its_worker(site: Callable[..., Site]) -> None:
    """Its worker gets SIGKILL, as from a host out of memory: isolated, given up, and said so."""
    here = site(4)
    healthy = expected(here)
    write(here.folder / "s999.extxyz", bulk("Ar", "fcc", 3.5, cubic=True))
    here.submit()
    here.finish()
    found = {r["label"]: r for r in outcomes(here.run)["relaxed"]}
    killer = found.pop("s999")
    assert killer["status"] == "crashed"
    assert "its worker died 3 times with nothing else to do" in killer["message"]
    assert list(found.values()) == healthy["relaxed"]
    assert outcomes(here.run)["again"] == healthy["again"]
    assert "no word" in here.atomsim("logs", "run", "relaxed/s999")


BANNER = """#!/bin/bash
echo "* Welcome: 2 nodes are down on"; echo 2026; echo
{sbatch} "$@" || exit $?
echo "Your project has used 93 % of its hours."
"""
HOSTILE = {
    "SBATCH_JOB_NAME": "mine",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_ARRAY_INX": "0",
    "SQUEUE_STATES": "SUSPENDED",
    "SQUEUE_FORMAT": "%i",
    "SCANCEL_NAME": "other",
    "LOGNAME": "somebody-else",
    "USER": "somebody-else",
}


def strange(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site that greets in sbatch's answers, and variables that override options, here and on the nodes."""
    folder = site.folder / "bin"
    folder.mkdir()
    (folder / "sbatch").write_text(BANNER.format(sbatch=shutil.which("sbatch")))
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    lines = [f"export PATH={shlex.quote(str(folder))}:$PATH", *(f"export {k}={v}" for k, v in HOSTILE.items())]
    site.profile(walltime="00:10", limits=f"[environment]\nsetup = {json.dumps(lines)}")
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


def test_a_strange_site_and_a_person_who_changes_things(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banner, environment, another's name, bytes in names; edited after submit, resumed, cancelled, resumed again."""
    here = site(3)
    wanted = expected(here)
    foreign = ["sbatch", "--parsable", "-p", "gpu", "--hold", "--chdir=/tmp", "--wrap", "true", "-J", b"b\xe9ton\xff"]
    subprocess.run(foreign, check=True, capture_output=True)
    strange(here, monkeypatch)
    with partition_down():
        assert "goes on when these have ended" in here.submit()
        jobs = [line for line in RealSlurm().queue() if line.name.startswith("as-")]
        assert len(jobs) == 2
        limit = ["scontrol", "--oneliner", "show", "job", next(j.job for j in jobs if not j.is_planner)]
        assert "TimeLimit=00:10:00" in subprocess.run(limit, capture_output=True, text=True, check=True).stdout
        text = (here.folder / "mine.toml").read_text().replace("0.01", "0.02")
        (here.folder / "mine.toml").write_text(text)
        assert "goes on with its own copy" in here.atomsim("resume", "run")
        assert [line for line in RealSlurm().queue() if line.name.startswith("as-")] == jobs  # nothing twice
        done = json.loads(here.atomsim("cancel", "run", "--json"))
        assert (len(done["cancelled"]), done["left"]) == (2, [])
        assert here.status()["state"] == "cancelled"
        (here.folder / "mine.toml").rename(here.folder / "moved.toml")
        assert [line.name[0] for line in RealSlurm().queue()] == ["b"]  # another job of mine is left alone
        assert "is not there any more" in here.atomsim("resume", "run")
    here.finish()
    assert outcomes(here.run) == wanted


def test_held_elements_and_planners_that_never_start(
    site: Callable[..., Site], slurm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prologs fail, and planners ask for more time than their partition gives: workers see to it that it goes on."""
    here = site(3)
    wanted = expected(here)
    here.profile(chunk=2)
    profile = here.folder / "site.toml"
    profile.write_text(profile.read_text() + 'partition = "short"\nwalltime = "00:30"\n')
    found = here.atomsim("clusters", "check", "site.toml", code=1)
    assert "[planner] walltime" in found
    assert "MaxTime is 00:05:00" in found
    broken = Path(os.environ["SLURM_CONF"]).with_name("prolog-fails")
    broken.touch()
    try:
        assert "[planner] walltime is 30 min" in here.submit()
        here.wait(lambda: len(held()) == 3)
        status = here.status()
        assert status["state"].startswith("waiting for a person")
        assert "launch failed requeued held; a node could not start it" in status["stuck"][0]
    finally:
        broken.unlink()
        subprocess.run(["scontrol", "update", "nodename=n0,n1", "state=resume"], check=True)
    for element in held()[1:]:
        subprocess.run(["scontrol", "release", element], check=True)
    here.finish()  # nobody resumes, and no planner ever runs
    assert outcomes(here.run) == wanted
    here.wait(lambda: not RealSlurm().queue())
    assert any(
        "cancelled, as no node could start them" in p.read_text() for p in (here.run / "slurm/logs").glob("*.log")
    )


def held() -> list[str]:
    return [i for line in RealSlurm().queue() if line.launch_failed for i in line.ids]


def test_every_way_to_ask_for_gpus_is_taken(site: Callable[..., Site]) -> None:
    here = site(1)
    for way in ("gres", "gpus", "gpus-per-node", "gpus-per-task", "none"):
        for parallel in (1, 2):
            here.profile(slurm=f'gpu_request = "{way}"\nworkers_per_job = {parallel}')
            findings = check_cluster(read_profile(here.folder / "site.toml"))
            assert all(f.good for f in findings), findings


def test_what_can_never_start_is_named(site: Callable[..., Site]) -> None:
    here = site(2)
    here.profile(slurm='constraint = ""', walltime="01:00:00")
    text = (here.folder / "site.toml").read_text().replace('partition = "gpu"', 'partition = "short"', 1)
    (here.folder / "site.toml").write_text(text)
    assert "BAD" in here.atomsim("clusters", "check", "site.toml", code=1)
    here.submit()
    here.wait(lambda: here.status()["stuck"])
    assert "PartitionTimeLimit; lower [slurm] walltime" in here.status()["stuck"][0]
    assert "stuck:" in here.atomsim("status", "run")
    here.atomsim("cancel", "run", code=None)


@pytest.mark.slow
def test_limits_of_the_site_are_kept(site: Callable[..., Site]) -> None:
    """More chunks than may be submitted at once: they come in turns."""
    here = site(6)
    here.profile(limits="max_array_size = 2\nmax_submitted = 4", chunk=2)
    said = here.submit()
    assert "wait until the limit" in said
    here.finish()
    assert outcomes(here.run) == expected(here)


def test_a_wrong_partition_is_said_in_one_line(site: Callable[..., Site]) -> None:
    here = site(1)
    text = (here.folder / "site.toml").read_text().replace('partition = "gpu"', 'partition = "gqu"', 1)
    (here.folder / "site.toml").write_text(text)
    said = here.atomsim(
        "submit", "mine.toml", "-c", "site.toml", "-o", "run", "--loader", "faulty_potentials:load", code=1
    )
    assert "Invalid partition name specified" in said
    assert "Traceback" not in said
    assert "not there; partitions are gpu, short, urgent" in here.atomsim("clusters", "check", "site.toml", code=1)


def test_a_dry_run_writes_and_submits_nothing(site: Callable[..., Site]) -> None:
    here = site(2)
    said = here.atomsim(
        "submit", "mine.toml", "-c", "site.toml", "-o", "run", "--dry-run", "--loader", "faulty_potentials:load"
    )
    assert said.count("#!/bin/bash") == 2
    assert not here.run.exists()
    assert RealSlurm().queue() == []
