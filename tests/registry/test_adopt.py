"""Single files of weights, copied by hand, under a card's name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.errors import AtomsimError, InputError
from atomsim.models.load import load_potential
from atomsim.registry.adopt import plan_adoption
from atomsim.registry.cards import card_text, load_card, own_store, sha256_of

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from random_mace import random_mace


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "copied.model"
    torch.save(random_mace([3, 8], heads=["pbe", "r2scan"]), path)
    return path


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    """A store with two cards that no hash pins yet, of a head each."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ATOMSIM_POTENTIALS", raising=False)
    own_store().mkdir(parents=True)
    shipped = load_card("mace-mp-0-small")
    for name, elements, cutoff in (
        ("fits", ["Li", "O"], 5.0),
        ("richer", ["Li", "Ru", "O"], 5.0),
        ("longer", ["Li"], 6.0),
    ):
        weights = {"origin": "url", "url": f"https://models.invalid/{name}", "file": f"{name}.model"}
        changes = {"name": name, "elements": elements, "cutoff_A": cutoff, "head": "pbe", "weights": weights}
        (own_store() / f"{name}.toml").write_text(card_text(shipped.model_validate(shipped.model_dump() | changes)))
    return own_store()


def run(*words):
    return CliRunner().invoke(app, ["potentials", "import", *map(str, words)])


def printed(result) -> str:
    return re.sub(r"\s+", " ", result.output)


def test_what_is_missing_and_what_to_type_are_told(store, model):
    nameless = run(model)
    assert nameless.exit_code == 2
    assert "--as NAME --pin" in printed(nameless)
    assert "fits" in printed(nameless)
    untrusted = run(model, "--as", "fits")
    assert untrusted.exit_code == 2
    command = re.search(r"'atomsim potentials import (\S+) --as fits --pin'", printed(untrusted))
    assert command, untrusted.output
    assert Path(command.group(1)) == model
    assert load_card("fits").state == "missing"


def test_a_file_is_pinned_under_a_name_and_is_one_potential_by_either(store, model):
    assert run(model, "--as", "fits", "--pin").exit_code == 0
    card = load_card("fits")
    assert (card.state, card.weights.sha256) == ("verified", sha256_of(model))
    by_name, by_path = load_potential("fits", "cpu"), load_potential(model, "cpu")
    assert (by_name.name, by_name.sha256) == (by_path.name, by_path.sha256)
    assert load_potential("fits#r2scan", "cpu").sha256 != by_name.sha256
    assert run(model).exit_code == 0, "no name and no consent are needed any more"


@pytest.mark.parametrize(
    ("name", "message"), [("richer", "it lacks Ru"), ("longer", "found a cutoff of 5 Å, wanted 6")]
)
def test_a_file_of_another_potential_is_not_pinned(store, model, name, message):
    refused = run(model, "--as", name, "--pin")
    assert refused.exit_code == 2
    assert message in printed(refused)
    assert load_card(name).state == "missing"


def test_a_file_that_one_card_pins_is_not_another_ones(store, model):
    assert run(model, "--as", "fits", "--pin").exit_code == 0
    refused = run(model, "--as", "richer", "--pin")
    assert refused.exit_code == 2
    assert "is the file that fits pins" in printed(refused)
    assert load_card("richer").state == "missing"


def test_a_file_that_contradicts_a_card(store, model, tmp_path):
    run(model, "--as", "fits", "--pin")
    other = tmp_path / "other.model"
    torch.save({"weights": torch.zeros(3)}, other)
    with pytest.raises(InputError, match=r"not the file that fits pins: found sha256 .*, wanted "):
        plan_adoption(other, "fits", pin=True)
    with pytest.raises(InputError, match="comes with an installation"):
        plan_adoption(other, "chgnet-0.3.0", pin=True)
    text = tmp_path / "page.model"
    text.write_text("<html>")
    with pytest.raises(AtomsimError, match=r"no whole file of torch\.save"):
        plan_adoption(text, "richer", pin=True)
