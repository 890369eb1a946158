"""One contract over all potentials, and proof that it notices a broken one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from crystals import assorted
from random_mace import random_mace

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.models.ase import AsePotential
from atomsim.models.checks import check_contract
from atomsim.models.combine import Sum
from atomsim.models.interface import Potential
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from atomsim.models.pair import LennardJones
from atomsim.registry.cards import list_cards

OXIDE = [8, 3, 44, 25]
METALS = [29, 79, 13, 8]


@cache
def small_model() -> torch.nn.Module:
    return random_mace(OXIDE)


def mace(dtype: torch.dtype) -> MacePotential:
    return MacePotential(small_model(), dtype=dtype)


POTENTIALS: dict[str, Callable[[], Potential]] = {
    "chgnet-0.3.0 float32": lambda: load_potential("chgnet-0.3.0", "cpu", "float32"),
    "chgnet-0.3.0 float64": lambda: load_potential("chgnet-0.3.0", "cpu", "float64"),
    "chgnet-r2scan float32": lambda: load_potential("chgnet-r2scan", "cpu", "float32"),
    "chgnet-r2scan float64": lambda: load_potential("chgnet-r2scan", "cpu", "float64"),
    "mace float32": lambda: mace(torch.float32),
    "mace float64": lambda: mace(torch.float64),
    "lennard-jones": lambda: load_potential("lennard-jones", "cpu"),
    "lj-test float32": lambda: load_potential("lj-test", "cpu", "float32"),
    "morse": lambda: load_potential("morse", "cpu"),
    "ase": lambda: AsePotential(EMT(), METALS),
    "sum": lambda: Sum([load_potential("lj-test", "cpu"), mace(torch.float64)]),
}
STUDENTS = {card.name: sorted(card.numbers) for card in list_cards() if card.distilled is not None}
POTENTIALS |= {name: partial(load_potential, name, "cpu", "float64") for name in STUDENTS}
ELEMENTS = {"ase": METALS, **STUDENTS}


# one architecture with two sets of weights: both precisions of one, one of the other
REPEATED = "chgnet-r2scan float64"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name == REPEATED else ()) for name in POTENTIALS]
)
def test_potential_keeps_the_contract(name):
    potential = POTENTIALS[name]()
    assert isinstance(potential, Potential)
    systems = assorted(ELEMENTS.get(name, OXIDE))
    broken = [str(check) for check in check_contract(potential, systems) if not check.passed]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("name", sorted(POTENTIALS.keys() - {"ase"}))  # EMT's answer is its own business
def test_isolated_systems_do_not_upset_a_batch(name):
    """An atom without neighbours has an energy, no force and no stress."""
    metal, oxygen = [3, 8] if name not in STUDENTS else STUDENTS[name][:2]
    evaluation = POTENTIALS[name]()(Batch.pack([Atoms([metal]), Atoms([oxygen], cell=[20, 20, 20], pbc=True)]))
    assert evaluation.energy.isfinite().all()
    assert evaluation.forces.abs().max() == 0.0
    assert evaluation.stress.abs().max() == 0.0


class Broken:
    """Lennard-Jones that breaks one promise."""

    def __init__(self, spoil: Callable[[Batch, Evaluation], Evaluation]) -> None:
        inner = LennardJones(4.0, 5.0, epsilon_eV=0.1, sigma_A=2.0)
        self.inner, self.spoil = inner, spoil
        self.name, self.sha256, self.device, self.dtype = "broken", inner.sha256, inner.device, inner.dtype
        self.cutoff, self.elements = inner.cutoff, frozenset(OXIDE)

    def __call__(self, batch: Batch) -> Evaluation:
        return self.spoil(batch, self.inner(batch))


def moves_atoms(batch: Batch, e: Evaluation) -> Evaluation:
    batch.positions.add_(1e-14)
    return e


def draws_numbers(batch: Batch, e: Evaluation) -> Evaluation:
    torch.rand(1)
    return e


def sets_environment(batch: Batch, e: Evaluation) -> Evaluation:
    os.environ["ATOMSIM_TEST_LEAK"] = str(np.random.default_rng().integers(1 << 60))
    return e


def knows_the_batch(batch: Batch, e: Evaluation) -> Evaluation:
    return replace(e, energy=e.energy + 1e-6 * batch.n_systems)


SPOILERS = {
    "forces are the energy's derivative": lambda b, e: replace(e, forces=1.001 * e.forces),
    "stress is the energy's derivative": lambda b, e: replace(e, stress=-e.stress),
    "inputs are not changed": moves_atoms,
    "global state is not changed": draws_numbers,
    "global state is not changed (gradients True)": sets_environment,
    "one by one": knows_the_batch,
    "atomic energies sum": lambda b, e: replace(e, energies=e.energies + 1e-6),
    "translated": lambda b, e: replace(e, energy=e.energy + 1e-6 * b.positions[b.starts, 0]),
    "rotated": lambda b, e: replace(e, stress=e.stress * torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 1, 1.01]])),
    "atoms in another order": lambda b, e: replace(e, magmoms=torch.arange(b.n_atoms).double()),
    "all atoms fixed": lambda b, e: replace(e, forces=e.forces * ~b.fixed[:, None]),
    "forces is a finite": lambda b, e: replace(e, forces=e.forces * float("nan")),
    "energy is a finite float64": lambda b, e: replace(e, energy=e.energy.float()),
    "an unknown element is refused": lambda b, e: e,
}


@pytest.mark.parametrize("promise", SPOILERS)
def test_contract_notices(promise, monkeypatch):
    monkeypatch.setenv("ATOMSIM_TEST_LEAK", "")
    checks = check_contract(Broken(SPOILERS[promise]), assorted(OXIDE))
    assert any(check.name.startswith(promise) and not check.passed for check in checks)


def test_contract_wants_several_systems():
    with pytest.raises(InputError, match="at least two"):
        check_contract(LennardJones(), assorted(OXIDE)[:1])
