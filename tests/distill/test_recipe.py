"""Recipes: the shipped ones are valid, and a mistake is told in one line."""

from __future__ import annotations

import pytest

from atomsim import catalog
from atomsim.distill.recipe import load_recipe
from atomsim.errors import InputError
from atomsim.registry.cards import load_card

SMALL = """
[distill]
name = "small"
summary = "for a test"
teacher = "lj-test"
[[system]]
name = "oxide"
prototype = "Li2O"
rattled = 4
"""


def written(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(catalog.folder("workflows").glob("distill-*.toml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_and_cover_their_names(path):
    recipe = load_recipe(path)
    assert path.stem == recipe.header.name.replace("mace-", "distill-")
    assert {s.lower() for s in recipe.symbols} == set(recipe.header.name.removeprefix("mace-").split("-"))
    load_card(recipe.header.teacher)


def test_defaults_fill_a_small_recipe(tmp_path):
    recipe = load_recipe(written(tmp_path, SMALL))
    assert recipe.symbols == ("Li", "O")
    assert recipe.starts == (recipe.train.epochs,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rattled = 4", "ratled = 4"), "did you mean 'rattled'"),
        (('prototype = "Li2O"', 'prototype = "Li2RuO"'), "no prototype 'Li2RuO'"),
        (('prototype = "Li2O"', ""), "either prototype or formula"),
        (("rattled = 4", "hops = 1"), "need the ion"),
        (("rattled = 4", "rattled = -1"), "greater than or equal to 0"),
        (("[[system]]", "[train]\nepochs = 5\n[active]\nrounds = 1\nepochs = [7]\n[[system]]"), "below 5"),
        (("[[system]]", '[validate]\nlattices = ["Nothing"]\n[[system]]'), "no prototype 'Nothing'"),
        (("[[system]]", '[validate.dynamics]\nsystems = ["oxid"]\n[[system]]'), "did you mean 'oxide'"),
        (("[[system]]", "[trian]\n[[system]]"), "did you mean 'train'"),
        (("[[system]]", "[validate.dynamics]\nsed = 1\n[[system]]"), "'dynamics.sed' in .*; did you mean 'seeds'"),
        (('name = "small"', 'name = "../small"'), "wanted letters"),
        (("rattled = 4", "rattled = "), "not valid TOML"),
    ],
)
def test_mistakes_are_told(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(written(tmp_path, SMALL.replace(*change)))
    assert "\n" not in str(caught.value)


def test_only_what_decides_the_student_is_its_identity(tmp_path):
    first = load_recipe(written(tmp_path, SMALL)).identity
    same = '# a comment\n[validate]\nlattices = ["Li2O"]\n' + SMALL
    assert load_recipe(written(tmp_path, same)).identity == first
    assert load_recipe(written(tmp_path, SMALL.replace("rattled = 4", "rattled = 5"))).identity != first


def test_a_missing_recipe_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot read the recipe"):
        load_recipe(tmp_path / "absent.toml")
