"""Charging of a glass: shells, O–O without sulfates, voltages and their scatter, random removals of several glasses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from walks import run

import atomsim
from atomsim.analysis.charging import ChargedStructure, charge_states, charge_voltages, charged_structure, polyhedra
from atomsim.campaign.file import load_campaign
from atomsim.errors import InputError
from atomsim.report.steps import part_of
from atomsim.store.run_folder import read_run
from atomsim.structures.orderings import random_orderings
from atomsim.tasks.base import Origin, write_origins

CAMPAIGN = """
[campaign]
name = "glass"
potential = "lj-test"

[[step]]
name = "metal"
kind = "relax"
structures = "Li"
fmax_eV_per_A = 1.0
check_minimum = false

[[step]]
name = "removed"
kind = "delithiate"
parent = "glasses.jsonl"
x_per_formula_unit = [1.0, 0.5, 0.0]
orderings = 2
choose = "random"
max_atoms = 16

[[step]]
name = "relaxed"
kind = "relax"
structures = "removed"
fmax_eV_per_A = 1000.0
check_minimum = false

[[step]]
name = "charged"
kind = "electrode"
structures = "relaxed"
reference = "metal"
"""


def octahedron(stretch: float = 1.0, bend_deg: float = 0.0) -> Atoms:
    """One Ru in six O at 2 Å; one bond stretched, another turned in a plane."""
    directions = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float) * 2.0
    directions[0] *= stretch
    angle = np.radians(bend_deg)
    directions[2] = 2.0 * np.array([np.sin(angle), np.cos(angle), 0])
    return Atoms("RuO6", [[0, 0, 0], *directions], cell=[12] * 3, pbc=True)


def test_shells_of_known_octahedra():
    whole = polyhedra(octahedron(), "Ru")
    assert (whole.coordination, whole.octahedra) == (6, 1)
    assert whole.mean_length_A == pytest.approx(2.0)
    assert whole.distortion == pytest.approx(0.0, abs=1e-12)
    assert whole.angle_variance_deg2 == pytest.approx(0.0, abs=1e-9)
    mean = 2.0 * 6.1 / 6
    long = polyhedra(octahedron(stretch=1.1), "Ru")
    assert long.distortion == pytest.approx((5 * (mean - 2.0) + 2.2 - mean) / 6 / mean)
    bent = polyhedra(octahedron(bend_deg=6.0), "Ru")
    assert bent.distortion == pytest.approx(0.0, abs=1e-12)
    assert bent.angle_variance_deg2 == pytest.approx(2 * 6.0**2 / 11)  # 84° and 96° beside ten of 90°


def test_oxygens_of_one_sulfate_are_no_dimer():
    """A short O–O edge of a sulfate does not count; the same pair beside the sulfate does."""
    s = 1.40 / np.sqrt(3)
    sulfate = Atoms("SO4", [[0, 0, 0], [s, s, s], [s, -s, -s], [-s, s, -s], [-s, -s, s]], cell=[14] * 3, pbc=True)
    alone = charged_structure("a", sulfate, 1.0, 1, -1.0)
    assert sum(alone.OO_per_fu.values()) == 0
    pair = charged_structure("b", sulfate + Atoms("O2", [[6, 6, 6], [6, 6, 7.45]]), 1.0, 2, -1.0)
    assert pair.OO_per_fu["peroxide"] == 0.5
    assert pair.shortest_OO_A == pytest.approx(1.45)


def test_voltages_and_their_scatter_are_those_of_the_energies():
    """With energies of known spread at both x, the scatter is that of all pairs drawn from them."""
    rng = np.random.default_rng(4)
    high, low = -10.0 + 0.02 * rng.normal(size=400), -6.0 + 0.03 * rng.normal(size=400)
    made = [ChargedStructure("s", x, e, {}, None, {}) for x, es in ((2.0, high), (1.0, low)) for e in es]
    (step,) = charge_voltages(made, ion_energy_eV=-1.0)
    assert step.mean_V == pytest.approx(3.0, abs=0.01)  # −(−10 + 6 + 1)
    assert step.lowest_V == pytest.approx(-(high.min() - low.min() + 1.0))
    pairs = np.std(-(rng.permutation(high) - rng.permutation(low) + 1.0), ddof=1)
    assert step.scatter_V == pytest.approx(pairs, rel=0.15)
    assert charge_voltages(made[:1] + made[-1:], -1.0)[0].scatter_V is None
    states = charge_states(made, 2.0)
    assert [(s.x, s.removed, s.structures) for s in states] == [(2.0, 0.0, 400), (1.0, 0.5, 400)]


def test_random_removals_are_unbiased_distinct_and_seeded():
    nothing = np.arange(5)[None]
    rows, sizes = random_orderings(2, nothing, count=12, seed=1)
    assert len(rows) == 10  # all that there are
    assert len(np.unique(rows, axis=0)) == 10
    assert set(sizes) == {1}
    again, _ = random_orderings(2, nothing, count=3, seed=1)
    np.testing.assert_array_equal(again, rows[:3])
    met = np.mean([random_orderings(2, nothing, count=1, seed=s)[0][0] for s in range(300)], axis=0)
    np.testing.assert_allclose(met, 0.4, atol=5 * np.sqrt(0.24 / 300))


def glass(seed: int) -> Atoms:
    """Rocksalt with lithium and cobalt in disorder, shaken."""
    atoms = bulk("CoO", "rocksalt", 4.2, cubic=True) * (1, 1, 2)
    rng = np.random.default_rng(seed)
    cobalt = np.flatnonzero(atoms.numbers == 27)
    atoms.numbers[rng.choice(cobalt, 4, replace=False)] = 3
    atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    return atoms


def test_several_glasses_are_charged_each_by_itself(tmp_path: Path) -> None:
    tags = {"formula": "LiCoO2", "start_kind": "atoms"}
    made = [Origin(f"glass-{n}", glass(n), {**tags, "seed": n}) for n in (1, 2)]
    write_origins(tmp_path / "glasses.jsonl", made)
    (tmp_path / "c.toml").write_text(CAMPAIGN)
    assert run(load_campaign(tmp_path / "c.toml"), tmp_path / "run").ok
    found = read_run(tmp_path / "run")[1]
    assert [r.tags["member"] for r in found["removed"]] == ["glass-1"] * 4 + ["glass-2"] * 4
    assert [r.label for r in found["charged"]] == ["glass-1", "glass-2"]
    (metal,) = found["metal"]
    for record in found["charged"]:
        own = [r for r in found["relaxed"] if r.tags["member"] == record.label]
        mean = {x: np.mean([r.values["energy_eV"] / 4 for r in own if r.tags["x"] == x]) for x in (1.0, 0.5)}
        step = record.values["scatter"]["voltages"][0]
        wanted = -(mean[1.0] - mean[0.5] - 0.5 * metal.values["energy_per_atom_eV"]) / 0.5
        assert step["mean_V"] == pytest.approx(wanted)
        assert step["scatter_V"] > 0
        assert [s["structures"] for s in record.values["scatter"]["states"]] == [1, 2, 1]
    assert len(atomsim.open_run(tmp_path / "run")["charged"][0].scatter["voltages"]) == 2
    sections = part_of("charged", found["charged"]).sections
    assert sections[0].title == "Charging with its scatter · 2 glasses"
    assert [b.key for b in sections[0].blocks] == ["states", "shells-Co", "scatter"]
    assert len({s.key for s in sections}) == len(sections)


def test_two_parents_that_are_no_glasses_of_one_formula_are_refused(tmp_path: Path) -> None:
    write_origins(tmp_path / "glasses.jsonl", [Origin("a", glass(1), {"seed": 1}), Origin("b", glass(2)[:-1], {})])
    (tmp_path / "c.toml").write_text(CAMPAIGN)
    with pytest.raises(InputError, match="gives 2 structures, wanted one"):
        run(load_campaign(tmp_path / "c.toml"), tmp_path / "run")
