"""A campaign file is read as it is meant, or refused with a line that says what to change."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from ase.build import bulk
from ase.io import write

from atomsim import catalog
from atomsim.campaign.file import Step, describe_keys, load_campaign
from atomsim.campaign.plan import plan
from atomsim.errors import InputError
from atomsim.models.interface import Potential
from atomsim.registry.cards import load_card
from atomsim.tasks import MODULES, kind_of
from atomsim.tasks.base import find_files

GOOD = """
[campaign]
name = "test"
potential = "lj-test"

[[step]]
name = "start"
kind = "structures"
structures = ["cell.extxyz"]

[[step]]
name = "relaxed"
kind = "relax"
structures = "start"
max_steps = 20
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "cell.extxyz", bulk("Ne", "fcc", 3.6))
    return tmp_path


def load(folder: Path, text: str, **options: str):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_campaign(path, **options)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        load(folder, text)
    return str(caught.value)


def test_reads_settings_and_dependencies(folder: Path) -> None:
    campaign = load(folder, GOOD)
    assert [s.name for s in campaign.steps] == ["start", "relaxed"]
    assert campaign.steps[1].needs == ("start",)
    assert campaign.steps[0].needs == ()
    assert campaign.steps[1].settings.max_steps == 20
    assert campaign.header.potential == "lj-test"


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (
            "max_steps = 20",
            "fmaxx = 0.1",
            ["unknown key 'fmaxx' in [[step]] 2", "did you mean 'fmax_eV_per_A'?", "check"],
        ),
        ("max_steps = 20", "max_steps = 0", ["[[step]] 2", "max_steps", "found 0"]),
        ("max_steps = 20", "max_steps = 2.5", ["max_steps", "found 2.5"]),
        ("max_steps = 20", "pressure_GPa = nan", ["pressure_GPa", "nan"]),
        ("max_steps = 20", 'cell = "yes"', ["cell", "found 'yes'"]),
        ('kind = "relax"', 'kind = "relaxe"', ["unknown kind 'relaxe'", "did you mean 'relax'?"]),
        ('kind = "relax"', "", ["[[step]] 2 (relaxed) has no kind"]),
        ('structures = "start"', 'structures = "strat"', ["'strat'", "did you mean 'start'?"]),
        ('structures = "start"', 'structures = "relaxed"', ["'relaxed'", "later"]),
        ('structures = "start"', "", ["has no 'structures'"]),
        ('structures = ["cell.extxyz"]', 'structures = ["gone.cif"]', ["'gone.cif'", "file"]),
        ('structures = ["cell.extxyz"]', 'structures = ["*.cif"]', ["'*.cif'"]),
        ('name = "relaxed"', 'name = "start"', ["taken by [[step]] 1"]),
        ('name = "relaxed"', 'name = "../up"', ["name is '../up'"]),
        ('potential = "lj-test"', 'potentail = "lj-test"', ["[campaign]", "did you mean 'potential'?"]),
        ('potential = "lj-test"', 'device = "gpu"', ["device", "'gpu'", "cuda"]),
        ('name = "test"\n', "", ["[campaign] has no 'name'"]),
        ("[campaign]", "[campain]", ["no [campaign] table"]),
        ("[[step]]", "[[steps]]", ["no [[step]]", "did you mean 'step'?"]),
        ("max_steps = 20", "max_steps = = 20", ["not valid TOML", "line 15"]),
    ],
)
def test_mistakes_are_named(folder: Path, old: str, new: str, wanted: list[str]) -> None:
    assert old in GOOD
    message = refused(folder, GOOD.replace(old, new))
    assert all(words in message for words in wanted), message
    assert "mine.toml" in message
    assert "pydantic" not in message


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    message = refused(folder, GOOD.replace("max_steps = 20", "fmaxx = 1\nmaxsteps = 2").replace("seed", "sed"))
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(("content", "wanted"), [(b"", "is empty"), (b"\n \n", "is empty"), (b"\xff\xfe", "UTF-8")])
def test_files_without_a_campaign(folder: Path, content: bytes, wanted: str) -> None:
    path = folder / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=wanted):
        load_campaign(path)


def test_missing_file_and_folder(folder: Path) -> None:
    with pytest.raises(InputError, match="no campaign file"):
        load_campaign(folder / "gone.toml")
    with pytest.raises(InputError, match="is a folder"):
        load_campaign(folder)


def test_identity_is_of_what_decides_results(folder: Path) -> None:
    identity = load(folder, GOOD).identity()
    same = GOOD.replace('name = "test"', 'name = "renamed"\ntitle = "T"\ndevice = "cpu"') + "# a comment\n"
    assert load(folder, same).identity() == identity
    assert load(folder, GOOD.replace("20", "21")).identity() != identity
    assert load(folder, GOOD.replace('name = "test"', 'name = "test"\nseed = 1')).identity() != identity
    write(folder / "cell.extxyz", bulk("Ne", "fcc", 3.7))
    assert load(folder, GOOD).identity() != identity


def test_command_line_takes_precedence(folder: Path) -> None:
    campaign = load(folder, GOOD, potential="morse", device="cpu")
    assert (campaign.header.potential, campaign.header.device) == ("morse", "cpu")


def test_model_file_is_found_beside_the_campaign(folder: Path) -> None:
    campaign = load(folder, GOOD.replace("lj-test", "sub/mine.model"))
    assert campaign.header.potential == str(folder.resolve() / "sub" / "mine.model")


def test_every_kind_follows_the_protocol_and_describes_its_keys() -> None:
    tables = describe_keys()
    for kind in MODULES:
        module = kind_of(kind)
        assert kind == module.KIND
        assert isinstance(module.NEEDS_POTENTIAL, bool)
        for rows in tables.values():
            assert all(row["description"] for row in rows)
        assert all(callable(getattr(module, name)) for name in ("expand", "run", "summarise", "cost"))


CAMPAIGNS = [p for p in sorted(catalog.folder("workflows").glob("*.toml")) if not p.stem.startswith("distill-")]


@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda p: p.stem)
def test_shipped_workflows_are_valid(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copied by a user.toml"
    shutil.copy(path, copy)
    campaign = load_campaign(copy)
    assert campaign.steps
    assert campaign.header.title


@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda p: p.stem)
def test_shipped_workflows_pass_the_check(path: Path) -> None:
    campaign = load_campaign(path)
    card = load_card(campaign.header.potential)
    potential = cast(Potential, SimpleNamespace(name=card.name, sha256="a" * 64, elements=card.numbers))
    plans = plan(replace(campaign, steps=tuple(map(with_few_tasks, campaign.steps))), potential)
    assert [p.name for p in plans] == [step.name for step in campaign.steps]
    assert all(p.tasks is None or p.at_most or p.tasks > 0 for p in plans)


def with_few_tasks(step: Step) -> Step:
    """A step of the same structures and keys, whose plan is soon made."""
    few = {"orderings": 1, "per_site": 1, "seeds": [1]}
    if step.kind == "delithiate":
        few["x_per_formula_unit"] = sorted({max(x := step.settings.x_per_formula_unit), min(x)}, reverse=True)
    known = few.keys() & type(step.settings).model_fields.keys()
    return replace(step, settings=step.settings.model_copy(update={key: few[key] for key in known}))


ELECTRODE = """
[campaign]
name = "electrode"
potential = "mace-li-ru-s-o"

[[step]]
name = "orderings"
kind = "delithiate"
parent = "Li2RuO3"
x_per_formula_unit = [2.0, 0.0]
max_atoms = 24

[[step]]
name = "relaxed"
kind = "relax"
structures = "orderings"

[[step]]
name = "metal"
kind = "relax"
structures = "Li"

[[step]]
name = "electrode"
kind = "electrode"
structures = "relaxed"
reference = "metal"
"""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (
            'structures = "relaxed"',
            'structures = "orderings"',
            "takes from 'orderings', a delithiate step; wanted relax",
        ),
        ('reference = "metal"', 'reference = "metal"\nradiation = "CuKalpha"', "did you mean 'CuKa'"),
        ('structures = "Li"', 'structures = "Li2O"', "wanted Li metal"),
        ('structures = "orderings"', 'structures = "Li2RuO3"', "relaxes nothing from a delithiate step"),
    ],
)
def test_an_electrode_that_can_only_fail_at_the_end_is_found_by_the_plan(tmp_path, old, new, wanted) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ELECTRODE)
    assert [p.name for p in plan(load_campaign(path), None)] == ["orderings", "relaxed", "metal", "electrode"]
    path.write_text(ELECTRODE.replace(old, new))
    with pytest.raises(InputError, match=wanted):
        plan(load_campaign(path), None)


def test_a_pattern_is_looked_for_beside_the_file_whatever_its_folder_is_called(tmp_path) -> None:
    folder = tmp_path / "run[1] x"
    folder.mkdir()
    (folder / "a.cif").write_text("x")
    assert find_files("*.cif", folder) == [folder / "a.cif"]
    assert find_files(str(folder / "a.cif"), folder) == [folder / "a.cif"]
