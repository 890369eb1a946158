"""The memory model predicts what an evaluation takes, and packing by it never runs out of memory."""

from __future__ import annotations

from functools import reduce
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity, device_capacity
from atomsim.batching.memory import Load, MemoryModel, calibrate, count_load, device_peak, probe_batches
from atomsim.errors import AtomsimError, InputError
from atomsim.models.pair import LennardJones
from atomsim.optimize.drive import drive
from atomsim.optimize.entering import Group
from atomsim.optimize.fire import Fire
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop

CUTOFF, SHORT = 5.0, 3.0


def crystal(a: float, repeat: int, seed: int) -> Atoms:
    atoms = bulk("LiO", "rocksalt", a=a).repeat((1, 1, repeat))
    atoms.rattle(0.05, seed=seed)
    return atoms


def assortment(n: int, seed: int = 0) -> list[Batch]:
    """Dense and dilute crystals, and molecules, of 2 to 24 atoms."""
    rng = np.random.default_rng(seed)
    systems = []
    for k in range(n):
        if rng.random() < 0.2:
            systems.append(Atoms("O2", positions=[[0, 0, 0], [1.2, 0, 0]], cell=[15, 15, 15], pbc=True))
        else:
            systems.append(crystal(rng.uniform(4.0, 5.5), int(rng.integers(1, 13)), seed=k))
    return [Batch.pack([atoms]) for atoms in systems]


class Device:
    """A pretended device whose memory use is known: with noise, and with a table of neighbours if wanted."""

    def __init__(self, *, table: float = 0.0, noise: float = 0.03, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.noise, self.coefficients = noise, np.array([3e6, 2e4, 9e3, 1e3, table])
        self.calls = 0

    def true(self, load: Load) -> float:
        parts = [1.0, load.atoms, load.edges, load.angles, load.atoms * load.neighbors]
        return float(self.coefficients @ np.array(parts))

    def __call__(self, potential, batch: Batch) -> float:
        self.calls += 1
        return self.true(count_load(batch, CUTOFF, SHORT)) * (1 + self.rng.uniform(-self.noise, self.noise))


def learned(device: Device) -> MemoryModel:
    sample = Batch.pack([crystal(4.2, 6, seed=1)])
    return calibrate(LennardJones(), probe_batches(sample), device, CUTOFF, SHORT)


@pytest.mark.parametrize("table", [0.0, 7e3], ids=["edges", "padded table"])
def test_prediction_is_within_15_per_cent(table):
    device = Device(table=table)
    memory = learned(device)
    systems = assortment(60)
    rng = np.random.default_rng(1)
    for _ in range(200):
        batch = Batch.join([systems[k] for k in rng.choice(60, rng.integers(1, 20))])
        load = count_load(batch, CUTOFF, SHORT)
        assert memory.predict(load) == pytest.approx(device.true(load), rel=0.15)


@pytest.mark.parametrize("table", [0.0, 7e3], ids=["edges", "padded table"])
def test_200_random_packings_never_run_out_of_memory(table):
    device = Device(table=table)
    limit = 2e8
    capacity = Capacity(systems=10_000, memory=learned(device), limit_bytes=0.85 * limit)
    systems = assortment(60)
    loads = [capacity.load(batch) for batch in systems]
    rng = np.random.default_rng(2)
    filled = []
    for _ in range(200):
        packed = Load()
        for k in rng.permutation(np.repeat(np.arange(60), 20)):
            if not capacity.admits(packed + loads[k]):
                break
            packed = packed + loads[k]
        filled.append(device.true(packed) * (1 + device.noise) / limit)
    assert max(filled) <= 1.0
    assert min(filled) > 0.6  # and the memory is used


def test_the_driver_packs_by_predicted_memory():
    device, limit = Device(noise=0.0), 6e7
    capacity = Capacity(systems=10_000, memory=learned(device), limit_bytes=limit)
    taken = []

    def potential(batch: Batch) -> Evaluation:
        taken.append((device.true(count_load(batch, CUTOFF, SHORT)), batch.n_systems))
        if taken[-1][0] > 1.1 * limit:
            raise torch.OutOfMemoryError("out of memory")
        zero = torch.zeros_like(batch.positions)
        return Evaluation(zero[: batch.n_systems, 0].clone(), zero, torch.zeros_like(batch.cell))

    groups = [Group(n, batch) for n, batch in enumerate(assortment(80, seed=3))]
    found = list(drive(groups, potential, Fire(), Space(cell=False), Stop(), capacity))
    assert sorted(o.key for o in found) == list(range(80))
    assert {o.status for o in found} == {"converged"}
    assert max(n for _, n in taken) > 3
    assert all(used <= 1.1 * limit for used, _ in taken)


def test_one_group_is_always_admitted():
    capacity = Capacity(systems=8, memory=learned(Device()), limit_bytes=1.0)
    groups = [Group(n, batch) for n, batch in enumerate(assortment(3))]
    sizes = []

    def potential(batch: Batch) -> Evaluation:
        sizes.append(batch.n_systems)
        return LennardJones()(batch)

    assert len(list(drive(groups, potential, Fire(), Space(cell=False), Stop(max_steps=0), capacity))) == 3
    assert set(sizes) == {1}


def test_loads_add_up():
    systems = assortment(5)
    together = count_load(Batch.join(systems), CUTOFF, SHORT)
    assert reduce(Load.__add__, [count_load(b, CUTOFF, SHORT) for b in systems]) == together


def test_angles_are_counted_as_chgnet_makes_them():
    from atomsim.models.chgnet.graph import bond_graph
    from atomsim.models.neighbors import neighbor_list

    batch = Batch.join(assortment(5))
    graph = bond_graph(batch, neighbor_list(batch, CUTOFF), SHORT)
    load = count_load(batch, CUTOFF, SHORT)
    assert (load.edges, load.angles) == (len(graph.center), len(graph.angle_center))


def test_probes_that_do_not_fit_are_left_out():
    device = Device(noise=0.0)

    def small(potential, batch: Batch) -> float:
        if batch.n_atoms > 60:
            raise torch.OutOfMemoryError("out of memory")
        return device(potential, batch)

    probes = probe_batches(Batch.pack([crystal(4.2, 6, seed=1)]))
    memory = calibrate(LennardJones(), probes, small, CUTOFF, SHORT)
    load = count_load(probes[-1], CUTOFF, SHORT)
    assert memory.predict(load) == pytest.approx(device.true(load), rel=0.15)

    def none(potential, batch: Batch) -> float:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(AtomsimError, match="nothing to calibrate"):
        calibrate(LennardJones(), probes, none, CUTOFF, SHORT)


def test_a_cpu_takes_one_system_at_a_time():
    assert device_capacity(LennardJones(), assortment(1)[0]) == Capacity(systems=1)


@pytest.mark.gpu
def test_prediction_on_a_gpu():
    from atomsim.models.load import load_potential

    potential = load_potential("chgnet-0.3.0", "cuda")
    sample = Batch.pack([crystal(4.2, 12, seed=1)], "cuda")
    capacity = device_capacity(potential, sample)
    assert capacity.memory is not None
    for copies in (3, 24, 48):
        batch = Batch.join([sample] * copies)
        assert capacity.memory.predict(capacity.load(batch)) == pytest.approx(device_peak(potential, batch), rel=0.15)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), InputError("does not know X")])
def test_a_sample_that_cannot_be_evaluated_raises_nothing(error):
    def potential(batch: Batch) -> Evaluation:
        raise error

    on_a_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert device_capacity(potential, on_a_gpu) == Capacity(systems=1)


def test_angles_are_counted_in_two_precisions_too():
    from atomsim.models.load import load_potential
    from atomsim.models.precision import finishing

    potential = load_potential("chgnet-0.3.0", "cpu")
    both = finishing(potential, 0.005)
    assert both is not potential
    assert both.short == potential.short > 0
