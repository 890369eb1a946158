"""A small distillation from recipe to card: it learns, it continues after an interruption, its card loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from forked import start_quickly

from atomsim.batching.labels import label
from atomsim.distill import training
from atomsim.distill.familiarity import learned_from
from atomsim.distill.recipe import load_recipe
from atomsim.distill.run import _own_model, _statistics, distill, held_out, left_out
from atomsim.errors import InputError
from atomsim.models.familiarity import unfamiliarity
from atomsim.models.load import load_potential
from atomsim.registry.cards import load_card

RECIPE = """
[distill]
name = "tiny"
summary = "for a test"
teacher = "lj-test"
seed = 3
[[system]]
name = "oxide"
prototype = "Li2O"
conventional = true
rattled = 60
rattle_A = 0.15
relaxations = 1
relax_frames = 4
[pairs]
per_pair = 0
[train]
hidden_irreps = "8x0e"
max_ell = 1
correlation = 2
radial_functions = 6
radial_mlp = [16]
readout_irreps = "8x0e"
learning_rate = 0.02
epochs = 12
[active]
rounds = 1
epochs = [10]
temperatures_K = [300.0]
steps = 20
every = 10
candidates = 6
frames = 2
committee_epochs = 1
[validate]
lattices = ["Li2O"]
[validate.dynamics]
systems = ["oxide"]
length_ps = 0.05
seeds = 2
temperature_K = 300.0
"""


class InterruptedHereError(Exception):
    """Stands for a kill."""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(path)


@pytest.mark.slow
def test_a_small_student_learns_goes_on_and_loads_by_its_card(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("atomsim.distill.familiarity.STRANGE", 80)
    start_quickly(monkeypatch, training)
    out = Path("out")  # as people type it

    def until(word):
        def say(line):
            if line.startswith(word):
                raise InterruptedHereError

        return say

    with pytest.raises(InterruptedHereError):
        distill(recipe, out, device="cpu", say=until("oxide-relax"))
    before = {p: p.stat().st_mtime_ns for p in (out / "labels").iterdir()}
    assert before
    with pytest.raises(InterruptedHereError):
        distill(recipe, out, device="cpu", say=until("frames:"))
    assert {p: p.stat().st_mtime_ns for p in before} == before
    weights = (out / "tiny.safetensors").read_bytes()
    lines = []
    made = distill(recipe, out, device="cpu", say=lines.append)
    assert made.weights.read_bytes() == weights  # trained once
    assert not any(line.startswith(("training", "epoch")) for line in lines)

    # it beats what knows only the mean energy and no forces
    frames = held_out(recipe, out)["crystal"]
    per_atom = np.array([f.get_potential_energy() / len(f) for f in frames])
    forces = np.concatenate([f.get_forces().ravel() for f in frames])
    assert made.errors["crystal_energy_RMSE_meV_per_atom"] < 0.5 * 1e3 * per_atom.std()
    assert made.errors["crystal_forces_RMSE_meV_per_A"] < 0.5 * 1e3 * np.sqrt((forces**2).mean())

    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(out.resolve()))
    card = load_card("tiny")
    assert card.distilled.teacher == "lj-test"
    assert card.distilled.recipe_sha256 == recipe.sha256
    assert card.errors["crystal_frames"] == len(frames)
    by_name = load_potential("tiny", "cpu")
    if card.familiar is not None:  # a limit can be had
        assert unfamiliarity([learned_from(out)[0]], by_name)[0] < 1
    assert by_name.sha256 == card.weights.sha256
    own = label(frames, by_name)
    again = np.concatenate([f.get_forces().ravel() for f in own])
    assert 1e3 * np.abs(again - forces).mean() == pytest.approx(card.errors["crystal_forces_MAE_meV_per_A"], rel=1e-3)


def test_a_folder_of_another_distillation_is_refused(recipe, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    mark = {"recipe": recipe.identity, "teacher": "lj-test", "teacher_sha256": "0" * 64}
    (out / "run.json").write_text(json.dumps(mark), encoding="utf-8")
    with pytest.raises(InputError, match="made with another teacher_sha256"):
        distill(recipe, out, device="cpu")


@pytest.mark.parametrize("torn", [b"", b'{"recipe": "', b"[1]", b"\xff\xfe"])
def test_a_torn_file_is_named_with_what_to_remove(recipe, tmp_path, torn):
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_bytes(torn)
    with pytest.raises(InputError, match=r"run\.json is damaged; remove .*run\.json, then run"):
        distill(recipe, out)
    folder = out / "training"
    folder.mkdir()
    (folder / "epoch-10.model").write_bytes(torn)
    with pytest.raises(InputError, match=r"epoch-10\.model is damaged; remove .*training, then run"):
        _own_model(folder / "epoch-10.model")
    for name, read in (
        ("statistics.json", lambda: _statistics(recipe, [], None, out)),
        ("labels/a.left-out", lambda: left_out(out)),
    ):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(torn)
        with pytest.raises(InputError, match="is damaged; remove"):
            read()


def test_two_at_once_are_refused(recipe, tmp_path):
    """The lock is on an open file: a training that outlives its parent holds it on."""
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with (out / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another distillation"):
            distill(recipe, out, device="cpu")


def test_an_unknown_teacher_is_told(recipe, tmp_path):
    from dataclasses import replace

    unknown = replace(recipe, header=recipe.header.model_copy(update={"teacher": "chgnet-0.3"}))
    with pytest.raises(InputError, match=r"did you mean 'chgnet-0\.3\.0'"):
        distill(unknown, tmp_path / "out")
