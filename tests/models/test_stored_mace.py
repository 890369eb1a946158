"""A genuine foundation checkpoint (MACE-MP-0 small), where ATOMSIM_TEST_MACE names one whose hash is known."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential, quiet_mace
from atomsim.registry.cards import sha256_of

SHA256 = "2ddb079cee0e131eaaf6912ba581b394551ead283e95c99cfe78c605d10b5736"
FILE = Path(os.environ.get("ATOMSIM_TEST_MACE", "no such file"))
pytestmark = pytest.mark.skipif(
    not FILE.is_file() or sha256_of(FILE) != SHA256, reason="set ATOMSIM_TEST_MACE to MACE-MP-0 small"
)


@pytest.fixture(scope="module")
def stored() -> MacePotential:
    return load_potential(FILE, "cpu", "float32", trust_file=True)


def test_it_gives_the_published_energy(stored):
    # janus-core's own test has this number for the same file, in float64
    energy = float(stored.double(Batch.pack([bulk("NaCl", "rocksalt", a=5.63, cubic=True)])).energy)
    assert energy == pytest.approx(-27.0351277993, abs=2e-6)


def test_it_equals_maces_own_calculator(stored):
    with quiet_mace():
        from mace.calculators import MACECalculator

        model = torch.load(FILE, map_location="cpu", weights_only=False)
        before = torch.get_default_dtype()
        peer = MACECalculator(models=[copy.deepcopy(model)], device="cpu", default_dtype="float32")
        torch.set_default_dtype(before)
    assert stored.kernel == "fast"
    atoms = bulk("NaCl", "rocksalt", a=5.4, cubic=True)
    atoms.numbers[:4] = [3, 27, 8, 44]
    atoms.rattle(0.1, seed=2)
    peer.calculate(atoms)
    ours = stored(Batch.pack([atoms]))
    size = max(1.0, float(np.abs(peer.results["forces"]).max()))
    assert np.abs(peer.results["forces"] - ours.forces.numpy()).max() <= 1e-5 * size
    assert abs(peer.results["energy"] - float(ours.energy)) <= 1e-5 * len(atoms)
