"""Argon by Lennard-Jones as a potential that campaigns of tests can load; ``slow`` so that a kill hits it at work."""

from __future__ import annotations

import os
import time
from pathlib import Path

from atomsim.batch import Batch, Evaluation
from atomsim.models.pair import LennardJones


class Argon(LennardJones):
    """Waits before each evaluation, and counts them in a file where the environment names one."""

    def __call__(self, batch: Batch) -> Evaluation:
        if count := os.environ.get("ARGON_COUNT"):
            with Path(count).open("a") as file:
                file.write("." * batch.n_systems)
        if self.name == "slow":
            time.sleep(0.02 * batch.n_systems)
        return super().__call__(batch)


def load(name: str, device: str = "auto", dtype: str | None = None, trust_file: bool = False) -> Argon:
    return Argon(onset_A=4.5, cutoff_A=5.2, name="slow")
