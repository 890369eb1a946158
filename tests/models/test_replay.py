"""Recorded evaluations give what the evaluations give, wherever the atoms have gone meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from random_mace import random_mace

from atomsim.batch import Batch
from atomsim.models.load import load_potential
from atomsim.models.mace.kernels import evaluate_kernel
from atomsim.models.mace.on_device import OnDevice
from atomsim.models.mace.potential import MacePotential
from atomsim.models.neighbors import neighbor_list
from atomsim.models.replay import UNRECORDED, Replay


class Pretended:
    """A recording that computes anew, into tensors that stay: what of a CUDA graph a CPU can show."""

    made = 0

    def __init__(self, function, device):
        type(self).made += 1
        self.function = function
        self.outputs = tuple(torch.full_like(t, torch.nan) for t in function())

    def __call__(self):
        for place, value in zip(self.outputs, self.function(), strict=True):
            place.copy_(value)


@dataclass(frozen=True)
class Scale:
    factor: torch.Tensor


def scaled(scale: Scale, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return scale.factor * x, x + y


def test_results_follow_the_inputs_and_are_not_written_to_again():
    Pretended.made = 0
    replay = Replay(scaled, Scale(torch.tensor(1.0)), Pretended)
    given = [torch.tensor([float(n), 2.0]) for n in range(UNRECORDED + 6)]
    found = []
    for n, x in enumerate(given):
        replay.lay(Scale(torch.tensor(float(n // 2))))
        found.append(replay(x, torch.ones(2)))
    for n, (x, (multiple, more)) in enumerate(zip(given, found, strict=True)):
        torch.testing.assert_close(multiple, (n // 2) * x)
        torch.testing.assert_close(more, x + 1)
    assert Pretended.made == 1


def test_what_cannot_be_recorded_is_computed_and_said_once(caplog):
    def refuse(function, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    replay = Replay(scaled, Scale(torch.tensor(2.0)), refuse)
    for n in range(UNRECORDED + 3):
        assert float(replay(torch.tensor(float(n)), torch.tensor(0.0))[0]) == 2 * n
    assert [r.getMessage() for r in caplog.records if "not permitted" in r.getMessage()] == [
        "not recorded, so small systems are slower: operation not permitted when stream is capturing"
    ]


def moving(seed: int) -> Iterator[Batch]:
    """A walk with steps small and large, cells too; systems leave and enter: neighbours come and go."""
    rng = np.random.default_rng(seed)
    oxide, metal, gas = bulk("LiO", "rocksalt", 4.2), bulk("Li", "bcc", 3.4), molecule("O2")
    gas.center(vacuum=3.0)
    for systems in ([oxide, metal, oxide], [metal], [gas, oxide, metal]):
        batch = Batch.pack(systems)
        for size in (0.0, 0.02, 0.3, 0.02):
            noise = torch.from_numpy(rng.normal(0, size, batch.positions.shape))
            strain = torch.eye(3, dtype=torch.float64) + torch.from_numpy(rng.normal(0, 0.05 * size, (3, 3)))
            batch = batch.moved((batch.positions + noise) @ strain, batch.cell @ strain)
            yield batch


def test_mace_on_a_device_is_mace_wherever_atoms_go(monkeypatch):
    monkeypatch.setattr("atomsim.models.mace.on_device.recorder", lambda device: Pretended)
    Pretended.made = 0
    potential = MacePotential(random_mace([3, 8], seed=1), kernel="fast")
    there = OnDevice(potential._kernel, potential.cutoff)
    for batch in moving(2):
        found, wanted = there(batch), evaluate_kernel(potential._kernel, batch, neighbor_list(batch, potential.cutoff))
        for name in ("energy", "forces", "stress", "energies"):
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=1e-9, rtol=0)
    assert 1 <= Pretended.made <= 3, "recordings outlast lists of neighbours and systems that leave"


def test_chgnet_on_a_device_is_chgnet_wherever_atoms_go(monkeypatch):
    monkeypatch.setattr("atomsim.models.chgnet.on_device.recorder", lambda device: Pretended)
    Pretended.made = 0
    here = load_potential("chgnet-0.3.0", "cpu").double
    there = here._moving()
    for batch in moving(2):
        found = there(batch)
        wanted = here(batch)
        for name in ("energy", "forces", "stress", "magmoms", "energies"):
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=1e-9, rtol=0)
    assert 1 <= Pretended.made <= 4, "recordings outlast graphs and systems that leave"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["chgnet-0.3.0", "mace-li-ru-s-o"])
def test_a_recorded_evaluation_is_the_cpus(name):
    there, here = load_potential(name, "cuda"), load_potential(name, "cpu")
    systems = [bulk("LiO", "rocksalt", 4.2, cubic=True) for _ in range(2)]
    for n in range(UNRECORDED + 4):
        for k, atoms in enumerate(systems):
            atoms.rattle(0.02, seed=10 * n + k)
        found, wanted = there(Batch.pack(systems, "cuda")).to("cpu"), here(Batch.pack(systems))
        torch.testing.assert_close(found.energy, wanted.energy, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.forces, wanted.forces, atol=5e-4, rtol=0)
        torch.testing.assert_close(found.stress, wanted.stress, atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_a_small_system_is_recorded_on_a_card():
    potential = load_potential("chgnet-0.3.0", "cuda")
    atoms = Atoms("Li2O2", [[0, 0, 0], [1.9, 0, 0], [0, 1.9, 0], [1.9, 1.9, 0.1]], cell=[3.8, 3.8, 4.0], pbc=True)
    for n in range(UNRECORDED + 1):
        atoms.rattle(0.001, seed=n)
        potential(Batch.pack([atoms], "cuda"))
    assert potential._on_device._replay._recording is not None
