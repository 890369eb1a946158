"""What came in with a structure goes out with it, and is never taken for a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write
from pymatgen.core import IStructure, Lattice, Molecule, Species, Structure
from pymatgen.core.surface import Slab
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.io import read_structures, write_extxyz
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.relaxation import relax
from atomsim.tasks.base import Context, Origin, make_task
from atomsim.tasks.relax import Settings

SETTINGS = {"potential": "lj-test", "device": "cpu", "max_steps": 3, "check_minimum": False}


def full() -> Atoms:
    """Atoms that carry one of everything."""
    atoms = bulk("Li", "fcc", a=3.3, cubic=True)
    atoms.info = {
        "id": "case-7",
        "note": "x y",
        "number": 3,
        "flag": True,
        "code": "007",
        "list": [1, 2],
        "deep": {"a": 1.5},
    }
    atoms.info["vector"] = np.array([0.1, 0.2, 0.3])
    atoms.set_tags([1, 2, 3, 4])
    atoms.set_initial_magnetic_moments([1.0, -1.0, 0.5, 0.0])
    atoms.set_initial_charges([1.0, 1.0, -1.0, -1.0])
    atoms.set_masses([6.0, 7.0, 6.5, 7.016])
    atoms.set_velocities(np.arange(12).reshape(4, 3) * 0.01)
    atoms.set_array("word", np.array(["a", "b", "c", "d"]))
    atoms.set_array("weight", np.array([0.1, 0.2, 0.3, 0.4]))
    atoms.set_array("tensor", np.arange(8).reshape(4, 2))
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def carries_the_same(found: Atoms, given: Atoms, digits: int = 12) -> None:
    for name, array in given.arrays.items():
        if name == "positions":
            continue
        if array.dtype.kind == "f":
            np.testing.assert_allclose(found.arrays[name], array, atol=10**-digits, err_msg=name)
        else:
            np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)
    for key, value in given.info.items():
        assert np.array_equal(found.info[key], value), key
        assert isinstance(found.info[key], bool) == isinstance(value, bool)
    assert [c.todict() for c in found.constraints] == [c.todict() for c in given.constraints]


def test_python_gives_back_what_came():
    given = full()
    before = given.copy()
    (found,) = relax(given, **SETTINGS)
    carries_the_same(found.atoms, given)
    assert set(found.atoms.info) == set(given.info)
    assert found.steps == 3
    carries_the_same(given, before)
    np.testing.assert_array_equal(given.positions, before.positions)


def test_json_gives_back_what_came():
    given = full()
    given.info |= {"nan": float("nan"), "none": None, "object": object(), "where": Path()}
    given.set_array("holes", np.array([np.nan, 1.0, np.inf, 2.0]))
    given.set_array("mixed", np.array([1, "a", None, 2.5], dtype=object))
    content = atoms_to_json(given)
    assert content["left_out"] == ["object", "where"]
    found = atoms_from_json(content)
    del given.info["object"], given.info["where"]
    assert np.isnan(found.info.pop("nan"))
    del given.info["nan"]
    carries_the_same(found, given)
    assert {k: found.arrays[k].dtype.kind for k in given.arrays} == {k: a.dtype.kind for k, a in given.arrays.items()}


def test_a_plain_structure_has_no_new_keys_and_metadata_decides_no_id():
    plain = bulk("Li", "fcc", a=3.3, cubic=True)
    assert set(atoms_to_json(plain)) == {"numbers", "positions", "cell", "pbc", "fixed", "arrays"}
    dressed = plain.copy()
    dressed.info["note"] = "x"
    dressed.set_tags([1, 2, 3, 4])
    tasks = [make_task(Origin("a", a), "relax", Settings(structures=["a"]), Context("s")) for a in (plain, dressed)]
    assert tasks[0].id == tasks[1].id
    assert tasks[1].structure["info"] == {"note": "x"}


def with_standard_arrays(atoms: Atoms) -> Atoms:
    for name in ("word", "weight", "tensor"):
        del atoms.arrays[name]
    return atoms


@pytest.mark.parametrize("suffix", ["extxyz", "traj"])
def test_the_command_gives_back_what_came(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    given = full()
    if suffix == "traj":
        given = with_standard_arrays(given)  # ASE's trajectories hold no others
    write_extxyz(Path("in.extxyz"), [given])
    arguments = ["relax", "in.extxyz", "-o", f"out.{suffix}", "-p", "lj-test", "-n", "0", "--max-steps", "2"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    (found,) = read_structures(Path(f"out.{suffix}"))
    carries_the_same(found, given, digits=7)
    assert found.info["status"] == "max_steps"


CAMPAIGN = """
[campaign]
name = "carried"
potential = "lj-test"

[[step]]
name = "start"
kind = "structures"
structures = "in.extxyz"

[[step]]
name = "relaxed"
kind = "relax"
structures = "start"
fmax_eV_per_A = 100.0
"""


def test_a_campaign_gives_back_what_came(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_extxyz(Path("in.extxyz"), [full()])
    Path("c.toml").write_text(CAMPAIGN)
    assert CliRunner().invoke(app, ["run", "c.toml", "-n", "0"]).exit_code == 0
    (given,) = read_structures(Path("in.extxyz"))
    (found,) = read_structures(Path("runs/c/steps/02-relaxed/structures.extxyz"))
    carries_the_same(found, given, digits=7)


def test_what_came_under_the_name_of_a_result_is_no_result(tmp_path):
    given = bulk("Li", "fcc", a=3.3, cubic=True)
    given.info |= {"energy": -999.0, "stress": "none", "label": "mine", "status": "old"}
    given.set_array("forces", np.full((4, 3), 99.0))
    given.set_array("magmoms", np.full(4, 9.0))
    given.calc = SinglePointCalculator(given, energy=-777.0, forces=np.full((4, 3), 7.0), charges=np.ones(4))
    (found,) = relax(given, **SETTINGS)
    assert found.atoms.get_potential_energy() == found.energy
    assert set(found.atoms.calc.results) == {"energy", "forces", "stress"}
    assert found.atoms.info["input_energy"] == -999.0
    np.testing.assert_array_equal(found.atoms.arrays["input_forces"], given.arrays["forces"])
    assert not {"forces", "magmoms"} & set(found.atoms.arrays)
    write(tmp_path / "by_ase.extxyz", found.atoms)  # which refuses names that occur twice
    write_extxyz(tmp_path / "bare.extxyz", [given], [{}])
    (bare,) = read_structures(tmp_path / "bare.extxyz")
    assert bare.calc is None or not bare.calc.results


def test_charges_of_a_file_are_kept_and_energies_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = bulk("Li", "fcc", a=3.3, cubic=True)
    given.calc = SinglePointCalculator(given, energy=-5.0, forces=np.ones((4, 3)), charges=np.array([1.0, 2, 3, 4]))
    write("in.extxyz", given)
    CliRunner().invoke(app, ["relax", "in.extxyz", "-o", "out.extxyz", "-p", "lj-test", "-n", "0", "--max-steps", "1"])
    found = read("out.extxyz")
    np.testing.assert_array_equal(found.arrays["input_charges"], [1, 2, 3, 4])
    assert found.get_potential_energy() != -5.0
    (by_python,) = relax("in.extxyz", **SETTINGS)
    np.testing.assert_array_equal(by_python.atoms.arrays["charges"], [1, 2, 3, 4])


def test_a_second_relaxation_by_the_command_keeps_both_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("one.extxyz", bulk("Li", "fcc", a=3.3, cubic=True))
    for name, out in (("one.extxyz", "two.extxyz"), ("two.extxyz", "three.extxyz")):
        CliRunner().invoke(app, ["relax", name, "-o", out, "-p", "lj-test", "-n", "0", "--max-steps", "1"])
    found = read("three.extxyz")
    assert (found.info["label"], found.info["input_label"]) == ("two", "one")
    assert found.info["file"] == "two.extxyz"


def salt(kind=Structure, **more) -> Structure:
    species = [Species("Li", 1), Species("O", -2, spin=1)]
    return kind(Lattice.cubic(3.3), species, [[0, 0, 0], [0.5, 0.52, 0.5]], labels=["Li_a", "O_b"], **more)


@pytest.mark.parametrize("kind", [Structure, IStructure])
def test_pymatgen_comes_out_as_it_went_in(kind):
    properties = {"magmom": [0.5, None], "wyckoff": ["a", "b"], "odd": [{"x": 1}, None]}
    given = salt(kind, site_properties=properties, properties={"id": 7}, charge=-1)
    before = given.as_dict()
    (found,) = relax(given, **SETTINGS)
    assert found.status in {"converged", "max_steps"}, found.message
    out = found.structure
    assert type(out) is kind
    assert out.labels == ["Li_a", "O_b"]
    assert [site.specie for site in out] == [site.specie for site in given]
    assert out.site_properties == given.site_properties
    assert (out.properties, out.charge) == ({"id": 7}, -1)
    np.testing.assert_allclose(out.cart_coords, found.atoms.positions)
    np.testing.assert_allclose(out.lattice.matrix, found.atoms.cell.array)
    assert given.as_dict() == before
    assert list(found.atoms.arrays["labels"]) == ["Li_a", "O_b"]


def test_a_subclass_of_structure_keeps_its_own_data():
    bare = salt()
    given = Slab(bare.lattice, bare.species, bare.frac_coords, (1, 1, 0), bare, 0.25, np.eye(3))
    (found,) = relax(given, **SETTINGS)
    assert isinstance(found.structure, Slab)
    assert (found.structure.miller_index, found.structure.shift) == ((1, 1, 0), 0.25)


def test_molecules_come_out_as_molecules():
    water = molecule("H2O")
    water.info["id"] = 3
    given = Molecule(["Li", "O"], [[0, 0, 0], [0, 0, 2.1]], charge=1, site_properties={"kind": ["a", "b"]})
    by_ase, by_pymatgen = relax([water, given], "chgnet-0.3.0", device="cpu", max_steps=1, check_minimum=False)
    assert isinstance(by_ase.structure, Molecule)
    assert by_ase.structure.composition.reduced_formula == "H2O"
    assert isinstance(by_pymatgen.structure, Molecule)
    assert by_pymatgen.structure.site_properties["kind"] == ["a", "b"]
    assert by_pymatgen.structure.charge == 1
    assert "magmom" in by_ase.structure.site_properties


@pytest.mark.parametrize(
    "info",
    [
        {"a b": 1, 'q"': "x", "=": 2},
        {"text": "two\nlines", "quote": 'a"b', "unit": "Å/ps", "empty": "", "json": "_JSON x"},
        {"pbc": "F F F", "Lattice": "none", "Properties": 1, "energy": -1.0, "virial": [1, 2]},
        {"matrix": np.arange(9).reshape(3, 3), "mixed": [1.5, "x"], "one": np.array([2.5]), "none": None},
    ],
    ids=["keys", "text", "names of the format", "values"],
)
def test_any_info_and_array_leaves_a_file_that_opens(tmp_path, info):
    atoms = full()
    atoms.info = info
    atoms.set_array("deep", np.zeros((4, 3, 3)))
    atoms.set_array("two words", np.array(["a b", "", "c", "d"]))
    atoms.set_array("species", np.array([1, 2, 3, 4]))
    atoms.set_array("objects", np.array([object()] * 4, dtype=object))
    write_extxyz(tmp_path / "x.extxyz", [atoms, atoms])
    found = read(tmp_path / "x.extxyz", ":")
    for each in found:
        np.testing.assert_allclose(each.positions, atoms.positions, atol=1e-7)
        assert each.pbc.all()
        assert each.calc is None
        assert each.arrays["deep"].shape == (4, 9)


@pytest.mark.parametrize("value", [np.array([]), np.zeros((0, 3)), [], ""])
def test_an_empty_value_swallows_no_other(tmp_path, value):
    atoms = Atoms("Ne2", [[0, 0, 5], [0, 0, 8]], cell=[4, 4, 20], pbc=[True, True, False])
    atoms.info = {"empty": value, "after": 1}
    write_extxyz(tmp_path / "x.extxyz", [atoms])
    found = read(tmp_path / "x.extxyz")
    assert found.pbc.tolist() == [True, True, False]
    assert found.info["after"] == 1


def test_arrays_that_the_format_has_no_word_for_do_not_cost_the_file(tmp_path):
    atoms = full()
    atoms.set_array("unsigned", np.arange(4, dtype=np.uint8))
    atoms.set_array("huge", np.arange(4, dtype=np.uint64) + 2**63)
    atoms.set_array("nothing", np.zeros((4, 0)))
    atoms.set_array("move_mask", np.array([1, 0, 1, 0]))
    atoms.info = {"nested": {"list": np.arange(3)}}
    write_extxyz(tmp_path / "x.extxyz", [atoms])
    found = read(tmp_path / "x.extxyz")
    assert found.arrays["unsigned"].tolist() == [0, 1, 2, 3]
    assert found.arrays["huge"][3] == str(2**63 + 3)
    assert found.arrays["input_move_mask"].tolist() == [1, 0, 1, 0]
    assert len(found.constraints) == len(atoms.constraints)
    assert found.info["nested"] == {"list": [0, 1, 2]}
