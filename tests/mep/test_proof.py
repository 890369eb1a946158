"""Proofs of saddles: the second mode is looked for wherever it may be, whatever is believed of the Hessian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from atomsim.batch import Batch, Evaluation
from atomsim.mep.proof import prove


class Quadratic:
    """One system whose whole Hessian is known."""

    device = torch.device("cpu")

    def __init__(self, values: list[float], seed: int) -> None:
        size = len(values) + 3
        shifts = np.tile(np.eye(3), (size // 3, 1))
        mixed = np.hstack([shifts, np.random.default_rng(seed).normal(size=(size, size - 3))])
        self.modes = np.linalg.qr(mixed)[0][:, 3:].T
        self.hessian = (self.modes.T * values) @ self.modes
        self.atoms = Atoms(["Li"] * (size // 3), positions=np.zeros((size // 3, 3)))

    def __call__(self, batch: Batch) -> Evaluation:
        x = batch.positions.view(batch.n_systems, -1)
        forces = -x @ torch.from_numpy(self.hessian)
        energy = -0.5 * (forces * x).sum(dim=1)
        return Evaluation(energy, forces.reshape(-1, 3), torch.zeros(batch.n_systems, 3, 3, dtype=torch.float64))

    def believed(self, values: list[float]) -> np.ndarray:
        """The same modes with other curvatures."""
        return (self.modes.T * values) @ self.modes


REST = list(np.linspace(0.4, 25.0, 24))
SPECTRA = {
    "minimum": [0.2, 0.3, 0.5],
    "saddle": [-2.0, 0.2, 0.3],
    "flat saddle": [-0.2, 0.1, 0.1],
    "second order": [-2.0, -0.2, 0.3],
    "second order, alike": [-1.0, -1.0, 0.3],
    "third order": [-0.9, -0.17, -0.1],
}


@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("seed", range(4))
def test_negative_modes_are_counted_although_the_host_takes_them_for_stiff(kind, seed):
    low = SPECTRA[kind]
    potential = Quadratic([*low, *REST], seed)
    noise = np.random.default_rng(seed).normal(size=potential.modes.shape[1])
    tangent = potential.modes[0] + 0.5 * noise / np.linalg.norm(noise)  # a path is never quite along the mode
    host = potential.believed([30.0, 30.0, 30.0, *REST])
    still = np.zeros((len(potential.atoms), 3))
    (proof,) = prove([potential.atoms], [still], [tangent.reshape(-1, 3)], [host], potential)
    assert proof.settled
    assert proof.negative_modes == min(2, sum(v < -0.05 for v in low))
    assert proof.first_order == (kind in ("saddle", "flat saddle"))
    assert proof.curvatures[0] > low[0] - 1e-6
    if proof.first_order:
        assert proof.curvatures[0] == pytest.approx(low[0], abs=0.3 * abs(low[0]))
        assert abs(float(proof.mode.ravel() @ potential.modes[0])) > 0.9
    if proof.negative_modes == 2:  # the way off
        second = proof.second_mode.ravel()
        assert second @ potential.hessian @ second < 0


class Field(Quadratic):
    """One atom in a field that knows its place."""

    def __init__(self) -> None:
        self.modes, self.hessian = np.eye(3), np.diag([-1.0, 0.5, 2.0])
        self.atoms = Atoms("Li", positions=[[0.0, 0.0, 0.0]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("potential", [Field(), Quadratic([-1.0, 0.5, 2.0], 0)], ids=["one atom", "two atoms"])
@pytest.mark.parametrize("believed", [0.0, -0.3])
def test_a_host_without_a_stiff_mode_hides_nothing(potential, believed):
    still, host = np.zeros((len(potential.atoms), 3)), potential.believed([believed] * 3)
    (proof,) = prove([potential.atoms], [still], [potential.modes[0].reshape(-1, 3)], [host], potential)
    assert proof.first_order
    assert proof.curvatures[0] == pytest.approx(-1.0, abs=1e-3)
