"""Order at finite temperatures: from replica exchange, or summed over all arrangements where these are enumerated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.cations.candidates import Enumeration
from atomsim.cations.problem import OrderingProblem
from atomsim.cations.result import Arrangement, TemperatureOrder
from atomsim.cations.settings import OrderSettings
from atomsim.cations.short_range_order import warren_cowley
from atomsim.monte_carlo import Sampling, standard_error
from atomsim.types import FloatArray
from atomsim.units import KB


def sampled_order(
    problem: OrderingProblem, sampling: Sampling, settings: OrderSettings
) -> tuple[list[float], list[TemperatureOrder]]:
    """Return energy and short-range order at the wanted temperatures, with errors from the spread between chains."""
    shells: list[float] = []
    found = []
    lowest = float(sampling.energies.min())
    reduction = sampling.scale_reduction
    for temperature in sorted(set(settings.temperature_K)):
        t = int(np.argmin(np.abs(sampling.temperatures - temperature * KB)))
        by_chain = []
        for chain in sampling.occupations[:, t]:
            shells, alpha = warren_cowley(problem, chain, settings.shells)
            by_chain.append(alpha.mean(axis=0))
        means = np.stack(by_chain)
        found.append(
            TemperatureOrder(
                temperature_K=temperature,
                mean_energy=float(sampling.mean_energies[t]) - lowest,
                energy_error=float(sampling.energy_errors[t]),
                scale_reduction=float(reduction[t]),
                acceptance=float(sampling.acceptance[t]),
                warren_cowley=means.mean(axis=0),
                warren_cowley_error=standard_error(means),
            )
        )
    return shells, found


def enumerated_order(
    problem: OrderingProblem,
    everything: Enumeration,
    predicted: FloatArray,
    arrangements: Sequence[Arrangement],
    settings: OrderSettings,
) -> tuple[list[float], list[TemperatureOrder]]:
    """Return the canonical averages over all arrangements: relaxed energies where known, else the model's."""
    energy = predicted.copy()
    place = {row.tobytes(): n for n, row in enumerate(np.ascontiguousarray(everything.occupations))}
    for arrangement in arrangements:
        energy[place[np.ascontiguousarray(arrangement.occupation).tobytes()]] = arrangement.energy
    shells, alpha = warren_cowley(problem, everything.occupations, settings.shells)
    found = []
    for temperature in sorted(set(settings.temperature_K)):
        weight = np.exp(-(energy - energy.min()) / (KB * temperature)) * everything.multiplicities
        weight /= weight.sum()
        mean = np.einsum("n,nsab->sab", weight, alpha)
        found.append(
            TemperatureOrder(
                temperature_K=temperature,
                mean_energy=float(weight @ (energy - energy.min())),
                energy_error=0.0,
                scale_reduction=1.0,
                acceptance=float("nan"),
                warren_cowley=mean,
                warren_cowley_error=np.zeros_like(mean),
            )
        )
    return shells, found
