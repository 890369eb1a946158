"""What may change in a campaign that has begun: what was paid for stays, and what took its place says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from atomsim.campaign.file import load_campaign
from atomsim.campaign.observer import RunSummary, Silent
from atomsim.campaign.run import run_campaign
from atomsim.errors import InputError
from atomsim.execution.job import Engine
from atomsim.store.records import Record
from atomsim.store.run_folder import read_run

HEAD = '[campaign]\nname = "changes"\npotential = "lj-test"\nseed = 1\n'
METAL = (
    '[[step]]\nname = "relaxed"\nkind = "relax"\nstructures = "*.extxyz"\nfmax_eV_per_A = 0.02\ncheck_minimum = false\n'
)
NEXT = '[[step]]\nname = "next"\nkind = "relax"\nstructures = "relaxed"\ncell = false\n'


class Counting(Silent):
    """Counts the structures that were evaluated."""

    def __init__(self) -> None:
        self.calls = 0

    def force_calls(self, number: int) -> None:
        """Add up."""
        self.calls += number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Helium near to its minimum and far from it."""
    for name, noise in (("near", 0.0), ("far", 0.1)):
        atoms = bulk("He", "fcc", 3.3, cubic=True)
        atoms.rattle(noise, seed=1)
        write(tmp_path / f"{name}.extxyz", atoms)
    return tmp_path


def go(folder: Path, text: str, out: str = "run") -> tuple[RunSummary, int]:
    path = folder / "mine.toml"
    path.write_text(HEAD + text, encoding="utf-8")
    watch = Counting()
    summary = run_campaign(load_campaign(path), folder / out, Engine("lj-test", processes=0), progress=watch)
    return summary, watch.calls


def records(folder: Path, step: str = "relaxed", out: str = "run") -> dict[str, Record]:
    return {r.label: r for r in read_run(folder / out)[1][step]}


def limited(steps: int) -> str:
    return f"{METAL}max_steps = {steps}\n"


def few(folder: Path) -> int:
    """Steps within which one of the structures converges and the other does not."""
    go(folder, limited(200), "whole")
    steps = {label: r.values["steps"] for label, r in records(folder, out="whole").items()}
    assert steps["near"] < steps["far"]
    return steps["near"]


def test_a_raised_limit_runs_what_it_ended_and_keeps_the_rest(folder: Path) -> None:
    enough = few(folder)
    go(folder, limited(enough) + NEXT)
    before = records(folder)
    assert {label: r.status for label, r in before.items()} == {"near": "converged", "far": "max_steps"}
    followed = records(folder, "next")

    summary, _ = go(folder, limited(200) + NEXT)
    after = records(folder)
    assert summary.ok
    assert after["near"] == before["near"]
    assert records(folder, "next")["near"] == followed["near"]
    assert after["far"].provenance["instead_of"] == before["far"].task
    whole = records(folder, out="whole")["far"]  # as if the limit had been so high from the beginning
    assert (after["far"].task, after["far"].values) == (whole.task, whole.values)
    assert records(folder, "next").keys() == {"near", "far"}
    assert "max_steps" in json.loads((folder / "run" / "run.json").read_text())["changes"][0]["what"]
    assert go(folder, limited(200) + NEXT)[1] == 0


def test_a_step_may_be_appended(folder: Path) -> None:
    go(folder, METAL)
    before = records(folder)
    summary, _ = go(folder, METAL + NEXT)
    assert summary.ok
    assert [step.tasks for step in summary.steps] == [2, 2]
    assert records(folder) == before


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("fmax_eV_per_A = 0.02", "fmax_eV_per_A = 0.01", "fmax_eV_per_A was 0.02, now 0.01"),
        ("max_steps = 200", "max_steps = 100", "max_steps was 200, now 100"),
        ("seed = 1", "seed = 2", "seed was 1, now 2"),
        ('"*.extxyz"', '"near.extxyz"', "structures was"),
        ('name = "relaxed"', 'name = "other"', "its steps were relaxed"),
    ],
)
def test_what_decides_energies_may_not_change_even_beside_what_may(folder: Path, old: str, new: str, why: str) -> None:
    go(folder, limited(200))
    path = folder / "mine.toml"
    changed = path.read_text().replace(old, new)
    assert changed != path.read_text()
    path.write_text(changed + NEXT.replace('"relaxed"', '"other"' if '"other"' in changed else '"relaxed"'))
    with pytest.raises(InputError, match=why):
        run_campaign(load_campaign(path), folder / "run", Engine("lj-test", processes=0))


ELECTRODE = """
[[step]]
name = "orderings"
kind = "delithiate"
parent = "host.cif"
x_per_formula_unit = [1.0, 0.0]
[[step]]
name = "relaxed"
kind = "relax"
structures = "orderings"
max_steps = 300
check_minimum = false
curvature = "springs"
fmax_eV_per_A = 0.2
[[step]]
name = "metal"
kind = "relax"
structures = "Li"
check_minimum = false
[[step]]
name = "electrode"
kind = "electrode"
structures = "relaxed"
reference = "metal"
"""


def test_an_analysis_is_made_anew_without_a_force_call(folder: Path) -> None:
    from atomsim.structures.prototypes import load_prototype

    write(folder / "host.cif", load_prototype("LiCoO2").primitive)
    go(folder, ELECTRODE)
    before = records(folder, "electrode")["host"]
    assert before.good, before.message
    summary, calls = go(folder, ELECTRODE + 'radiation = "MoKa"\n')
    after = records(folder, "electrode")["host"]
    assert calls == 0
    assert summary.steps[3].tasks == 1
    assert after.values["xrd"]["radiation"] == "MoKa"
    assert after.values["hull"] == before.values["hull"]
    assert after.provenance["instead_of"] == before.task
    go(folder, ELECTRODE)  # and back: the old record still counts
    assert records(folder, "electrode")["host"] == before

    changed = (folder / "mine.toml").read_text().replace("[1.0, 0.0]", "[1.0]")
    (folder / "mine.toml").write_text(changed)
    with pytest.raises(InputError, match="x_per_formula_unit was"):  # its orderings were paid for
        run_campaign(load_campaign(folder / "mine.toml"), folder / "run", Engine("lj-test", processes=0))
