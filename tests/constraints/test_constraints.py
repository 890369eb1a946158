"""Constraints from file to file: selective dynamics and the rest, through commands, campaigns and Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixScaled,
    FixSymmetry,
)
from ase.io import write
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

from atomsim import evaluate as atomsim_evaluate
from atomsim.cli import app
from atomsim.constraints.formats import from_selective_dynamics, selective_dynamics
from atomsim.errors import InputError
from atomsim.io import read_structures, write_extxyz
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.models.load import load_potential
from atomsim.relaxation import relax
from atomsim.store.records import Record
from atomsim.tasks import kind_of
from atomsim.tasks.base import Context

CAMPAIGN = """
[campaign]
name = "held"
potential = "lj-test"

[[step]]
name = "start"
kind = "structures"
structures = ["POSCAR"]

[[step]]
name = "relaxed"
kind = "relax"
structures = "start"
"""

CELLS = """
[campaign]
name = "cells"
potential = "lj-test"

[[step]]
name = "cells"
kind = "delithiate"
parent = "host.vasp"
ion = "Li"
x_per_formula_unit = [0.5]
"""


def crystal(*constraints: FixConstraint) -> Atoms:
    """Eight atoms in a skew cell."""
    atoms = bulk("Li", "fcc", a=3.15).repeat(2)
    atoms.rattle(0.05, seed=4)
    atoms.set_constraint(list(constraints))
    return atoms


def nowhere() -> FixConstraint:
    """A plane without a normal, as ASE makes it of (0, 0, 0)."""
    plane = FixedPlane([0], (0, 0, 1))
    plane.dir = np.full(3, np.nan)
    return plane


def held_in_z() -> Atoms:
    return crystal(FixScaled([3, 5], (False, False, True)), FixAtoms([0]))


def atomsim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def one_line(result: Result) -> str:
    """The message of a refusal."""
    assert result.exit_code != 0
    if isinstance(result.exception, InputError):
        message = str(result.exception)
    else:  # progress stands above it
        (message,) = [line for line in result.stderr.splitlines() if line.strip().startswith("error:")]
    assert "\n" not in message
    return message


def fractions(atoms: Atoms) -> np.ndarray:
    return atoms.cell.scaled_positions(atoms.positions)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("POSCAR", held_in_z(), format="vasp", direct=True)
    Path("held.toml").write_text(CAMPAIGN, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("way", ["command", "fixed cell", "campaign"])
def test_selective_dynamics_hold_from_file_to_file(folder, way):
    (before,) = read_structures(folder / "POSCAR")
    if way == "campaign":
        result = atomsim("run", "held.toml", "-n", "0")
        (written,) = Path("runs/held").rglob("*relaxed/structures.extxyz")
    else:
        written = Path("out.extxyz")
        options = ["-p", "lj-test", "-n", "0", "-o", written, *(["--no-cell"] if way == "fixed cell" else [])]
        result = atomsim("relax", "POSCAR", *options)
    assert result.exit_code == 0, result.stderr
    (after,) = read_structures(written)
    moved = fractions(after) - fractions(before)
    np.testing.assert_allclose(moved[[3, 5], 2], 0.0, atol=1e-7)  # as many digits as the file has
    np.testing.assert_allclose(moved[0], 0.0, atol=1e-7)
    assert np.abs(moved).max() > 0.005
    np.testing.assert_array_equal(selective_dynamics(after), selective_dynamics(before))


def test_only_what_is_new_is_new_in_a_task():
    """A key of its own for what is not FixAtoms, and only there: ids of other tasks stay."""
    assert "constraints" not in atoms_to_json(crystal(FixAtoms([1])))
    assert "constraints" not in atoms_to_json(crystal(*(FixCartesian(n, (False,) * 3) for n in range(8))))
    content = atoms_to_json(held_in_z())
    assert content["fixed"] == [0]
    assert content["constraints"] == [{"kind": "FixScaled", "atoms": [3, 5], "mask": [False, False, True]}]


SETS = {
    "scaled": (FixScaled([1], (True, False, True)), FixAtoms([2])),
    "cartesian": (FixCartesian([1, 4], (True, False, False)), FixAtoms([2])),
    "plane": (FixedPlane([1], (1, 2, 3)), FixCartesian([6], (True, True, True))),
    "line": (FixedLine([0, 3], (1, 0, -1)), FixScaled([5], (False, True, False))),
}


@pytest.mark.parametrize("kind", SETS)
def test_constraints_come_back_from_json_and_from_extended_xyz(kind, tmp_path):
    before = crystal(*SETS[kind])
    write_extxyz(tmp_path / "one.extxyz", [before])
    for after in (
        atoms_from_json(json.loads(json.dumps(atoms_to_json(before)))),
        *read_structures(tmp_path / "one.extxyz"),
    ):
        found = sorted(_flat(after))
        assert [f[:2] for f in found] == [w[:2] for w in sorted(_flat(before))]
        for (*_, got), (*_, wanted) in zip(found, sorted(_flat(before)), strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-15)
        assert not after.info


def _flat(atoms: Atoms) -> list[tuple[int, str, tuple[float, ...]]]:
    """Each atom, the constraint that holds it, and its mask or direction."""
    found = []
    for c in atoms.constraints:
        values = getattr(c, "mask", getattr(c, "dir", np.ones(3)))
        name = "FixAtoms" if isinstance(c, FixCartesian) and c.mask.all() else type(c).__name__
        found += [(int(i), name, tuple(np.asarray(values, dtype=float))) for i in c.index if np.any(values)]
    return found


def test_other_programs_see_a_move_mask(tmp_path):
    atoms = bulk("Li", "fcc", a=3.15, cubic=True)
    atoms.set_constraint([FixScaled([1], (False, False, True)), FixAtoms([0])])
    write_extxyz(tmp_path / "one.extxyz", [atoms])
    rows = [line.split()[-3:] for line in (tmp_path / "one.extxyz").read_text().splitlines()[2:]]
    assert rows == [["F", "F", "F"], ["T", "T", "F"], ["T", "T", "T"], ["T", "T", "T"]]


def test_a_move_mask_holds_cartesian_coordinates(folder):
    before = crystal(FixCartesian([2], (False, False, True)))
    write("mask.extxyz", before)
    result = atomsim("relax", "mask.extxyz", "-p", "lj-test", "-n", "0", "--no-cell", "-o", "out.extxyz")
    assert result.exit_code == 0, result.stderr
    (after,) = read_structures(Path("out.extxyz"))
    assert after.positions[2, 2] == pytest.approx(before.positions[2, 2], abs=1e-7)
    assert np.abs(after.positions - before.positions).max() > 0.02
    assert "FixCartesian" in one_line(atomsim("relax", "mask.extxyz", "-p", "lj-test", "-n", "0"))


@pytest.mark.parametrize("command", ["relax", "run"])
def test_what_cannot_be_kept_is_one_line_that_names_it(folder, command):
    atoms = crystal(FixBondLengths([[0, 1]]))
    write("bonds.traj", atoms)
    Path("held.toml").write_text(CAMPAIGN.replace("POSCAR", "bonds.traj"), encoding="utf-8")
    arguments = ["bonds.traj", "-p", "lj-test"] if command == "relax" else ["held.toml"]
    assert "FixBondLengths" in one_line(atomsim(command, *arguments, "-n", "0"))


def test_a_symmetry_goes_through_a_task():
    atoms = bulk("Li", "bcc", a=2.6, cubic=True)
    atoms.set_constraint([FixSymmetry(atoms)])
    again = atoms_from_json(json.loads(json.dumps(atoms_to_json(atoms))))
    (found,) = relax(again, load_potential("lj-test", "cpu"))
    assert found.converged
    np.testing.assert_allclose(found.atoms.cell.lengths(), found.atoms.cell.lengths()[0], rtol=1e-9)


@pytest.mark.parametrize("work", ["delithiate", "barriers"])
def test_work_in_supercells_refuses_constraints_that_it_would_lose(folder, work):
    host = bulk("LiF", "rocksalt", 4.0, cubic=True)
    host.set_constraint(FixScaled([1], (False, False, True)))
    write("host.vasp", host, format="vasp")
    if work == "barriers":
        message = one_line(atomsim("barriers", "host.vasp", "-p", "lj-test", "-n", "0"))
    else:
        Path("cells.toml").write_text(CELLS, encoding="utf-8")
        message = one_line(atomsim("run", "cells.toml", "-n", "0"))
    assert "FixScaled" in message


SINGLE = {
    "FixAtoms": FixAtoms([3]),
    "FixScaled": FixScaled([3], (False, False, True)),
    "FixCartesian": FixCartesian([3], (False, True, False)),
    "FixedPlane": FixedPlane([3], (1, 1, 0)),
    "FixedLine": FixedLine([3], (0, 0, 1)),
    "FixSymmetry": None,
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("dimerize", {"structures": ["held"]}),
        ("oxygen", {"structures": ["held"]}),
        ("oxygen", {"structures": ["free"], "phases": ["held"]}),
        ("order", {"structures": ["held"], "sublattices": ["Mg+Ni"]}),
        ("dope", {"structures": ["held"], "dopant": "Co", "sites": ["Mg"], "count": 1}),
        ("phonons", {"structures": ["held"]}),
        ("delithiate", {"parent": "held", "ion": "Mg", "x_per_formula_unit": [0.5]}),
    ],
)
def test_work_on_what_is_alike_by_symmetry_refuses_constraints_by_name(kind, keys, name):
    salt = bulk("MgO", "rocksalt", 4.2, cubic=True)
    salt.symbols[int(np.flatnonzero(salt.symbols == "Mg")[0])] = "Ni"
    held = salt.copy()
    held.set_constraint(SINGLE[name] or FixSymmetry(salt.copy()))
    inputs = {word: [made_of(atoms, word)] for word, atoms in (("held", held), ("free", salt))}
    module = kind_of(kind)
    with pytest.raises(InputError, match=rf"constraints \({name}\)"):
        module.expand(module.Settings(**keys), inputs, Context("s", potential_name="p", potential_sha256="a" * 64))


def test_dynamics_refuse_a_symmetry_before_they_start_and_an_evaluation_does_not_mind_it():
    salt = bulk("MgO", "rocksalt", 4.2, cubic=True)
    held = salt.copy()
    held.set_constraint(FixSymmetry(salt.copy()))
    md = kind_of("md")
    settings = md.Settings(structures=["held"], temperature_K=[300.0], duration_ps=0.1)
    with pytest.raises(InputError, match=r"held: .* FixSymmetry constraint"):
        md.expand(settings, {"held": [made_of(held, "held")]}, Context("s"))
    found = atomsim_evaluate([held, salt], "lj-test", device="cpu")
    assert [r.status for r in found] == ["done", "done"]
    assert found[0].energy_eV == found[1].energy_eV
    assert [type(c) for c in found[0].atoms.constraints] == [FixSymmetry]


def made_of(atoms, label):
    return Record(task=label, step=label, kind="structures", label=label, status="done", structure=atoms_to_json(atoms))


def test_a_pymatgen_structure_keeps_its_selective_dynamics():
    flags = [[True, True, False], [True, True, True], [False, False, False], [True, True, True]]
    fcc = [[0.02, 0, 0.03], [0, 0.5, 0.52], [0.5, 0, 0.5], [0.5, 0.51, 0]]
    lattice = Lattice([[3.15, 0, 0], [0.1, 3.15, 0], [0.1, 0.2, 3.15]])
    before = Structure(lattice, ["Li"] * 4, fcc, site_properties={"selective_dynamics": flags})
    (found,) = relax(before, load_potential("lj-test", "cpu"), fmax_eV_per_A=0.01)
    assert found.converged
    moved = found.structure.frac_coords - np.asarray(fcc)
    moved -= np.round(moved)
    np.testing.assert_allclose(moved[0, 2], 0.0, atol=1e-10)
    np.testing.assert_allclose(moved[2], 0.0, atol=1e-10)
    assert np.abs(moved).max() > 0.01
    assert np.array(found.structure.site_properties["selective_dynamics"]).tolist() == flags


def test_selective_dynamics_say_what_is_along_lattice_vectors_alone():
    flags = np.array([[True, False, True], [False, False, False], [True, True, True]])
    atoms = Atoms("Li3", cell=[[4, 0, 0], [1, 4, 0], [0.5, 0.2, 5]], pbc=True)
    atoms.set_constraint(from_selective_dynamics(flags))
    np.testing.assert_array_equal(selective_dynamics(atoms), flags)
    atoms.set_constraint(FixedLine([0], (1, 0, 0)))  # along the first vector
    np.testing.assert_array_equal(selective_dynamics(atoms)[0], [True, False, False])
    atoms.set_constraint(FixedPlane([0], (1, 0, 0)))
    with pytest.raises(InputError, match="none of the lattice"):
        selective_dynamics(atoms)


@pytest.mark.parametrize("flags", ["T T F", "t t f", ".TRUE. .TRUE. .FALSE.", ".T. .t. .F.", "True true false"])
def test_flags_of_selective_dynamics_are_read_as_fortran_does(folder, flags):
    text = Path("POSCAR").read_text(encoding="utf-8")
    Path("POSCAR").write_text(text.replace("T   T   F", flags), encoding="utf-8")
    assert flags in Path("POSCAR").read_text(encoding="utf-8")
    (found,) = read_structures(Path("POSCAR"))
    np.testing.assert_array_equal(selective_dynamics(found), selective_dynamics(held_in_z()))


@pytest.mark.parametrize("flags", ["TTF", "T,T,F", "1 1 0", "T T", "X Y Z"])
def test_flags_that_are_no_truth_values(folder, flags):
    text = Path("POSCAR").read_text(encoding="utf-8")
    Path("POSCAR").write_text(text.replace("T   T   F", flags), encoding="utf-8")
    with pytest.raises(InputError, match="atom 4 has the flags"):
        read_structures(Path("POSCAR"))


@pytest.mark.parametrize("flags", [[True, False], ["T", "T", "F"], "TTF", 1])
def test_a_pymatgen_structure_with_flags_that_say_nothing(flags):
    given = Structure(Lattice.cubic(3.4), ["Li"], [[0, 0, 0]], site_properties={"selective_dynamics": [flags]})
    (found,) = relax(given, "lj-test", device="cpu", check_minimum=False)
    assert (found.status, "want three of True and False" in found.message) == ("invalid", True)


def test_flags_of_some_sites_keep_what_other_sites_carry():
    held = [None, [True, True, False]]
    sites = {"selective_dynamics": held, "kind": ["a", "b"]}
    given = Structure(Lattice.cubic(3.4), ["Li", "Li"], [[0, 0, 0], [0.5, 0.5, 0.5]], site_properties=sites)
    (found,) = relax(given, "lj-test", device="cpu", check_minimum=False, max_steps=1)
    assert found.status != "invalid"
    assert found.atoms.arrays["kind"].tolist() == ["a", "b"]
    assert selective_dynamics(found.atoms).tolist() == [[True] * 3, [True, True, False]]


@pytest.mark.parametrize("constraint", [FixAtoms([99]), FixScaled([99], (True, False, False)), nowhere()])
def test_a_constraint_that_means_nothing_is_named(constraint):
    (found,) = relax(crystal(constraint), "lj-test", device="cpu", cell=False)
    assert found.status == "invalid"
    assert f"has a {type(constraint).__name__} constraint" in found.message


def test_an_atom_that_is_fixed_may_be_held_in_space_too():
    atoms = crystal(FixAtoms([0]), FixCartesian([0], (True, False, False)))
    (found,) = relax(atoms, "lj-test", device="cpu", check_minimum=False)
    assert found.status == "converged"
    np.testing.assert_allclose(fractions(found.atoms)[0], fractions(atoms)[0], atol=1e-9)
