"""A full disk is nobody's fault: one line, no record, and the same command continues once there is room."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from atomsim.batch import Batch
from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.errors import StorageError
from atomsim.execution.checkpoint import Remembering
from atomsim.execution.job import Engine
from atomsim.models.load import load_potential
from atomsim.store.run_folder import read_run

CAMPAIGN = """
[campaign]
name = "full"
potential = "lj-test"

[[step]]
name = "relaxed"
kind = "relax"
structures = "*.extxyz"
fmax_eV_per_A = 0.02
cell = false
"""


def argon(seed: int) -> Atoms:
    atoms = bulk("Ar", "fcc", 3.6, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def full(patch: pytest.MonkeyPatch, after: int) -> None:
    """Let the disk be full after so many blocks of checkpoints."""
    left = [after]

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".evals":
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", fsync)


def test_a_checkpoint_without_room_is_a_storage_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = Remembering(load_potential("lj-test", device="cpu"), tmp_path / "kept", interval_s=0.0)
    full(monkeypatch, 0)
    with pytest.raises(StorageError, match=r"^cannot write a checkpoint: No space left on device; make room") as error:
        potential(Batch.pack([argon(0)]))
    assert "\n" not in str(error.value)


def test_a_run_without_room_records_no_failure_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        write(tmp_path / f"s{n}.extxyz", argon(n))
    (tmp_path / "full.toml").write_text(CAMPAIGN, encoding="utf-8")
    campaign, out = load_campaign(tmp_path / "full.toml"), tmp_path / "run"
    engine = Engine("lj-test", "cpu", processes=0, checkpoint_s=0.0, checkpoints=str(tmp_path / "kept"))
    with monkeypatch.context() as patch:
        full(patch, 5)
        with pytest.raises(StorageError):
            run_campaign(campaign, out, engine)
    assert run_campaign(campaign, out, engine).ok
    assert run_campaign(campaign, tmp_path / "whole", engine).ok
    ended, whole = ([r.outcome() for r in read_run(folder)[1]["relaxed"]] for folder in (out, tmp_path / "whole"))
    assert ended == whole
