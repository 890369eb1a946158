"""Whatever is given as structures and potential: computed, or refused in one line, and the rest continues."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import write
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.errors import InputError
from atomsim.models.load import load_potential
from atomsim.relaxation import RelaxSettings, iter_relax, relax
from atomsim.structures.prototypes import load_prototype

QUICK = {"device": "cpu", "check_minimum": False, "fmax_eV_per_A": 0.1}


def lithium(a: float = 3.15) -> Atoms:
    return bulk("Li", "fcc", a=a, cubic=True)


def disordered() -> Structure:
    return Structure(Lattice.cubic(4.2), [{"Li": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def moved(change) -> Atoms:
    atoms = lithium()
    change(atoms)
    return atoms


BAD = {
    "disordered": (disordered(), "partly occupied"),
    "dummy": (Structure(Lattice.cubic(4), [DummySpecies("Xa")], [[0, 0, 0]]), ""),
    "nan": (moved(lambda a: a.positions.__setitem__((0, 0), np.nan)), "finite"),
    "inf": (moved(lambda a: a.positions.__setitem__((0, 0), np.inf)), "finite"),
    "cell": (moved(lambda a: a.set_cell(np.full((3, 3), np.nan))), "finite"),
    "flat": (Atoms("Li", cell=[3, 3, 0.01], pbc=True), "units"),
    "overlap": (Atoms("Li2", [[0, 0, 0], [0, 0, 0.2]], cell=[5, 5, 5], pbc=True), "0.200 Å apart"),
    "element": (Atoms("X", cell=[5, 5, 5], pbc=True), "X"),
    "empty": (Atoms(), "0 atoms"),
    "no file": ("nowhere.cif", "neither a file nor a prototype"),
    "number": (5, "found int, wanted ASE Atoms"),
    "nothing": (None, "found NoneType, wanted ASE Atoms"),
    "table": ({"a": lithium()}, "found dict, wanted ASE Atoms"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_structure_has_a_status_and_the_rest_goes_on(name):
    bad, words = BAD[name]
    found = relax([lithium(), bad, lithium()], "lj-test", **QUICK)
    assert [r.status for r in found] == ["converged", "invalid", "converged"]
    assert words in found[1].message
    assert found[1].message
    assert "\n" not in found[1].message
    assert np.isnan(found[1].energy)
    (alone,) = relax(bad, "lj-test", **QUICK) if name != "table" else relax([bad], "lj-test", **QUICK)
    assert alone.status == "invalid"


def test_a_refused_structure_comes_back_as_it_was():
    given = disordered()
    (found,) = relax(given, "lj-test", **QUICK)
    assert found.structure == given


def test_the_gate_stands_before_the_engine_too():
    systems = [lithium(), BAD["nan"][0], BAD["overlap"][0]]
    found = dict(iter_relax(systems, load_potential("lj-test", "cpu"), RelaxSettings(check_minimum=False)))
    assert [found[n].status for n in range(3)] == ["converged", "invalid", "invalid"]


def test_elements_unknown_to_the_potential_are_refused_before_an_evaluation():
    found = relax([Atoms("Rn", cell=[5, 5, 5], pbc=True)], "chgnet-0.3.0", check_minimum=False)
    assert (found[0].status, found[0].force_calls) == ("invalid", 0)
    assert "Rn" in found[0].message


def test_structures_come_as_whatever_there_is(tmp_path):
    write(tmp_path / "two.extxyz", [lithium(), lithium(3.2)])
    ways = [
        lithium(),
        AseAtomsAdaptor.get_structure(lithium()),
        (a for a in [lithium(), lithium(3.2)]),
        map(AseAtomsAdaptor.get_structure, [lithium()]),
        str(tmp_path / "two.extxyz"),
        tmp_path / "two.extxyz",
        "Li",
        ["Li", tmp_path / "two.extxyz", lithium()],
        [],
    ]
    counts = [1, 1, 2, 1, 2, 2, 1, 4, 0]
    for given, count in zip(ways, counts, strict=True):
        found = relax(given, "lj-test", **QUICK)
        assert [r.status for r in found] == ["converged"] * count


@pytest.mark.parametrize("calculator", [EMT, LennardJones])
def test_an_ase_calculator_is_a_potential(calculator):
    copper = bulk("Cu", a=3.7, cubic=True)
    cell = calculator is EMT
    (found,) = relax(copper, calculator(), check_minimum=False, cell=cell)
    copper.set_cell(found.atoms.cell, scale_atoms=True)
    copper.calc = calculator()
    assert found.energy == pytest.approx(copper.get_potential_energy(), abs=1e-6)


@pytest.mark.parametrize(
    "potential", [None, 5, EMT, lithium(), ["lj-test"]], ids=["none", "int", "class", "atoms", "list"]
)
def test_what_is_no_potential_is_refused(potential):
    with pytest.raises(InputError, match=r"potential: found .*, wanted"):
        relax(lithium(), potential)


@pytest.mark.parametrize(
    ("wrong", "words"), [({"settings": {}}, "wanted RelaxSettings"), ({"capacity": 3}, "wanted a Capacity")]
)
def test_other_arguments_of_another_kind_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        relax(lithium(), "lj-test", **wrong)


def left_handed(atoms: Atoms) -> Atoms:
    """The same crystal: two lattice vectors exchanged."""
    other = atoms.copy()
    other.set_cell(atoms.cell.array[[1, 0, 2]])
    return other


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, {"cell": True}) for name in ("chgnet-0.3.0", "lj-test")),
        ("chgnet-0.3.0", {"keep_symmetry": True}),
        ("chgnet-0.3.0", {"cell": False}),
    ],
)
def test_a_left_handed_cell_is_the_same_crystal(name, how):
    right = load_prototype("Li2O").primitive
    right.set_cell(right.cell.array @ np.diag([1.02, 0.99, 1.01]), scale_atoms=True)
    one, other = relax([right, left_handed(right)], name, device="cpu", max_steps=3, check_minimum=False, **how)
    assert other.energy == pytest.approx(one.energy, abs=1e-5)  # single precision
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-4)
    np.testing.assert_allclose(other.stress, one.stress, atol=1e-5)
    np.testing.assert_allclose(other.atoms.cell.array[[1, 0, 2]], one.atoms.cell.array, atol=1e-4)
    np.testing.assert_allclose(other.atoms.positions, one.atoms.positions, atol=1e-4)


def test_the_command_computes_a_left_handed_cell(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from atomsim.cli import app
    from atomsim.io import read_structures

    monkeypatch.chdir(tmp_path)
    write("left.extxyz", left_handed(lithium()))
    assert CliRunner().invoke(app, ["relax", "left.extxyz", "-p", "lj-test", "-n", "0"]).exit_code == 0
    (found,) = read_structures(Path("left-relaxed.extxyz"))
    assert np.linalg.det(found.cell.array) < 0
