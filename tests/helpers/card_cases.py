"""What a GPU would compute, on a pretended one: the numbers of the CPU, and few questions to the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.api.potentials import Loaded
from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity, device_capacity, evaluate, evaluate_all
from atomsim.batching.labels import label
from atomsim.dynamics import Langevin, Member, Schedule, run, start
from atomsim.errors import StorageError
from atomsim.mep.neb import neb
from atomsim.models.chgnet.potential import Chgnet
from atomsim.models.load import load_potential
from atomsim.models.mace.potential import MacePotential
from atomsim.models.pair import LennardJones
from atomsim.optimize.hessian import hessian
from atomsim.relaxation import RelaxSettings, iter_relax
from helpers.counting import OnCard, StepCounts, count_steps
from helpers.pretended_card import Counts, device, pretended_card
from helpers.random_mace import random_mace

TWO = Capacity(systems=2)


@pytest.fixture
def card() -> Iterator[Counts]:
    with pretended_card() as counts:
        yield counts


@pytest.fixture(scope="module")
def chgnet() -> Chgnet:
    potential = load_potential("chgnet-0.3.0", device="cpu")
    assert isinstance(potential, Chgnet)
    return potential


def on_card(potential: Chgnet) -> Chgnet:
    return replace(potential, device=device())


def salt(seed: int, a: float = 5.3) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a)
    atoms.rattle(0.08, seed=seed)
    return atoms


def argon(seed: int) -> Atoms:
    atoms = bulk("Ar", "fcc", 5.2, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_it_refuses_what_a_gpu_refuses(card: Counts) -> None:
    there = torch.ones(3, dtype=torch.float64).to(device())
    with pytest.raises(RuntimeError, match="one device"):
        _ = there + torch.ones(3)
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    card.reset()
    assert float((there + 1).sum()) == 6.0
    assert (card.n_operations, card.n_waits) == (3, 1)


def test_evaluations_are_those_of_the_cpu_while_atoms_move_and_systems_leave(card: Counts, chgnet: Chgnet) -> None:
    potential, alone = on_card(chgnet).double, chgnet.double
    systems = [salt(n) for n in range(3)]
    for size in (0.0, 0.02, 0.02, 0.3):
        for n, atoms in enumerate(systems):
            atoms.rattle(size, seed=10 + n)
            atoms.set_cell(atoms.cell.array * (1 + 0.1 * size), scale_atoms=True)
        same(potential(Batch.pack(systems, device())), alone(Batch.pack(systems)))
    same(potential(Batch.pack(systems[1:], device())), alone(Batch.pack(systems[1:])))


def same(one: object, other: object, within: float = 1e-9) -> None:
    for name in ("energy", "forces", "stress", "magmoms", "energies"):
        here, there = getattr(one, name), getattr(other, name)
        if there is not None:
            np.testing.assert_allclose(here.cpu().numpy(), there.numpy(), atol=within)


def test_a_cluster_is_what_it_is_on_the_cpu(card: Counts, chgnet: Chgnet) -> None:
    cluster = Atoms("LiOLi", [[0, 0, 0], [1.7, 0.1, 0], [3.3, 0, 0.2]])
    same(on_card(chgnet).double(Batch.pack([cluster], device())), chgnet.double(Batch.pack([cluster])))


@pytest.mark.parametrize("method", ["newton", "fire"])
def test_relaxations_end_where_they_end_on_the_cpu(card: Counts, chgnet: Chgnet, method: str) -> None:
    systems = [salt(n, 5.2 + 0.2 * n) for n in range(2)]
    settings = RelaxSettings(method=method, fmax_eV_per_A=0.05, max_steps=3, check_minimum=False)
    there = dict(
        iter_relax(systems, on_card(chgnet).double, settings, capacity=Capacity(systems=1 if method == "fire" else 2))
    )
    here = dict(iter_relax(systems, chgnet.double, settings))
    for n in here:
        assert (there[n].status, there[n].steps) == (here[n].status, here[n].steps)
        assert there[n].energy == pytest.approx(here[n].energy, abs=1e-6)
        np.testing.assert_allclose(there[n].atoms.positions, here[n].atoms.positions, atol=1e-5)


def test_bound_starts_and_symmetric_systems_are_relaxed_as_on_the_cpu(card: Counts) -> None:
    there, here = LennardJones(device=device()), LennardJones()
    for how in ({"starts": 2, "check_minimum": False}, {"keep_symmetry": True, "max_steps": 5}, {"cell": False}):
        settings = RelaxSettings(fmax_eV_per_A=0.02, **how)
        room = None if settings.keep_symmetry else TWO  # measured once: some twenty evaluations
        ((_, one),) = iter_relax([argon(1)], there, settings, capacity=room)
        ((_, other),) = iter_relax([argon(1)], here, settings)
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
    ((_, refused),) = iter_relax([Atoms()], there, RelaxSettings())
    assert refused.status == "invalid"
    engine = Loaded(there).engine(None)
    assert (engine.device, engine.processes, engine.load()) == ("card:0", 1, there)


def test_hessians_labels_and_dynamics_are_those_of_the_cpu(card: Counts) -> None:
    there, here = LennardJones(device=device()), LennardJones()
    crystal = bulk("Ar", "fcc", 5.2)
    one, other = hessian(crystal, there), hessian(crystal, here)
    torch.testing.assert_close(one.matrix(True), other.matrix(True), atol=1e-9, rtol=0)
    for ours, theirs in zip(label([argon(1), argon(2)], there), label([argon(1), argon(2)], here), strict=True):
        np.testing.assert_allclose(ours.get_forces(), theirs.get_forces(), atol=1e-9)
    ends = []
    for potential, where in ((there, device()), (here, torch.device("cpu"))):
        state = start(Batch.pack([argon(1), argon(2)], where), potential, 40.0, [1, 2])
        members = [Member(n, state.take([n]), Schedule.constant(40.0, 5)) for n in range(2)]
        last = run(members, potential, Langevin(2.0), every=100, capacity=Capacity(systems=2))
        ends.append(np.concatenate([s.state.batch.positions.cpu().numpy() for s in last]))
    np.testing.assert_allclose(*ends, atol=1e-9)


def test_a_batch_is_packed_by_what_the_device_says_of_its_memory(
    card: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    potential = LennardJones(device=device())
    sample = Batch.pack([argon(1)], device())
    capacity = device_capacity(potential, sample)
    assert capacity.memory is not None
    assert capacity.admits(capacity.load(sample))
    assert not caplog.records
    assert sum(batch.n_systems for batch, _ in evaluate_all([argon(n) for n in range(4)], potential)) == 4

    def broken(batch: Batch) -> None:
        raise ValueError("no such kernel")

    assert device_capacity(broken, sample) == Capacity(systems=1)
    assert "no such kernel" in caplog.text

    def full(batch: Batch) -> Evaluation:
        if batch.n_systems > 2:
            raise torch.OutOfMemoryError("out of memory")
        return potential(batch)

    assert device_capacity(full, sample).memory is not None  # by what did fit

    def without_disk(batch: Batch) -> None:
        raise StorageError("no space left on device")

    with pytest.raises(StorageError):
        device_capacity(without_disk, sample)


def counted(card: Counts, chgnet: Chgnet, method: str, count: int) -> StepCounts:
    potential = OnCard(on_card(chgnet), card)
    settings = RelaxSettings(
        method=method, max_steps=10, fmax_eV_per_A=0.001, check_minimum=False, finish_in_double=False
    )
    systems = [salt(n, 5.5) for n in range(count)]
    return count_steps(systems, potential, settings, card)


@pytest.mark.parametrize(("method", "of_optimizer"), [("fire", 82), ("newton", 150)])
def test_a_step_asks_a_device_little_and_no_more_for_more_systems(
    card: Counts, chgnet: Chgnet, method: str, of_optimizer: int
) -> None:
    few, many = (counted(card, chgnet, method, count) for count in (2, 5))
    for found in (few, many):
        assert found.evaluation <= 700
        assert found.optimizer <= of_optimizer
        assert found.waits_of_all <= 3  # a mean: the start and searches for neighbours included
    assert many.optimizer <= 1.1 * few.optimizer
    assert many.evaluation <= 1.1 * few.evaluation


def hop() -> tuple[Atoms, Atoms]:
    """Both ends of an argon vacancy's hop."""
    crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat((2, 2, 1))
    start, end = crystal[1:], crystal[1:]
    end.positions[0] = crystal.positions[0]
    return start, end


@pytest.mark.parametrize("search", ["follow", "band"])
def test_paths_and_proofs_are_those_of_the_cpu(card: Counts, search: str) -> None:
    bands = search == "band"
    settings = {"images": 3, "search": search, "fmax_eV_per_A": 0.01, "starts": 1 + bands, "prefactor": bands}
    there, here = (
        neb(*hop(), LennardJones(onset_A=4.5, cutoff_A=5.2, device=where), **settings)
        for where in (device(), torch.device("cpu"))
    )
    assert (there.status, there.negative_modes) == (here.status, here.negative_modes) == ("converged", 1)
    assert there.barrier_eV == pytest.approx(here.barrier_eV, abs=1e-5)
    assert there.lowest_curvatures_eV_per_A2[0] == pytest.approx(here.lowest_curvatures_eV_per_A2[0], abs=0.02)


def test_a_saddle_is_left_and_a_large_cell_relaxed_as_on_the_cpu(card: Counts) -> None:
    """Modes are looked for at the end, by products; springs take the place of a matrix."""
    start, _ = hop()
    for how in (
        {"curvature": "springs"},
        {"method": "lbfgs", "cell": False},
        {"noise_A": 0.02, "fmax_eV_per_A": 0.005},
    ):
        settings = RelaxSettings(max_steps=60, **how)
        (_, there), (_, here) = (
            next(iter(iter_relax([start], LennardJones(device=where), settings, capacity=TWO)))
            for where in (device(), torch.device("cpu"))
        )
        assert there.status == here.status
        assert there.energy == pytest.approx(here.energy, abs=1e-5)


def test_mace_and_its_dynamics_are_those_of_the_cpu(card: Counts) -> None:
    model = random_mace([11, 17])
    there, here = (MacePotential(model, device=where) for where in (device(), "cpu"))
    ends = []
    for potential, where in ((there, device()), (here, torch.device("cpu"))):
        state = start(Batch.pack([salt(1), salt(2)], where), potential, 200.0, [1, 2])
        members = [Member(n, state.take([n]), Schedule.constant(200.0, 4)) for n in range(2)]
        last = run(members, potential, Langevin(1.0), every=100, capacity=Capacity(systems=2))
        ends.append(np.concatenate([s.state.batch.positions.cpu().numpy() for s in last]))
    np.testing.assert_allclose(*ends, atol=1e-7)
    same(there(Batch.pack([salt(3)], device())), here(Batch.pack([salt(3)])), within=1e-7)


def test_a_device_without_room_halves_its_batch(card: Counts) -> None:
    potential = LennardJones(device=device())
    systems = Batch.pack([argon(n) for n in range(3)], device())

    def small(batch: Batch) -> Evaluation:
        if batch.n_systems > 1:
            raise torch.OutOfMemoryError("out of memory")
        return potential(batch)

    found, faults = evaluate(small, systems, torch.arange(3, device=device()))
    assert not faults
    same(found, potential(systems).take(systems, [0, 1, 2]).to("cpu"))
