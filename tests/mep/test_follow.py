"""Following a mode: known saddles of model surfaces, and what is measured goes into a Hessian as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.mep.find import find_paths
from atomsim.mep.follow import Follow, held, informed, with_lowest
from atomsim.mep.path import Endpoints, PathSettings
from atomsim.optimize.drive import drive
from atomsim.optimize.entering import Group
from atomsim.optimize.hessian import partial_hessian
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop
from atomsim.relaxation import relax


class Leps:
    """An atom B between A and C that are held, coupled to an oscillator: x is r_AB, y the oscillator, z is soft.

    London–Eyring–Polanyi–Sato potential and oscillator (model II) of Jónsson, Mills, Jacobsen, in Classical and
    Quantum Dynamics in Condensed Phase Simulations (1998), appendix A.
    """

    device = torch.device("cpu")

    def __call__(self, batch: Batch) -> Evaluation:
        positions = batch.positions.detach().requires_grad_()
        with torch.enable_grad():
            x, y, z = positions.unbind(dim=1)
            bonds = [(x, 4.746, 0.05), (3.742 - x, 4.746, 0.80), (torch.full_like(x, 3.742), 3.445, 0.05)]
            coulomb = [d / 2 * (1.5 * _decay(r, 2) - _decay(r, 1)) / (1 + s) for r, d, s in bonds]
            j = [d / 4 * (_decay(r, 2) - 6 * _decay(r, 1)) / (1 + s) for r, d, s in bonds]
            root = (j[0] ** 2 + j[1] ** 2 + j[2] ** 2 - j[0] * j[1] - j[1] * j[2] - j[0] * j[2]).sqrt()
            oscillator = 2 * 0.2025 * (x - (3.742 / 2 - y / 1.154)) ** 2
            energy = coulomb[0] + coulomb[1] + coulomb[2] - root + oscillator + 2.0 * z**2
            (slope,) = torch.autograd.grad(energy.sum(), positions)
        return Evaluation(energy.detach(), -slope, slope.new_zeros(batch.n_systems, 3, 3))


def _decay(r: torch.Tensor, power: int) -> torch.Tensor:
    return torch.exp(-power * 1.942 * (r - 0.742))


def leps_saddle() -> tuple[float, float, float]:
    """By brute force: along y the lowest energy at each x; the highest of these."""
    x = np.linspace(0.9, 2.9, 401)
    y = np.linspace(-3.0, 3.0, 1201)
    grid = np.stack([*np.meshgrid(x, y, indexing="ij"), np.zeros((401, 1201))], axis=2).reshape(-1, 3)
    one = Batch.pack([Atoms("H")])
    energy = Leps()(replace(one, positions=torch.from_numpy(grid))).energy.numpy().reshape(401, 1201)
    lowest = energy.min(axis=1)
    top = int(lowest.argmax())
    return float(x[top]), float(y[energy[top].argmin()]), float(lowest[top])


@pytest.fixture(scope="module")
def reaction() -> Endpoints:
    points = [Atoms("H", positions=[p]) for p in ([0.75, 1.3, 0.1], [3.0, -1.3, -0.1])]
    first, last = relax(points, Leps(), cell=False, fmax_eV_per_A=1e-3, check_minimum=False)
    assert first.converged
    assert last.converged
    moved = last.atoms.positions - first.atoms.positions
    known, _ = partial_hessian(first.atoms, (0,), Leps())
    return Endpoints("LEPS", first.atoms, moved, first.energy, last.energy, (0,), torch.from_numpy(known))


@pytest.mark.parametrize("how", ["follow", "band"])
def test_the_saddle_of_the_leps_potential_is_found(reaction, how):
    settings = PathSettings(images=7, fmax_eV_per_A=0.005, search=how, noise_A=0.01)
    (path,) = find_paths([reaction], Leps(), settings)
    x, y, energy = leps_saddle()
    assert path.status == "converged"
    np.testing.assert_allclose(path.images[path.highest].positions[0, :2], [x, y], atol=0.01)
    assert path.energies[path.highest] == pytest.approx(energy, abs=1e-3)
    assert path.proof is not None
    assert path.proof.negative_modes == 1


def test_a_group_is_the_same_alone_and_in_company():
    points = [[1.9, 0.4, 0.1], [2.1, 0.0, 0.0], [2.0, 0.3, -0.2]]
    start = torch.diag(torch.tensor([-1.0, 5.0, 4.0], dtype=torch.float64))

    def run(chosen):
        groups = [Group(n, Batch.pack([Atoms("H", positions=[points[n]])]), start) for n in chosen]
        found = drive(groups, Leps(), Follow(), Space(), Stop(fmax=1e-3, max_steps=100), Capacity())
        return {o.key: o for o in found}

    together = run(range(3))
    x, y, _ = leps_saddle()
    for n in range(3):
        assert together[n].status == "converged"
        np.testing.assert_allclose(together[n].batch.positions[0, :2], [x, y], atol=0.01)
        torch.testing.assert_close(together[n].batch.positions, run([n])[n].batch.positions, rtol=0, atol=1e-9)


def symmetric(seed: int, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, n))
    return matrix @ matrix.T + np.eye(n)


def test_what_was_measured_is_in_the_hessian_and_the_rest_is_kept():
    true, guess = symmetric(0), symmetric(1)
    directions = np.eye(9)[:3]
    found = informed(guess, directions, directions @ true)
    np.testing.assert_allclose(directions @ found, directions @ true, atol=1e-12)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(found[3:, 3:], guess[3:, 3:], atol=1e-12)


def test_the_mode_along_a_direction_becomes_the_lowest():
    hessian = np.diag([-2.0, 1.0, 3.0, 50.0])
    direction = np.array([0.1, 0.2, 0.9, 0.0])
    found = with_lowest(hessian, direction)
    values, vectors = np.linalg.eigh(found)
    np.testing.assert_allclose(np.abs(vectors[:, 0]), [0, 0, 1, 0], atol=1e-12)
    assert values[0] < values[1]
    np.testing.assert_allclose(values[1:], [-2.0, 1.0, 50.0], atol=1e-12)


def test_fixed_atoms_are_taken_out_of_a_hessian():
    fixed = np.array([False, True, False])
    free = torch.eye(3, dtype=torch.float64) * torch.from_numpy(~fixed)[:, None, None]
    found = held(symmetric(2), free)
    assert np.abs(found[3:6, :3]).max() == 0
    assert (np.linalg.eigvalsh(found) > 0).all()
