"""``atomsim potentials compare``: a page, tables, and a clear line for what it cannot compare."""

from __future__ import annotations

import csv
import json

import pytest
from ase.io import write
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.structures.prototypes import load_prototype


def run(*arguments):
    return CliRunner().invoke(app, ["potentials", "compare", *map(str, arguments)])


def test_two_potentials_on_a_prototype_and_a_file(tmp_path):
    cells = [load_prototype(name).primitive for name in ("Li2O", "Li2O2")]
    cells[1].rattle(0.05, seed=1)
    write(tmp_path / "two.extxyz", cells)
    result = run(
        "lj-test",
        "morse",
        "--on",
        "Li2O",
        "--on",
        tmp_path / "two.extxyz",
        "-o",
        tmp_path / "out",
        "--json",
        "--fmax",
        0.2,
    )
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert [row["label"] for row in content["static"]] == ["Li2O", "two-1", "two-2"]
    assert content["summary"]["forces_MAE_meV_per_A"] > 1.0
    assert [row["label"] for row in content["relaxed"]] == ["Li2O", "two-1", "two-2"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "morse against lj-test" in page
    assert "default-src 'none'" in page  # the browser is told to fetch nothing
    assert "<script src" not in page
    with (tmp_path / "out" / "static.csv").open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 4


def test_a_potential_agrees_with_itself(tmp_path):
    result = run("lj-test", "lj-test", "--on", "Li2O", "--no-relax", "-o", tmp_path / "out", "--json")
    content = json.loads(result.stdout)
    assert content["summary"]["forces_MAE_meV_per_A"] == 0.0
    assert content["summary"]["energy_MAE_meV_per_atom"] == 0.0
    assert content["relaxed"] == []


@pytest.mark.parametrize(
    ("on", "message"),
    [("Li2RuO4", "did you mean 'Li2RuO3'"), ("absent.toml", "was not run here"), (".", "holds no run")],
)
def test_what_cannot_be_compared_is_told(on, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("lj-test", "morse", "--on", on)
    assert result.exit_code == 2
    assert message in result.output


def test_what_did_not_converge_is_no_result(tmp_path):
    cell = load_prototype("Li2O").primitive
    cell.rattle(0.05, seed=1)
    write(tmp_path / "one.extxyz", cell)
    result = run("lj-test", "morse", "--on", tmp_path / "one.extxyz", "--fmax", "1e-15", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "max_steps" in result.output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "1 of 1 structures did not converge" in page
    assert "Lattice" not in page.split("<section")[0]


def test_a_structure_that_cannot_be_computed_and_a_file_for_a_folder_are_refused(tmp_path):
    cell = load_prototype("Li2O").primitive
    cell.positions[1] = cell.positions[0]
    write(tmp_path / "bad.extxyz", cell)
    result = run("lj-test", "lj-test", "--on", tmp_path / "bad.extxyz", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "apart" in result.output
    result = run("lj-test", "lj-test", "--on", "Li2O", "-o", tmp_path / "bad.extxyz")
    assert result.exit_code == 2
    assert "is a file" in result.output
