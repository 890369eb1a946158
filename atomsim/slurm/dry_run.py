"""``submit --dry-run``: the whole planning, in a folder that is thrown away, with a Slurm that only listens."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atomsim.campaign.file import Campaign
from atomsim.execution.job import Engine
from atomsim.slurm.client import Queued
from atomsim.slurm.planner import start
from atomsim.slurm.profile import Cluster


@dataclass
class DrySlurm:
    """Takes scripts and runs nothing."""

    scripts: list[tuple[str, str]] = field(default_factory=list)

    def submit(self, script: Path) -> str:
        """Keep a script."""
        self.scripts.append((script.name, script.read_text(encoding="utf-8")))
        return f"ID{len(self.scripts)}"

    def queue(self) -> list[Queued]:
        """Return an empty queue."""
        return []

    def knows(self, job: str, name: str) -> bool:
        """Know no job."""
        del job, name
        return False

    def cancel(self, names: Sequence[str]) -> None:
        """Cancel nothing."""

    def cancel_lines(self, lines: Sequence[Queued]) -> None:
        """Cancel nothing."""

    def requeue(self, job: str) -> bool:
        """Put nothing back."""
        del job
        return False

    def longest_s(self, partition: str) -> float:
        """Know no limits."""
        del partition
        return math.inf


def dry_start(campaign: Campaign, out: Path, engine: Engine, cluster: Cluster) -> list[tuple[str, str]]:
    """Return (name, text) of the scripts that ``submit`` would send first.

    Raises:
        InputError: whatever ``submit`` would refuse.
    """
    slurm = DrySlurm()
    with tempfile.TemporaryDirectory(prefix="atomsim-dry-") as name:
        folder = Path(name).resolve() / "run"
        start(campaign, folder, engine, cluster, slurm)
        return [(script, text.replace(str(folder), str(out.resolve()))) for script, text in slurm.scripts]
