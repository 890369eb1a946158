"""Fixtures of the tests of clusters."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest_slurm import reference

SCRIPT = Path(__file__).parents[2] / "slurm" / "test-cluster.sh"
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
Control = Callable[..., subprocess.CompletedProcess[str]]

__all__ = ["reference"]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A real Slurm; call it to break it: ``slurm("kill-node", "n1")``."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(
            f"no real Slurm here: {', '.join(missing)} missing (apt-get install slurmctld slurmd slurm-client munge)"
        )
    if os.geteuid() != 0:
        pytest.skip("the test cluster is started as root")
    # munge refuses folders below one that others may write
    root = Path("/var/tmp") / f"atomsim-test-cluster-{os.getpid()}"

    def control(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(SCRIPT), command, str(root), *arguments],
            capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    before = os.environ.get("SLURM_CONF")
    started = control("up")
    if started.returncode:
        control("down")
        pytest.skip(f"the test cluster does not start: {started.stderr[-300:]}")
    os.environ["SLURM_CONF"] = str(root / "slurm.conf")
    yield control
    control("down")
    shutil.rmtree(root, ignore_errors=True)
    os.environ.pop("SLURM_CONF")
    if before is not None:
        os.environ["SLURM_CONF"] = before
