"""Shared set-up: one thread per process, helpers that other processes find, GPU tests only where there is a GPU."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by OpenMP when torch is first imported
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)  # two busy processes with two threads each run several times slower

# pytest's ``pythonpath`` is for this process; those that tests start find the helpers, too
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).with_name("helpers")), os.environ.get("PYTHONPATH", "")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
