"""Of several noisy starts the lowest is relaxed to the end, whatever else is in flight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.errors import InputError
from atomsim.optimize.drive import Outcome
from atomsim.optimize.space import Space
from atomsim.optimize.starts import Start, lowest_starts
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax

HIGH, LOW = 0.96, -1.04
"""Where the two wells are, Å."""


class TwoWells:
    """(x² − 1)² + 0.3 x for every atom, with springs along y and z; counts what it evaluates."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: Batch) -> Evaluation:
        self.calls += batch.n_systems
        x, across = batch.positions[:, 0], batch.positions[:, 1:]
        energies = (x**2 - 1) ** 2 + 0.3 * x + across.square().sum(dim=1)
        slope = 4 * x * (x**2 - 1) + 0.3
        energy = torch.zeros(batch.n_systems, dtype=torch.float64).index_add_(0, batch.system, energies)
        return Evaluation(energy, -torch.cat([slope[:, None], 2 * across], dim=1), torch.zeros_like(batch.cell))


def settings(starts: int, seed: int = 0) -> RelaxSettings:
    return RelaxSettings(0.001, cell=False, noise_A=0.1, seed=seed, starts=starts, check_minimum=False)


def relaxed(starts: int, seed: int = 0, count: int = 1, at_once: int = 1) -> tuple[list[Relaxation], TwoWells]:
    """Atoms that start on the barrier, which is at 0.08 Å."""
    potential = TwoWells()
    systems = [Atoms("Ar", positions=[(0.08 + 0.001 * n, 0, 0)]) for n in range(count)]
    found = dict(iter_relax(systems, potential, settings(starts, seed), capacity=Capacity(systems=at_once)))
    return [found[n] for n in range(count)], potential


def test_the_lowest_is_found_where_one_start_misses_it():
    ends = [relaxed(1, seed)[0][0].atoms.positions[0, 0] for seed in range(8)]
    assert sorted({round(x, 2) for x in ends}) == [LOW, HIGH]
    for seed in range(8):
        ((best,), _) = relaxed(8, seed)
        assert best.status == "converged"
        assert best.fmax <= 0.001
        assert best.atoms.positions[0, 0] == pytest.approx(LOW, abs=0.01)


def test_all_that_was_evaluated_is_counted():
    ((best,), potential) = relaxed(3)
    assert best.force_calls == potential.calls


def test_systems_in_flight_do_not_change_the_choice():
    alone, _ = relaxed(3, count=4)
    together, _ = relaxed(3, count=4, at_once=5)
    for a, b in zip(alone, together, strict=True):
        assert b.energy == pytest.approx(a.energy, abs=1e-12)
        assert b.force_calls == a.force_calls
        assert b.initial_energy == a.initial_energy


def test_the_first_start_is_that_of_a_single_one():
    """So several starts never end above it, unless a lower one climbs after the comparison."""
    ((one,), _), ((best,), _) = relaxed(1), relaxed(4)
    assert best.initial_energy == one.initial_energy
    assert best.energy <= one.energy + 1e-9


def test_starts_need_no_noise_of_their_own():
    systems = [Atoms("Ar", positions=[(0.08, 0, 0)])]  # falls to the higher well if left alone
    still = replace(settings(1), noise_A=0.0)
    ends = [dict(iter_relax(systems, TwoWells(), replace(still, starts=n)))[0] for n in (1, 8)]
    assert ends[1].energy < ends[0].energy - 0.1
    assert ends[1].atoms.positions[0, 0] == pytest.approx(LOW, abs=0.01)


def test_no_starts_and_several_with_symmetry_kept_are_refused():
    with pytest.raises(InputError, match="found starts=0, wanted"):
        RelaxSettings(starts=0)
    with pytest.raises(InputError, match="breaks it"):
        RelaxSettings(starts=2, keep_symmetry=True)


def test_under_pressure_the_lowest_enthalpy_goes_on():
    """Of two ends that a descent might reach, the larger cell is lower in energy and higher in enthalpy."""
    large, small = (Batch.pack([Atoms("Ar", cell=[a] * 3, pbc=True)]) for a in (5.0, 4.0))
    zero = torch.zeros(1, 3, dtype=torch.float64)

    def ended(number: int, batch: Batch, energy: float) -> Outcome:
        evaluation = Evaluation(torch.tensor([energy], dtype=torch.float64), zero, torch.zeros_like(batch.cell))
        return Outcome(Start(0, number), batch, evaluation, "converged", "", 1, 2, 0.0, 0.0)

    def descend(_groups):
        return iter([ended(0, large, -1.0), ended(1, small, -0.5)])

    for pressure, wanted in ((0.0, large), (0.1, small)):
        ((_, group),) = lowest_starts([], descend, 2, Space(cell=True, pressure=pressure))
        assert group.batch is wanted
