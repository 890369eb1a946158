"""Fixtures of the tests of clusters."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_slurm import reference
from real_site import Site

from atomsim.slurm.client import RealSlurm
from atomsim.slurm.command import clean_environment

SCRIPT = Path(__file__).parents[2] / "slurm" / "test-cluster.sh"
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
ACCOUNTS = ("slurmdbd", "sacct", "mariadbd")
Control = Callable[..., subprocess.CompletedProcess[str]]

__all__ = ["reference"]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Control]:
    """A real Slurm without accounting; call it to break it: ``slurm("kill-node", "n1")``."""
    with _cluster("plain", NEEDED, PORT="16817") as control:
        yield control


@pytest.fixture
def slurm_with_accounts() -> Iterator[Control]:
    """A real Slurm that keeps accounts (slurmdbd), so that ``sacct`` answers."""
    with _cluster("accounts", NEEDED + ACCOUNTS, PORT="16857", DBD="1") as control:
        yield control


@contextlib.contextmanager
def _cluster(name: str, needed: tuple[str, ...], **settings: str) -> Iterator[Control]:
    missing = [word for word in needed if shutil.which(word) is None]
    if missing:
        pytest.skip(f"no such Slurm here: {', '.join(missing)} missing; slurm/test-cluster.sh names the packages")
    if os.geteuid() != 0:
        pytest.skip("the test cluster is started as root")
    # munge refuses folders below one that others may write
    root = Path("/var/tmp") / f"atomsim-test-cluster-{name}-{os.getpid()}"

    def control(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), command, str(root), *arguments], env=os.environ | settings,
            capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    started = control("up")
    if started.returncode:
        control("down")
        # where it must run, a skipped test would hide that it does not
        give_up = pytest.fail if os.environ.get("ATOMSIM_TEST_CLUSTER") == "required" else pytest.skip
        give_up(f"the test cluster does not start: {started.stderr[-300:]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(root / "slurm.conf"))
        yield control
    control("down")
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def site(tmp_path: Path, slurm: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """What makes a campaign in a folder for the test cluster; afterwards the queue is empty."""
    yield lambda *arguments, **options: Site(tmp_path, *arguments, **options)
    deadline = time.monotonic() + 120
    while RealSlurm().queue() and time.monotonic() < deadline:
        subprocess.run(["scancel", "--me"], check=False, env=clean_environment(os.environ))
        time.sleep(0.5)
