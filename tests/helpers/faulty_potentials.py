"""A potential that misbehaves as told by the elements of a system; loaded by tests in workers' processes too."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import torch

from atomsim.batch import Batch, Evaluation
from atomsim.models.load import load_potential

NAN, RAISES, DIES, SLOW = 54, 36, 18, 10  # Xe, Kr, Ar, Ne
DELAY_S = float(os.environ.get("FAULTY_DELAY_S", "0.01"))


class Faulty:
    """Lennard-Jones, with faults. The name is ``faulty`` or ``faulty-HEX``, which stands for other weights."""

    def __init__(self, name: str) -> None:
        self.inner = load_potential("lj-test", device="cpu")
        self.name = name
        self.sha256 = (name.partition("-")[2] or "ab").ljust(64, "0")
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        self.cutoff = self.inner.cutoff
        self.elements = frozenset(range(1, 87))

    def __call__(self, batch: Batch) -> Evaluation:
        numbers = set(batch.numbers.tolist())
        if DIES in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        if RAISES in numbers:
            raise ZeroDivisionError("no such number")
        if SLOW in numbers:
            time.sleep(DELAY_S)
        evaluation = self.inner(batch)
        if NAN in numbers:
            return replace(evaluation, energy=evaluation.energy * torch.nan, forces=evaluation.forces * torch.nan)
        return evaluation


def load(name: str, device: str = "auto", dtype: str | None = None, trust_file: bool = False) -> Faulty:
    return Faulty(name)


def load_on_gpu(name: str, device: str = "auto", dtype: str | None = None, trust_file: bool = False) -> Faulty:
    """Note which GPU this process was told to see; the potential itself needs none.

    It waits for the other one, which would find nothing left to do if this machine were busy.
    """
    folder = Path(os.environ["NOTE_GPUS_IN"])
    (folder / str(os.getpid())).write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} as {device}", encoding="utf-8")
    deadline = time.monotonic() + 600
    while len(list(folder.glob("[0-9]*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return Faulty(name)
