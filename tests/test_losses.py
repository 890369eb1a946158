"""What a format does not keep is named in one line, with the format that does; what comes back is equal."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.io import read_structures
from atomsim.io.write import write_structures


def full():
    atoms = bulk("NaCl", "rocksalt", a=5.6).repeat((2, 1, 1))
    atoms.info = {"source": "ours", "charge": np.arange(3.0)}
    atoms.set_tags([1, 0, 0, 2])
    atoms.set_initial_magnetic_moments([1.0, 0.0, 0.0, 1.0])
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_array("site", np.array(["p", "q", "r", "s"]))
    return atoms


KEPT = {
    "x.extxyz": set(),
    "x.traj": {"site"},
    "x.json": {"site", "info source", "info charge"},
    "x.db": {"site", "info source", "info charge"},
    "x.vasp": {"site", "info source", "info charge", "magnetic moments", "tags"},
    "x.cif": {"site", "info source", "info charge", "magnetic moments", "tags", "constraints"},
}


@pytest.mark.parametrize("name", KEPT)
def test_what_a_format_does_not_keep_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_structures(tmp_path / name, [full()])
    evaluation = capsys.readouterr().err
    assert evaluation.count("\n") == bool(KEPT[name])
    assert all(word in evaluation for word in KEPT[name])
    assert not any(word in evaluation for word in KEPT["x.cif"] - KEPT[name])
    assert not KEPT[name] or evaluation.endswith(".extxyz does\n")
    write_structures(tmp_path / name, [bulk("NaCl", "rocksalt", a=5.6)])  # nothing to lose
    assert not capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "json"])
def test_what_no_format_keeps_costs_no_file(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = bulk("Cu")
    atoms.info = {"when": datetime.datetime(2020, 1, 1, tzinfo=None), "kept": 1}
    write_structures(tmp_path / f"x.{suffix}", [atoms])
    (back,) = read_structures(tmp_path / f"x.{suffix}")
    assert "when" not in back.info
    assert back.info.get("kept", 1) == 1
    assert "info when, which no format does" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", ["C:\\temp\\new", "ends\\", "\\", 'it\'s \\"x\\"', ["a\\b", "c"], {"p": "C:\\x"}, "two\nlines", "a=b\\ c"]
)
def test_backslashes_come_back(value: object, tmp_path: Path) -> None:
    atoms = bulk("Cu")
    atoms.info = {"v": value, "after": 1}
    write_structures(tmp_path / "x.extxyz", [atoms])
    (back,) = read_structures(tmp_path / "x.extxyz")
    assert back.info == {"v": value, "after": 1}


def test_relax_says_before_the_work_what_the_output_will_not_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = bulk("Cu", a=3.0)
    atoms.info = {"source": "ours"}
    write("in.extxyz", atoms)
    found = CliRunner().invoke(app, ["relax", "in.extxyz", "-o", "out.cif", "-p", "lj-test", "-n", "0"])
    notes = [line for line in found.stderr.splitlines() if line.startswith("note: out.cif")]
    assert notes == ["note: out.cif does not keep energy, forces, stress, info source; .extxyz does"]
