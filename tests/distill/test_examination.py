"""The examination: kept by all that decides it, and the card says what its errors are of."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from atomsim.distill import run, validation
from atomsim.distill.card import card_of
from atomsim.distill.labelling import read_frames
from atomsim.distill.recipe import load_recipe
from atomsim.errors import AtomsimError
from atomsim.models.load import load_potential

RECIPE = """
[distill]
name = "tiny"
summary = "for a test"
teacher = "lj-test"
max_force_eV_per_A = 0.6
[[system]]
name = "oxide"
prototype = "Li2O"
rattled = 12
rattle_A = 0.2
[pairs]
per_pair = 0
[validate]
lattices = ["Li2O"]
[[validate.voltage]]
prototype = "Li2RuO3"
ion = "Li"
x = [1.0, 2.0]
metal = "Li"
[[validate.voltage]]
prototype = "Li2RuO3"
ion = "Li"
x = [0.0, 1.0]
metal = "Li"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(path)


@pytest.fixture
def asked(monkeypatch):
    """Questions in the order in which they were computed; the answers are of no meaning."""
    asked = []

    def answer(name, value=0.0):
        def part(*arguments):
            key = arguments[3] if len(arguments) > 3 else name
            asked.append((name, key, getattr(arguments[0], "x", arguments[0])))
            return {f"{key}_{name}": float(len(asked))}

        return part

    for name in ("frame_errors", "lattice_errors", "voltage_errors", "barrier_errors", "dimer_errors"):
        monkeypatch.setattr(validation, name, answer(name))
    for name in ("heated", "pair_distributions"):
        monkeypatch.setattr(validation, name, lambda *_, name=name: asked.append((name,)) or {name: 1.0})
    return asked


def test_two_voltages_of_one_prototype_are_both_kept(recipe, asked, tmp_path):
    student = load_potential("lj-test", "cpu")
    errors = validation.examine(recipe, student, student, {}, tmp_path / "out")
    assert {"Li2RuO3_voltage_errors", "Li2RuO3-2_voltage_errors"} <= set(errors)
    assert [one[2] for one in asked if one[0] == "voltage_errors"] == [[1.0, 2.0], [0.0, 1.0]]


def test_a_part_is_computed_again_where_its_question_changed_or_its_file_is_torn(recipe, asked, tmp_path):
    student = load_potential("lj-test", "cpu")
    first = validation.examine(recipe, student, student, {}, tmp_path / "out")
    count = len(asked)
    assert validation.examine(recipe, student, student, {}, tmp_path / "out") == first
    assert len(asked) == count
    second = recipe.validate.voltage[1].model_copy(update={"x": [0.5, 1.5]})
    changed = recipe.validate.model_copy(update={"voltage": [recipe.validate.voltage[0], second]})
    validation.examine(replace(recipe, validate=changed), student, student, {}, tmp_path / "out")
    assert asked[count:] == [("voltage_errors", "Li2RuO3-2", [0.5, 1.5])]
    for torn in (b"", b'{"student": "', b"[]", b"\xff"):
        (tmp_path / "out" / "lattices.json").write_bytes(torn)
        count = len(asked)
        validation.examine(replace(recipe, validate=changed), student, student, {}, tmp_path / "out")
        assert [one[0] for one in asked[count:]] == ["lattice_errors"]


def test_the_card_says_what_its_errors_are_of_and_how_many_frames_were_left_out(recipe, tmp_path):
    teacher = load_potential("lj-test", "cpu")
    run.collect(recipe, teacher, tmp_path)
    kept = sum(len(read_frames(path)) for path in (tmp_path / "labels").glob("*.extxyz"))
    out = run.left_out(tmp_path)
    assert kept + out == 12 + 2
    assert out > 0
    (tmp_path / "tiny.safetensors").write_bytes(b"weights")
    text = card_of(recipe, teacher, teacher, tmp_path / "tiny.safetensors", {}, kept, out)
    for words in ("0.2 Å", "5 %", "0.6 eV/Å", f"{out} frames above it left out", "to the last bit is not promised"):
        assert words in text


def test_a_full_disk_is_one_line(recipe, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "collect", full)
    with pytest.raises(AtomsimError, match="No space left on device; mend that, then run the same command") as error:
        run.distill(recipe, tmp_path / "out", device="cpu")
    assert "\n" not in str(error.value)
