"""Coherent interfaces: matches of known lattices, the work of adhesion of a crystal with itself, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk, fcc100

import atomsim
from atomsim.batching.capacity import evaluate_all
from atomsim.errors import InputError
from atomsim.interfaces.coherent import CoherentPlanes, CoherentSettings, shifted
from atomsim.models.pair import LennardJones
from atomsim.units import J_PER_M2

A = 5.26
LJ = LennardJones(onset_A=4.5, cutoff_A=5.2)


def test_a_crystal_on_itself_is_what_it_costs_to_cleave_it():
    """Energies of slabs that were cut by hand, not by what is tested."""
    (found,) = atomsim.coherent_interface(
        bulk("Ar", "fcc", a=A, cubic=True), bulk("Ar", "fcc", a=A, cubic=True), LJ, gap_A=A / 2, max_area_A2=30,
        thickness_A=10, fmax_eV_per_A=0.01,
    )  # fmt: skip
    slabs = [fcc100("Ar", (1, 1, n), a=A, vacuum=8, periodic=True) for n in (8, 4)]
    whole, half = (float(e.energy[0]) for s in slabs for _, e in evaluate_all([s], LJ))
    cleavage = (2 * half - whole) / (A**2 / 2) * J_PER_M2
    assert found.status == "converged"
    assert found.strain == pytest.approx((0, 0), abs=1e-9)
    assert found.record.values["rigid_J_per_m2"] == pytest.approx(cleavage, rel=1e-6)
    assert found.work_J_per_m2 == pytest.approx(cleavage, rel=0.05)  # surfaces relax a little
    assert found.value("distance_A") == pytest.approx(A / 2, abs=0.05)


def test_the_film_takes_the_strain_and_keeps_its_atoms():
    film, substrate = bulk("Ar", "fcc", a=1.03 * A, cubic=True), bulk("Ar", "fcc", a=A, cubic=True)
    planes = CoherentPlanes(film, substrate, CoherentSettings(max_area_A2=30, thickness_A=5))
    best = planes.matches[0]
    assert best.strain == pytest.approx((1 / 1.03 - 1,) * 2, abs=1e-6)
    assert best.area_A2 == pytest.approx(A**2 / 2)
    assert best.film_area_A2 == pytest.approx((1.03 * A) ** 2 / 2)
    cell = planes.cell(planes.terminations[0])
    assert cell.atoms.cell.areas()[2] == pytest.approx(best.area_A2)
    assert len(cell.slab(film=True)) + len(cell.slab(film=False)) == len(cell.atoms)
    moved = shifted(cell, 2)
    assert len(moved) == 4
    for one in moved:  # only the film moves, and only sideways
        assert np.allclose(one.positions[~cell.film], cell.atoms.positions[~cell.film])
        assert np.allclose(one.positions[:, 2], cell.atoms.positions[:, 2])


def test_lattices_that_do_not_match_are_refused_with_the_least_strain():
    copper, silver = bulk("Cu", cubic=True), bulk("Ag", cubic=True)
    with pytest.raises(InputError, match=r"13\.3 % strain at best .*wanted at most 5 % within 10 Å².*max_strain"):
        CoherentPlanes(copper, silver, CoherentSettings(max_area_A2=10))
    wide = CoherentPlanes(copper, silver, CoherentSettings(max_area_A2=10, max_strain=0.15))
    assert wide.matches[0].largest == pytest.approx(4.09 / 3.61 - 1, abs=1e-3)


def test_other_bad_input_is_one_line():
    copper = bulk("Cu", cubic=True)
    with pytest.raises(InputError, match=r"film_hkl: found \(0 0 0\)"):
        CoherentPlanes(copper, copper, CoherentSettings(film_hkl=(0, 0, 0)))
    slab = copper.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(InputError, match="substrate: Cu4 is not periodic"):
        CoherentPlanes(copper, slab, CoherentSettings())
    planes = CoherentPlanes(copper, copper, CoherentSettings(max_area_A2=10, max_atoms=3))
    with pytest.raises(InputError, match="wanted at most 3"):
        planes.cell(planes.terminations[0])
    with pytest.raises(InputError, match=r"no termination O \| O"):
        planes.cell(("O", "O"))


def test_the_command_refuses_and_reports(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from atomsim.cli import app

    monkeypatch.chdir(tmp_path)
    bulk("Ar", "fcc", a=A, cubic=True).write("argon.extxyz")
    bulk("Kr", "fcc", a=1.2 * A, cubic=True).write("krypton.extxyz")
    how = ["--potential", "lj-test", "--device", "cpu", "--processes", "0", "--no-relax-first", "--max-area", "20"]
    shown = CliRunner().invoke(app, ["coherent", "argon.extxyz", "krypton.extxyz", *how])
    assert shown.exit_code == 2
    assert "% strain at best" in shown.output
    shown = CliRunner().invoke(app, ["coherent", "argon.extxyz", "argon.extxyz", "--thickness", "5", "--json", *how])
    assert shown.exit_code == 0, shown.output
    (found,) = json.loads(shown.stdout)["results"]
    assert found["work_J_per_m2"] > 0
    assert found["strain"] == [0, 0]
    (page,) = tmp_path.glob("runs/coherent-argon-argon/report.html")
    assert "Lattice matches" in page.read_text()
