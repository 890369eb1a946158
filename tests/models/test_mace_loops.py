"""Compiled loops of MACE give what torch's products give, in value and derivative."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from crystals import assorted
from random_mace import random_mace

from atomsim.batch import Batch
from atomsim.models.chgnet.kernels import reason
from atomsim.models.mace import fast as mace_fast
from atomsim.models.mace.loops import SOURCE, monomials
from atomsim.models.mace.potential import MacePotential, quiet_mace

pytestmark = pytest.mark.skipif(bool(reason(SOURCE)), reason=reason(SOURCE) or "compiled loops")

LOUD = {"pair_repulsion": False, "atomic_inter_scale": 100.0, "atomic_inter_shift": 0.3}
RESIDUAL = "RealAgnosticResidualInteractionBlock"
SHAPES = {
    "scalars": {"hidden_irreps": "16x0e", "max_ell": 3, "interaction_cls_first": RESIDUAL},
    "up to l = 2": {"hidden_irreps": "8x0e + 8x1o + 8x2e"},
    "first order": {"num_interactions": 1, "correlation": 1},
}


@cache
def build(shape: str) -> torch.nn.Module:
    with quiet_mace():
        from mace.modules import interaction_classes
        from e3nn import o3  # isort: skip
    options = {**LOUD, **SHAPES[shape]}
    if "hidden_irreps" in options:
        options["hidden_irreps"] = o3.Irreps(options["hidden_irreps"])
    if "interaction_cls_first" in options:
        options["interaction_cls_first"] = interaction_classes[options["interaction_cls_first"]]
    return random_mace([8, 3, 44, 25], dtype=torch.float32, **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_matrix_products(shape, monkeypatch):
    batch = Batch.pack(assorted([8, 3, 44, 25]))
    with_loops = MacePotential(build(shape), kernel="fast")(batch)
    monkeypatch.setattr(mace_fast.FastMace, "use_loops", False)
    without = MacePotential(build(shape), kernel="fast")(batch)
    size = float(without.forces.abs().max().clamp(min=1.0))
    torch.testing.assert_close(with_loops.energy, without.energy, atol=1e-5 * size * batch.n_atoms, rtol=1e-6)
    torch.testing.assert_close(with_loops.forces, without.forces, atol=1e-5 * size, rtol=0.0)
    torch.testing.assert_close(with_loops.stress, without.stress, atol=1e-5 * size, rtol=0.0)


def test_most_coefficients_of_a_contraction_are_zero_or_equal_by_symmetry():
    model = MacePotential(build("scalars"), kernel="fast")
    layer = model._kernel._read((3, 8))[0]
    found = monomials(layer.forms)
    assert found is not None
    n = layer.forms.second.shape[2]
    assert found.weights.shape[1] < n**3 / 8
