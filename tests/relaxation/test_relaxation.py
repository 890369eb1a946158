"""Relaxed energies are those of ASE, for every optimizer and kind of potential."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixBondLengths
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from random_mace import random_mace
from typer.testing import CliRunner

from atomsim.batching.capacity import Capacity
from atomsim.cli import app
from atomsim.errors import InputError
from atomsim.models.ase import PotentialCalculator
from atomsim.models.combine import Sum
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from atomsim.relaxation import METHODS, RelaxSettings, relax
from atomsim.structures.prototypes import load_prototype

FMAX = 0.005


@cache
def potential(name: str) -> Potential:
    if name == "mace":
        # untrained, so a pair potential under it gives it a minimum
        untrained = MacePotential(random_mace([3, 8]), dtype=torch.float64)
        return Sum([load_potential("lj-test", "cpu"), untrained])
    return load_potential(name, "cpu")


def start(name: str) -> Atoms:
    # fcc is stable under pair forces: one basin
    pairs = bulk("Li", "fcc", a=3.15, cubic=True)
    atoms = load_prototype("LiCoO2").primitive if name.startswith("chgnet") else pairs
    atoms.rattle(0.04, seed=5)
    atoms.set_cell(atoms.cell.array @ np.diag([1.02, 0.99, 1.01]), scale_atoms=True)
    return atoms


@cache
def energy_by_ase(name: str, cell: bool) -> float:
    atoms = start(name)
    atoms.calc = PotentialCalculator(potential(name))
    assert BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None).run(fmax=FMAX, steps=500)
    return atoms.get_potential_energy()


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["chgnet-0.3.0", "mace", "lj-test"])
def test_the_relaxed_energy_is_that_of_ase(name, method, cell):
    settings = RelaxSettings(method=method, cell=cell, fmax_eV_per_A=FMAX, max_steps=1000, check_minimum=False)
    (found,) = relax(start(name), potential(name), settings=settings)  # ASE does not look for saddles
    assert found.status == "converged"
    assert found.energy == pytest.approx(energy_by_ase(name, cell), abs=1e-3 * len(found.atoms))


def test_pymatgen_structures_go_in_and_come_out_with_moments():
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = AseAtomsAdaptor.get_structure(start("chgnet-0.3.0"))
    (found,) = relax([structure], "chgnet-0.3.0", device="cpu", fmax_eV_per_A=0.1, check_minimum=False)
    assert found.structure.composition == structure.composition
    assert found.structure.site_properties["magmom"] == pytest.approx(found.magmoms)
    assert found.energy < found.initial_energy


def test_noise_is_seeded():
    def energies(seed: int) -> float:
        settings = RelaxSettings(noise_A=0.05, seed=seed, max_steps=1, check_minimum=False)
        return relax(start("lj-test"), potential("lj-test"), settings=settings)[0].initial_energy

    assert energies(1) == energies(1)
    assert energies(1) != energies(2)


def test_unknown_settings_and_methods_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'fmax_eV_per_A'"):
        relax(start("lj-test"), potential("lj-test"), fmax=0.1)
    with pytest.raises(InputError, match="did you mean 'lbfgs'"):
        relax(start("lj-test"), potential("lj-test"), method="bfgs")


def coincident() -> Atoms:
    return Atoms("Li2", positions=[[0, 0, 0], [0, 0, 0]], cell=[8, 8, 8], pbc=True)


def with_nan() -> Atoms:
    atoms = bulk("Li", "fcc", a=3.15, cubic=True)
    atoms.positions[1, 2] = np.nan
    return atoms


def with_bond_fixed() -> Atoms:
    atoms = bulk("Li", "fcc", a=3.15, cubic=True)
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    return atoms


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("bad", "status", "words", "starts"),
    [
        (Atoms(), "invalid", "0 atoms", 2),
        (coincident(), "invalid", "0.000 Å apart", 2),  # noise would take them apart
        (with_nan(), "invalid", "finite", 2),
        (with_bond_fixed(), "invalid", "FixBondLengths", 1),
        (Atoms("Li2", positions=[[0, 0, 0], [0, 0, 3]], cell=[5, 5, 0], pbc=True), "invalid", "vector 3", 2),
    ],
    ids=["empty", "coincident", "nan", "constraint", "lattice"],
)
def test_what_cannot_be_set_up_has_a_status_and_takes_no_other_along(bad, status, words, starts, method, at_once):
    systems = [start("lj-test"), bad, start("lj-test")]
    capacity = Capacity(systems=at_once)
    found = relax(systems, potential("lj-test"), method=method, starts=starts, capacity=capacity)
    assert [r.status for r in found] == ["converged", status, "converged"]
    assert words in found[1].message
    assert "\n" not in found[1].message
    assert len(found[1].atoms) == len(bad)
    assert np.isnan(found[1].energy)


@pytest.mark.parametrize(
    ("bad", "words"), [(Atoms("Li2", positions=[[0, 0, 0], [0, 0, 3]]), "0 lattice"), (coincident(), "0.000 Å apart")]
)
def test_no_symmetry_to_keep_is_a_status(bad, words):
    found = relax([bad, bulk("Li", "fcc", a=3.15, cubic=True)], potential("lj-test"), keep_symmetry=True)
    assert [r.status for r in found] == ["invalid", "converged"]
    assert words in found[0].message


@pytest.mark.parametrize(
    "wrong",
    [
        *({"fmax_eV_per_A": value} for value in (math.nan, math.inf, -1.0, 0, True, "0.05", None, 1j)),
        *({"max_steps": value} for value in (-1, 2.5, 2.0, True, "9", math.inf)),
        *({"noise_A": value} for value in (-0.1, math.nan, 0.6, "0.1")),
        *({"pressure_GPa": value} for value in (math.inf, None, True)),
        *({"seed": value} for value in (-1, 1.5, None)),
        *({"starts": value} for value in (0, 21, 1.0, True)),
        *({"cell": value} for value in (1, None, "yes")),
        *({key: 1} for key in ("check_minimum", "finish_in_double", "keep_symmetry")),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=f"found {next(iter(wrong))}=.*, wanted") as caught:
        relax(start("lj-test"), potential("lj-test"), **wrong)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    RelaxSettings(fmax_eV_per_A=np.float32(0.1), max_steps=np.int64(3), cell=np.bool_(True), noise_A=0)


def test_a_folder_as_output_is_refused_before_the_work(tmp_path):
    start("lj-test").write(tmp_path / "one.extxyz")
    loader = "no_such_module:load"  # it would be loaded first
    arguments = ["relax", str(tmp_path / "one.extxyz"), "-o", str(tmp_path), "--loader", loader]
    shown = CliRunner().invoke(app, arguments)
    assert isinstance(shown.exception, InputError | SystemExit)
    assert "is a folder" in f"{shown.exception} {shown.output}"


@pytest.mark.parametrize("scale", [0.72, 1.6])
def test_a_start_far_from_the_minimum_is_no_explosion(scale):
    host = load_prototype("Li2O").primitive
    wanted = host.cell.volume
    host.set_cell(scale * host.cell.array, scale_atoms=True)
    (found,) = relax(host, potential("chgnet-0.3.0"), check_minimum=False)
    assert found.status == "converged"
    assert found.atoms.cell.volume == pytest.approx(wanted, rel=0.06)


def test_atoms_out_of_reach_of_all_others_are_named():
    gas = load_prototype("Li2O").primitive
    gas.set_cell(4 * gas.cell.array, scale_atoms=True)
    molecule = Atoms("Li2", positions=[[0, 0, 0], [0, 0, 2.4]], cell=[20, 20, 20], pbc=True)
    slab = Atoms("Li", cell=[3, 3, 40], pbc=True)
    found = relax([gas, molecule, slab, start("lj-test")], potential("lj-test"), cell=False, check_minimum=False)
    assert "3 of 3 atoms (Li1, Li2, O3)" in found[0].message
    assert "\n" not in found[0].message
    assert [r.message for r in found[1:]] == [""] * 3
