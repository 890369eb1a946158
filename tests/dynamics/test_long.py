"""The statistics of the ensembles, sharply: minutes of one core, so only in ``make soak``."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from systems import DenseArgon, Nothing, argon, at, gas

from atomsim.analysis.diffusion import diffusion
from atomsim.dynamics import Bussi, CellRescaling, VelocityVerlet
from atomsim.units import GPA, KB

pytestmark = pytest.mark.soak


def volumes(state, integrator, potential, steps, skip, every):
    found = []
    for step in range(steps):
        state = integrator.step(state, potential)
        if step >= skip and step % every == 0:
            found.append(state.volume.numpy())
    return np.array(found)


@pytest.mark.parametrize("flexible", [False, True])
def test_the_volume_of_an_ideal_gas_is_a_gamma_variate(flexible):
    n, t, p, count = 8, 300.0, 0.1 * GPA, 1000
    unit = KB * t / p
    state = at(gas(count, n, t, n * unit), pressure=p)
    integrator = CellRescaling(10.0, GPA / p, 500.0, 50.0, flexible=flexible)
    found = volumes(state, integrator, Nothing(), 1400, 250, 100) / unit
    print(f"\nflexible={flexible}: <V> {found.mean() / n:.4f}, variance {found.var() / n:.4f} of the exact ones")
    assert found.mean() == pytest.approx(n, rel=0.01)
    assert found.var() == pytest.approx(n, rel=0.05)
    assert stats.kstest(found[::4].ravel(), stats.gamma(n).cdf).pvalue > 0.01


def test_argon_s_volume_fluctuates_as_its_compressibility_says():
    """⟨ΔV²⟩ = k_BT V κ, with κ from the change of ⟨V⟩ between two pressures."""
    found = []
    for pressure in (0.25, 0.35):
        state = at(argon(10, 15.0, a=5.317), pressure=pressure * GPA)
        found.append(volumes(state, CellRescaling(8.0, 0.3, 400.0, 80.0), DenseArgon(), 3000, 300, 1))
    compliance = (found[0].mean() - found[1].mean()) / (0.1 * GPA)  # V κ
    ratio = np.mean([v.var() for v in found]) / (KB * 15.0 * compliance)
    print(f"\n<dV2> {ratio:.3f} of k_BT V kappa")
    assert ratio == pytest.approx(1.0, abs=0.25)


def test_a_bath_that_scales_velocities_leaves_diffusion_alone():
    """D of liquid argon by CSVR from τ = 0.05 to 2 ps against constant energy from the same states."""
    state = argon(8, 200.0, a=5.75)
    for _ in range(500):
        state = Bussi(8.0, 100.0).step(state, DenseArgon())
    results = {}
    baths = {tau: Bussi(8.0, tau) for tau in (50.0, 2000.0)}
    for name, integrator in [("NVE", VelocityVerlet(8.0)), *baths.items()]:
        now, frames = state, []
        for step in range(2000):
            now = integrator.step(now, DenseArgon())
            if step % 10 == 0:
                frames.append(now.batch.positions.view(8, 32, 3).numpy())
        everything = np.ones(32, dtype=bool)
        replicas = list(np.array(frames).transpose(1, 0, 2, 3))
        results[name] = diffusion(replicas, 80.0, everything, framework=everything)
        print(f"\n{name}: {results[name].D_cm2_per_s} ± {results[name].error_cm2_per_s} {results[name].refused}")
    reference = results.pop("NVE")
    for found in results.values():
        width = np.hypot(found.error_cm2_per_s, reference.error_cm2_per_s)
        assert found.D_cm2_per_s == pytest.approx(reference.D_cm2_per_s, abs=2 * width)
