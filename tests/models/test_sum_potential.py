"""Sums of potentials and biases."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from ase.calculators.emt import EMT
from crystals import assorted

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.models.ase import AsePotential
from atomsim.models.combine import Sum
from atomsim.models.pair import LennardJones, Morse


@dataclass(frozen=True)
class Field:
    """A bias: a uniform force along x on every atom."""

    strength: float

    def __call__(self, batch: Batch) -> Evaluation:
        pull = torch.zeros_like(batch.positions)
        pull[:, 0] = self.strength
        work = -self.strength * batch.positions[:, 0]
        energy = work.new_zeros(batch.n_systems).index_add(0, batch.system, work)
        return Evaluation(energy, pull, torch.zeros_like(batch.cell))


def test_members_are_added():
    batch = Batch.pack(assorted([8, 3]))
    a, b, bias = LennardJones(), Morse(), Field(0.5)
    total = Sum([a, b, bias])(batch)
    parts = [a(batch), b(batch), bias(batch)]
    assert torch.allclose(total.energy, sum(p.energy for p in parts))
    assert torch.allclose(total.forces, sum(p.forces for p in parts))
    assert torch.allclose(total.stress, sum(p.stress for p in parts))
    assert total.energies is None  # the bias has none
    assert Sum([a, b])(batch).energies is not None


def test_identity_comes_from_the_members():
    a, b = LennardJones(), Morse(dtype=torch.float32)
    total = Sum([a, b])
    assert total.name == "LennardJones + Morse"
    assert total.cutoff == 9.0
    assert total.dtype == torch.float32
    assert Sum([a, AsePotential(EMT(), ["Cu"])]).elements == {29}
    assert Sum([a, Field(0.5)]).sha256 == Sum([LennardJones(), Field(0.5)]).sha256
    assert Sum([a, Field(0.5)]).sha256 != Sum([a, Field(0.6)]).sha256


def test_a_sum_needs_a_potential():
    with pytest.raises(InputError, match="without a potential"):
        Sum([Field(0.5)])
