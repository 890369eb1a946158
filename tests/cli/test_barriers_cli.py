"""The commands ``barriers`` and ``neb``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import read, write
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.cli.barriers import host_message, lines_of
from atomsim.store.records import Record

LOADER = ["--loader", "emt_potential:load", "--potential", "emt", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def call(*words: str):
    return CliRunner().invoke(app, [*words, *LOADER])


def test_barriers_of_a_file_gives_hops_paths_and_a_report():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    words = ("barriers", "copper.extxyz", "--ion", "Cu", "--max-length", "2.8", "--supercell-min", "5")
    found = call(*words, "--max-atoms", "8", "--images", "3", "--no-relax", "-n", "0", "--write-dft", "vasp", "--json")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    (hop,) = content["hops"]
    assert hop["status"] == "converged"
    assert content["hosts"][0]["dimensions"] == 3
    (path,) = content["paths"]
    assert len(read(path, ":")) == 5
    assert Path(content["report"]).is_file()
    inputs = sorted(Path(path).parent.glob("*-vasp/*/POSCAR"))
    assert [p.parent.name for p in inputs] == ["00", "01", "02", "03", "04"]
    again = call(*words, "--max-atoms", "8", "--images", "4", "--no-relax", "-n", "0")
    assert again.exit_code == 2
    assert "--images was 3, now 4" in str(again.output) + str(again.stderr)


def test_a_hop_that_a_limit_ended_goes_on_with_the_command_that_its_message_advises():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    words = ("barriers", "copper.extxyz", "--ion", "Cu", "--max-length", "2.8", "--supercell-min", "5")
    words = (*words, "--max-atoms", "8", "--images", "3", "--no-relax", "-n", "0", "--json", "--fmax", "0.02")
    found = call(*words, "--search", "band", "--max-steps", "1")
    assert found.exit_code == 1
    (hop,) = json.loads(found.stdout)["hops"]
    assert hop["status"] == "max_steps"
    assert "raise --max-steps and run again" in " ".join(found.stderr.split())
    again = call(*words, "--search", "band", "--max-steps", "200")
    assert again.exit_code == 0, again.output
    (hop,) = json.loads(again.stdout)["hops"]
    assert hop["status"] == "converged"


def test_a_host_that_did_not_relax_in_time_can_be_given_more_steps():
    """The advice names the option, and the option reaches the host."""
    message = "largest force 0.0200 eV/Å after 500 steps, wanted 0.01; raise max_steps and run again"
    host = Record("", "host", "relax", "copper", "max_steps", message=message)
    assert "raise --max-steps above 500 and run again" in host_message(host)
    steps = {}
    for asked in (200, 501):
        text = "\n".join(lines_of("Al", {"max_steps": asked}, relax_host=True))
        steps[asked] = [step.get("max_steps") for step in tomllib.loads(text)["step"]]
    assert steps == {200: [None, 200], 501: [501, 501]}


def test_neb_joins_two_files_and_writes_the_path():
    cell = bulk("Cu", "fcc", a=3.59).repeat(2)
    start = cell[1:]
    end = start.copy()
    end.positions[0] = cell.positions[0]
    write("start.extxyz", start)
    write("end.extxyz", end)
    found = call("neb", "start.extxyz", "end.extxyz", "--images", "3", "--json")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    assert content["negative_modes"] == 1
    assert content["barrier_eV"] == pytest.approx(content["reverse_barrier_eV"], abs=2e-3)
    images = read(content["file"], ":")
    energies = [image.get_potential_energy() for image in images]
    assert max(energies) - energies[0] == pytest.approx(content["barrier_eV"], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [("identical", "two different minima"), ("missing", "does not exist"), ("cell", "one cell")],
)
def test_ends_that_cannot_be_joined_give_one_line_and_exit_code_two(change, words):
    start = bulk("Cu", "fcc", a=3.59).repeat(2)[1:]
    end = start.copy()
    if change == "cell":
        end.set_cell(end.cell * 1.02)
    write("start.extxyz", start)
    if change != "missing":
        write("end.extxyz", end)
    found = call("neb", "start.extxyz", "end.extxyz")
    assert found.exit_code == 2
    text = str(found.output) + str(found.stderr)
    assert words in text
    assert "Traceback" not in text


def test_an_unknown_code_is_refused_before_anything_is_computed():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    found = call("barriers", "copper.extxyz", "--ion", "Cu", "--write-dft", "abinit")
    assert found.exit_code == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("host", "ion", "words"),
    [
        ("copper.extxyz", "Li", "no Li in copper.extxyz (Cu): choose --ion from Cu"),
        ("copper.extxyz", "Xx", "found 'Xx', wanted the symbol of an element"),
        ("silver.extxyz", "Cu", "neither an earlier step, a prototype nor a file"),
        ("LiCo02", "Li", "did you mean 'LiCoO2'"),
    ],
)
def test_what_can_only_fail_is_refused_before_anything_is_computed(host, ion, words):
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    found = call("barriers", host, "--ion", ion)
    assert found.exit_code == 2
    assert words in str(found.output) + str(found.stderr)
    assert not Path("runs").exists()


def test_a_climbing_band_can_be_asked_for():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    words = (
        "barriers",
        "copper.extxyz",
        "--ion",
        "Cu",
        "--max-length",
        "2.8",
        "--supercell-min",
        "5",
        "--max-atoms",
        "8",
    )
    words += ("--images", "3", "--no-relax", "-n", "0", "--json")
    found = [call(*words, "--search", how, "-o", how) for how in ("follow", "band")]
    barriers = [json.loads(f.stdout)["hops"][0]["barrier_eV"] for f in found]
    assert barriers[0] == pytest.approx(barriers[1], abs=5e-3)
    assert call(*words, "--search", "dimer", "-o", "none").exit_code == 2


HOPS = ("barriers", "copper.extxyz", "--ion", "Cu", "--max-length", "2.8", "--supercell-min", "5", "--max-atoms", "8")
HOPS += ("--images", "3", "--no-relax", "-n", "0")


def refused(*words: str) -> str:
    """What is printed where input is refused: one line, no traceback."""
    found = call(*words)
    text = str(found.output) + str(found.stderr)
    assert found.exit_code == 2, (text, found.exception)
    assert "Traceback" not in text
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("folder", [".", "/", ".."])
def test_a_folder_without_a_name_is_refused(folder):
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    assert "folder of the run's own" in refused(*HOPS, "-o", folder)


@pytest.mark.parametrize(("option", "value"), [("--max-length", "inf"), ("--fmax", "nan"), ("--supercell-min", "nan")])
def test_numbers_that_are_not_finite_are_refused_by_the_option_s_name(option, value):
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    assert f"{option}: found {value}" in refused(*HOPS, option, value)
    assert not Path("runs").exists()


def test_a_refused_campaign_leaves_no_file_that_forbids_the_corrected_command():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    refused(*HOPS, "--images", "0", "-o", "mine")
    assert not Path("mine.toml").exists()
    assert call(*HOPS, "-o", "mine").exit_code == 0
    refused(*HOPS, "--images", "0", "-o", "mine")
    assert "images = 3" in Path("mine.toml").read_text()  # that of the run stays


def test_the_network_of_hops_that_failed_is_unknown_not_absent():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    found = call(*HOPS, "--search", "band", "--max-steps", "1", "--fmax", "1e-6", "-o", "mine")
    assert found.exit_code == 1, found.output
    assert "percolates in 3 dimensions: unknown: 1 of 1 hops has no barrier" in " ".join(found.stdout.split())
    assert "not reached" not in found.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--max-length", "2"), "the nearest are 2.54 Å apart: raise --max-length"),
        (("--supercell-min", "2"), "images of each other in this supercell; raise --supercell-min"),
        (("--check-with", "morze"), "did you mean 'morse'"),
        (("--check-with", "mace-li-ru-s-o"), "Cu is not known to mace-li-ru-s-o (--check-with)"),
        (("--ion", "Au"), "choose --ion from Cu"),
    ],
)
def test_what_the_file_says_is_found_before_the_host_is_relaxed_and_can_be_put_right(changes, words, monkeypatch):
    from atomsim.campaign import run

    def relaxed(*_: object) -> None:
        raise AssertionError("a step was run")

    monkeypatch.setattr(run, "run_step", relaxed)
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    options = [word for word in HOPS if word != "--no-relax"]
    assert words in refused(*options, "-o", "mine", *changes)
    assert not Path("mine").exists()
    assert not Path("mine.toml").exists()


def test_advice_that_comes_after_the_host_was_relaxed_works_in_the_same_folder(monkeypatch):
    from atomsim.campaign import plan as module

    monkeypatch.setattr(module, "plan", lambda *_, **__: None)  # as where only the relaxed host has no hop
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    options = [word for word in HOPS if word != "--no-relax"]
    found = call(*options, "-o", "mine", "--max-length", "2")
    assert found.exit_code == 1
    assert "raise --max-length" in " ".join(found.stdout.split())
    host = Path("mine/steps/01-host/records.jsonl").read_text()
    again = call(*options, "-o", "mine")
    assert again.exit_code == 0, again.output
    assert Path("mine/steps/01-host/records.jsonl").read_text() == host


def test_a_smaller_supercell_than_was_asked_for_is_flagged_wherever_a_hop_is_shown():
    write("copper.extxyz", bulk("Cu", "fcc", a=3.59))
    found = call(*HOPS, "--supercell-min", "8", "-o", "mine", "--json")
    (hop,) = json.loads(found.stdout)["hops"]
    assert hop["flags"] == ["images 5.08 Å apart, 8 Å were asked for: raise max_atoms"]
    assert "images 5.08 Å apart" in Path("mine/exports/hops-hops.csv").read_text()
    assert "Images apart (Å)" in Path("mine/exports/hops-percolation.csv").read_text()
    assert "images 5.08 Å apart" in Path("mine/report.html").read_text()
    again = call(*HOPS, "--supercell-min", "8", "-o", "mine")
    assert "copper: images 5.08 Å apart, 8 Å were asked for: raise --max-atoms, with another --out\n" in again.stdout


WRONG = [
    ("barriers", "--max-steps", "-3"), ("barriers", "--images", "0"), ("barriers", "--seed", "-1"),
    ("barriers", "--search", "foo"), ("barriers", "--check-with", "nope"), ("barriers", "--write-dft", "siesta"),
    ("dimerize", "--points", "-3"), ("oxygen", "--temperature", "-3"), ("oxygen", "--vacancies", "many"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "option", "value"), WRONG)
def test_a_refusal_names_what_was_typed_and_no_file_that_the_command_wrote_itself(command, option, value):
    write("cu.cif", bulk("Cu", cubic=True))
    ion = ["--ion", "Cu"] if command == "barriers" else []
    result = call(command, "cu.cif", *ion, "--out", "b1", option, value)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {option}: ")
    assert "b1.toml" not in result.stderr
    assert not Path("b1.toml").exists()
