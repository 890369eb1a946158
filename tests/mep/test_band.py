"""The band: known saddles of model surfaces, contracts of the projection, bands that do not disturb each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.mep.band import Band, ElasticBand, climbing_image, improved_tangent, neighbourhood
from atomsim.optimize.drive import drive
from atomsim.optimize.fire import Fire
from atomsim.optimize.newton import Newton
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop

# Müller, Brown, Theor. Chim. Acta 53, 75 (1979): energies of minima and saddles, here in units of 1/100
MINIMA = [(-0.5582236, 1.4417258), (-0.0500108, 0.4666941), (0.6234994, 0.0280378)]
MINIMUM_ENERGIES = [-1.4669952, -0.8076782, -1.0816672]
SADDLES = {0: ((-0.8220016, 0.6243128), -0.4066484), 1: ((0.2124866, 0.2929883), -0.7224894)}


def mueller_brown(batch: Batch) -> Evaluation:
    x, y = batch.positions[:, 0], batch.positions[:, 1]
    energy, slope = torch.zeros_like(x), torch.zeros_like(batch.positions)
    rows = zip(
        (-2.0, -1.0, -1.7, 0.15), (-1, -1, -6.5, 0.7), (0, 0, 11, 0.6), (-10, -10, -6.5, 0.7), (1, 0, -0.5, -1),
        (0, 0.5, 1.5, 1), strict=True,
    )  # fmt: skip
    for amplitude, a, b, c, x0, y0 in rows:
        dx, dy = x - x0, y - y0
        term = amplitude * torch.exp(a * dx**2 + b * dx * dy + c * dy**2)
        energy = energy + term
        slope[:, 0] += term * (2 * a * dx + b * dy)
        slope[:, 1] += term * (b * dx + 2 * c * dy)
    return Evaluation(energy, -slope, slope.new_zeros(batch.n_systems, 3, 3))


def point(x: float, y: float) -> Atoms:
    return Atoms("H", positions=[[x, y, 0.0]])


def model_band(key, first: int, last: int, n_images: int = 9, bulge: float = 0.0) -> Band:
    a, b = np.array(MINIMA[first]), np.array(MINIMA[last])
    s = np.arange(1, n_images + 1) / (n_images + 1)
    path = a + s[:, None] * (b - a) + bulge * np.sin(np.pi * s)[:, None] * np.array([1.0, 1.0])
    return Band(
        key,
        Batch.pack([point(*p) for p in path]),
        torch.eye(3 * n_images, dtype=torch.float64) / 20,
        start=Batch.pack([point(*a)]),
        end=Batch.pack([point(*b)]),
        start_energy=MINIMUM_ENERGIES[first],
        end_energy=MINIMUM_ENERGIES[last],
    )


def run(bands, potential=mueller_brown, method=None, capacity=100, **stop):
    limits = Stop(**({"fmax": 0.002, "max_steps": 2000} | stop))
    chosen = method or Newton(radius=0.05, conservative=False)
    project = ElasticBand(spring=3.0)
    outcomes = drive(bands, potential, chosen, Space(), limits, Capacity(capacity), project=project)
    return {o.key: o for o in outcomes}


@pytest.mark.parametrize("method", [Newton(radius=0.05, conservative=False), Fire(timestep=0.02, longest_step=0.05)])
def test_the_climbing_image_finds_the_published_saddles_of_mueller_and_brown(method):
    found = run([model_band(0, 0, 1), model_band(1, 1, 2)], method=method)
    for key, (where, energy) in SADDLES.items():
        assert found[key].status == "converged"
        top = int(found[key].evaluation.energy.argmax())
        np.testing.assert_allclose(found[key].batch.positions[top, :2], where, atol=2e-3)
        assert float(found[key].evaluation.energy[top]) == pytest.approx(energy, abs=1e-4)


def test_images_of_a_relaxed_band_feel_no_force_across_it():
    (found,) = run([model_band(0, 1, 2)]).values()
    band = model_band(0, 1, 2)
    group = torch.zeros(found.batch.n_systems, dtype=torch.int64)
    evaluation = mueller_brown(found.batch)
    near = neighbourhood(found.batch, evaluation.energy, group, [band])
    tangent = improved_tangent(found.batch, evaluation.energy, near)
    across = evaluation.forces - (evaluation.forces * tangent).sum(dim=1, keepdim=True) * tangent
    assert float(across.norm(dim=1).max()) < 0.01
    spacing = near.before.norm(dim=1)
    climbing = int(evaluation.energy.argmax())
    for part in (spacing[: climbing + 1], near.after.norm(dim=1)[climbing:]):
        assert float(part.max() / part.min()) < 1.1  # evenly spaced on either side of the climbing image


def test_a_band_is_the_same_alone_and_in_company():
    together = run([model_band(0, 0, 1), model_band(1, 1, 2), model_band(2, 0, 1, 5, 0.1)])
    for band in (model_band(0, 0, 1), model_band(1, 1, 2), model_band(2, 0, 1, 5, 0.1)):
        alone = run([band])[band.key]
        assert together[band.key].steps == alone.steps
        torch.testing.assert_close(together[band.key].batch.positions, alone.batch.positions, rtol=0, atol=1e-9)


def test_bands_are_refilled_in_flight_without_a_change():
    bands = [model_band(k, *((0, 1) if k % 2 else (1, 2)), n_images=5 + k) for k in range(4)]
    wide, narrow = run(bands, capacity=100), run(bands, capacity=12)
    assert set(wide) == set(narrow) == {0, 1, 2, 3}
    for key, outcome in wide.items():
        torch.testing.assert_close(outcome.batch.positions, narrow[key].batch.positions, rtol=0, atol=1e-9)


def test_one_band_that_explodes_changes_no_other():
    def treacherous(batch: Batch) -> Evaluation:
        evaluation = mueller_brown(batch)
        bad = batch.numbers == 2
        return replace(evaluation, forces=torch.where(bad[:, None], 1e9, evaluation.forces))

    bad = model_band("bad", 0, 1)
    bad = replace(bad, batch=replace(bad.batch, numbers=torch.full_like(bad.batch.numbers, 2)))
    good = [model_band(0, 0, 1), model_band(1, 1, 2)]
    mixed = run([good[0], bad, good[1]], treacherous)
    clean = run(good)
    assert mixed["bad"].status == "exploded"
    for key in (0, 1):
        assert mixed[key].status == "converged"
        torch.testing.assert_close(mixed[key].batch.positions, clean[key].batch.positions, rtol=0, atol=0)


def test_the_projection_leaves_energies_and_its_inputs_alone():
    band = model_band(0, 0, 1)
    evaluation = mueller_brown(band.batch)
    forces, energy = evaluation.forces.clone(), evaluation.energy.clone()
    group = torch.zeros(9, dtype=torch.int64)
    projected = ElasticBand()(band.batch, evaluation, group, [band])
    torch.testing.assert_close(projected.energy, energy, rtol=0, atol=0)
    torch.testing.assert_close(evaluation.forces, forces, rtol=0, atol=0)
    top = int(energy.argmax())
    tangent = improved_tangent(band.batch, energy, neighbourhood(band.batch, energy, group, [band]))
    # the climbing image: the component along the band turned round, nothing else changed
    turned = forces[top] - 2 * (forces[top] @ tangent[top]) * tangent[top]
    torch.testing.assert_close(projected.forces[top], turned)


def test_nothing_climbs_on_a_band_that_only_rises():
    band = replace(model_band(0, 0, 1), end_energy=5.0)
    energy = torch.linspace(-1.0, 4.0, 9, dtype=torch.float64)
    group = torch.zeros(9, dtype=torch.int64)
    assert not climbing_image(energy, group, [band]).any()
    assert climbing_image(energy.flip(0) * 2, group, [band]).sum() == 1


def test_of_equal_highest_images_one_climbs():
    energy = torch.tensor([0.0, 1.0, 1.0, 0.0, 2.0, 2.0], dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 0, 1, 1])
    bands = [model_band(0, 0, 1, 4), model_band(1, 0, 1, 2)]
    assert climbing_image(energy, group, bands).tolist() == [False, True, False, False, True, False]


def test_the_tangent_of_a_rising_band_points_to_the_higher_neighbour():
    band = model_band(0, 0, 1, 3)
    batch = replace(band.batch, positions=torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]], dtype=torch.float64))
    energy = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    bands = [replace(band, start_energy=-1.0, end_energy=3.0)]
    tangent = improved_tangent(batch, energy, neighbourhood(batch, energy, torch.zeros(3, dtype=torch.int64), bands))
    torch.testing.assert_close(tangent[1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
