"""MACE: equal to MACE's own calculator, in both precisions, whole or pruned, without side effects."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from crystals import assorted
from random_mace import random_mace

from atomsim.batch import Batch
from atomsim.errors import AtomsimError, InputError
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential, quiet_mace
from atomsim.models.mace.prune import keep_elements

OXIDE = [8, 3, 44, 25]
NAMES = {torch.float32: "float32", torch.float64: "float64"}


@pytest.fixture
def own_calculator() -> Iterator:
    """MACE's ASE calculator; what it does to globals is undone."""
    before = torch.get_default_dtype()
    with quiet_mace():
        from mace.calculators import MACECalculator

    def build(model: torch.nn.Module, dtype: torch.dtype, **options):
        return MACECalculator(models=[copy.deepcopy(model)], device="cpu", default_dtype=NAMES[dtype], **options)

    yield build
    torch.set_default_dtype(before)


def reference(calculator, systems: list[Atoms]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    energies, forces, stresses = [], [], []
    for atoms in systems:
        atoms = atoms.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        full = voigt_6_to_full_3x3_stress(atoms.get_stress()) if atoms.cell.rank == 3 else np.zeros((3, 3))
        stresses.append(full)
    return np.array(energies), np.concatenate(forces), np.stack(stresses)


MODELS = {
    "foundation-like": {},
    "residual first": {"residual_first": True},
    "without scale and shift": {"scale_shift": False},
    "density": {
        "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
    },
    "non-linear": {
        "interaction_cls": "RealAgnosticResidualNonLinearInteractionBlock",
        "interaction_cls_first": "RealAgnosticResidualNonLinearInteractionBlock",
    },
}


@cache
def build(kind: str) -> torch.nn.Module:
    options = dict(MODELS[kind])
    if "interaction_cls" in options:
        with quiet_mace():
            from mace.modules import interaction_classes
        options = {key: interaction_classes[name] for key, name in options.items()}
    return random_mace(list(range(1, 90)), **options)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, torch.float64) for kind in MODELS), ("foundation-like", torch.float32), ("density", torch.float32)],
)
def test_equals_the_calculator_of_mace(kind, dtype, own_calculator):
    model, systems = build(kind), assorted(OXIDE)[:5]
    energies, forces, stresses = reference(own_calculator(model, dtype), systems)
    ours = MacePotential(model, dtype=dtype)(Batch.pack(systems))
    np.testing.assert_allclose(ours.energy.numpy(), energies, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.forces.numpy(), forces, rtol=0, atol=1e-5)
    # MACE divides a slab's virial by the volume of a cell that it stretches itself: not compared.
    np.testing.assert_allclose(ours.stress[:4].numpy(), stresses[:4], rtol=0, atol=1e-5)
    assert np.abs(forces).max() > 0.01  # the comparison says something


def test_heads_differ_and_are_chosen_by_name(own_calculator):
    model = random_mace(OXIDE, heads=["pbe", "r2scan"])
    batch = Batch.pack(assorted(OXIDE)[:2])
    of_head = {head: MacePotential(model, head=head)(batch).energy for head in ("pbe", "r2scan")}
    assert not torch.allclose(of_head["pbe"], of_head["r2scan"], atol=1e-3)
    wanted, _, _ = reference(own_calculator(model, torch.float64, head="r2scan"), assorted(OXIDE)[:2])
    np.testing.assert_allclose(of_head["r2scan"].numpy(), wanted, rtol=0, atol=1e-8)
    with pytest.raises(InputError, match=r"several heads.*pbe, r2scan"):
        MacePotential(model)
    with pytest.raises(InputError, match="did you mean 'r2scan'"):
        MacePotential(model, head="r2scn")


def test_each_head_is_a_potential_of_its_own():
    """Records and campaigns tell potentials apart by name and sha256; one head has the file's."""
    model = random_mace(OXIDE, heads=["pbe", "r2scan"])
    pbe, r2scan = (MacePotential(model, name="two", sha256="0" * 64, head=head) for head in ("pbe", "r2scan"))
    assert (pbe.name, r2scan.name) == ("two/pbe", "two/r2scan")
    assert len({"0" * 64, pbe.sha256, r2scan.sha256}) == 3
    assert (pbe.double.name, pbe.double.sha256) == (pbe.name, pbe.sha256)
    single = MacePotential(random_mace(OXIDE), name="one", sha256="0" * 64)
    assert (single.name, single.sha256) == ("one", "0" * 64)


@pytest.mark.parametrize(
    ("kind", "dtype", "allowed"),
    [*((kind, torch.float64, 1e-10) for kind in MODELS), ("foundation-like", torch.float32, 1e-6)],
)
def test_pruned_model_is_equal_and_smaller(kind, dtype, allowed):
    whole = MacePotential(build(kind), dtype=dtype)
    pruned = whole.prune(OXIDE)
    batch = Batch.pack(assorted(OXIDE))
    a, b = whole(batch), pruned(batch)
    assert ((a.energy - b.energy) / batch.counts).abs().max() <= allowed
    assert (a.forces - b.forces).abs().max() <= 10 * allowed
    assert pruned.elements == frozenset(OXIDE)
    assert pruned.sha256 == whole.sha256
    sizes = [sum(p.numel() for p in m.model.parameters()) for m in (whole, pruned)]
    assert sizes[1] < 0.7 * sizes[0]
    with pytest.raises(InputError, match="Cu"):
        pruned(Batch.pack([Atoms("Cu")]))
    with pytest.raises(InputError, match="Cu"):
        pruned.prune([29])


def test_a_model_that_cannot_be_cut_exactly_is_refused(monkeypatch):
    def scaled(model: torch.nn.Module, rows: list[int]) -> torch.nn.Module:
        pruned = keep_elements(model, rows)
        pruned.scale_shift.scale *= 1.01
        return pruned

    monkeypatch.setattr("atomsim.models.mace.potential.keep_elements", scaled)
    with pytest.raises(AtomsimError, match="use it whole"):
        MacePotential(random_mace(OXIDE)).prune([3, 8])


def test_given_model_and_globals_are_not_changed():
    model = random_mace(OXIDE, dtype=torch.float32)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random_state, environment = torch.get_rng_state(), dict(os.environ)
    potential = MacePotential(model, dtype=torch.float64).prune([3, 8])
    potential(Batch.pack([Atoms("LiO", positions=[[0, 0, 0], [1.7, 0, 0]])]))
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(random_state, torch.get_rng_state())
    assert dict(os.environ) == environment
    assert model.training
    assert all(p.requires_grad for n, p in model.named_parameters() if "weights" not in n)
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())


def test_single_precision_does_not_suffer_far_from_the_origin():
    atoms = assorted(OXIDE)[3]
    far = atoms.copy()
    far.translate([1e4, -1e4, 1e4])
    potential = MacePotential(random_mace(OXIDE), dtype=torch.float32)
    near, away = potential(Batch.pack([atoms])), potential(Batch.pack([far]))
    assert (near.forces - away.forces).abs().max() < 1e-6


def test_other_models_are_refused():
    with pytest.raises(InputError, match="found a model of class Linear, wanted MACE"):
        MacePotential(torch.nn.Linear(2, 2))


def test_a_saved_model_loads_by_path(tmp_path):
    model = random_mace(OXIDE)
    path = tmp_path / "small.model"
    torch.save(model, path)
    before = dict(os.environ)
    potential = load_potential(path, "cpu", trust_file=True)
    assert dict(os.environ) == before
    assert (potential.name, potential.dtype, potential.cutoff) == ("small", torch.float64, 5.0)
    assert potential.elements == frozenset(OXIDE)
    batch = Batch.pack(assorted(OXIDE))
    assert torch.allclose(potential(batch).energy, MacePotential(model)(batch).energy, rtol=0, atol=1e-10)
    single = load_potential(str(path), "cpu", "float32", trust_file=True)
    assert single.dtype == torch.float32
    assert torch.allclose(single(batch).energy, potential(batch).energy, rtol=0, atol=1e-4)
