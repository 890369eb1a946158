"""Barriers over several x, by a second potential, and with attempt frequencies: from campaign to records and report."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from atomsim.campaign.file import load_campaign
from atomsim.campaign.run import run_campaign
from atomsim.execution.job import Engine
from atomsim.hopping.summary import host_summaries
from atomsim.report import write_report
from atomsim.store.records import Record
from atomsim.store.run_folder import read_run

ENGINE = Engine("emt", "cpu", processes=0, loader="emt_potential:load")
SEVERAL = """
[campaign]
name = "several"
potential = "chgnet-0.3.0" # the tests load another
seed = 1

[[step]]
name = "orderings"
kind = "delithiate"
parent = "alloy.extxyz"
ion = "Cu"
x_per_formula_unit = [1.0, 0.75]
orderings = 1
max_atoms = 8

[[step]]
name = "hosts"
kind = "relax"
structures = "orderings"
fmax_eV_per_A = 0.005

[[step]]
name = "hops"
kind = "barriers"
structures = "hosts"
ion = "Cu"
max_length_A = 2.8 # the hop of 2.81 Å explodes after some 8,000 evaluations
supercell_min_A = 3.5
max_atoms = 8
images = 3
end_fmax_eV_per_A = 0.005
check_with = ["morse", "lj-test"]
"""
RATES = """
[campaign]
name = "rates"
potential = "chgnet-0.3.0"
seed = 1

[[step]]
name = "hops"
kind = "barriers"
structures = "copper.extxyz"
ion = "Cu"
max_length_A = 2.8
supercell_min_A = 5.0
max_atoms = 8
images = 3
fmax_eV_per_A = 0.01
end_fmax_eV_per_A = 0.002
prefactors = PREFACTORS
"""


def run(folder: Path, text: str) -> list[Record]:
    (folder / "mine.toml").write_text(text)
    run_campaign(load_campaign(folder / "mine.toml"), folder / "run", ENGINE)
    return read_run(folder / "run")[1]["hops"]


def test_barriers_over_several_x_are_reported_against_x_with_their_spread(tmp_path):
    alloy = Atoms("Cu2Au2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
                  cell=[3.95, 3.95, 3.7], pbc=True)  # fmt: skip
    write(tmp_path / "alloy.extxyz", alloy)
    records = run(tmp_path, SEVERAL)
    hosts = host_summaries(records)
    assert sorted({h["x"] for h in hosts}) == [0.75, 1.0]
    assert all(h["good"] for h in hosts)
    for record in records:
        if not record.good:
            continue
        checked = record.values["checked_with"]
        assert set(checked) == {"morse", "lj-test"}
        barriers = [record.values["barrier_eV"], *(c["barrier_eV"] for c in checked.values())]
        assert record.values["barrier_spread_eV"] == pytest.approx(max(barriers) - min(barriers))
    info, steps = read_run(tmp_path / "run")
    page = write_report(tmp_path / "run", info, steps).read_text()
    assert "Barriers on charge" in page


def test_attempt_frequencies_of_the_shell_and_of_all_atoms_are_near_each_other(tmp_path):
    found = []
    for number, word in enumerate(("true", '"full"')):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "copper.extxyz", bulk("Cu", "fcc", a=3.62))  # pressed more, its saddle has a mode next to zero
        (record,) = run(folder, RATES.replace("PREFACTORS", word))
        assert record.status == "converged"
        assert record.values["prefactor_from"] == "vineyard"
        found.append(record.values["prefactor_Hz"])
    shell, whole = found
    assert 1e12 < shell < 1e14  # Hz; of a metal's vacancy
    assert whole == pytest.approx(shell, rel=0.6)
