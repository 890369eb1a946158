"""Ensembles of dense argon judged by physical_validation (E3), and the momentum (E5).

    pip install physical_validation        in an environment of its own
    python -m benchmarks.ensembles [--seeds 10] [--steps 3000] [--only CSVR Langevin …]

Merz & Shirts 2018, PLoS ONE 13, e0202764. Times are apart by more than the bath's, so that frames count as independent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import physical_validation as pv  # type: ignore[import-not-found, import-untyped, unused-ignore]
import torch

from atomsim.dynamics import Bussi, CellRescaling, Langevin
from atomsim.dynamics.state import MDState
from atomsim.units import ACCELERATION, GPA, KB

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "dynamics"))
from systems import DenseArgon, argon, at  # those of the tests

STEP_FS, EVERY, SKIP = 8.0, 100, 500
N = 32
UNITS = pv.data.UnitData(
    kb=KB, energy_str="eV", energy_conversion=96.48533, length_str="A", length_conversion=0.1, volume_str="A^3",
    volume_conversion=1e-3, temperature_str="K", temperature_conversion=1.0, pressure_str="eV/A^3",
    pressure_conversion=1.602176634e6, time_str="fs", time_conversion=1e-3,
)  # fmt: skip
MAKERS: dict[str, Callable[[], Any]] = {
    "CSVR": lambda: Bussi(STEP_FS, 100.0),
    "Langevin": lambda: Langevin(STEP_FS),
    "cell rescaling": lambda: CellRescaling(STEP_FS, 0.3, 400.0, 80.0),
    "cell rescaling, flexible": lambda: CellRescaling(STEP_FS, 0.3, 400.0, 80.0, flexible=True),
}


def sampled(name: str, seeds: int, steps: int, temperature_K: float, pressure_GPa: float) -> dict[str, np.ndarray]:
    """Return energies and volumes of independent frames, (n_frames, n_seeds), and the last momentum."""
    state: MDState = at(argon(seeds, temperature_K, a=5.317), temperature_K, pressure_GPa * GPA)
    integrator, potential = MAKERS[name](), DenseArgon()
    rows: list[list[np.ndarray]] = []
    for step in range(SKIP + steps):
        state = integrator.step(state, potential)
        if step >= SKIP and step % EVERY == 0:
            rows.append([t.numpy().copy() for t in (state.kinetic_energy, state.evaluation.energy, state.volume)])
    found = dict(zip(("kinetic", "potential", "volume"), np.array(rows).transpose(1, 0, 2), strict=True))
    momenta = (state.masses[:, None] * state.velocities).view(seeds, N, 3).sum(dim=1).norm(dim=1)
    mass = state.masses.view(seeds, N).sum(dim=1)
    found["momentum"] = (momenta / torch.sqrt(mass * KB * temperature_K * ACCELERATION)).numpy()
    return found


def data(found: dict[str, np.ndarray], npt: bool, temperature_K: float, pressure_GPa: float, seed: int | None) -> Any:
    """Return what physical_validation takes, of one seed or of all."""
    pick = {k: v.ravel() if seed is None else v[:, seed] for k, v in found.items() if k != "momentum"}
    kind = {"pressure": pressure_GPa * GPA} if npt else {"volume": float(pick["volume"][0])}
    ensemble = pv.data.EnsembleData("NPT" if npt else "NVT", natoms=N, temperature=temperature_K, **kind)
    observables = pv.data.ObservableData(
        kinetic_energy=pick["kinetic"],
        potential_energy=pick["potential"],
        total_energy=pick["kinetic"] + pick["potential"],
        volume=pick["volume"],
    )
    system = pv.data.SystemData(natoms=N, nconstraints=0, ndof_reduction_tra=3, ndof_reduction_rot=0)
    return pv.data.SimulationData(
        units=UNITS, dt=STEP_FS * EVERY, system=system, ensemble=ensemble, observables=observables
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--only", nargs="*", default=list(MAKERS))
    chosen = parser.parse_args()
    quiet = {"verbosity": 0, "screen": False}
    for name in chosen.only:
        npt, cold, hot, low, high = name.startswith("cell"), 15.0, 17.0, 0.25, 0.30
        base = sampled(name, chosen.seeds, chosen.steps, cold, low)
        values = [
            pv.kinetic_energy.distribution(
                data(base, npt, cold, low, s), strict=True, data_is_uncorrelated=True, **quiet
            )
            for s in range(chosen.seeds)
        ]
        print(f"{name}: kinetic energy, p of {chosen.seeds} seeds: {' '.join(f'{v:.2f}' for v in values)}")
        print(f"{name}: momentum over sqrt(M k T), largest: {base['momentum'].max():.1e}")
        others = [(hot, low)] + ([(cold, high), (hot, high)] if npt else [])
        for t, p in others:
            other = sampled(name, chosen.seeds, chosen.steps, t, p)
            sigmas = pv.ensemble.check(
                data(base, npt, cold, low, None), data(other, npt, t, p, None), data_is_uncorrelated=True, **quiet
            )
            texts = " ".join(f"{v:.2f}" for v in np.atleast_1d(sigmas))
            print(f"{name}: ensemble.check {cold:g} K {low:g} GPa against {t:g} K {p:g} GPa: {texts} sigma")


if __name__ == "__main__":
    main()
