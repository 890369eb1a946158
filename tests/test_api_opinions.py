"""Second opinions: several potentials on the same structures, their spread, and a list for DFT."""

from __future__ import annotations

import csv
import json
import shutil
import sys

import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

import atomsim
from atomsim.analysis.opinions import Judged, electrode_opinions
from atomsim.api.opinions import Opinion, Opinions
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.io.dft_list import write_dft_list
from atomsim.structures.prototypes import load_prototype

CPU = {"device": "cpu", "progress": False}


def test_each_potential_relaxes_by_itself_and_one_that_fails_costs_no_other():
    names = ["lj-test", "lennard-jones", "mace-li-ru-s-o"]
    found = atomsim.opinions(bulk("Ar", cubic=True), names, "Ar", quantities=["lattice"], **CPU)
    first, second, third = found.opinions
    alone = atomsim.relax(bulk("Ar", cubic=True), "lj-test", fmax_eV_per_A=0.02, standard_cell=True, **CPU)
    assert first.values["volume_A3_per_atom"] == pytest.approx(alone.atoms.cell.volume / len(alone.atoms), rel=1e-6)
    values = [o.values["volume_A3_per_atom"] for o in (first, second)]
    assert found.spread["volume_A3_per_atom"] == pytest.approx(abs(values[0] - values[1]))
    assert third.values == {}
    assert "Ar" in third.messages[0]


@pytest.mark.parametrize("names", [["lj-test"], ["lj-test", "lj-test"], ["lj-test", "nothing"]])
def test_opinions_want_different_potentials_that_are_there(names):
    with pytest.raises(InputError, match=r"two or more|unknown potential"):
        atomsim.opinions(bulk("Ar"), names, "Ar", quantities=["lattice"], **CPU)


def test_a_process_of_its_own_gives_the_same_answer():
    names, how = ["lj-test", "lennard-jones"], {"quantities": ["lattice"], **CPU}
    here = atomsim.opinions(bulk("Ar", cubic=True), names, "Ar", **how)
    there = atomsim.opinions(bulk("Ar", cubic=True), names, "Ar", **how, pythons={names[1]: sys.executable})
    assert there.to_dict() == here.to_dict()
    assert there.ranking() == here.ranking()
    silent = atomsim.opinions(bulk("Ar"), names, "Ar", **how, pythons={names[1]: shutil.which("true")})
    assert silent.opinions[0].values["a_A"] == pytest.approx(here.opinions[0].values["a_A"])
    assert "gave no answer" in silent.messages[0]
    wrong = {names[1]: "/no/such/python"}, {"morse": sys.executable}
    for pythons, why in zip(wrong, ("cannot be run", "wanted some of lj-test"), strict=True):
        with pytest.raises(InputError, match=why) as error:
            atomsim.opinions(bulk("Ar"), names, "Ar", **how, pythons=pythons)
        assert len(str(error.value).splitlines()) == 1
    assert CliRunner().invoke(app, ["opinions", "Li", "--python", "sevennet-0"]).exit_code == 2


def test_a_shift_of_energies_is_no_disagreement():
    """Energies of two potentials share no zero: neither their offset nor one per ion may appear as a spread."""
    x, base = [1.0, 0.5, 0.5, 0.0], np.array([-10.0, -7.2, -7.1, -4.0])
    shifted = base + 3.0 + 0.7 * np.array(x)
    judged = Judged("abcd", x, {"one": base, "two": shifted}, {"one": -2.0, "two": -1.3}, 1)
    found = electrode_opinions(judged)
    assert max(row["spread_V"] for row in found["voltages"]) < 1e-12
    assert max(row["spread_eV_per_fu"] for row in found["ranking"]) < 1e-12


def test_the_structure_that_potentials_differ_on_comes_first():
    x, base = [1.0, 0.5, 0.5, 0.0], np.array([-10.0, -7.2, -7.1, -4.0])
    other = base + np.array([0.0, 0.0, 0.4, 0.0])
    found = electrode_opinions(Judged("abcd", x, {"one": base, "two": other}, {"one": -2.0, "two": -2.0}, 1))
    assert found["ranking"][0]["label"] == "c"
    assert found["ranking"][0]["spread_eV_per_fu"] == pytest.approx(0.4)
    assert [row["spread_V"] for row in found["voltages"]] == pytest.approx([0.0, 0.0])


def test_a_list_for_dft_is_complete_but_for_potcar(tmp_path):
    (folder,) = write_dft_list(
        tmp_path / "dft", [("LiCoO2 x=1", load_prototype("LiCoO2").primitive)], [{"spread": 0.1}]
    )
    assert sorted(p.name for p in folder.iterdir()) == ["INCAR", "KPOINTS", "POSCAR"]
    assert "LDAUU" in (folder / "INCAR").read_text()
    (row,) = csv.DictReader((tmp_path / "dft" / "list.csv").read_text().splitlines())
    assert set(row["potcar"].split()) == {"Li", "Co", "O"}
    with pytest.raises(InputError, match="no structure"):
        write_dft_list(tmp_path / "none", [], [])


def test_opinions_of_two_environments_are_joined(tmp_path):
    mine = Opinions("LiCoO2", (Opinion("one", "a", {"average_voltage_V": 3.5}),))
    theirs = Opinions.from_dict(
        json.loads(json.dumps(Opinions("LiCoO2", (Opinion("two", "b", {"average_voltage_V": 4.0}),)).to_dict()))
    )
    assert mine.joined(theirs).spread == {"average_voltage_V": pytest.approx(0.5)}
    with pytest.raises(InputError, match="wanted LiCoO2"):
        mine.joined(Opinions("NaCoO2", ()))
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    result = CliRunner().invoke(app, ["opinions", "Li", "--with", str(wrong)])
    assert result.exit_code == 2


def relaxed(others):
    step = {"name": "relaxed", "kind": "relax", "structures": ["Li"], "check_with": others, "check_relax": True}
    campaign = {"campaign": {"name": "opinions", "potential": "lj-test"}, "step": [step]}
    return atomsim.run_campaign(campaign, **CPU)["relaxed"]


def test_a_relax_step_carries_opinions_and_the_rest_goes_on():
    (found,) = relaxed(["lennard-jones", "mace-na-ru-o"])
    assert found.status == "converged"
    values = found.record.values
    judged = values["checked_with"]["lennard-jones"]
    assert judged["relaxed"] == "converged"
    alone = atomsim.relax("Li", "lennard-jones", **CPU)
    assert judged["energy_per_atom_eV"] == pytest.approx(alone.energy_per_atom_eV, abs=2e-3)
    assert values["disagreement_eV_per_A"] == judged["force_rms_eV_per_A"]
    assert "Li" in values["checks_failed"]["mace-na-ru-o"]


@pytest.mark.parametrize(("others", "why"), [(["lj-test"], "agrees with itself"), (["nothing"], "unknown potential")])
def test_an_opinion_of_the_same_potential_is_refused(others, why):
    with pytest.raises(InputError, match=why):
        relaxed(others)


def test_an_electrode_shows_the_spread_of_its_voltages():
    steps = [
        {
            "name": "orderings",
            "kind": "delithiate",
            "parent": "LiCoO2",
            "x_per_formula_unit": [1.0, 0.0],
            "max_atoms": 4,
        },
        {"name": "relaxed", "kind": "relax", "structures": "orderings", "check_with": ["lennard-jones"]},
        {"name": "metal", "kind": "relax", "structures": ["Li"], "check_with": ["lennard-jones"]},
        {"name": "electrode", "kind": "electrode", "structures": "relaxed", "reference": "metal"},
    ]
    for step in steps[1:3]:
        step["keep_symmetry"] = True
    run = atomsim.run_campaign({"campaign": {"name": "spread", "potential": "lj-test"}, "step": steps}, **CPU)
    values = run["electrode"].record.values
    (row,) = values["opinions"]["voltages"]
    assert row["by"]["lj-test"] == pytest.approx(values["voltage"]["hull"][0]["voltage_V"])
    assert row["spread_V"] == pytest.approx(abs(row["by"]["lj-test"] - row["by"]["lennard-jones"]))


def test_a_path_is_judged_image_by_image(tmp_path):
    crystal = bulk("Cu", a=3.1, cubic=True).repeat(2)
    start, end = crystal[1:], crystal[1:]
    end.positions[0] = crystal.positions[0]
    for name, atoms in (("start", start), ("end", end)):
        atoms.write(tmp_path / f"{name}.extxyz")
    ends = {name: str(tmp_path / f"{name}.extxyz") for name in ("start", "end")}
    step = {"name": "path", "kind": "neb", **ends, "images": 3, "check_with": ["morse"]}
    run = atomsim.run_campaign({"campaign": {"name": "path", "potential": "lj-test"}, "step": [step]}, **CPU)
    values = run["path"].record.values
    other = values["checked_with"]["morse"]["barrier_eV"]
    assert values["barrier_spread_eV"] == pytest.approx(abs(other - values["barrier_eV"]))
