"""Paths between minima of real crystals and surfaces: guesses, barriers, proofs, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.mep.find import find_paths
from atomsim.mep.interpolate import displacement, idpp, linear, roughened
from atomsim.mep.path import Endpoints, PathSettings, path_tangents
from atomsim.mep.segments import dips, resolve
from atomsim.models.ase import AsePotential
from atomsim.models.pair import LennardJones
from atomsim.relaxation import relax


def gold_on_aluminium(site: str) -> Atoms:
    """One end of the hop of ASE's NEB tutorial."""
    slab = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms(mask=[atom.tag > 1 for atom in slab]))
    if site == "next":
        slab.positions[-1, 0] += slab.get_cell()[0, 0] / 2
    return slab


@pytest.fixture(scope="module")
def hop() -> Endpoints:
    potential = AsePotential(EMT())
    ends = relax([gold_on_aluminium("hollow"), gold_on_aluminium("next")], potential, cell=False, fmax_eV_per_A=0.01)
    assert all(e.converged for e in ends)
    start, end = (e.atoms for e in ends)
    return Endpoints("Au", start, displacement(start, end), ends[0].energy, ends[1].energy, (len(start) - 1,))


def ase_barrier(hop: Endpoints) -> float:
    images = [hop.start.copy() for _ in range(4)] + [hop.end.copy()]
    for image in images:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate()
    BFGS(band, logfile=None).run(fmax=0.01, steps=300)
    energies = [image.get_potential_energy() for image in images]
    return max(energies) - energies[0]


def test_the_gold_hop_has_the_barrier_that_ase_finds(hop):
    (path,) = find_paths([hop], AsePotential(EMT()), PathSettings(images=3, fmax_eV_per_A=0.01))
    assert path.status == "converged"
    assert path.barrier == pytest.approx(0.374, abs=0.003)  # the tutorial's
    assert path.barrier == pytest.approx(ase_barrier(hop), abs=0.001)
    assert path.reverse_barrier == pytest.approx(path.barrier, abs=0.002)
    assert path.proof is not None
    assert path.proof.negative_modes == 1
    assert path.proof.overlap > 0.5
    fixed = hop.start.constraints[0].index
    for image in path.images:
        np.testing.assert_array_equal(image.positions[fixed], hop.start.positions[fixed])


def test_following_a_mode_finds_the_saddle_of_a_climbing_band_in_fewer_calls(hop):
    potential, settings = AsePotential(EMT()), PathSettings(images=5, fmax_eV_per_A=0.02)
    followed, banded = (next(find_paths([hop], potential, replace(settings, search=how))) for how in ("follow", "band"))
    assert followed.status == banded.status == "converged"
    assert followed.barrier == pytest.approx(banded.barrier, abs=0.002)
    assert followed.force_calls < banded.force_calls
    # the images on either side are on the path too: forces across it are small
    tangents = path_tangents(followed.images, followed.energies)[1:-1]
    free = np.setdiff1d(np.arange(len(hop.start)), hop.start.constraints[0].index)
    across = followed.forces[1:-1] - np.einsum("iac,iac->i", followed.forces[1:-1], tangents)[:, None, None] * tangents
    assert np.linalg.norm(across[:, free], axis=2).max() < 5 * settings.fmax_eV_per_A


def test_calls_are_counted_as_they_are_made(hop):
    class Counting(AsePotential):
        calls = 0

        def __call__(self, batch: Batch) -> Evaluation:
            self.calls += batch.n_systems
            return super().__call__(batch)

    for how in ("follow", "band"):
        potential = Counting(EMT())
        (path,) = find_paths([hop], potential, PathSettings(images=3, search=how))
        assert path.force_calls == potential.calls


def test_a_symmetric_start_without_noise_on_a_ridge_is_pushed_off_it():
    """A straight path over the top of a bump between two minima: the saddles lie on either side of it."""

    def bump(batch: Batch) -> Evaluation:
        positions = batch.positions.detach().requires_grad_()
        with torch.enable_grad():
            x, y = positions[:, 0], positions[:, 1]
            hill = 0.5 * torch.exp(-4 * (x**2 + y**2))
            well = 0.2 * (y**2 - 0.8) ** 2 * torch.exp(-(x**2)) + 0.3 * y**2 * (1 - torch.exp(-(x**2)))
            energy = 0.2 * (x**2 - 1) ** 2 + well + hill + 5.0 * positions[:, 2] ** 2
            (slope,) = torch.autograd.grad(energy.sum(), positions)
        energy = energy.detach()
        return Evaluation(energy, -slope, slope.new_zeros(batch.n_systems, 3, 3))

    (left, right) = relax([Atoms("H", positions=[[s, 0, 0]]) for s in (-1, 1)], bump, cell=False, fmax_eV_per_A=1e-4)
    ends = Endpoints("bump", left.atoms, right.atoms.positions - left.atoms.positions, left.energy, right.energy, (0,))
    settings = PathSettings(images=5, noise_A=0.0, guess="linear", fmax_eV_per_A=0.01)
    (ridge,) = find_paths([ends], bump, replace(settings, retries=0))
    assert ridge.status == "unproven"
    assert ridge.proof is not None
    assert ridge.proof.negative_modes == 2
    (path,) = find_paths([ends], bump, settings)
    assert path.status == "converged"
    assert path.kicks >= 1
    assert path.proof is not None
    assert path.proof.negative_modes == 1
    assert path.barrier < ridge.barrier - 0.05


@pytest.mark.parametrize("depth", [0.0, 0.3])
def test_a_path_through_a_minimum_is_reported_as_two_hops(depth, monkeypatch):
    """The well between is as deep as the ends, or far deeper than both, where a band slides down into it."""

    def along(x: torch.Tensor) -> torch.Tensor:
        return 0.3 * torch.sin(np.pi * x) ** 2 + 0.05 * x - depth * torch.exp(-(((x - 1) / 0.3) ** 2))

    def three_wells(batch: Batch) -> Evaluation:
        positions = batch.positions.detach().requires_grad_()
        with torch.enable_grad():
            energy = along(positions[:, 0]) + 2.0 * (positions[:, 1:] ** 2).sum(dim=1)
            (slope,) = torch.autograd.grad(energy.sum(), positions)
        return Evaluation(energy.detach(), -slope, slope.new_zeros(batch.n_systems, 3, 3))

    wells = relax([Atoms("H", positions=[[s, 0, 0]]) for s in (0.0, 2.0)], three_wells, cell=False, fmax_eV_per_A=1e-4)
    start, end = wells
    ends = Endpoints("two", start.atoms, end.atoms.positions - start.atoms.positions, start.energy, end.energy, (0,))
    settings = PathSettings(images=7, fmax_eV_per_A=0.01)
    (path,) = find_paths([ends], three_wells, settings)
    found = resolve(path, ends, three_wells, settings)
    assert len(found.segments) == 2
    assert found.path.status == "converged"
    x = torch.linspace(0, 2, 20001, dtype=torch.float64)
    line = along(x).numpy()
    tops, bottom = (line[:10000].max(), line[10000:].max()), line[5000:15000].min()
    first, second = (leg.barrier for leg in found.segments)
    assert first == pytest.approx(tops[0] - start.energy, abs=0.003)
    assert second == pytest.approx(tops[1] - bottom, abs=0.003)
    assert found.path.barrier == pytest.approx(max(tops) - start.energy, abs=0.003)

    # what is to be known of a part is to be known of the whole
    parts = [replace(leg, message=f"beware of the {leg.key}") for leg in found.segments]
    monkeypatch.setattr("atomsim.mep.segments.find_paths", lambda *_: parts)
    whole = resolve(path, ends, three_wells, settings).path
    assert whole.status == "converged"
    assert all(part.message in whole.message for part in parts)


@pytest.mark.parametrize("tilt", [-0.008, 0.008])
@pytest.mark.parametrize("seed", range(4))
def test_a_flat_top_with_a_dimple_has_the_barrier_of_its_higher_hump(tilt, seed):
    """Which saddle is met first depends on the noise; the barrier must not. Ends are 0.3 eV below, the dimple 0.02."""

    def along(x: torch.Tensor) -> torch.Tensor:
        hill = 0.3 * torch.exp(-(x**6)) + 0.15 * (x**2 - 4) ** 2 / 16 * (1 - torch.exp(-(x**6)))
        return hill - 0.02 * torch.exp(-((x / 0.25) ** 2)) + tilt * torch.tanh(4 * x) * torch.exp(-((x / 1.2) ** 4))

    def mesa(batch: Batch) -> Evaluation:
        positions = batch.positions.detach().requires_grad_()
        with torch.enable_grad():
            energy = along(positions[:, 0]) + 2.0 * (positions[:, 1:] ** 2).sum(dim=1)
            (slope,) = torch.autograd.grad(energy.sum(), positions)
        return Evaluation(energy.detach(), -slope, slope.new_zeros(batch.n_systems, 3, 3))

    start, end = relax([Atoms("H", positions=[[s, 0, 0]]) for s in (-2.0, 2.0)], mesa, cell=False, fmax_eV_per_A=1e-4)
    ends = Endpoints("mesa", start.atoms, end.atoms.positions - start.atoms.positions, start.energy, end.energy, (0,))
    (path,) = find_paths([ends], mesa, PathSettings(images=5, fmax_eV_per_A=0.01, seed=seed))
    assert path.status == "converged"
    assert path.proof is not None
    assert path.proof.negative_modes == 1
    highest = float(along(torch.linspace(-2, 2, 40001, dtype=torch.float64)).max())
    assert path.barrier == pytest.approx(highest - start.energy, abs=0.002)


@pytest.mark.parametrize(
    ("energies", "where"),
    [
        ([0, 1, 2, 1, 0], []),
        ([0, 1, 0.2, 1, 0], [2]),
        ([0, 1, 0.99, 1, 0], []),
        ([0, 1, 2], []),
        ([0, 1, 0.2, 1, 0.3, 1, 0.1, 1, 0], [2, 4, 6]),
        ([0, 1, 0.5, 0.505, 0.5, 1, 0], [2]),  # one basin, rough at its bottom
        ([0, 1, -2, 1, 0], [2]),
    ],
)
def test_dips_are_told_from_roughness(energies, where):
    assert dips(np.array(energies, dtype=float)) == where


def argon_hop(repeat: int = 2) -> tuple[Atoms, np.ndarray]:
    crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat(repeat)
    start = crystal[[k for k in range(len(crystal)) if k != 1]]
    return start, crystal.positions[1] - crystal.positions[0]


def test_a_vacancy_in_argon_hops_by_the_first_order_saddle():
    start, step = argon_hop()
    end = start.copy()
    end.positions[0] += step
    potential = LennardJones(onset_A=4.5, cutoff_A=5.2)
    ends = relax([start, end], potential, cell=False, fmax_eV_per_A=0.0005)
    assert ends[0].energy == pytest.approx(ends[1].energy, abs=1e-4)
    moved = displacement(ends[0].atoms, ends[1].atoms)
    hop = Endpoints("Ar", ends[0].atoms, moved, ends[0].energy, ends[1].energy, (0,))
    (path,) = find_paths([hop], potential, PathSettings(images=3, fmax_eV_per_A=0.002, spring_eV_per_A2=0.1))
    assert path.status == "converged"
    assert path.proof is not None
    assert path.proof.negative_modes == 1
    assert path.barrier == pytest.approx(path.reverse_barrier, abs=2e-4)
    assert 0.02 < path.barrier < 0.2  # eV; argon's vacancy migration


def test_the_same_seed_gives_the_same_path_whatever_else_is_computed(hop):
    potential, settings = AsePotential(EMT()), PathSettings(images=3, seed=4)
    (alone,) = find_paths([hop], potential, settings)
    paths = {p.key: p for p in find_paths([replace(hop, key="other"), hop], potential, settings)}
    np.testing.assert_array_equal(paths["Au"].energies, alone.energies)
    np.testing.assert_array_equal(paths["other"].energies, alone.energies)


def test_a_band_that_is_given_up_says_what_it_found(hop):
    (path,) = find_paths([hop], AsePotential(EMT()), PathSettings(images=3, max_steps=2, fmax_eV_per_A=1e-4))
    assert path.status == "max_steps"
    assert "best bound" in path.message
    assert path.proof is None


def test_idpp_keeps_atoms_apart_where_the_straight_path_does_not():
    start = Atoms("LiOO", positions=[[0, 0, 0], [1.8, 0.9, 0], [1.8, -0.9, 0]], cell=[9, 9, 9], pbc=True)
    moved = np.zeros((3, 3))
    moved[0, 0] = 3.6
    straight, curved = linear(start, moved, 5), idpp(start, moved, 5)
    nearest = [min(np.linalg.norm(image[1:] - image[0], axis=1).min() for image in path) for path in (straight, curved)]
    assert nearest[1] > nearest[0] + 0.1


def test_idpp_goes_around_an_atom_in_the_way():
    start = Atoms("LiO", positions=[[0, 0, 0], [1.5, 0, 0]], cell=[9, 9, 9], pbc=True)
    moved = np.array([[3.0, 0, 0], [0, 0, 0]])
    nearest = min(np.linalg.norm(image[1] - image[0]) for image in idpp(start, moved, 5))
    assert nearest > 1.0


def test_the_short_way_round_a_periodic_cell_is_taken():
    start = Atoms("LiO", positions=[[0.5, 0, 0], [4, 4, 4]], cell=[8, 8, 8], pbc=True)
    end = start.copy()
    end.positions[0, 0] = 7.5
    np.testing.assert_allclose(displacement(start, end)[0], [-1.0, 0, 0], atol=1e-12)


def test_roughness_vanishes_at_the_ends_and_on_fixed_atoms():
    path = np.zeros((99, 4, 3))
    free = np.eye(3) * np.array([True, True, True, False])[:, None, None]
    rough = roughened(path, np.random.default_rng(0).normal(0.0, 0.03, (2, 4, 3)), free)
    assert np.abs(rough[[0, -1]]).max() < 0.2 * np.abs(rough).max()
    assert (rough[:, 3] == 0).all()
    assert np.abs(np.diff(rough, axis=0)).max() < 0.1 * np.abs(rough).max()  # smooth


def ends_of(**changes) -> tuple[Atoms, Atoms]:
    start = Atoms("LiO", positions=[[0, 0, 0], [2, 2, 2]], cell=[5, 5, 5], pbc=True)
    end = Atoms(**({"symbols": "LiO", "positions": [[1, 0, 0], [2, 2, 2]], "cell": [5, 5, 5], "pbc": True} | changes))
    return start, end


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symbols": "NaO"}, "one composition"),
        ({"symbols": "OLi"}, "same order"),
        ({"symbols": "LiO2", "positions": np.eye(3)}, "same atoms"),
        ({"cell": [5, 5, 5.5]}, "one cell"),
        ({"positions": [[0.01, 0, 0], [2, 2, 2]]}, "two different minima"),
        ({"positions": [[5.0, 0, 0], [2, 2, 2]]}, "two different minima"),  # a lattice vector away
    ],
)
def test_ends_that_cannot_be_joined_are_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words) as error:
        displacement(*ends_of(**changes))
    assert "\n" not in str(error.value)
