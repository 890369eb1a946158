"""Results of verbs: what they carry, how they are kept, and that no place or way changes a number."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.constraints import FixAtoms
from ase.mep import NEB
from matplotlib.axes import Axes
from pymatgen.core import Lattice, Structure

import atomsim
from atomsim.errors import InputError
from atomsim.models.pair import LennardJones

CPU = {"device": "cpu"}
QUICK = {"fmax_eV_per_A": 0.05, "check_minimum": False, **CPU}


def argon(a: float = 3.4, seed: int | None = None) -> Atoms:
    atoms = bulk("Ar", "fcc", a=a, cubic=True)
    if seed is not None:
        atoms.positions += np.random.default_rng(seed).normal(0, 0.05, atoms.positions.shape)
    return atoms


@pytest.fixture(scope="module")
def several() -> atomsim.Relaxations:
    return atomsim.relax([argon(), "Li", argon(3.5), Atoms("Ar2", [[0, 0, 0], [0, 0, 0.1]])], "lj-test", **QUICK)


def test_one_in_one_out_and_many_in_many_out(several):
    one = atomsim.relax(argon(), "lj-test", **QUICK)
    assert isinstance(one, atomsim.Relaxation)
    assert one.ok
    assert one.energy_eV == several[0].energy_eV
    assert [r.label for r in several] == ["Ar-1", "Li", "Ar-2", "Ar-3"]
    assert len(atomsim.relax([argon()], "lj-test", **QUICK)) == 1


def test_one_bad_structure_is_a_result(several):
    assert several.counts == {"converged": 3, "invalid": 1}
    assert "0.100 Å apart" in several[3].message
    assert np.isnan(several[3].energy_eV)
    assert several.failed[0].label == "Ar-3"
    found = atomsim.evaluate(
        ["nowhere.cif", 5, argon(), Structure(Lattice.cubic(4), [{"Li": 0.5}], [[0, 0, 0]])], "lj-test", **CPU
    )
    assert [r.status for r in found] == ["invalid", "invalid", "done", "invalid"]


def test_a_sequence_is_read_by_number_label_and_slice(several):
    assert several["Li"] is several[1]
    assert [r.label for r in several[1:3]] == ["Li", "Ar-2"]
    assert len(several.good) == 3
    assert "Li" in several
    with pytest.raises(KeyError, match="did you mean 'Ar-1'"):
        several["Ar-11"]
    with pytest.raises(TypeError):
        several[0] = None


def test_tables_entries_figures_and_notebooks(several):
    table = several.to_dataframe()
    assert isinstance(table, pd.DataFrame)
    assert list(table["status"]) == [r.status for r in several]
    assert table["energy_per_atom_eV"][0] == several[0].energy_per_atom_eV
    entries = several.entries
    assert [e.entry_id for e in entries] == ["Ar-1", "Li", "Ar-2"]
    assert entries[0].data["sha256"] == several[0].potential.sha256
    assert entries[0].energy == several[0].energy_eV
    axes = several.plot()
    assert isinstance(axes, Axes)
    assert "eV" in axes.get_ylabel()
    assert several.plot(axes) is axes
    assert several._repr_html_().index("invalid") < several._repr_html_().index("<td>Li</td>")  # failures first
    assert "cell before" in several[0]._repr_html_()
    assert "\n" not in repr(several) + repr(several[0])


def test_a_result_is_frozen_pickles_and_comes_back_from_json(several):
    for result in several:
        again = type(result).from_dict(json.loads(json.dumps(result.to_dict())))
        assert again.to_dict() == json.loads(json.dumps(result.to_dict()))
        copied = pickle.loads(pickle.dumps(result))
        assert (copied.label, copied.status) == (result.label, result.status)
        assert (copied.atoms.positions == result.atoms.positions).all()
        with pytest.raises(AttributeError):
            result.status = "converged"
    assert pickle.loads(pickle.dumps(several)).counts == several.counts
    with pytest.raises(InputError, match="to_dict"):
        atomsim.Relaxation.from_dict({"a": 1})


def test_all_that_a_structure_carries_comes_back():
    given = argon()
    given.info["source"] = {"any": object}
    given.set_array("own", np.arange(4))
    given.set_constraint(FixAtoms([0]))
    before = given.positions.copy()
    found = atomsim.relax(given, "lj-test", **QUICK)
    assert found.atoms.info["source"] == {"any": object}
    assert list(found.atoms.arrays["own"]) == [0, 1, 2, 3]
    assert isinstance(found.atoms.constraints[0], FixAtoms)
    assert found.atoms.get_potential_energy() == found.energy_eV
    assert (given.positions == before).all()
    assert given.calc is None
    structure = Structure(
        Lattice.cubic(3.4), ["Ar"] * 4, given.get_scaled_positions(), site_properties={"mine": [1, 2, 3, 4]}
    )
    assert atomsim.relax(structure, "lj-test", **QUICK).structure.site_properties["mine"] == [1, 2, 3, 4]


def test_random_numbers_come_from_content_and_not_from_the_place_in_a_list():
    cells = [argon(3.4, 1), argon(3.45, 2), argon(3.5, 3)]
    how = {"noise_A": 0.05, "starts": 2, "seed": 3, **QUICK}
    forward = atomsim.relax(cells, "lj-test", **how)
    backward = atomsim.relax(cells[::-1], "lj-test", **how)
    assert [r.energy_eV for r in forward] == [r.energy_eV for r in backward][::-1]
    one_by_one = dict(atomsim.iter_relax(iter(cells), "lj-test", noise_A=0.05, starts=2, seed=3, **QUICK))
    assert [one_by_one[n].energy_eV for n in range(3)] == [r.energy_eV for r in forward]


def test_a_run_keeps_resumes_and_is_what_the_command_makes(tmp_path):
    from typer.testing import CliRunner

    from atomsim.cli import app

    folder = tmp_path / "run"
    cells = [argon(), argon(3.5), 5]
    found = atomsim.relax(cells, "lj-test", run=folder, **QUICK)
    memory = atomsim.relax(cells, "lj-test", **QUICK)
    assert [r.status for r in found] == [r.status for r in memory] == ["converged", "converged", "invalid"]
    assert [r.record.values for r in found] == [r.record.values for r in memory]
    again = atomsim.relax(cells, "lj-test", run=folder, **QUICK)
    assert [r.record.run for r in again.good] == [r.record.run for r in found.good]
    for changed, words in [({"seed": 1}, "seed"), ({"fmax_eV_per_A": 0.01}, "fmax_eV_per_A")]:
        with pytest.raises(InputError, match=words):
            atomsim.relax(cells, "lj-test", run=folder, **(QUICK | changed))
    with pytest.raises(InputError, match="other structures"):
        atomsim.relax(cells[:1], "lj-test", run=folder, **QUICK)
    with pytest.raises(InputError, match="weights"):
        atomsim.relax(cells, "lennard-jones", run=folder, **QUICK)
    run = atomsim.open_run(folder)
    assert run["relaxed"][0].energy_eV == found[0].energy_eV
    assert run.report().is_file()
    status = CliRunner().invoke(app, ["status", str(folder), "--json"])
    assert status.exit_code == 0
    assert '"relaxed"' in status.stdout
    assert len(atomsim.read(folder)) == 2


def test_ctrl_c_leaves_what_has_finished():
    class Impatient:
        def started(self, step, total, done):
            self.seen = []

        def evaluations(self, number):
            pass

        def finished(self, label, status):
            self.seen.append(label)
            if len(self.seen) == 2:
                raise KeyboardInterrupt

    with pytest.raises(atomsim.Interrupted) as stopped:
        atomsim.relax([argon(), argon(3.5), argon(3.6)], "lj-test", progress=Impatient(), **QUICK)
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert stopped.value.results.counts == {"converged": 2}


def test_checks_are_made_at_the_same_geometries():
    other = AseLennardJones(epsilon=0.02, sigma=2.0, rc=5.0)
    found = atomsim.relax([argon(), argon(3.5)], "lj-test", check_with=["lennard-jones", other], **QUICK)
    name = "lennard-jones"
    assert found[0].checks[name].energy_eV == atomsim.evaluate(found[0].atoms, name, **CPU).energy_eV
    table = found.to_dataframe()
    columns = [c for c in table if c.startswith("energy_per_atom_eV")]
    assert columns == [
        "energy_per_atom_eV",
        f"energy_per_atom_eV[{name}]",
        "energy_per_atom_eV[ase-LennardJones]",
        "energy_per_atom_eV_spread",
    ]
    values = table[columns[:3]].to_numpy()
    assert table["energy_per_atom_eV_spread"].to_numpy() == pytest.approx(np.ptp(values, axis=1))


def test_a_check_that_fails_is_a_flag():
    for_lithium = LennardJones(onset_A=4.0, cutoff_A=5.0, name="for-lithium", elements=frozenset({3}))
    found = atomsim.evaluate(argon(), "lj-test", check_with=for_lithium, **CPU)
    assert found.ok
    assert "not checked with for-lithium" in found.flags[0]


WRONG = [
    ({"structures": []}, "empty list"),
    ({"structures": 5}, "found int, wanted ASE Atoms"),
    ({"structures": "nowhere.cif"}, "neither a file nor a prototype"),
    ({"fmax": 0.1}, "did you mean 'fmax_eV_per_A'"),
    ({"fmax_eV_per_A": 50}, "wanted a force in eV/Å"),
    ({"pressure_GPa": 101325.0}, "wanted a pressure in GPa"),
    ({"noise_A": 20}, "wanted a length in Å"),
    ({"method": "newtn"}, "did you mean 'newton'"),
    ({"max_steps": 2.5}, "found max_steps=2.5"),
    ({"cell": 1}, "found cell=1"),
    ({"seed": -1}, "found seed=-1"),
    ({"device": "gpu"}, "unknown device"),
    ({"processes": 0}, "found processes=0"),
    ({"progress": "yes"}, "progress: found str"),
    ({"run": 5}, "run: found 5"),
    ({"potential": "chgnet-0.3"}, "did you mean 'chgnet-0.3.0'"),
    ({"potential": None}, "potential: found NoneType"),
    ({"potential": AseLennardJones}, "make one with LennardJones"),
    ({"settings": 5}, "settings: found int"),
    ({"settings": {"fmx": 5}}, "unknown setting 'fmx'"),
    ({"check_with": ["nothing"]}, "unknown potential 'nothing'"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG, ids=[next(iter(w)) + str(n) for n, (w, _) in enumerate(WRONG)])
def test_bad_input_is_one_line(wrong, words):
    arguments = {"structures": argon(), "potential": "lj-test", "device": "cpu"} | wrong
    with pytest.raises(ValueError, match=words) as found:  # an InputError is one
        atomsim.relax(**arguments)
    assert isinstance(found.value, InputError)
    assert "\n" not in str(found.value)


def test_settings_are_given_at_once_and_keywords_override_them():
    settings = atomsim.RelaxSettings(fmax_eV_per_A=0.2, cell=False, seed=7)
    found = atomsim.relax(argon(), "lj-test", settings=settings, cell=True, max_steps=np.int64(50), **CPU)
    assert (found.settings["fmax_eV_per_A"], found.settings["cell"], found.seed) == (0.2, True, 7)
    assert found.settings["max_steps"] == 50


def test_a_calculator_is_its_potential_again_and_shares_its_weights():
    calculator = atomsim.calculator("lj-test", device="cpu")
    copied = calculator.copy()
    assert copied is not calculator
    assert copied.potential is calculator.potential
    assert calculator.parameters["sha256"] == atomsim.load_potential("lj-test", device="cpu").sha256
    found = atomsim.relax(argon(), calculator, **QUICK)
    assert found.potential.sha256 == calculator.potential.sha256
    images = [argon() for _ in range(3)]
    for image in images:
        image.calc = calculator.copy()
    assert np.isfinite(NEB(images, method="improvedtangent").get_forces()).all()
    assert atomsim.load_potential("lj-test", device="cpu") is calculator.potential


def test_an_object_stays_in_this_process():
    with pytest.raises(InputError, match="by its name or path"):
        atomsim.relax(argon(), atomsim.load_potential("lj-test", device="cpu"), processes=2)


def test_what_has_no_identity_computes_but_is_not_kept(tmp_path):
    class Anonymous(AseLennardJones):
        def __init__(self):
            super().__init__(sigma=2.0, rc=5.0)
            self.hidden = lambda x: x

    assert atomsim.evaluate(argon(), Anonymous()).ok
    with pytest.raises(InputError, match="name it"):
        atomsim.evaluate(argon(), Anonymous(), run=tmp_path / "run")
    named = atomsim.load_potential(Anonymous(), name="mine")
    assert atomsim.evaluate(argon(), named, run=tmp_path / "other").ok


def test_structures_and_tables_are_written_and_read(tmp_path, several):
    path = atomsim.write(tmp_path / "all.extxyz", several.good)
    assert [a.get_potential_energy() for a in atomsim.read(path)] == pytest.approx([r.energy_eV for r in several.good])
    assert len(atomsim.read(path, -1)) == 4
    assert len(pd.read_csv(atomsim.write(tmp_path / "all.csv", several))) == 4
    assert len(json.loads(atomsim.write(tmp_path / "all.json", several).read_text())) == 3
    with pytest.raises(InputError, match="holds 3 structures"):
        atomsim.relax(path, "lj-test")
    with pytest.raises(InputError, match="found 7"):
        atomsim.read(path, 7)
