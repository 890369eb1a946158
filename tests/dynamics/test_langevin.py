"""Langevin dynamics: equipartition, exact configurations in a harmonic well, energy without friction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixCartesian, FixedPlane

from atomsim.batch import Batch, Evaluation
from atomsim.dynamics.langevin import ACCELERATION, Langevin, run, start, step
from atomsim.errors import InputError
from atomsim.models.load import load_potential
from atomsim.units import KB


@dataclass(frozen=True)
class Wells:
    """Every atom in a harmonic well of its own around the origin."""

    stiffness: float

    def __call__(self, batch: Batch) -> Evaluation:
        of_atom = 0.5 * self.stiffness * (batch.positions**2).sum(dim=1)
        energy = torch.zeros(batch.n_systems, dtype=torch.float64).index_add(0, batch.system, of_atom)
        return Evaluation(energy, -self.stiffness * batch.positions, torch.zeros(batch.n_systems, 3, 3))


def oscillators(n: int = 500) -> Batch:
    return Batch.pack([Atoms(f"O{n}", positions=np.zeros((n, 3))), Atoms(f"Li{n}", positions=np.zeros((n, 3)))])


def test_a_harmonic_well_is_sampled_without_error_of_the_time_step():
    """BAOAB: ⟨k x²⟩ = k_B T exactly, ⟨m v²⟩ = k_B T (1 − ω²h²/4); Li is 6 % off in the latter here."""
    wells, temperature = Wells(5.0), [300.0, 1200.0]
    settings = Langevin(timestep_fs=6.0, friction_per_fs=0.02)
    found, kinetic, samples = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), 0
    for motion in run(start(oscillators(), wells, temperature, [1, 2]), wells, settings, 400):
        if motion.step > 100:
            found += 2 * motion.evaluation.energy / (3 * 500 * KB)
            kinetic += motion.kinetic_temperature
            samples += 1
    np.testing.assert_allclose((found / samples).numpy(), temperature, rtol=0.015)
    omega_h = 6.0**2 * 5.0 * ACCELERATION / np.array([15.999, 6.94])
    np.testing.assert_allclose((kinetic / samples).numpy(), temperature * (1 - omega_h / 4), rtol=0.01)


def test_velocities_start_from_the_maxwell_boltzmann_distribution():
    motion = start(oscillators(4000), Wells(1.0), 700.0, [5, 6])
    np.testing.assert_allclose(motion.kinetic_temperature.numpy(), 700.0, rtol=0.03)


def test_without_friction_energy_is_conserved_to_second_order():
    lj = load_potential("lennard-jones", "cpu")
    crystal = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)

    def drift(timestep: float) -> float:
        motion = start(Batch.pack([crystal]), lj, 60.0, [3])
        total = [float(m.evaluation.energy + m.kinetic_energy) for m in run(motion, lj, Langevin(timestep, 0.0), 100)]
        return float(np.ptp(total))

    assert drift(10.0) < 0.01 * 32 * KB * 60
    assert drift(10.0) < 0.5 * drift(20.0)


def test_a_system_moves_the_same_whatever_else_is_in_the_batch():
    lj = load_potential("lennard-jones", "cpu")
    cells = [bulk("Ar", "fcc", a=a, cubic=True) for a in (5.2, 5.5)]
    together = start(Batch.pack(cells), lj, 40.0, [7, 8])
    alone = start(Batch.pack(cells[1:]), lj, 40.0, [8])
    for _ in range(10):
        together, alone = (step(m, lj, Langevin(4.0)) for m in (together, alone))
    torch.testing.assert_close(together.take([1]).batch.positions, alone.batch.positions, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.take([1]).velocities, alone.velocities, rtol=0, atol=1e-14)


def test_the_same_seed_gives_the_same_path_and_what_went_in_is_kept():
    wells, batch = Wells(2.0), oscillators(5)
    before = batch.positions.clone()
    ends = [list(run(start(batch, wells, 500.0, [1, 9]), wells, Langevin(2.0), 20))[-1] for _ in range(2)]
    assert torch.equal(ends[0].batch.positions, ends[1].batch.positions)
    assert torch.equal(batch.positions, before)
    other = list(run(start(batch, wells, 500.0, [1, 10]), wells, Langevin(2.0), 20))[-1]
    assert not torch.equal(other.take([1]).batch.positions, ends[0].take([1]).batch.positions)
    assert torch.equal(other.take([0]).batch.positions, ends[0].take([0]).batch.positions)


def test_fixed_atoms_stay():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.set_constraint(FixAtoms([1, 2]))
    lj, batch = load_potential("lennard-jones", "cpu"), Batch.pack([atoms])
    last = list(run(start(batch, lj, 80.0, [0]), lj, Langevin(5.0), 20))[-1]
    assert torch.equal(last.batch.positions[1:3], batch.positions[1:3])
    assert (last.batch.positions - batch.positions)[[0, 3]].norm(dim=1).min() > 0.01


def test_held_directions_stay_and_have_no_temperature():
    """Equipartition over what may move alone: 3, 2 and 1 directions, and none."""
    n = 400
    atoms = Atoms(f"O{4 * n}", positions=np.zeros((4 * n, 3)))
    kinds = [FixedPlane(range(n, 2 * n), (1, 2, 2)), FixCartesian(range(2 * n, 3 * n), (True, True, False))]
    atoms.set_constraint([*kinds, FixAtoms(range(3 * n, 4 * n))])
    for motion in run(start(Batch.pack([atoms]), Wells(5.0), 600.0, [4]), Wells(5.0), Langevin(4.0, 0.02), 150):
        last = motion
    x = last.batch.positions.view(4, n, 3)
    np.testing.assert_allclose((x[1] @ torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)).numpy(), 0.0, atol=1e-10)
    np.testing.assert_allclose(x[2, :, :2].numpy(), 0.0, atol=1e-10)
    assert bool((x[3] == 0).all())
    assert float(last.kinetic_temperature) == pytest.approx(600.0, rel=0.06)
    of_kind = 5.0 * (x**2).sum(dim=(1, 2)) / (n * KB * 600.0)  # k⟨x²⟩ = k_B T for each direction
    np.testing.assert_allclose(of_kind.numpy(), [3.0, 2.0, 1.0, 0.0], rtol=0.2, atol=1e-12)


@pytest.mark.parametrize(("temperature", "seeds"), [([300.0], [1, 2]), (300.0, [1]), (-1.0, [1, 2])])
def test_a_wrong_start_is_refused(temperature, seeds):
    with pytest.raises(InputError, match="wanted one of each"):
        start(oscillators(2), Wells(1.0), temperature, seeds)


def test_a_time_step_of_zero_is_refused():
    with pytest.raises(InputError, match="time step above 0"):
        Langevin(0.0)
