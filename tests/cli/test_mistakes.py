"""Mistakes and losses that a command must name in one line, and long work that must not be silent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner, Result

from atomsim.cli import app, glass, show, steps
from atomsim.cli.options import kept_in, kept_nowhere
from atomsim.errors import InputError, Interrupted

GLASS = """
[campaign]
name = "melt"
potential = "lj-test"

[[step]]
name = "glasses"
kind = "amorphize"
formula = "{formula}"
n_atoms = {n_atoms}
seeds = 1
start = "atoms"
density_g_per_cm3 = 1.0
"""
CONTACT = """
[campaign]
name = "contact"
potential = "lj-test"

[[step]]
name = "phases"
kind = "relax"
structures = ["Li", "Li2O2"]

[[step]]
name = "interface"
kind = "interface"
phases = "phases"
first = ["Li"]
second = ["Li2O2"]
"""
RELAX = """
[campaign]
name = "relax"
potential = "lj-test"

[[step]]
name = "relaxed"
kind = "relax"
structures = ["one.extxyz"]
max_steps = 1
fmax_eV_per_A = 1e-9
"""


def atomsim(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("one.extxyz", bulk("Ne", "fcc", 3.2, cubic=True))
    return tmp_path


def test_check_warns_of_a_formula_that_is_not_neutral(folder: Path) -> None:
    Path("odd.toml").write_text(GLASS.format(formula="Li3O", n_atoms=8))
    Path("even.toml").write_text(GLASS.format(formula="Li2O", n_atoms=9))
    odd, even = (atomsim("check", f"{name}.toml") for name in ("odd", "even"))
    assert odd.exit_code == even.exit_code == 0
    assert "Li3O is not neutral" in odd.stderr
    assert "not neutral" not in even.stderr


def test_a_run_that_is_not_all_good_says_why_and_what_to_do(folder: Path) -> None:
    Path("mine.toml").write_text(RELAX)
    found = atomsim("run", "mine.toml", "-n", 0)
    assert found.exit_code == 1
    for words in ("exit code 1", "1 of 1 max steps", "raise max_steps", "log.txt"):
        assert words in found.stdout
    Path("mine.toml").write_text(RELAX.replace("max_steps = 1\nfmax_eV_per_A = 1e-9\n", ""))
    assert "exit code" not in atomsim("run", "mine.toml", "-n", 0, "--out", "good").stdout


@pytest.mark.parametrize("what", ["a campaign", "the campaign of another run"])
def test_a_file_of_the_users_is_not_written_over(folder: Path, what: str) -> None:
    Path("mine.toml").write_text(RELAX)
    if what == "the campaign of another run":
        Path("mine").mkdir()
        Path("mine/campaign.toml").write_text(RELAX)
    found = atomsim("phonons", "one.extxyz", "-p", "lj-test", "-n", 0, "--out", "mine")
    assert found.exit_code == 2
    assert "mine.toml is there" in found.stderr
    assert Path("mine.toml").read_text() == RELAX


@pytest.mark.parametrize("command", [("phonons",), ("order",), ("dope", "--dopant", "W"), ("coherent", "LiCoO2")])
def test_a_misspelt_prototype_is_named_as_typed_with_the_nearest(folder: Path, command: tuple[str, ...]) -> None:
    found = atomsim(*command, "LiCo02", "-p", "lj-test", "-n", 0)
    assert found.exit_code == 2
    assert "'LiCo02'" in found.stderr
    assert "did you mean 'LiCoO2'?" in found.stderr


def test_files_count_from_here_in_all_lists(folder: Path) -> None:
    assert steps.sources_of(["LiCoO2", "one.extxyz"]) == ["LiCoO2", str(folder / "one.extxyz")]


def test_json_has_no_word_for_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    show.print_json({"a": float("nan"), "b": [1.0, (float("inf"), "x")]})
    found = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(word))
    assert found == {"a": None, "b": [1.0, [None, "x"]]}


def test_parts_of_a_mixture_that_are_named_twice_add_up() -> None:
    assert glass.mixture("0.25 Li2O + 0.5 Li2S + 0.25 Li2O") == {"Li2O": 0.5, "Li2S": 0.5}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("composite", "A:0.5:100:2", "A:0.5:200:2"), "found A twice"),
        (
            ("composite", "A:1:100:2", "--energy", "900"),
            "--energy: found 900, more than the 200 that the components can deliver",
        ),
        (("opinions", "Li", "-p", "lj-test,lennard-jones", "--quantities", "latice"), "quantities: found latice"),
        (("opinions", "Li", "-p", "lj-test,lennard-jones", "--quantities", ""), "quantities: found none"),
        (("amorphize", "LiF", "-n", "8", "-p", "lj-test", "--seeds", "0"), "one glass or more"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(folder: Path, words: tuple[str, ...], wanted: str) -> None:
    found = atomsim(*words)
    assert found.exit_code == 2, found.output
    (line,) = found.stderr.strip().splitlines()
    assert wanted in line


def test_an_interface_of_a_phase_that_is_not_there_is_refused_before_anything_is_relaxed(folder: Path) -> None:
    for n, (change, wanted) in enumerate([
        (("Li2O2", "Li2S"), "Li2S is not among the phases"),
        (("Li2O2", "Li2Oxide"), "wanted a chemical formula"),
        (('["Li2O2"]\n', '["Li2O2"]\nopen_to = "O"\nvoltages_V = [0.0]\n'), "O itself is not among the phases"),
        (('["Li2O2"]\n', '["Li2O2"]\nopen_to = "Li"\n'), "give a list"),
    ]):  # fmt: skip
        at = CONTACT.rindex(change[0])
        Path("c.toml").write_text(CONTACT[:at] + change[1] + CONTACT[at + len(change[0]) :])
        for words in (("check", "c.toml"), ("run", "c.toml", "-n", 0, "--out", "run"))[: 1 + (n == 0)]:
            found = atomsim(*words)
            assert (found.exit_code, wanted in found.stderr) == (2, True), (words, found.output)
    assert not list(Path("run").rglob("records.jsonl"))


def test_ctrl_c_says_what_is_kept_in_the_words_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    again, anew = (
        r"1 result .* in runs/x; run the same command again",
        r"x was not written; the same command begins anew",
    )
    with pytest.raises(KeyboardInterrupt, match=again), kept_in(Path("runs/x")):
        raise Interrupted([1])
    with pytest.raises(KeyboardInterrupt, match=anew), kept_nowhere("x was not written"):
        raise Interrupted([1])

    def stopped() -> None:
        raise Interrupted([])

    monkeypatch.setattr("atomsim.registry.cards.survey_cards", stopped)
    found = atomsim("potentials", "list")
    assert found.exit_code == 130
    assert ".results" not in found.stderr


def test_a_log_has_a_sign_of_life_while_nothing_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = show.PlainProgress()
    log.force_calls(3)
    log.at_work("structures analysed", 1, 9)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(show, "QUIET_S", 0.0)
    log.force_calls(4)
    log.at_work("structures analysed", 2, 9)
    calls, work = capsys.readouterr().err.splitlines()
    assert "7 force calls" in calls
    assert "structures analysed: 2 of 9" in work


def test_opinions_tell_when_each_potential_has_answered(folder: Path) -> None:
    found = atomsim("opinions", "Li", "-p", "lj-test,lennard-jones", "--quantities", "lattice", "-n", 0)
    assert found.exit_code == 0, found.output
    assert found.stderr.count("converged") == 2


def test_paths_of_further_potentials_count_from_here_and_not_from_the_campaign(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def run_steps(name: str, lines: list[str], *_: object, **__: object) -> None:
        seen.extend(lines)
        raise InputError("enough")

    monkeypatch.setattr("atomsim.cli.oxygen.run_steps", run_steps)
    for words in (("dimerize", "LiCoO2"), ("oxygen", "LiCoO2", "--phases", "one.extxyz")):
        assert atomsim(*words, "--check-with", "./mine.model").exit_code == 2
    assert seen.count(f'check_with = ["{folder / "mine.model"}"]') == 2
    assert f'phases = ["{folder / "one.extxyz"}"]' in seen


def test_a_command_that_was_refused_leaves_no_folder_to_another_potential(folder: Path) -> None:
    words = ("md", "one.extxyz", "-T", 40, "--duration", "0.01ps", "--every", "10fs", "-n", 0, "-o", "run")
    assert atomsim(*words, "-p", "lj-test", "--teacher", "nothing").exit_code == 2
    found = atomsim(*words, "-p", "lennard-jones")
    assert found.exit_code == 0, found.output
    again = atomsim(*words, "-p", "lj-test")
    assert (again.exit_code, "choose another folder with --out" in again.stderr) == (2, True), again.stderr


def test_a_structure_that_cannot_be_judged_says_why(folder: Path) -> None:
    found = atomsim("glass", "one.extxyz")
    assert found.exit_code == 1
    assert "wanted ions of two or more elements" in found.stdout
    (row,) = json.loads(atomsim("glass", "one.extxyz", "--json").stdout)["structures"]
    assert (row["status"], row["verdict"]) == ("invalid", "undecided")
    assert "two or more elements" in row["message"]


def test_a_missing_time_names_the_option(folder: Path) -> None:
    write("t.traj", [bulk("LiF", "rocksalt", 4.2, cubic=True)] * 3)
    found = atomsim("diffusion", "t.traj", "-T", 300)
    assert found.exit_code == 2
    assert "give --every" in found.stderr
