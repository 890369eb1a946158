"""Runs: batches as singles and resumes as the uninterrupted run, to the bit; schedules; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixCartesian, FixedPlane
from systems import DenseArgon, Wells

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.dynamics import (
    Bussi,
    CellRescaling,
    Langevin,
    Limits,
    MDState,
    Member,
    Recorder,
    Schedule,
    Stage,
    VelocityVerlet,
    compressibility,
    run,
    start,
)
from atomsim.dynamics.noise import Purpose, generator
from atomsim.errors import InputError
from atomsim.models.load import load_potential
from atomsim.units import GPA, KB

INTEGRATORS = [
    VelocityVerlet(4.0),
    Langevin(4.0),
    Bussi(4.0, 50.0),
    CellRescaling(4.0, 1.0, 400.0),
    CellRescaling(4.0, 1.0, 400.0, flexible=True),
]
RAMP = Schedule((Stage(6, 60.0), Stage(8, 60.0, 100.0, pressure_GPa=0.1)))


def lj():
    return load_potential("lennard-jones", "cpu")


def member(key, cell, seed, schedule=RAMP):
    return Member(key, start(Batch.pack([cell]), lj(), schedule.at(0)[0], [seed]), schedule)


def members():
    """Of several sizes, temperatures and lengths."""
    small, large = bulk("Ar", "fcc", a=5.3, cubic=True), bulk("Ar", "fcc", a=5.5, cubic=True).repeat((2, 1, 1))
    return [
        member("a", small, 7),
        member("b", large, 8, Schedule.constant(40.0, 9)),
        member("c", small, 9, Schedule.constant(90.0, 12, 0.2)),
        member("d", large, 2**40),
    ]


def same(one: MDState, other: MDState):
    a, b = one.to_arrays(), other.to_arrays()
    assert a.keys() == b.keys()
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name], err_msg=name)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_batch_with_refill_is_its_members_alone_to_the_bit(integrator):
    together = {s.key: s for s in run(members(), lj(), integrator, every=100, capacity=Capacity(systems=3))}
    assert {k: (s.status, int(s.state.step)) for k, s in together.items()} == {
        "a": ("done", 14),
        "b": ("done", 9),
        "c": ("done", 12),
        "d": ("done", 14),
    }
    for one in members():
        (alone,) = run([one], lj(), integrator, every=100)
        same(alone.state, together[one.key].state)


@pytest.mark.parametrize("integrator", INTEGRATORS)
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(integrator, tmp_path):
    whole = list(run(members()[:1], lj(), integrator, every=5))
    assert [int(s.state.step) for s in whole] == [5, 10, 14]
    for interrupted in whole[:2]:
        np.savez(tmp_path / "state.npz", **interrupted.state.to_arrays())
        with np.load(tmp_path / "state.npz") as stored:
            again = MDState.from_arrays(stored)
        rest = list(run([Member("a", again, RAMP)], lj(), integrator, every=5))
        same(rest[-1].state, whole[-1].state)


def test_noise_depends_on_seed_step_and_purpose_alone():
    first = generator(5, 3, Purpose.LANGEVIN).standard_normal(4)
    others = [generator(*key).standard_normal(4) for key in ((5, 3, Purpose.BATH), (5, 4, Purpose.LANGEVIN))]
    again = generator(5, 3, Purpose.LANGEVIN).standard_normal(4)
    np.testing.assert_array_equal(first, again)
    assert all(not np.isin(other, first).any() for other in others)


def test_velocities_are_those_of_the_temperature_and_carry_no_momentum():
    gas = Atoms("Li600O600", positions=np.zeros((1200, 3)))
    state = start(Batch.pack([gas, gas]), Wells(1.0), 700.0, [5, 6])
    np.testing.assert_allclose(state.kinetic_temperature.numpy(), 700.0, rtol=0.06)
    assert state.degrees_of_freedom.tolist() == [3597.0, 3597.0]
    assert float(state.sum_over_atoms(state.masses[:, None] * state.velocities).abs().max()) < 1e-10


def test_an_unstable_member_leaves_and_the_others_go_on_to_the_bit():
    good = bulk("Ar", "fcc", a=5.3, cubic=True)
    bad = good.copy()
    bad.positions[1] = bad.positions[0] + [2.0, 0, 0]
    schedule = Schedule.constant(60.0, 6)
    pair = [member("bad", bad, 1, schedule), member("good", good, 2, schedule)]
    settings = {"every": 3, "limits": Limits(max_force_eV_per_A=5.0)}
    seen = list(run(pair, lj(), Langevin(4.0), capacity=Capacity(systems=2), **settings))
    assert [(s.key, s.status) for s in seen] == [("bad", "exploded"), ("good", "running"), ("good", "done")]
    assert "largest force" in seen[0].message
    alone = list(run(pair[1:], lj(), Langevin(4.0), **settings))
    same(alone[-1].state, seen[-1].state)


def test_what_is_given_is_not_changed():
    given = members()[0]
    before = given.state.to_arrays()
    list(run([given], lj(), INTEGRATORS[-1]))
    for name, values in given.state.to_arrays().items():
        np.testing.assert_array_equal(values, before[name])


def test_a_ramp_is_a_function_of_the_step():
    schedule = Schedule((Stage(10, 300.0, 1300.0), Stage(5, 1300.0, pressure_GPa=1.0, end_pressure_GPa=0.0)))
    assert schedule.steps == 15
    assert [schedule.at(k)[0] for k in (0, 4, 9, 10, 14, 50)] == [350.0, 750.0, 1250.0, 1300.0, 1300.0, 1300.0]
    assert schedule.at(10)[1] == pytest.approx(0.9 * GPA)
    assert Schedule.from_json(schedule.to_json()) == schedule


def test_a_ramp_heats_and_cools():
    crystal = bulk("Ar", "fcc", a=5.4, cubic=True).repeat(2)
    schedule = Schedule((Stage(60, 20.0, 80.0), Stage(120, 80.0, 10.0)))
    begin = Member(0, start(Batch.pack([crystal]), DenseArgon(), 20.0, [1]), schedule)
    seen = [float(s.state.kinetic_temperature) for s in run([begin], DenseArgon(), Bussi(5.0, 20.0))]
    assert np.mean(seen[50:60]) == pytest.approx(75.0, rel=0.25)
    assert np.mean(seen[-5:]) == pytest.approx(11.0, rel=0.35)


def test_frames_are_collected_with_their_thermodynamics():
    (given, *_), recorder = members(), Recorder(interval_fs=8.0)
    for snapshot in run([given], lj(), Bussi(4.0, 50.0), every=2):
        recorder(snapshot.state)
    trajectory = recorder.trajectory()
    assert trajectory.positions.shape == (7, 4, 3)
    assert trajectory.positions.dtype == np.float32
    assert trajectory.column("step").tolist() == [2, 4, 6, 8, 10, 12, 14]
    total = trajectory.column("potential_eV") + trajectory.column("kinetic_eV")
    assert np.ptp(total) > 10 * np.ptp(trajectory.column("conserved_eV"))
    np.testing.assert_allclose(trajectory.column("volume_A3"), 5.3**3)


def test_held_directions_stay_and_have_no_temperature():
    """Equipartition over what may move alone: 3, 2 and 1 directions, and none."""
    n = 400
    atoms = Atoms(f"O{4 * n}", positions=np.zeros((4 * n, 3)))
    kinds = [FixedPlane(range(n, 2 * n), (1, 2, 2)), FixCartesian(range(2 * n, 3 * n), (True, True, False))]
    atoms.set_constraint([*kinds, FixAtoms(range(3 * n, 4 * n))])
    wells, schedule = Wells(5.0), Schedule.constant(600.0, 150)
    begin = start(Batch.pack([atoms]), wells, 600.0, [4])
    assert float(begin.degrees_of_freedom) == 6 * n
    (last,) = run([Member(0, begin, schedule)], wells, Langevin(4.0, 0.02), every=1000)
    x = last.state.batch.positions.view(4, n, 3)
    np.testing.assert_allclose((x[1] @ torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)).numpy(), 0.0, atol=1e-10)
    np.testing.assert_allclose(x[2, :, :2].numpy(), 0.0, atol=1e-10)
    assert bool((x[3] == 0).all())
    assert float(last.state.kinetic_temperature) == pytest.approx(600.0, rel=0.06)
    of_kind = 5.0 * (x**2).sum(dim=(1, 2)) / (n * KB * 600.0)  # k⟨x²⟩ = k_B T for each direction
    np.testing.assert_allclose(of_kind.numpy(), [3.0, 2.0, 1.0, 0.0], rtol=0.2, atol=1e-12)


@pytest.mark.parametrize("integrator", INTEGRATORS[:3])
def test_fixed_atoms_stay(integrator):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.set_constraint(FixAtoms([1, 2]))
    (last,) = run([member(0, atoms, 0)], lj(), integrator, every=100)
    moved = (last.state.batch.positions - torch.from_numpy(atoms.positions)).norm(dim=1)
    assert moved[[1, 2]].tolist() == [0.0, 0.0]
    assert float(moved[[0, 3]].min()) > 0.001
    assert float(last.state.degrees_of_freedom) == 6.0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: VelocityVerlet(0.0), "timestep_fs=0.0, wanted a time step above 0 and up to 10 fs"),
        (lambda: Langevin(-1.0), "timestep_fs"),
        (lambda: Bussi(11.0), "timestep_fs=11.0"),
        (lambda: Bussi(float("nan")), "timestep_fs=nan"),
        (lambda: Bussi(2.0, tau_fs=1.0), "tau_fs=1.0, wanted at least one time step"),
        (lambda: Langevin(1.0, -0.1), "friction_per_fs"),
        (lambda: CellRescaling(2.0, tau_p_fs=99.0), "tau_p_fs=99.0, wanted at least 50 time steps"),
        (lambda: CellRescaling(2.0, compressibility_per_GPa=0.0), "compressibility"),
        (lambda: Stage(10, -5.0), "temperature_K=-5.0, wanted a temperature of 0 K or more"),
        (lambda: Stage(10, 300.0, end_temperature_K=float("nan")), "end_temperature_K"),
        (lambda: Stage(0, 300.0), "steps=0"),
        (lambda: Stage(10, 300.0, pressure_GPa=float("inf")), "pressure_GPa"),
        (lambda: Schedule(()), "without stages"),
    ],
)
def test_settings_without_sense_are_refused_in_one_line(make, says):
    with pytest.raises(InputError, match=says) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("temperature", "seeds"), [([300.0], [1, 2]), (300.0, [1]), (-1.0, [1, 2]), (300.0, [1, -2])])
def test_a_wrong_start_is_refused(temperature, seeds):
    with pytest.raises(InputError, match="wanted one of each"):
        start(Batch.pack([Atoms("O2", positions=np.zeros((2, 3)))] * 2), Wells(1.0), temperature, seeds)


def test_constant_pressure_is_refused_where_there_is_none():
    crystal = bulk("Ar", "fcc", a=5.3, cubic=True)
    slab, held = crystal.copy(), crystal.copy()
    slab.pbc = (True, True, False)
    held.set_constraint(FixAtoms([0]))
    for atoms, says in ((slab, "found 2 periodic directions"), (held, "constraints on atoms")):
        with pytest.raises(InputError, match=says):
            list(run([member(0, atoms, 0)], lj(), INTEGRATORS[3]))
    with pytest.raises(InputError, match="bulk modulus"):
        compressibility(Batch.pack([bulk("Ar", "fcc", a=6.5, cubic=True)]), lj())


def test_starts_from_which_nothing_can_move_are_refused():
    with pytest.raises(InputError, match="nothing in system 0 can move"):
        start(Batch.pack([Atoms("Ar", cell=np.eye(3) * 9, pbc=True)]), lj(), 300.0, [1])
    cold = start(Batch.pack([bulk("Ar", "fcc", a=5.3, cubic=True)]), lj(), 0.0, [1])
    with pytest.raises(InputError, match="at rest"):
        list(run([Member("x", cold, Schedule.constant(300.0, 5))], lj(), Bussi(1.0)))
    both = MDState.join([cold, cold])
    with pytest.raises(InputError, match="2 systems, wanted 1"):
        list(run([Member("x", both, Schedule.constant(300.0, 5))], lj(), Langevin(1.0)))


def test_other_masses_move_atoms_otherwise():
    crystal = Batch.pack([bulk("Ar", "fcc", a=5.3, cubic=True)])
    heavy = start(crystal, lj(), 60.0, [1], masses=torch.full((4,), 160.0))
    light = start(crystal, lj(), 60.0, [1], masses=torch.full((4,), 40.0))
    torch.testing.assert_close(heavy.velocities, light.velocities / 2)
    torch.testing.assert_close(heavy.kinetic_energy, light.kinetic_energy)
    assert replace(heavy, step=heavy.step + 1).step.tolist() == [1]
