"""Cards: strict, complete, and found in a checkout as in a wheel."""

from __future__ import annotations

import hashlib
import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atomsim import catalog
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.models.load import load_potential
from atomsim.registry.cards import card_names, card_text, list_cards, load_card, own_store, read_card, survey_cards


@pytest.fixture(autouse=True)
def only_shipped(tmp_path, monkeypatch):
    """Whatever the person who runs the tests has fetched does not matter here."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ATOMSIM_POTENTIALS", raising=False)


def spoiled(tmp_path, old: str, new: str):
    """The default's card with one passage changed."""
    text = (catalog.folder("potentials") / "chgnet-0.3.0.toml").read_text()
    assert old in text
    path = tmp_path / "chgnet-0.3.0.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_shipped_cards_are_complete():
    cards = list_cards()
    assert [c.name for c in cards] == card_names() == sorted(card_names())
    assert {"chgnet-0.3.0", "chgnet-r2scan", "lennard-jones", "morse"} <= set(card_names())
    for card in cards:
        assert card.limits
        assert re.search(r"\(\d{4}\)", card.citation.text), f"{card.name} cites no year"
        assert card.citation.doi.startswith("10.")
        absent = card.weights.origin == "package" and find_spec(card.weights.package) is None  # an optional package
        assert card.state in (("missing",) if card.weights.origin == "url" or absent else ("verified", "analytic"))


def test_foundation_models_come_from_where_mace_torch_takes_them():
    package = Path(find_spec("mace").submodule_search_locations[0])
    addresses = re.findall(r'"(https://[^"]+)"', (package / "calculators" / "foundations_models.py").read_text())
    cards = [card for card in list_cards() if card.weights.origin == "url"]
    assert {c.weights.url for c in cards} <= set(addresses)
    assert len({c.weights.file for c in cards}) == len({c.weights.url for c in cards}) == len(cards) >= 10
    for card in cards:
        assert card.weights.url.endswith("/" + card.weights.file)
        assert {3, 8, 11, 16, 25, 27, 28, 44, 74} <= card.numbers


@pytest.mark.parametrize("name", card_names())
def test_a_card_survives_being_written(name, tmp_path):
    path = tmp_path / f"{name}.toml"
    path.write_text(card_text(load_card(name)), encoding="utf-8")
    assert read_card(path).model_dump() == load_card(name).model_dump()


def test_a_card_cannot_leave_its_folder_or_name_an_unsafe_address(tmp_path):
    text = card_text(load_card("mace-mp-0-small"))
    for old, new in [
        (load_card("mace-mp-0-small").weights.file, "../weights.model"),
        ("https://", "http://"),
        ("https://", "file://"),
    ]:
        path = tmp_path / "mace-mp-0-small.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError, match=r"weights.*wanted a file inside|https://"):
            read_card(path)


def test_the_default_knows_battery_elements_and_says_what_its_energies_contain():
    card = load_card("chgnet-0.3.0")
    assert {3, 8, 11, 16, 22, 25, 27, 28, 42, 44, 74} <= card.numbers
    assert len(card.numbers) == 89
    assert "MaterialsProject2020Compatibility" in card.energies
    assert card.weights_path.stat().st_size == card.weights.size_bytes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("functional =", "functionl =", "unknown key 'functionl'; did you mean 'functional'"),
        ("sha256 =", "sha265 =", r"unknown key 'sha265' in \[weights\]; did you mean 'sha256'"),
        ("licence =", "# licence =", "key 'licence' is missing"),
        ('"Li"', '"Lx"', "not chemical symbols: Lx"),
        ("cutoff_A = 6.0", 'cutoff_A = "six"', "cutoff_A.*found 'six'"),
        ('sha256 = "d14a', 'sha256 = "D14a', "hexadecimal"),
        ('package = "chgnet"', "", "needs package"),
        ('name = "chgnet-0.3.0"', 'name = "other"', "found name 'other', wanted 'chgnet-0.3.0'"),
        ("cutoff_A = 6.0", "cutoff_A = ", "is not TOML"),
    ],
)
def test_a_malformed_card_is_refused_in_one_line(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message) as error:
        read_card(spoiled(tmp_path, old, new))
    assert "\n" not in str(error.value)
    assert "chgnet-0.3.0.toml" in str(error.value)


def student(folder: Path, name: str, *, like: str = "mace-li-ru-s-o", text: str = "", weights: bytes = b"") -> Path:
    """A card with weights of its own beside it, as a distillation leaves them; the recipe beside them too."""
    folder.mkdir(parents=True, exist_ok=True)
    content = weights or (catalog.folder("potentials") / f"{like}.safetensors").read_bytes()
    card = load_card(like)
    pin = {"file": "student.safetensors", "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    card = card.model_copy(
        update={"name": name, "summary": text or card.summary, "weights": card.weights.model_copy(update=pin)}
    )
    (folder / "student.safetensors").write_bytes(content)
    (folder / f"{name}.toml").write_text(card_text(card), encoding="utf-8")
    (folder / "recipe.toml").write_text('[distill]\nname = "mine"\n', encoding="utf-8")
    return folder / f"{name}.toml"


def test_a_distilled_folder_is_a_store_as_it_is(tmp_path, monkeypatch):
    student(tmp_path / "distilled", "mine")
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(tmp_path / "distilled"))
    assert "mine" in card_names()
    assert "recipe" not in card_names()
    assert load_card("mine").state == "verified"
    (tmp_path / "other.model").write_bytes(b"no card pins these")
    with pytest.raises(InputError, match="no card pins its sha256"):
        load_potential(tmp_path / "other.model", "cpu")
    for command in (["potentials", "list"], ["doctor"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "passed over" not in result.stderr
    with pytest.raises(InputError, match="unknown potential 'recipe'"):
        load_card("recipe")


def test_what_is_no_card_is_passed_over_with_one_line(tmp_path, monkeypatch):
    student(tmp_path / "store", "mine")
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(tmp_path / "store"))
    (tmp_path / "store" / "broken.toml").write_text("name = ", encoding="utf-8")
    (tmp_path / "store" / "binary.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "store" / "strange.toml").write_text('name = "strange"\ncolour = 1\n', encoding="utf-8")
    (tmp_path / "store" / "dangling.toml").symlink_to(tmp_path / "gone.toml")
    (tmp_path / "store" / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "store" / "pipe.toml")
    bad = ("broken", "binary", "strange", "dangling", "folder", "pipe")
    cards, notes = survey_cards()
    assert {"mine", "chgnet-0.3.0"} <= {card.name for card in cards}
    assert len(notes) == len(bad)
    for name in bad:
        assert [f"{name}.toml" in note and "\n" not in note for note in notes].count(True) == 1
    for command in (["potentials", "list"], ["doctor"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert result.stderr.count("warning: passed over") == len(bad)
    assert load_potential("lj-test", "cpu").name == "lj-test"
    for name in ("broken", "strange"):  # but who asks for it is told what is wrong
        with pytest.raises(InputError, match=f"{name}.toml"):
            load_card(name)


def test_weights_are_looked_for_beside_their_card(tmp_path, monkeypatch):
    first = (catalog.folder("potentials") / "mace-na-ru-o.safetensors").read_bytes()
    student(tmp_path / "one", "sodium", like="mace-na-ru-o", weights=first)
    student(tmp_path / "two", "lithium")
    monkeypatch.setenv("ATOMSIM_POTENTIALS", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    for name in ("sodium", "lithium"):  # both call their weights student.safetensors
        assert load_card(name).state == "verified"
    (tmp_path / "two" / "student.safetensors").unlink()
    (tmp_path / "one" / "student.safetensors").unlink()
    with pytest.raises(InputError, match=f"copy it beside its card {tmp_path / 'two'}"):
        load_potential("lithium", "cpu")


def test_of_two_cards_of_one_name_the_first_is_used_and_that_is_said(tmp_path, monkeypatch, capsys):
    name, shipped = "lj-test", catalog.folder("potentials") / "lj-test.toml"
    plain = load_card(name)

    def written(folder: Path, factor: float) -> Path:
        folder.mkdir(parents=True)
        parameters = {key: factor * value for key, value in plain.parameters.items()}
        text = card_text(plain.model_copy(update={"parameters": parameters}))
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        return folder / f"{name}.toml"

    own, one, two = written(own_store(), 1.1), written(tmp_path / "one", 1.2), written(tmp_path / "two", 1.3)
    assert (load_card(name).path, load_card(name).others) == (own, (shipped,))
    monkeypatch.setenv("ATOMSIM_POTENTIALS", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    assert (load_card(name).path, load_card(name).others) == (one, (two, own, shipped))
    sums = {load_potential(name, "cpu").sha256 for _ in range(2)}
    assert len(sums) == 1
    note = f"several cards are named {name}: {one} is used, not {two}, {own}, {shipped}"
    assert capsys.readouterr().err.count(note) == 1
    for command in (["potentials", "list"], ["potentials", "show", name], ["doctor"]):
        assert note in CliRunner().invoke(app, command).stderr
    monkeypatch.delenv("ATOMSIM_POTENTIALS")
    own.unlink()
    assert load_potential(name, "cpu").sha256 not in sums  # the shipped one is another


def test_a_student_under_a_shipped_name_is_the_one_that_is_used(tmp_path, monkeypatch):
    name = "mace-li-ru-s-o"
    weights = (catalog.folder("potentials") / "mace-na-ru-o.safetensors").read_bytes()
    path = student(tmp_path / "distilled", name, weights=weights)
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(tmp_path / "distilled"))
    card = load_card(name)
    assert (card.path, card.state) == (path, "verified")
    assert card.weights.sha256 == hashlib.sha256(weights).hexdigest()


def test_missing_cards():
    with pytest.raises(InputError, match="did you mean 'morse'"):
        load_card("mores")
    with pytest.raises(InputError, match="cannot read"):
        read_card(catalog.folder("potentials") / "absent.toml")


def test_folder_of_a_wheel_comes_before_that_of_a_checkout(tmp_path, monkeypatch):
    inside = tmp_path / "site" / "atomsim" / "catalog"
    (inside / "potentials").mkdir(parents=True)
    monkeypatch.setattr(catalog, "__file__", str(inside / "__init__.py"))
    assert catalog.folder("potentials") == inside / "potentials"
    with pytest.raises(FileNotFoundError, match="no 'workflows' folder"):
        catalog.folder("workflows")
