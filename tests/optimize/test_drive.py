"""The driver under faults: what goes wrong in one group never reaches another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.errors import InputError
from atomsim.models.pair import LennardJones
from atomsim.optimize.drive import Outcome, drive
from atomsim.optimize.entering import Group
from atomsim.optimize.fire import Fire
from atomsim.optimize.lbfgs import Lbfgs
from atomsim.optimize.newton import Newton
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop

METHODS = [Fire(), Lbfgs(), Newton()]
XENON = 54


def argon(seed: int, n: int = 1) -> Atoms:
    atoms = bulk("Ar", "fcc", a=5.2, cubic=True).repeat((n, 1, 1))
    atoms.rattle(0.15, seed=seed)
    return atoms


def marked(seed: int = 9) -> Atoms:
    atoms = argon(seed)
    atoms.numbers[0] = XENON
    return atoms


class Faulty:
    """Lennard-Jones that does something to systems with a xenon atom."""

    def __init__(self, fault: Callable[[Evaluation, torch.Tensor], Evaluation] | Exception, after: int = 0) -> None:
        self.potential, self.fault, self.calls, self.after = LennardJones(), fault, 0, after
        self.batches: list[int] = []

    def __call__(self, batch: Batch) -> Evaluation:
        self.calls += 1
        self.batches.append(batch.n_systems)
        evaluation = self.potential(batch)
        hit = torch.unique(batch.system[batch.numbers == XENON])
        if len(hit) == 0 or self.calls <= self.after:
            return evaluation
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault(evaluation, hit)


def nan_energy(evaluation: Evaluation, hit: torch.Tensor) -> Evaluation:
    evaluation.energy[hit] = torch.nan
    return evaluation


def run(systems: list[Atoms], potential, method, capacity=8, **stop) -> dict[int, Outcome]:
    groups = [Group(n, Batch.pack([s])) for n, s in enumerate(systems)]
    limits = Stop(fmax=0.005, **stop)
    return {o.key: o for o in drive(groups, potential, method, Space(cell=True), limits, Capacity(capacity))}


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (nan_energy, "not_a_number"),
        (torch.OutOfMemoryError("CUDA out of memory"), "too_large"),
        (RuntimeError("boom"), "invalid"),
        (InputError("argon-only does not know Xe"), "invalid"),
    ],
    ids=["nan", "memory", "crash", "element"],
)
@pytest.mark.parametrize("after", [0, 3])
def test_a_fault_in_one_group_leaves_its_siblings_unchanged(method, fault, status, after):
    good = [argon(1), argon(2, n=2), argon(3)]
    wanted = run(good, LennardJones(), method)
    found = run([good[0], good[1], marked(), good[2]], Faulty(fault, after), method)
    assert found[2].status == status
    assert found[2].message
    for key, reference in ((0, 0), (1, 1), (3, 2)):
        assert found[key].status == "converged"
        assert found[key].steps == wanted[reference].steps
        torch.testing.assert_close(found[key].batch.positions, wanted[reference].batch.positions, atol=1e-9, rtol=0)


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits():
    class Small(LennardJones):
        def __call__(self, batch: Batch) -> Evaluation:
            if batch.n_systems > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(batch)

    systems = [argon(seed) for seed in range(5)]
    wanted = run(systems, LennardJones(), Lbfgs())
    found = run(systems, Small(), Lbfgs())
    assert [found[k].status for k in range(5)] == ["converged"] * 5
    for k in range(5):
        assert float(found[k].evaluation.energy) == pytest.approx(float(wanted[k].evaluation.energy), abs=1e-9)


def test_an_exploding_group_is_given_up():
    atoms = argon(1)
    atoms.positions[1] = atoms.positions[0] + [0.05, 0, 0]
    found = run([atoms, argon(2)], LennardJones(), Fire())
    assert found[0].status == "exploded"
    assert found[1].status == "converged"


class Pulling(LennardJones):
    """Lennard-Jones that pulls a cell apart, or pushes it together, whatever it is."""

    def __init__(self, pull: float) -> None:
        super().__init__()
        self.pull = pull

    def __call__(self, batch: Batch) -> Evaluation:
        evaluation = super().__call__(batch)
        energy = evaluation.energy - self.pull * batch.volume
        return replace(
            evaluation, energy=energy, stress=evaluation.stress - self.pull * torch.eye(3, dtype=torch.float64)
        )


def test_a_crystal_pulled_apart_is_given_up():
    found = run([argon(1)], Pulling(0.1), Fire(), max_steps=2000)
    assert found[0].status == "exploded"
    assert "no other within" in found[0].message


class Hole(LennardJones):
    """A potential without a repulsion: everything falls into one point."""

    def __call__(self, batch: Batch) -> Evaluation:
        evaluation = super().__call__(batch)
        energy = batch.volume
        eye = torch.eye(3, dtype=torch.float64).expand(batch.n_systems, 3, 3)
        return replace(evaluation, energy=energy, forces=torch.zeros_like(evaluation.forces), stress=eye)


def test_a_crystal_that_runs_into_itself_is_given_up():
    found = run([argon(1)], Hole(), Fire(), max_steps=2000)
    assert found[0].status == "exploded"
    assert "overlap" in found[0].message


def test_an_unconverged_group_says_so_with_its_force():
    found = run([argon(1)], LennardJones(), Fire(), max_steps=3)
    assert found[0].status == "max_steps"
    assert found[0].steps == 3
    assert "max_steps" in found[0].message
    assert found[0].residual > 0.005


def test_the_flight_is_refilled_as_groups_end():
    potential = Faulty(nan_energy)
    systems = [argon(seed) for seed in range(12)]
    found = run(systems, potential, Lbfgs(), capacity=4)
    assert sorted(found) == list(range(12))
    assert max(potential.batches) == 4
    # full until the queue is empty: no more than the last groups fly with free places
    full = [n for n in potential.batches if n == 4]
    assert len(full) > 0.6 * len(potential.batches)


def test_the_result_belongs_to_the_geometry_that_is_returned():
    potential = LennardJones()
    for outcome in run([argon(1), argon(2)], potential, Newton(), max_steps=4).values():
        again = potential(outcome.batch)
        np.testing.assert_allclose(outcome.evaluation.forces, again.forces, atol=1e-12)


def test_no_groups_give_no_outcomes():
    assert list(drive([], LennardJones(), Fire(), Space(), Stop(), Capacity())) == []
