"""The command line: results on standard output, one line for every mistake, exit codes that mean something."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from typer.main import get_command
from typer.testing import CliRunner, Result

from atomsim.cli import app

CAMPAIGN = """
[campaign]
name = "test"
title = "A title"
potential = "lj-test"

[[step]]
name = "start"
kind = "structures"
structures = ["one.extxyz"]

[[step]]
name = "relaxed"
kind = "relax"
structures = "start"
"""


def atomsim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def answer(*arguments: str | Path) -> object:
    result = atomsim(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("one.extxyz", bulk("Ne", "fcc", 3.2, cubic=True))
    Path("mine.toml").write_text(CAMPAIGN, encoding="utf-8")
    return tmp_path


def test_run_status_report(folder: Path) -> None:
    result = atomsim("run", "mine.toml", "-n", "0")
    assert result.exit_code == 0, result.stderr
    report = folder / "runs" / "mine" / "report.html"
    assert str(report) in result.stdout.replace("\n", "")
    assert report.exists()
    steps = answer("status", "runs/mine")
    assert [(s["name"], s["done"], s["good"]) for s in steps] == [("start", 1, 1), ("relaxed", 1, 1)]
    report.unlink()
    assert Path(answer("report", "runs/mine")["report"]) == report
    assert report.exists()
    again = answer("run", "mine.toml", "-n", "0")
    assert again["ok"]
    assert [s["done_before"] for s in again["steps"]] == [1, 1]


def test_run_exits_1_when_a_record_is_not_good(folder: Path) -> None:
    Path("mine.toml").write_text(CAMPAIGN + "max_steps = 1\nfmax_eV_per_A = 1e-9\n")
    result = atomsim("run", "mine.toml", "-n", "0", "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert not content["ok"]
    assert content["steps"][1]["good"] == 0
    assert Path(content["report"]).exists()


def test_check_prints_the_plan(folder: Path) -> None:
    content = answer("check", "mine.toml")
    assert [(s["tasks"], s["atoms"]) for s in content["steps"]] == [(1, 4), (1, 4)]
    assert content["potential"]["name"] == "lj-test"
    shown = atomsim("check", "mine.toml")
    assert "relaxed" in shown.stdout
    assert "A title" in shown.stdout
    assert not (folder / "runs").exists()


def test_check_lists_keys() -> None:
    tables = answer("check", "--keys")
    keys = [row["key"] for row in tables['[[step]] kind = "relax"']]
    assert {"structures", "fmax_eV_per_A", "max_steps"} <= set(keys)
    assert "fmax_eV_per_A" in atomsim("check", "--keys").stdout


def test_relax_writes_results(folder: Path) -> None:
    write("two.cif", bulk("Ne", "fcc", 3.3, cubic=True))
    content = answer(
        "relax", "one.extxyz", "two.cif", "-p", "lj-test", "-o", "out.extxyz", "--fmax", "0.001", "-n", "0"
    )
    assert [s["status"] for s in content["structures"]] == ["converged"] * 2
    relaxed = read("out.extxyz", ":")
    assert len(relaxed) == 2
    for atoms, row in zip(relaxed, content["structures"], strict=True):
        assert atoms.get_potential_energy() == pytest.approx(row["energy_eV"], abs=1e-6)
        assert np.abs(atoms.get_forces()).max() < 0.001
        assert np.abs(atoms.get_stress()).max() < 0.001
    # both start from the same crystal and end in the same minimum
    assert relaxed[0].cell.volume == pytest.approx(relaxed[1].cell.volume, rel=1e-3)


def test_relax_keeps_the_cell(folder: Path) -> None:
    assert atomsim("relax", "one.extxyz", "--no-cell", "-p", "lj-test", "-n", "0").exit_code == 0
    np.testing.assert_allclose(read("one-relaxed.extxyz").cell.array, read("one.extxyz").cell.array)


PARTIAL = """data_x
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 Li 0 0 0 0.6
O1 O 0.5 0.5 0.5 1.0
"""


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("gone.cif", None, "gone.cif"),
        ("empty.cif", "", "empty"),
        ("partial.cif", PARTIAL, "0.6"),
        ("text.xyz", "this is no structure\n", "text.xyz"),
    ],
)
def test_bad_files_are_one_line_and_exit_2(folder: Path, name: str, content: str | None, wanted: str) -> None:
    if content is not None:
        Path(name).write_text(content)
    for arguments in (["relax", name, "-p", "lj-test"], ["check", "mine.toml"]):
        Path("mine.toml").write_text(CAMPAIGN.replace("one.extxyz", name))
        result = atomsim(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("error: ")
        assert wanted in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run", "gone.toml"], "no campaign file"),
        (["check"], "no campaign file given"),
        (["status", "."], "holds no run"),
        (["report", "."], "holds no run"),
        (["potentials", "show", "chgnet"], "did you mean 'chgnet-"),
        (["structures", "show", "Li2RuO"], "did you mean 'Li2RuO3"),
        (["structures", "write", "Li", "li.nonsense"], "cannot tell from the name 'li.nonsense'"),
        (["relax", "one.extxyz", "-p", "lj-tset"], "did you mean 'lj-test'"),
        (["relax", "one.extxyz", "-p", "lj-test", "--fmax", "-1"], "--fmax: found -1.0"),
        (["relax", "one.extxyz", "-p", "lj-test", "--max-steps", "0"], "--max-steps: found 0"),
        (["relax", "one.extxyz", "-p", "lj-test", "--pressure", "nan"], "--pressure: found nan"),
        (["neb", "one.extxyz", "one.extxyz", "-p", "lj-test", "--fmax", "-1"], "--fmax"),
        (["barriers", "Li2O", "-p", "lj-test", "--max-steps", "0"], "--max-steps"),
        (["barriers", "Li2O", "-p", "lj-test", "--max-length", "-1"], "--max-length"),
        (["barriers", "Li2O", "-p", "lj-test", "--images", "0"], "--images"),
        (["potentials", "compare", "lj-test", "morse", "--on", "one.extxyz", "--fmax", "-1"], "--fmax"),
        (["relax", "one.extxyz", "-p", "lj-test", "-o", "out.png"], ".extxyz, .xyz, .cif"),
        (["relax", "one.extxyz", "-p", "lj-test", "-o", "out"], ".extxyz, .xyz, .cif"),
        (["relax", "one.extxyz", "-p", "lj-test", "-o", "POSCAR-new.extxyz"], "poscar-new"),
        (["relax", "one.extxyz", "one.extxyz", "-p", "lj-test", "-o", "out.vasp"], "holds one structure"),
        (["relax", "one.extxyz", "-p", "lj-test", "-o", "mine.toml/out.extxyz"], "Not a directory"),
        (["relax", "one.extxyz", "-p", "lj-test", "-o", "no/such/out.extxyz"], "make it first"),
        (["relax", "one.extxyz", "-p", "lj-test", "--device", "cuda:99"], "cuda:99"),
        (["run", "mine.toml", "--steps", "relax"], "did you mean 'relaxed'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(folder: Path, arguments: list[str], wanted: str) -> None:
    result = atomsim(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert wanted in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_potentials() -> None:
    rows = answer("potentials", "list")
    assert {"chgnet-0.3.0", "lj-test"} <= {row["name"] for row in rows}
    card = answer("potentials", "show", "chgnet-0.3.0")
    assert card["weights_state"] == "verified"
    assert card["limits"]
    assert "chgnet-0.3.0" in atomsim("potentials", "list").stdout
    assert atomsim("potentials", "show", "chgnet-0.3.0").exit_code == 0


@pytest.mark.parametrize("columns", [60, 80])
def test_keys_of_a_card_are_not_broken(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    card = answer("potentials", "show", "mace-li-ru-s-o")
    shown = atomsim("potentials", "show", "mace-li-ru-s-o").stdout
    assert set(card["errors"]) <= set(shown.split())
    if columns == 80:
        assert card["weights"]["sha256"] in shown


@pytest.mark.xdist_group("prototypes")  # it builds them all
def test_structures(folder: Path) -> None:
    assert "Li2RuO3" in {row["name"] for row in answer("structures", "list")}
    facts = answer("structures", "show", "Li2RuO3")
    assert facts["citation"]
    assert atomsim("structures", "list").exit_code == 0
    assert atomsim("structures", "show", "Li2RuO3").exit_code == 0
    assert answer("structures", "write", "Li2RuO3", "host.cif")["n_atoms"] == len(read("host.cif"))


def test_doctor() -> None:
    facts = answer("doctor")
    assert facts["torch"]["build"]
    assert facts["potentials"]["chgnet-0.3.0"] == "verified"
    assert facts["cores"]["usable"] >= 1
    assert atomsim("doctor").exit_code == 0


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["relax"], ["potentials"], ["structures"], ["doctor"]])
def test_help(command: list[str]) -> None:
    result = atomsim(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "ase", "pymatgen", "chgnet", "numpy", "pydantic")
    code = f"import sys, atomsim.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_one_thing_is_singular(folder: Path) -> None:
    shown = atomsim("run", "mine.toml", "-n", "0")
    page = (folder / "runs" / "mine" / "report.html").read_text(encoding="utf-8")
    counts = re.findall(r"(?<![\d.,])\b1 (?:force calls|tasks|structures|records|steps|atoms)\b", shown.output + page)
    assert not counts
    assert "1 task" in shown.output


def commands(group=None, path: tuple[str, ...] = ()):
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def examples():
    """Command lines of the README and of every command's own examples."""
    readme = Path(__file__).parents[2] / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.exists() else []
    helps = [line for _, command in commands() for line in (command.help or "").splitlines()]
    return sorted({line.split(" #")[0].strip() for line in [*lines, *helps] if line.strip().startswith("atomsim ")})


@pytest.mark.parametrize(("path", "command"), commands(), ids=lambda c: "-".join(c) if isinstance(c, tuple) else "")
def test_no_two_options_of_a_command_have_one_name(path, command) -> None:
    names = [name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")]
    assert len(names) == len(set(names)), path


@pytest.mark.parametrize("line", examples())
def test_examples_are_commands(line: str) -> None:
    _, *words = shlex.split(line)
    command, name = get_command(app), ""
    while hasattr(command, "commands"):
        command, (name, *words) = command.commands[words[0]], words
    command.make_context(name, words)  # parses, and runs nothing


@pytest.mark.parametrize("own", [True, False])
def test_ctrl_c_while_a_library_is_imported_is_an_interrupt_and_another_failure_is_not(monkeypatch, own):
    def stopped(*_, **__):
        try:
            raise KeyboardInterrupt if own else ValueError
        except BaseException as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr("atomsim.catalog.folder", stopped)
    result = CliRunner().invoke(app, ["potentials", "list"])
    assert (result.exit_code == 130) is own
    assert ("run the same command again to continue" in result.output) is own
