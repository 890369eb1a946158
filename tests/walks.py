"""Campaigns of the step kind ``walk``, which the package in ``tests/plugin`` adds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from atomsim.campaign.file import Campaign, load_campaign
from atomsim.campaign.observer import RunSummary
from atomsim.campaign.run import run_campaign
from atomsim.execution.job import Engine
from atomsim.store.run_folder import read_run
from atomsim.tasks.plugins import plugins

PLUGIN = Path(__file__).parent / "plugin"
CAMPAIGN = """
[campaign]
name = "walks"
potential = "lj-test"
seed = 3

[[step]]
name = "walked"
kind = "walk"
structures = "*.extxyz"
steps = 40
every = 2
"""


@contextmanager
def installed(patch: pytest.MonkeyPatch, folder: Path = PLUGIN) -> Iterator[None]:
    """Make a package visible, to this process and those that it starts, as an installation would."""
    patch.syspath_prepend(str(folder))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    plugins.cache_clear()
    yield
    plugins.cache_clear()


def make_campaign(folder: Path, structures: int = 1, text: str = CAMPAIGN) -> Campaign:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(structures):
        write(folder / f"s{n}.extxyz", bulk("He", "fcc", 3.2 + 0.05 * n, cubic=True))
    path = folder / "walks.toml"
    path.write_text(text, encoding="utf-8")
    return load_campaign(path)


def run(campaign: Campaign, out: Path, checkpoint_s: float = 0.0, processes: int = 0) -> RunSummary:
    engine = Engine("lj-test", "cpu", processes=processes, checkpoint_s=checkpoint_s)
    return run_campaign(campaign, out, engine)


def outcomes(out: Path) -> list[dict]:
    return [r.outcome() for r in read_run(out)[1]["walked"]]


def dies_after(calls: int) -> Callable[[], None]:
    """Make this process end, without a chance to do anything, instead of its next evaluation after so many."""

    def act() -> None:
        from atomsim.execution.job import Counted

        real, made = Counted.__call__, []

        def call(self: Counted, batch: object) -> object:
            if len(made) == calls:
                os._exit(137)
            made.append(1)
            return real(self, batch)

        Counted.__call__ = call  # type: ignore[method-assign]

    return act


def in_child(action: Callable[[], object]) -> int:
    """Do something in a fork of this process; return its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)
