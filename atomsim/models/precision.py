"""Single precision while forces are large, double precision to finish.

Rounding in float32 leaves errors of 4e-6 to 2e-5 of the largest force and of 1e-6 of the energy
(measured on MACE models of seven shapes). That is nothing to a relaxation at 0.05 eV/Å, but near
0.01 eV/Å an optimizer that compares energies begins to see noise. The policy: a relaxation that
shall end below ``FINISH_BELOW`` takes its last part in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel, Potential

FINISH_BELOW = 0.01
"""Force at the end of a relaxation, eV/Å, below which it is to be finished in float64."""


@dataclass(frozen=True)
class TwoPrecisions:
    """A potential in float32 for systems far from a minimum and in float64 for the others.

    Which of the two a system gets depends on its geometry alone, not on its history or on what
    else is in the batch: it is evaluated in float32, and again in float64 where no force is
    larger than ``switch_at``.
    """

    single: Potential
    double: Potential
    switch_at: float
    """Largest force on an atom below which double precision takes over, eV/Å."""

    def __post_init__(self) -> None:
        one, other = self.single, self.double
        if (one.dtype, other.dtype) != (torch.float32, torch.float64):
            raise InputError(f"found potentials in {one.dtype} and {other.dtype}, wanted float32 and float64")
        if (one.sha256, one.device) != (other.sha256, other.device):
            raise InputError(
                f"found {one.name} on {one.device} and {other.name} on {other.device}, "
                "wanted one potential in two precisions on one device: load it twice, with dtype float32 and float64"
            )
        if self.switch_at <= 0.0:
            raise InputError(f"found switch_at={self.switch_at}, wanted a force in eV/Å above 0")

    @property
    def name(self) -> str:
        """Name of the potential."""
        return self.double.name

    @property
    def sha256(self) -> str:
        """SHA-256 of its weights."""
        return self.double.sha256

    @property
    def device(self) -> torch.device:
        """Where batches must live."""
        return self.double.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of what is near a minimum."""
        return self.double.dtype

    @property
    def cutoff(self) -> float:
        """Largest distance at which two atoms interact directly, Å."""
        return self.double.cutoff

    @property
    def short(self) -> float:
        """Largest length of a bond that makes angles, Å; 0 without angles."""
        return float(getattr(self.double, "short", 0.0))

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers that it was made for."""
        return self.double.elements

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate all systems in float32, and those near a minimum again in float64."""
        evaluation = self.single(batch)
        size = batch.free_part(evaluation.forces).norm(dim=1)
        largest = size.new_zeros(batch.n_systems).scatter_reduce(0, batch.system, size, "amax")
        near = torch.nonzero(largest < self.switch_at).flatten()  # a NaN stays as it is
        if len(near) == 0:
            return evaluation
        if len(near) == batch.n_systems:
            return self.double(batch)
        far = torch.nonzero(~(largest < self.switch_at)).flatten()
        joined = Evaluation.join([evaluation.take(batch, far), self.double(batch.take(near))])
        order = torch.cat([far, near])
        return joined.take(batch.take(order), torch.argsort(order))


def finishing(potential: EnergyModel, fmax: float) -> EnergyModel:
    """Return what a relaxation to ``fmax`` (eV/Å) should use: both precisions where float32 is too coarse.

    A potential that has no ``double`` of its own is used as it is.
    """
    double = getattr(potential, "double", None) if fmax < FINISH_BELOW else None
    if double is None or getattr(potential, "dtype", None) != torch.float32:
        return potential
    return TwoPrecisions(potential, double, switch_at=5.0 * fmax)  # type: ignore[arg-type]
