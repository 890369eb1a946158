"""The lowest mode: minima are told from saddles, many systems at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from test_hessian import brute_force

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.models.load import load_potential
from atomsim.models.pair import LennardJones
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.products import Products
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess
from atomsim.relaxation import RelaxSettings, iter_relax, relax
from atomsim.structures.prototypes import load_prototype

STRONG = LennardJones(epsilon_eV=0.5)
"""Argon's forces are far below those of an oxide, for which the thresholds are made."""
KRYPTON = 36


def relaxed(atoms: Atoms, **settings) -> Atoms:
    (found,) = relax(atoms, STRONG, fmax_eV_per_A=1e-5, max_steps=2000, check_minimum=False, **settings)
    assert found.converged
    return found.atoms


def minimum() -> Atoms:
    return relaxed(bulk("Ar", "fcc", a=5.2, cubic=True))


def saddle() -> Atoms:
    """bcc argon: every force and stress is zero by symmetry, and it is not a minimum."""
    return relaxed(bulk("Ar", "bcc", a=4.1, cubic=True).repeat((2, 1, 1)))


@pytest.mark.parametrize("cell", [False, True])
def test_it_finds_negative_modes_as_the_whole_hessian_does(cell):
    space, potential = Space(cell=cell), STRONG
    systems = [minimum(), saddle()]
    batch = Batch.pack(systems)
    guesses = [spring_guess(Batch.pack([s]), space) for s in systems]
    force = space.force(batch, potential(batch), space.layout(batch))
    found = lowest_modes(Products(batch, force, potential, space), guesses)
    for n, atoms in enumerate(systems):
        values = torch.linalg.eigvalsh(brute_force(atoms, potential, space))
        # translations (and rotations, as antisymmetric strains) are the zeros
        lowest = float(values[values.abs() > 1e-4][0])
        assert float(found.curvature[n]) > lowest - 0.01 * float(values[-1])
        assert bool(found.curvature[n] < -0.1) == (lowest < -0.1)
        assert bool(found.settled[n])
    if cell:  # bcc is unstable against a strain
        assert float(found.curvature[0]) > 0 > float(found.curvature[1])


class Quadratic:
    """Springs of which the whole Hessian is known; which one a system has is told by its elements."""

    device = torch.device("cpu")

    def __init__(self, hessians: list[torch.Tensor]) -> None:
        self.hessians = hessians

    @classmethod
    def of(cls, spectra: list[list[float]], seed: int) -> Quadratic:
        """Hessians with these eigenvalues beside translations, and eigenvectors at random."""
        random = torch.Generator().manual_seed(seed)
        hessians = []
        for values in spectra:
            n = len(values) + 3
            shifts = torch.eye(3, dtype=torch.float64).repeat(n // 3, 1)
            mixed = torch.cat([shifts, torch.randn(n, n - 3, generator=random, dtype=torch.float64)], dim=1)
            inner = torch.linalg.qr(mixed)[0][:, 3:]
            hessians.append((inner * torch.tensor(values, dtype=torch.float64)) @ inner.T)
        return cls(hessians)

    def systems(self) -> list[Atoms]:
        return [
            Atoms([n + 1] * (len(h) // 3), positions=[[0.0] * 3] * (len(h) // 3)) for n, h in enumerate(self.hessians)
        ]

    def __call__(self, batch: Batch) -> Evaluation:
        parts = batch.positions.split(batch.sizes)
        own = [self.hessians[int(z)] for z in batch.numbers[batch.starts] - 1]
        forces = [-(h @ x.flatten()).view(-1, 3) for h, x in zip(own, parts, strict=True)]
        energy = torch.stack([-0.5 * (f * x).sum() for f, x in zip(forces, parts, strict=True)])
        return Evaluation(energy, torch.cat(forces), torch.zeros(batch.n_systems, 3, 3, dtype=torch.float64))


def deceived(hessian: torch.Tensor) -> torch.Tensor:
    """An inverse Hessian that takes negative modes for the stiffest of all."""
    values, vectors = torch.linalg.eigh(hessian)
    believed = torch.where(values < -0.1, 40.0, values.clamp(min=1.0))
    return (vectors / believed) @ vectors.T


def test_no_preconditioner_hides_a_negative_mode():
    random = torch.Generator().manual_seed(0)
    soft = [0.3 + 30 * torch.rand(21, generator=random).square() for _ in range(40)]
    spectra = [v.tolist() for v in soft]
    lows = [-0.2, -0.5, -1.0, -3.0]
    for n in range(20):  # one in two has one to three negative modes
        spectra[2 * n][: 1 + n % 3] = [lows[n % 4]] * (1 + n % 3)
    potential, space = Quadratic.of(spectra, seed=1), Space()
    batch = Batch.pack(potential.systems())
    force = space.force(batch, potential(batch), space.layout(batch))
    for inverses in ([deceived(h) for h in potential.hessians], [torch.eye(24, dtype=torch.float64)] * 40):
        found = lowest_modes(Products(batch, force, potential, space), inverses)
        assert bool(found.settled.all())
        assert (found.curvature < -0.1).tolist() == [min(v) < -0.1 for v in spectra]
        for n, values in enumerate(spectra):
            assert float(found.curvature[n]) > min(values) - 1e-6


def test_what_is_found_depends_neither_on_neighbours_nor_on_how_a_crystal_is_turned():
    space, turned = Space(cell=True), saddle()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    systems = [saddle(), minimum(), turned]
    batch = Batch.pack(systems)
    guesses = [spring_guess(Batch.pack([s]), space) for s in systems]

    def looked(chosen: list[int]):
        some = batch.take(chosen)
        force = space.force(some, STRONG(some), space.layout(some))
        return lowest_modes(Products(some, force, STRONG, space), [guesses[n] for n in chosen])

    together = looked([0, 1, 2])
    assert together.force_calls[0] == together.force_calls[2]
    assert float(together.curvature[0]) == pytest.approx(float(together.curvature[2]), rel=0.02)
    for n in range(3):
        alone = looked([n])
        assert alone.force_calls[0] == together.force_calls[n]
        assert float(alone.curvature[0]) == pytest.approx(float(together.curvature[n]), abs=1e-9)


def half_way(student) -> Atoms:
    """Li half-way to a vacancy in LiCoO2."""
    (host,) = relax([load_prototype("LiCoO2").primitive], student, fmax_eV_per_A=0.02)
    atoms = host.atoms.repeat((2, 2, 1))
    first, *others = (n for n, s in enumerate(atoms.symbols) if s == "Li")
    other = min(others, key=lambda n: round(atoms.get_distance(first, n, mic=True), 3))
    atoms.positions[first] += 0.5 * atoms.get_distance(first, other, mic=True, vector=True)
    del atoms[other]
    return atoms


def dilated(student) -> Atoms:
    """LiCoO2 stretched until its symmetric positions are a saddle."""
    (host,) = relax([load_prototype("LiCoO2").primitive], student, fmax_eV_per_A=0.02)
    host.atoms.set_cell(host.atoms.cell.array * 1.06, scale_atoms=True)
    return host.atoms


@pytest.mark.xdist_group("mace")
@pytest.mark.parametrize(("start", "lower"), [(half_way, 0.1), (dilated, 0.005)])
def test_an_oxide_does_not_end_on_a_saddle_that_springs_take_for_stiff(start, lower):
    student = load_potential("mace-li-mn-co-ni-w-o", device="cpu")
    atoms = start(student)
    blind, seeing = (
        relax(atoms, student, fmax_eV_per_A=0.01, cell=False, check_minimum=check)[0] for check in (False, True)
    )
    assert blind.status == seeing.status == "converged"
    assert seeing.message == ""
    assert seeing.energy < blind.energy - lower
    inner = torch.linalg.eigvalsh(brute_force(seeing.atoms, student, Space(), h=0.02))
    assert float(inner[0]) > -0.1


def test_a_relaxation_leaves_a_saddle_that_symmetry_holds_it_on():
    blind, seeing = (
        relax(saddle(), STRONG, fmax_eV_per_A=1e-3, check_minimum=check, max_steps=2000)[0] for check in (False, True)
    )
    per_atom = relaxed(bulk("Ar", "fcc", a=5.2)).calc.results["energy"]
    assert blind.status == "converged"
    assert blind.lowest_curvature is None  # and says that nobody looked
    assert seeing.status == "converged"
    assert seeing.lowest_curvature > 0
    assert seeing.energy < blind.energy - 0.05
    assert seeing.energy / 4 == pytest.approx(per_atom, abs=5e-2)


def test_a_saddle_that_cannot_be_left_is_flagged(monkeypatch):
    import atomsim.optimize.minima

    monkeypatch.setattr(atomsim.optimize.minima, "RESTARTS", 0)
    (found,) = relax(saddle(), STRONG, fmax_eV_per_A=1e-3, max_steps=2000)
    assert found.status == "saddle"
    assert "eV/Å²" in found.message
    assert not found.converged


class Fragile:
    """Krypton is fine where its forces vanish and fails next to it, as told by ``fault``; the others are argon."""

    device = torch.device("cpu")

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, batch: Batch) -> Evaluation:
        evaluation = STRONG(batch)
        pulled = batch.system[evaluation.forces.norm(dim=1) > 1e-3]
        bad = torch.isin(batch.system, pulled) & (batch.numbers == KRYPTON)
        if bad.any() and self.fault == "raises":
            raise ValueError("no self-consistency")
        if self.fault == "out of memory" and batch.n_systems > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        nan = bad & (self.fault == "nan")
        return replace(evaluation, forces=torch.where(nan[:, None], torch.nan, evaluation.forces))


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("fault", ["nan", "raises", "out of memory"])
def test_what_fails_beside_the_minimum_leaves_its_siblings_alone_and_says_so(fault, at_once):
    good, fragile = minimum(), minimum()
    fragile.numbers[:] = KRYPTON
    systems = [good, fragile, good]
    settings = RelaxSettings(fmax_eV_per_A=1e-3)
    found = dict(iter_relax(systems, Fragile(fault), settings, capacity=Capacity(systems=at_once)))
    (alone,) = relax(good, STRONG, settings=settings)
    assert [found[n].status for n in range(3)] == ["converged"] * 3
    for n in (0, 2):
        assert found[n].lowest_curvature == pytest.approx(alone.lowest_curvature, abs=1e-9)
        assert found[n].message == ""
    if fault == "out of memory":
        assert found[1].message == ""
    else:
        assert found[1].lowest_curvature is None
        assert "could not be checked" in found[1].message


@pytest.mark.parametrize("atoms", [Atoms("Ar"), bulk("Ar", a=5.3)], ids=["atom", "crystal"])
def test_where_nothing_can_move_there_is_no_curvature(atoms):
    (found,) = relax(atoms, STRONG, cell=False)
    assert found.status == "converged"
    assert found.lowest_curvature is None
    assert "checked" not in found.message
