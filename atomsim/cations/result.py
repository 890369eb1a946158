"""Results of a search for cation order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from atomsim.cations.model import ArrangementModel
from atomsim.cations.problem import OrderingProblem
from atomsim.relaxation import Relaxation
from atomsim.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Arrangement:
    """One arrangement that was relaxed."""

    occupation: IntArray = field(repr=False)
    relaxation: Relaxation = field(repr=False)
    """While searching; ``final`` has the lowest ones to the end."""
    multiplicity: int
    """Arrangements alike to it by symmetry, itself included."""
    number: int
    """Order in which it was relaxed, from 0."""
    final: Relaxation | None = field(default=None, repr=False)

    @property
    def energy(self) -> float:
        """Relaxed energy, eV per cell: of the last relaxation that converged."""
        if self.final is not None and self.final.converged:
            return self.final.energy
        return self.relaxation.energy

    @property
    def atoms(self) -> Atoms:
        """Relaxed structure."""
        return self.final.atoms if self.final is not None and self.final.converged else self.relaxation.atoms


@dataclass(frozen=True, eq=False)
class TemperatureOrder:
    """Order at one temperature."""

    temperature_K: float
    mean_energy: float
    """Mean energy of the model above its lowest known arrangement, eV per cell."""
    energy_error: float
    """Standard error of it between chains, eV; 0 where all arrangements are summed."""
    scale_reduction: float
    """Convergence between chains, R̂ of the energy; 1 where all arrangements are summed."""
    acceptance: float
    """Share of exchanges of unlike species that were accepted; NaN where all arrangements are summed."""
    warren_cowley: FloatArray = field(repr=False)
    """α, (shells, n_species, n_species)."""
    warren_cowley_error: FloatArray = field(repr=False)
    """Standard error of α between chains."""


@dataclass(frozen=True, eq=False)
class CationOrder:
    """Result of a search."""

    problem: OrderingProblem = field(repr=False)
    arrangements: tuple[Arrangement, ...] = field(repr=False)
    """Relaxed ones, the lowest first."""
    failed: tuple[str, ...]
    """Arrangements whose relaxation failed, one line each."""
    model: ArrangementModel | None = field(repr=False)
    """None where too few arrangements were relaxed for a fit."""
    history: tuple[dict[str, float], ...]
    """By round: relaxations so far, lowest energy, leave-one-out error."""
    temperatures: tuple[TemperatureOrder, ...]
    shells_A: tuple[float, ...]
    distinct: int | None
    """Symmetry-distinct arrangements, where all were enumerated."""
    force_calls: int
    flags: tuple[str, ...]

    @property
    def lowest(self) -> Arrangement | None:
        """The arrangement of lowest relaxed energy."""
        return self.arrangements[0] if self.arrangements else None

    @property
    def error_meV_per_site(self) -> float:  # noqa: N802
        """Leave-one-out error of the model, meV per site of the sublattices."""
        return float("nan") if self.model is None else 1e3 * self.model.rms_error / len(self.problem.sites)

    def boltzmann_weights(self, temperature_K: float) -> FloatArray:
        """Weights of the relaxed arrangements among each other at a temperature, their multiplicities included."""
        from atomsim.units import KB

        energy = np.array([a.energy for a in self.arrangements])
        weight = np.exp(-(energy - energy.min()) / (KB * temperature_K)) * [a.multiplicity for a in self.arrangements]
        found: FloatArray = weight / weight.sum()
        return found
