"""What training is told, and what the first frames fix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from atomsim.distill.recipe import load_recipe
from atomsim.distill.training import Statistics, arguments, statistics, train, write_training
from atomsim.errors import AtomsimError, InputError

RECIPE = """
[distill]
name = "tiny"
summary = "for a test"
[[system]]
name = "oxide"
prototype = "Li2O"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(path)


def with_energy(atoms: Atoms, energy: float) -> Atoms:
    forces = np.arange(3.0 * len(atoms)).reshape(-1, 3)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=np.arange(6.0))
    return atoms


def test_atomic_energies_are_those_of_single_atoms():
    frames = [with_energy(bulk("LiO", "rocksalt", a=4.2, cubic=True), -40.0) for _ in range(3)]
    alone = [with_energy(Atoms("Li", cell=[14] * 3, pbc=True), -0.5), with_energy(Atoms("O", cell=[14] * 3), -2.5)]
    found = statistics(frames, alone, 2.5)
    assert found.atomic_energies_eV == {3: -0.5, 8: -2.5}
    assert found.neighbors == 6.0  # of rock salt, 2.1 Å away


def test_statistics_come_back_from_their_text(tmp_path):
    known = Statistics({3: -1.25, 8: -4.5}, 31.5)
    (tmp_path / "s.json").write_text(known.text(), encoding="utf-8")
    assert Statistics.read(tmp_path / "s.json") == known


def test_every_argument_is_one_that_mace_knows(recipe, tmp_path):
    from atomsim.models.mace.potential import quiet_mace

    with quiet_mace():
        from mace.tools import build_default_arg_parser

    given = arguments(recipe, Statistics({3: -1.0, 8: -4.0}, 30.0), tmp_path, 1, 5, "cpu")
    parsed, unknown = build_default_arg_parser().parse_known_args(given)
    assert not unknown
    assert (parsed.seed, parsed.max_num_epochs, parsed.default_dtype, parsed.device) == (1, 5, "float32", "cpu")
    assert parsed.pair_repulsion
    assert parsed.restart_latest
    assert parsed.E0s == "{3:-1.0,8:-4.0}"


def test_frames_are_divided_and_keep_their_labels(tmp_path):
    frames = [with_energy(bulk("LiO", "rocksalt", a=4 + 0.01 * k, cubic=True), -float(k)) for k in range(20)]
    write_training(tmp_path, frames, 0.2, seed=1)
    parts = [read(tmp_path / f"{name}.extxyz", ":") for name in ("train", "valid")]
    assert [len(p) for p in parts] == [16, 4]
    energies = sorted(f.info["energy_label"] for part in parts for f in part)
    np.testing.assert_allclose(energies, [-float(k) for k in range(19, -1, -1)])
    np.testing.assert_allclose(parts[0][0].arrays["forces_label"], frames[0].get_forces())


def test_an_element_without_a_frame_is_told(recipe, tmp_path):
    with pytest.raises(AtomsimError, match="no frame contains O"):
        train(recipe, Statistics({3: -1.0}, 30.0), tmp_path, seed=1, epochs=1, device="cpu")


KNOWN = Statistics({3: -1.0, 8: -4.0}, 30.0)


@pytest.mark.parametrize("trace", ["epoch-8.model", "checkpoints/student_run-3_epoch-7.pt"])
def test_fewer_epochs_than_were_trained_are_refused(recipe, tmp_path, trace):
    path = tmp_path / "training" / trace
    path.parent.mkdir(parents=True)
    torch.save({"epoch": 7}, path)
    with pytest.raises(InputError, match="trained for 8 epochs already: found epochs = 4, wanted at least 8"):
        train(recipe, KNOWN, tmp_path / "training", seed=1, epochs=4, device="cpu")


def program(tmp_path, monkeypatch, text: str) -> None:
    """Stands for Python, and so for mace-torch's program."""
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(path))


def test_a_disk_that_is_full_in_training_is_told_so(recipe, tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "echo 'RuntimeError: unexpected pos 960064 vs 959954'; echo; echo done; exit 1")
    (tmp_path / "training").mkdir()
    with pytest.raises(AtomsimError, match=r"no room is left to write in .*training; make room") as error:
        train(recipe, KNOWN, tmp_path / "training", seed=1, epochs=4, device="cpu")
    assert "\n" not in str(error.value)


def test_a_torn_checkpoint_is_not_gone_on_with(recipe, tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "ls checkpoints; touch student.model")
    torn, whole = (tmp_path / "training" / "checkpoints" / f"student_run-3_epoch-{n}.pt" for n in (2, 1))
    torn.parent.mkdir(parents=True)
    torch.save({"epoch": 1}, whole)
    torn.write_bytes(whole.read_bytes()[:100])
    assert train(recipe, KNOWN, tmp_path / "training", seed=1, epochs=4, device="cpu").is_file()
    assert (whole.is_file(), torn.is_file()) == (True, False)
