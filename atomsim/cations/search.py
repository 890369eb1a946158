"""Search for cation order: fit, sample, relax what the model ranks low or knows least, and fit again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from atomsim.cations.candidates import (
    Enumeration,
    enumerate_all,
    first_batch,
    next_batch,
    not_in,
    sample,
    visited,
)
from atomsim.cations.model import ArrangementModel, Features, fit, make_features
from atomsim.cations.problem import OrderingProblem
from atomsim.cations.result import Arrangement, CationOrder, TemperatureOrder
from atomsim.cations.settings import OrderSettings
from atomsim.cations.thermal import enumerated_order, sampled_order
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel
from atomsim.monte_carlo import QuadraticEnergy
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax
from atomsim.types import FloatArray, IntArray
from atomsim.units import KB

FEWEST = 6
"""Relaxed arrangements below which no model is fitted."""
SETTLED = 12
"""Relaxed arrangements before which a search does not end by itself: with fewer the leave-one-out error flatters."""
SWEEPS = 100
"""Sweeps of the sampling between two batches."""


def find_order(atoms: Atoms, potential: EnergyModel, settings: OrderSettings) -> CationOrder:
    """Find the arrangements of lowest relaxed energy, and the order at finite temperatures.

    Args:
        atoms: cell of the average lattice; the composition of each sublattice is kept.
        potential: the potential.
        settings: of the search.

    Raises:
        InputError: if a sublattice matches nothing or holds one element, or charges do not balance.
    """
    problem = OrderingProblem.of(atoms, settings.sublattices, settings.ion)
    features = make_features(problem, settings.shells, settings.charges or None)
    everything = enumerate_all(problem, settings.enumerate_limit)
    search = _Search(problem, features, everything, potential, settings)
    search.run()
    return search.result()


def final_settings(settings: OrderSettings) -> RelaxSettings:
    """Return how the lowest arrangements are relaxed to the end."""
    s = settings
    return RelaxSettings(fmax_eV_per_A=s.final_fmax_eV_per_A, max_steps=s.max_steps, cell=s.cell, seed=s.seed)


class _Search:
    """State of a search, all of it a function of the seed and of what the potential says."""

    def __init__(
        self,
        problem: OrderingProblem,
        features: Features,
        everything: Enumeration | None,
        potential: EnergyModel,
        settings: OrderSettings,
    ) -> None:
        self.problem = problem
        self.features = features
        self.everything = everything
        self.potential = potential
        self.settings = settings
        self.relaxed: list[Arrangement] = []
        self.failed: list[str] = []
        self.tried: IntArray = np.zeros((0, len(problem.start)), dtype=np.int64)
        self.history: list[dict[str, float]] = []
        self.model: ArrangementModel | None = None
        self.force_calls = 0
        self.surprise: float | None = None
        self.settled = False

    def run(self) -> None:
        """Relax batches until the lowest predicted are known and the model is good enough, or the budget is spent."""
        total = len(self.everything.occupations) if self.everything else self.problem.n_arrangements
        budget = min(self.settings.relaxations, total)
        while len(self.tried) < budget:
            count = min(self.settings.batch, budget - len(self.tried))
            batch = self._choose(count)
            if not len(batch):
                self.settled = True
                return
            self._relax(batch)
            self._fit()
        self.settled = self.settled or len(self.tried) >= total

    def _choose(self, count: int) -> IntArray:
        """Arrangements to relax next; none where the search has settled."""
        if self.model is None:
            rough = self._rough()
            candidates = not_in(self._candidates(rough), self.tried)
            return candidates[first_batch(rough.energies(candidates), count)] if len(candidates) else candidates
        candidates = self._candidates(self.model.energy)
        energy, deviation = self.model.predict(candidates)
        hot = max(self.settings.temperature_K) * KB * len(self.problem.sites) / 2
        low = candidates[np.argsort(energy, kind="stable")[: self.settings.lowest]]
        good = len(self.relaxed) >= SETTLED and self._error_meV() <= self.settings.target_meV_per_site
        if good and not len(not_in(low, self.tried)) and not self._could_be_lower(candidates, energy):
            return candidates[:0]
        left = not_in(candidates, self.tried)
        if not len(left):
            return left
        energy, deviation = self.model.predict(left)
        return left[next_batch(energy, deviation, hot, count)]

    def _could_be_lower(self, candidates: IntArray, energy: FloatArray) -> bool:
        """True where one not relaxed is predicted within a leave-one-out error of the lowest relaxed."""
        assert self.model is not None
        known = {row.tobytes() for row in self.tried}
        lowest = min(a.energy for a in self.relaxed)
        near = candidates[energy < lowest + self.model.rms_error]
        return any(np.ascontiguousarray(row).tobytes() not in known for row in near)

    def _rough(self) -> QuadraticEnergy:
        """Coulomb energy alone before anything is relaxed; nothing where no charges balance."""
        weights = np.zeros(len(self.features.names))
        if self.features.charges is not None:
            weights[0] = 0.1  # 1/ε of an oxide, for the ladder's sake
        return self.features.energy(weights)

    def _candidates(self, energy: QuadraticEnergy) -> IntArray:
        if self.everything is not None:
            return self.everything.occupations
        sampling = sample(self.problem, energy, self.settings, len(self.history), SWEEPS, 2)
        generator = np.random.default_rng([self.settings.seed, len(self.history), 2])
        random = self.problem.canonical(self.problem.random(50, generator))
        return np.unique(np.concatenate([visited(self.problem, sampling), random]), axis=0)

    def _relax(self, batch: IntArray) -> None:
        """Relax a batch, and note how far the model was off before it knew it."""
        s = self.settings
        predicted = None if self.model is None else self.model.predict(batch)[0]
        how = RelaxSettings(
            fmax_eV_per_A=s.fmax_eV_per_A, max_steps=s.max_steps, cell=s.cell, noise_A=s.noise_A, seed=s.seed,
            check_minimum=False,
        )  # fmt: skip
        found = self._relaxations([self.problem.made(row) for row in batch], how)
        self.surprise = _rms_difference(predicted, found)
        for row, relaxation in zip(batch, found, strict=True):
            if relaxation.converged:
                weight = self.problem.multiplicity(row)
                self.relaxed.append(Arrangement(row, relaxation, weight, len(self.tried)))
            else:
                name = self.problem.made(row).get_chemical_formula()
                self.failed.append(
                    f"arrangement {len(self.tried)} of {name}: {relaxation.status}: {relaxation.message}"
                )
            self.tried = np.concatenate([self.tried, row[None]])

    def _relaxations(self, systems: Sequence[Atoms], how: RelaxSettings) -> list[Relaxation]:
        found = dict(iter_relax(systems, self.potential, how))
        self.force_calls += sum(r.force_calls for r in found.values())
        return [found[n] for n in range(len(systems))]

    def _fit(self) -> None:
        if len(self.relaxed) >= FEWEST:
            occupations = np.stack([a.occupation for a in self.relaxed])
            self.model = fit(self.features, occupations, [a.energy for a in self.relaxed])
        entry = {"relaxations": float(len(self.tried)), "force_calls": float(self.force_calls)}
        if self.relaxed:
            entry["lowest_eV"] = min(a.energy for a in self.relaxed)
        if self.model is not None:
            entry["leave_one_out_meV_per_site"] = self._error_meV()
        if self.surprise is not None:
            entry["batch_error_meV_per_site"] = 1e3 * self.surprise / len(self.problem.sites)
        self.history.append(entry)

    def _error_meV(self) -> float:  # noqa: N802
        return float("inf") if self.model is None else 1e3 * self.model.rms_error / len(self.problem.sites)

    def result(self) -> CationOrder:
        """Relax the lowest to the end, sample at the wanted temperatures, and say what is not as wanted."""
        if not self.relaxed:
            raise InputError(f"no arrangement could be relaxed: {self.failed[0] if self.failed else 'none was tried'}")
        arrangements = self._finished()
        shells, temperatures = self._temperatures(arrangements)
        return CationOrder(
            problem=self.problem,
            arrangements=tuple(arrangements),
            failed=tuple(self.failed),
            model=self.model,
            history=tuple(self.history),
            temperatures=tuple(temperatures),
            shells_A=tuple(shells),
            distinct=None if self.everything is None else len(self.everything.occupations),
            force_calls=self.force_calls,
            flags=tuple(self._flags(temperatures)),
        )

    def _finished(self) -> list[Arrangement]:
        s = self.settings
        ordered = sorted(self.relaxed, key=lambda a: (a.relaxation.energy, a.number))
        final = self._relaxations([a.relaxation.atoms for a in ordered[: s.lowest]], final_settings(s))
        done = [replace(a, final=r) for a, r in zip(ordered, final, strict=False)]
        return sorted(done, key=lambda a: (a.energy, a.number)) + ordered[s.lowest :]

    def _temperatures(self, arrangements: Sequence[Arrangement]) -> tuple[list[float], list[TemperatureOrder]]:
        if self.everything is not None and self.model is not None:
            energy, _ = self.model.predict(self.everything.occupations)
            return enumerated_order(self.problem, self.everything, energy, arrangements, self.settings)
        if self.model is None:
            return [], []
        sampling = sample(self.problem, self.model.energy, self.settings, len(self.history), self.settings.sweeps, 2)
        return sampled_order(self.problem, sampling, self.settings)

    def _flags(self, temperatures: Sequence[TemperatureOrder]) -> list[str]:
        found = []
        if self.failed:
            found.append(f"{len(self.failed)} relaxations failed")
        if self.model is None:
            found.append(f"no model: it takes {FEWEST} relaxed arrangements")
        elif self._error_meV() > self.settings.target_meV_per_site:
            found.append(
                f"leave-one-out error {self._error_meV():.1f} meV per site, wanted "
                f"{self.settings.target_meV_per_site:g}: raise relaxations or shells"
            )
        if not self.settled:
            found.append("relaxations were spent before the lowest predicted arrangements were all relaxed")
        bad = [t for t in temperatures if t.scale_reduction > 1.1]
        if bad:
            names = ", ".join(f"{t.temperature_K:g} K (R̂ {t.scale_reduction:.2f})" for t in bad)
            found.append(f"chains disagree at {names}: raise sweeps")
        return found


def _rms_difference(predicted: FloatArray | None, found: Sequence[Relaxation]) -> float | None:
    """Error of predictions made before relaxing, root mean square, eV per cell."""
    if predicted is None:
        return None
    known = [p - r.energy for p, r in zip(predicted, found, strict=True) if r.converged]
    return float(np.sqrt(np.mean(np.square(known)))) if known else None
