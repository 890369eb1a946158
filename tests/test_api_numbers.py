"""One way to a number: barriers, percolation, diffusivity and voltages from Python are the command's, to the digit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

import atomsim
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.hopping.summary import host_summaries
from atomsim.store.run_folder import read_run

HOPS = {"max_length_A": 2.8, "supercell_min_A": 5.0, "max_atoms": 8, "images": 3}
CPU = {"device": "cpu"}


def copper(a: float = 3.1):
    return bulk("Cu", "fcc", a=a)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of ``atomsim barriers``."""
    folder = tmp_path_factory.mktemp("barriers")
    write(folder / "copper.extxyz", copper())
    words = ["barriers", str(folder / "copper.extxyz"), "--ion", "Cu", "--potential", "lj-test", "--device", "cpu"]
    words += ["--max-length", "2.8", "--supercell-min", "5", "--max-atoms", "8", "--images", "3", "-n", "0"]
    found = CliRunner().invoke(app, [*words, "--out", str(folder / "run"), "--json"])
    assert json.loads(found.stdout)["hops"], found.output
    return folder


def test_barriers_percolation_and_diffusivity_are_those_of_the_command(command):
    """From another setting of the crystal, and in memory."""
    records = read_run(command / "run")[1]["hops"]
    (summary,) = host_summaries(records)
    found = atomsim.migration(copper().repeat((2, 1, 1)), "Cu", "lj-test", **HOPS, **CPU)
    assert [h.record.values for h in found.hops] == [r.values for r in records]
    assert found.barriers_eV == {r.tags["hop"]: r.values["barrier_eV"] for r in records}
    assert {f"threshold_{d}D_eV": e for d, e in found.percolation.threshold_eV.items()} == {
        f"threshold_{d}D_eV": summary[f"threshold_{d}D_eV"] for d in (1, 2, 3)
    }
    diffusivity = found.diffusivity(300)
    assert diffusivity.mean == summary["diffusivity_300K_cm2_per_s"]
    assert found.activation_energy_eV(300) == summary["activation_energy_eV"]
    assert found.rates(300) == {r.tags["hop"]: r.values["rate_300K_per_s"] for r in records}


def test_a_file_named_in_python_is_the_same_run(command):
    """Its tasks have the command's ids, so that it continues in the command's folder."""
    before = read_run(command / "run")[1]["hops"]
    found = atomsim.migration(command / "copper.extxyz", "Cu", "lj-test", **HOPS, **CPU, run=command / "run")
    assert [h.record for h in found.hops] == before
    assert found.told() in repr(found)
    assert found.told() in found._repr_html_()
    table = found.to_dataframe()
    assert list(table["hop"]) == [r.tags["hop"] for r in before]
    assert list(table["barrier_eV"]) == [r.values["barrier_eV"] for r in before]
    assert type(found).from_dict(json.loads(json.dumps(found.to_dict()))).barriers_eV == found.barriers_eV
    for kind in ("barriers", "paths", "arrhenius"):
        assert found.plot(kind=kind).get_ylabel()
    run = atomsim.open_run(command / "run")
    assert run["hops"].diffusivity(300).mean == found.diffusivity(300).mean


def test_some_hops_alone_give_upper_bounds(command):
    hops = atomsim.hops(copper(), "Cu", max_length_A=3.4, supercell_min_A=5.0, max_atoms=8)
    names = [row.hop for row in hops if not row.left_out]
    start, end = hops.endpoints(names[0])
    assert (start.numbers == end.numbers).all()
    assert len(start) == len(hops.supercell) - 1
    found = atomsim.migration(hops, "Cu", "lj-test", only=names[:1], images=3, **CPU)
    assert [h.record.tags["hop"] for h in found.hops] == names[:1]
    if len(names) > 1:
        assert found.percolation.upper_bound
        assert found.status == "partial"
    with pytest.raises(InputError, match=r"only: no hop 'Cu-a>Cu-b 9'"):
        atomsim.migration(hops, "Cu", "lj-test", only=["Cu-a>Cu-b 9"], **CPU)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ion": "Xx"}, "ion: found 'Xx'"),
        ({"ion": "Li"}, "no Li in"),
        ({"max_atoms": 2, "host": "LiCoO2"}, "max_atoms"),
        ({"check_with": [5]}, "check_with: found int"),
        ({"max_lenght_A": 5}, "did you mean 'max_length_A'"),
        ({"max_length_A": 50}, "wanted a length in Å"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_a_force_call(wrong, words):
    arguments = {"host": copper(), "ion": "Cu", "potential": "lj-test"} | wrong
    if arguments["host"] == "LiCoO2":
        arguments["ion"] = "Li"
    with pytest.raises(InputError, match=words):
        atomsim.migration(**arguments)


CAMPAIGN = """
[campaign]
name = "delithiation"
potential = "lj-test"
device = "cpu"
seed = 5

[[step]]
name = "orderings"
kind = "delithiate"
parent = "LiCoO2"
x_per_formula_unit = [1.0, 0.5, 0.0]
orderings = 2
max_atoms = 8

[[step]]
name = "relaxed"
kind = "relax"
structures = "orderings"
keep_symmetry = true

[[step]]
name = "metal"
kind = "relax"
structures = "Li"
fmax_eV_per_A = 0.005

[[step]]
name = "electrode"
kind = "electrode"
structures = "relaxed"
reference = "metal"
"""


def without_ids(value):
    if isinstance(value, dict):
        return {k: without_ids(v) for k, v in value.items() if k != "task"}
    return [without_ids(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def relaxed() -> atomsim.Relaxations:
    orderings = atomsim.delithiate("LiCoO2", [1.0, 0.5, 0.0], orderings=2, max_atoms=8, seed=5)
    return atomsim.relax(orderings, "lj-test", keep_symmetry=True, seed=5, **CPU)


def test_voltages_are_those_of_a_campaign(relaxed, tmp_path):
    (tmp_path / "campaign.toml").write_text(CAMPAIGN)
    run = atomsim.run_campaign(tmp_path / "campaign.toml")
    found = atomsim.electrode(relaxed)
    assert without_ids(found.record.values) == without_ids(run["electrode"].record.values)
    assert [r.energy_eV for r in relaxed] == [r.energy_eV for r in run["relaxed"]]
    assert run["orderings"].counts.keys() == {1.0, 0.5, 0.0}
    theirs = found.insertion_electrode()
    assert theirs.get_average_voltage() == pytest.approx(found.average_voltage_V, abs=1e-9)
    assert sorted(p.voltage for p in theirs.voltage_pairs) == pytest.approx(sorted(s.voltage_V for s in found.voltages))
    for kind in ("voltage", "hull", "lattice", "xrd"):
        assert found.plot(kind=kind) is not None
    with pytest.raises(InputError, match="did you mean 'voltage'"):
        found.plot(kind="voltages")


def test_relaxations_that_delithiate_did_not_make_are_an_electrode_too(relaxed):
    bare = atomsim.evaluate([r.atoms for r in relaxed], "lj-test", **CPU)
    with pytest.raises(InputError, match="wanted relaxations"):
        atomsim.electrode(bare)
    again = atomsim.relax([r.atoms for r in relaxed], "lj-test", keep_symmetry=True, seed=5, **CPU)
    found = atomsim.electrode(again, reference=atomsim.relax("Li", "lj-test", **CPU))
    assert [v.x for v in found.hull] == [v.x for v in atomsim.electrode(relaxed).hull]


def test_what_is_no_electrode_is_refused(relaxed):
    nickel = relaxed[0].atoms.copy()
    nickel.numbers[nickel.numbers == 27] = 28
    other = atomsim.relax(relaxed[0].atoms, "lennard-jones", cell=False, check_minimum=False, fmax_eV_per_A=5.0, **CPU)
    for wrong, words in [
        ([], "found none"),
        ("Li2RuO3", "found str"),
        ([*relaxed, other], "different potentials"),
        ([atomsim.relax(relaxed[0].atoms, "lj-test", keep_symmetry=True, pressure_GPa=1.0, **CPU)], "at 1 GPa"),
        ([*relaxed, atomsim.relax(nickel, "lj-test", keep_symmetry=True, **CPU)], "host"),
    ]:
        with pytest.raises(InputError, match=words):
            atomsim.electrode(wrong)


def test_a_path_is_kept_in_a_run_too(tmp_path):
    from atomsim.models.pair import LennardJones

    crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat(2)
    start, end = crystal[1:], crystal[1:]
    end.positions[0] = crystal.positions[0]
    argon = LennardJones(onset_A=4.5, cutoff_A=5.2)
    first, again = (
        atomsim.neb(start, end, argon, images=3, fmax_eV_per_A=0.01, run=tmp_path / "path") for _ in range(2)
    )
    assert first.record == again.record
    assert first.ok
    assert first.plot().get_xlabel().endswith("Å")
    deeper = LennardJones(epsilon_eV=2 * argon.epsilon_eV, onset_A=4.5, cutoff_A=5.2)
    checked = atomsim.neb(start, end, argon, images=3, fmax_eV_per_A=0.01, check_with=[deeper])
    assert checked.checks["LennardJones"].barrier_eV == pytest.approx(2 * first.barrier_eV, abs=1e-9)
    assert checked.barrier_eV == first.barrier_eV
