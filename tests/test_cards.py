"""Cards: strict, complete, and found in a checkout as in a wheel."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from atomsim import catalog
from atomsim.cards import card_names, card_text, list_cards, load_card, read_card
from atomsim.errors import InputError


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
        assert card.state in (("missing",) if card.weights.origin == "url" else ("verified", "analytic"))


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
    assert read_card(path) == load_card(name)


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
