"""Single precision far from a minimum, double precision near it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones, Morse
from atomsim.models.precision import TwoPrecisions, finishing
from atomsim.relaxation import RelaxSettings, iter_relax


class Counting:
    """A potential that counts the systems it evaluates."""

    def __init__(self, inner: LennardJones) -> None:
        self.inner, self.seen = inner, Counter()
        for name in ("name", "sha256", "device", "dtype", "cutoff", "elements"):
            setattr(self, name, getattr(inner, name))

    def __call__(self, batch: Batch):
        self.seen["systems"] += batch.n_systems
        return self.inner(batch)


def argon(amplitude: float, seed: int = 1):
    atoms = bulk("Ar", "fcc", a=5.25, cubic=True)
    atoms.rattle(amplitude, seed=seed)
    return atoms


def both() -> tuple[Counting, Counting]:
    return tuple(Counting(LennardJones(dtype=d)) for d in (torch.float32, torch.float64))


def test_each_system_gets_the_precision_of_its_forces():
    single, double = both()
    potential = TwoPrecisions(single, double, switch_at=0.005)
    batch = Batch.pack([argon(0.2), argon(1e-5), argon(0.2, 2), argon(2e-5)])
    found, coarse, fine = potential(batch), single.inner(batch), double.inner(batch)
    assert double.seen["systems"] == 2
    for n, wanted in enumerate([coarse, fine, coarse, fine]):
        assert found.energy[n] == wanted.energy[n]
        assert torch.equal(found.forces[4 * n : 4 * n + 4], wanted.forces[4 * n : 4 * n + 4])
        assert torch.equal(found.stress[n], wanted.stress[n])
    assert not torch.equal(coarse.energy, fine.energy)


def test_a_system_does_not_notice_the_others():
    potential = TwoPrecisions(*both(), switch_at=0.005)
    systems = [argon(0.2), argon(1e-5)]
    together = potential(Batch.pack(systems))
    for n, atoms in enumerate(systems):
        assert potential(Batch.pack([atoms])).energy[0] == together.energy[n]


def test_a_relaxation_ends_in_double_precision_where_single_would_not_do():
    single, double = both()
    settings = RelaxSettings(fmax_eV_per_A=1e-6, cell=False)
    single.double = double
    ((_, found),) = iter_relax([argon(0.1)], single, settings)
    assert found.converged
    assert 0 < double.seen["systems"] < single.seen["systems"]
    again = double.inner(Batch.pack([found.atoms]))
    assert again.forces.abs().max() < 1e-6


def test_only_a_fine_relaxation_in_single_precision_is_finished_in_double():
    single, double = both()
    single.double = double
    assert finishing(single, fmax=0.05) is single
    assert finishing(double, fmax=0.001) is double
    assert isinstance(finishing(single, fmax=0.001), TwoPrecisions)


def test_chgnet_and_mace_offer_their_own_double_precision():
    from crystals import assorted
    from random_mace import random_mace

    from atomsim.models.mace.potential import MacePotential

    chgnet = load_potential("chgnet-0.3.0", "cpu", "float32")
    mace = MacePotential(random_mace([3, 8]).double(), dtype=torch.float32)
    exact = MacePotential(random_mace([3, 8]).double(), dtype=torch.float64)
    for single, wanted in ((chgnet, load_potential("chgnet-0.3.0", "cpu", "float64")), (mace, exact)):
        batch = Batch.pack(assorted([3, 8])[:2])
        assert single.double.sha256 == single.sha256
        assert single.double.dtype == torch.float64
        torch.testing.assert_close(single.double(batch).forces, wanted(batch).forces, atol=1e-12, rtol=0)


def test_different_potentials_are_refused():
    single, double = both()
    with pytest.raises(InputError, match="wanted float32 and float64"):
        TwoPrecisions(double, single, switch_at=0.005)
    with pytest.raises(InputError, match="one potential in two precisions"):
        TwoPrecisions(single, Morse(), switch_at=0.005)
