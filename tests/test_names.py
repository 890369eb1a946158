"""A word that is a prototype's name and that of a file is refused wherever either may be meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

import atomsim
from atomsim.campaign.file import load_campaign
from atomsim.cli import app
from atomsim.cli.compare import structures_of
from atomsim.errors import InputError
from atomsim.structures.prototypes import is_prototype

BOTH = "'LiCoO2' is a prototype and a file"
STEPS = {
    "structures": 'kind = "structures"\nstructures = "LiCoO2"',
    "relax": 'kind = "relax"\nstructures = ["Li", "LiCoO2"]',
    "barriers": 'kind = "barriers"\nstructures = "LiCoO2"',
    "delithiate": 'kind = "delithiate"\nparent = "LiCoO2"\nx_per_formula_unit = [0.5]',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("LiCoO2", bulk("NaCl", "rocksalt", a=5.64), format="extxyz")
    return tmp_path


@pytest.mark.parametrize("kind", STEPS)
def test_a_campaign_that_could_mean_either_is_refused(folder: Path, kind: str) -> None:
    text = f'[campaign]\nname = "c"\n\n[[step]]\nname = "one"\n{STEPS[kind]}\n'
    (folder / "c.toml").write_text(text)
    with pytest.raises(InputError, match=BOTH):
        load_campaign(folder / "c.toml")
    (folder / "c.toml").write_text(text.replace("LiCoO2", "./LiCoO2"))
    assert [word for word, _ in load_campaign(folder / "c.toml").steps[0].files] == ["./LiCoO2"]


def test_commands_and_functions_refuse_it_too(folder: Path) -> None:
    for words in (["barriers", "LiCoO2"], ["relax", "LiCoO2"]):
        found = CliRunner().invoke(app, [*words, "-p", "lj-test", "-n", "0"])
        assert found.exit_code == 2
        assert re.search(BOTH, " ".join((found.output + found.stderr).split()))
    with pytest.raises(InputError, match=BOTH):
        structures_of("LiCoO2")
    (result,) = atomsim.relax(["LiCoO2"], "lj-test")
    assert result.status == "invalid"
    assert BOTH in result.message


def test_a_name_with_a_path_or_suffix_is_the_file(folder: Path) -> None:
    assert not is_prototype("./LiCoO2", folder)
    assert not is_prototype("LiCoO2.cif", folder)
    assert is_prototype("Li2O", folder)
