"""A distance that is kept exactly: its length, its mean force, its part of the stress."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.models.pair import LennardJones
from atomsim.optimize.constraints import FixedDistance, FixedDistances
from atomsim.optimize.drive import drive
from atomsim.optimize.entering import Group
from atomsim.optimize.newton import Newton
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop
from atomsim.structures.prototypes import load_prototype

ARGON = LennardJones(onset_A=4.5, cutoff_A=5.2)


def argon() -> Atoms:
    crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat((2, 2, 1))
    crystal.rattle(0.05, seed=3)
    return crystal


def image_pair(atoms: Atoms) -> tuple[int, int, tuple[int, int, int]]:
    """The shortest pair that crosses the cell's boundary."""
    d = atoms.get_all_distances(mic=True, vector=True)
    plain = atoms.get_all_distances()
    length = np.linalg.norm(d, axis=2) + 99 * (np.abs(plain - np.linalg.norm(d, axis=2)) < 1e-6)
    i, j = np.unravel_index(int(length.argmin()), length.shape)
    shift = np.rint((d[i, j] - atoms.positions[j] + atoms.positions[i]) @ np.linalg.inv(atoms.cell.array))
    return int(i), int(j), tuple(int(s) for s in shift)


def relaxed(atoms: Atoms, lengths: list[float], potential=ARGON, pair=None, fmax=1e-4, cell=False, together=False):
    """Outcomes, and mean forces, of one pair held at several lengths."""
    i, j, shift = pair or image_pair(atoms)
    held = FixedDistances({n: FixedDistance(i, j, shift, x) for n, x in enumerate(lengths)})
    groups = [Group(n, Batch.pack([atoms])) for n in range(len(lengths))]
    room = Capacity(systems=len(lengths) if together else 1)
    stop = Stop(fmax=fmax, max_steps=300)
    found = drive(groups, potential, Newton(), Space(cell=cell), stop, room, project=held, settle=held.settle)
    by_key = {o.key: o for o in found}
    outcomes = [by_key[n] for n in range(len(lengths))]
    assert all(o.status == "converged" for o in outcomes)
    for o, wanted in zip(outcomes, lengths, strict=True):
        d = o.batch.positions[j] + torch.tensor(shift, dtype=torch.float64) @ o.batch.cell[0] - o.batch.positions[i]
        assert float(d.norm()) == pytest.approx(wanted, abs=1e-9)
    return outcomes, [held.mean_force[n] for n in range(len(lengths))]


def work(mean_force: list[float], step: float) -> float:
    """∫ dE/dL dL by Simpson's rule."""
    first, middle, last = mean_force
    return step / 3 * (first + 4 * middle + last)


@pytest.mark.parametrize("cell", [False, True])
def test_the_mean_force_is_the_slope_of_the_relaxed_energy(cell):
    lengths = [3.2, 3.225, 3.25]
    outcomes, slope = relaxed(argon(), lengths, cell=cell)
    rise = float(outcomes[2].evaluation.energy[0] - outcomes[0].evaluation.energy[0])
    assert rise < -1e-3
    assert work(slope, 0.025) == pytest.approx(rise, abs=2e-6)


def test_the_mean_force_of_chgnet_integrates_to_its_energy():
    from atomsim.models.load import load_potential

    host = load_prototype("Li2MnO3").primitive
    charged = host[[s != "Li" for s in host.symbols]]
    outcomes, slope = relaxed(
        charged, [2.2, 2.225, 2.25], load_potential("chgnet-0.3.0", device="cpu"), (2, 4, (0, -1, 0)), fmax=0.02
    )
    rise = float(outcomes[2].evaluation.energy[0] - outcomes[0].evaluation.energy[0])
    assert work(slope, 0.025) == pytest.approx(rise, abs=0.01)


def test_what_is_held_does_not_depend_on_its_neighbours():
    lengths = [3.1 + 0.05 * n for n in range(6)]
    alone, _ = relaxed(argon(), lengths)
    batched, _ = relaxed(argon(), lengths, together=True)
    for one, other in zip(alone, batched, strict=True):
        assert float(one.evaluation.energy[0]) == pytest.approx(float(other.evaluation.energy[0]), abs=1e-6)


def test_what_moves_a_held_system_is_a_gradient():
    """Forces and stress after the projection are minus the gradient of the energy on the constraint."""
    atoms = argon()
    i, j, shift = image_pair(atoms)
    held = FixedDistances({0: FixedDistance(i, j, shift, 3.3)})
    groups = [Group(0, Batch.pack([atoms]))]
    zero = torch.zeros(1, dtype=torch.int64)

    def at(displacement: torch.Tensor, strain: torch.Tensor):
        start = held.settle(groups[0].batch, zero, groups)
        rows = torch.cat([displacement, strain * len(atoms) ** 0.5])
        space = Space(cell=True)
        return held.settle(space.move(start, rows, space.layout(start)), zero, groups)

    generator = torch.Generator().manual_seed(0)
    still = torch.zeros(len(atoms), 3, dtype=torch.float64)
    none = torch.zeros(3, 3, dtype=torch.float64)
    here = at(still, none)
    evaluation = held(here, ARGON(here), zero, groups)
    way = torch.randn(len(atoms), 3, generator=generator, dtype=torch.float64)
    eps = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    eps = 0.5 * (eps + eps.T)
    h = 1e-5
    by_atoms = float(ARGON(at(h * way, none)).energy[0] - ARGON(at(-h * way, none)).energy[0]) / (2 * h)
    assert by_atoms == pytest.approx(-float((evaluation.forces * way).sum()), rel=1e-6)
    by_cell = float(ARGON(at(still, h * eps)).energy[0] - ARGON(at(still, -h * eps)).energy[0]) / (2 * h)
    assert by_cell == pytest.approx(float(here.volume[0] * (evaluation.stress[0] * eps).sum()), rel=1e-6)
