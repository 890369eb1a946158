"""Shared set-up: one thread per process, helpers that other processes find, GPU tests only where there is a GPU."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by OpenMP when torch is first imported
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest

# pytest's ``pythonpath`` is for this process; those that tests start find the helpers, too
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).with_name("helpers")), os.environ.get("PYTHONPATH", "")])


FIRST = (
    "test_real_slurm.py",
    "test_real_strange.py",
    "test_distill_run.py",
    "test_kills.py",
    "test_faults.py",
    "test_going_on.py",
    "test_ways_out.py",
    "test_resume.py",
    "test_pretended_card.py",
)
"""Begun in this order, before all others: those that wait for a real Slurm, as nothing else may take their ports; those
that fork, while processes are small; and what is longest, as it would be waited for alone."""
TOGETHER = {
    "test_api_numbers.py": "numbers",
    "test_electrode.py": "electrode",
    "test_history.py": "history",
    "test_prototypes.py": "prototypes",
    "test_report.py": "report",
    # importing mace takes eight seconds of a processor, and each architecture that e3nn compiles takes two
    **dict.fromkeys(
        (
            "test_adopt.py",
            "test_api_opinions.py",
            "test_barriers_checks.py",
            "test_barriers_step.py",
            "test_familiarity.py",
            "test_load_potential.py",
            "test_mace.py",
            "test_mace_fast.py",
            "test_mace_loops.py",
            "test_opinions_of_steps.py",
            "test_potential_contract.py",
            "test_relaxation.py",
            "test_replay.py",
            "test_students.py",
            "test_two_precisions.py",
        ),
        "mace",
    ),
}
"""Groups of files whose tests share what one of them computes: pytest-xdist gives each group to one process, and each
file that is in none, so that what its tests share is computed once."""


def _in_processes(items: list[pytest.Item], root: Path) -> None:
    for item in items:
        if item.path.name in TOGETHER:
            item.add_marker(pytest.mark.xdist_group(TOGETHER[item.path.name]))
        elif item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(root).as_posix()))
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        _in_processes(items, config.rootpath)
    import torch  # not where pytest-xdist only hands out tests

    torch.set_num_threads(1)  # two busy processes with two threads each run several times slower
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
