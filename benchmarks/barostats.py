"""Volumes and strains at constant pressure (E4): against exact laws, ASE's barostat and finite strains.

python -m benchmarks.barostats [--only gas volume elastic oxide] [--steps 4000]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.stress import full_3x3_to_voigt_6_stress

from atomsim.batch import Batch
from atomsim.dynamics import Bussi, CellRescaling, start
from atomsim.dynamics.state import MDState
from atomsim.models.interface import EnergyModel
from atomsim.models.load import load_potential
from atomsim.structures.prototypes import load_prototype
from atomsim.units import GPA, KB

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "dynamics"))
from systems import DenseArgon, Nothing, argon, at, gas  # those of the tests

Floats = np.ndarray[Any, np.dtype[np.float64]]
T_K, P_GPA, A = 15.0, 0.25, 5.317
"""Solid argon under pressure: temperature, pressure, edge."""
SKIP, EVERY = 500, 4
STUDENT = "mace-li-ru-s-o"


def cells(state: MDState, integrator: Any, potential: EnergyModel, steps: int) -> Floats:
    """Return the cells of all systems after each step but the first ones, (n_steps, n_systems, 3, 3)."""
    found = []
    for step in range(SKIP + steps):
        state = integrator.step(state, potential)
        if step >= SKIP and step % EVERY == 0:
            found.append(state.batch.cell.numpy().copy())
    return np.array(found)


def volumes(state: MDState, integrator: Any, potential: EnergyModel, steps: int) -> Floats:
    """Return volumes, Å³, (n_steps, n_systems)."""
    return np.asarray(np.abs(np.linalg.det(cells(state, integrator, potential, steps))))


def mean(values: Floats) -> tuple[float, float]:
    """Return the mean over time and systems, and its error from the scatter over systems."""
    each = values.mean(axis=0)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def ideal_gas(steps: int) -> None:
    """Print ⟨V⟩ and variance of ideal gases of 8 atoms against the exact ones, at two time steps of the cell."""
    n, t, p, count = 8, 300.0, 0.1 * GPA, 1000
    unit = KB * t / p
    for flexible in (False, True):
        for tau_p in (500.0, 2000.0):
            state = at(gas(count, n, t, n * unit), pressure=p)
            integrator = CellRescaling(10.0, GPA / p, tau_p, 50.0, flexible=flexible)
            found = volumes(state, integrator, Nothing(), steps)
            value, error = mean(found / unit / n)
            spread, of_spread = mean((found / unit - n) ** 2 / n)
            print(
                f"E4 ideal gas, {'flexible' if flexible else 'isotropic'}, Δt/τ_p = {10 / tau_p:g}: ⟨V⟩ {value:.4f} ± "
                f"{error:.4f}, variance {spread:.4f} ± {of_spread:.4f} of the exact ones",
                flush=True,
            )


class Argon(Calculator):  # type: ignore[misc]
    """The same argon for ASE."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Evaluate one system."""
        super().calculate(atoms, properties, system_changes)
        found = DenseArgon()(Batch.pack([self.atoms]))
        self.results = {
            "energy": float(found.energy),
            "forces": found.forces.numpy(),
            "stress": full_3x3_to_voigt_6_stress(found.stress[0].numpy()),
        }


def volume_against_ase(steps: int) -> None:
    """Print ⟨V⟩ of argon by cell rescaling and by ASE's Martyna–Tobias–Klein barostat, 10 and 5 runs."""
    state = at(argon(10, T_K, a=A), T_K, P_GPA * GPA)
    ours, error = mean(volumes(state, CellRescaling(8.0, 0.3, 400.0, 80.0), DenseArgon(), steps))
    crystal = argon(1, T_K, a=A).batch.split()[0]
    found = []
    for seed in range(5):
        atoms: Atoms = crystal.copy()
        atoms.calc = Argon()
        # its chain has 3N degrees of freedom: with the centre at rest 3N − 3 carry their heat
        target = T_K * (len(atoms) - 1) / len(atoms)
        MaxwellBoltzmannDistribution(atoms, temperature_K=2 * T_K, rng=np.random.default_rng(seed))
        Stationary(atoms)
        md = IsotropicMTKNPT(
            atoms, 8 * units.fs, target, P_GPA * units.GPa, tdamp=200 * units.fs, pdamp=2000 * units.fs
        )
        trace: list[float] = []
        md.attach(lambda a=atoms, v=trace: v.append(a.get_volume()))
        md.run(SKIP + steps)
        found.append(trace[SKIP:])
    peer, of_peer = mean(np.array(found).T)
    pull = abs(ours - peer) / float(np.hypot(error, of_peer))
    print(f"E4 argon ⟨V⟩: {ours:.2f} ± {error:.2f}, ASE {peer:.2f} ± {of_peer:.2f} Å³: {pull:.1f} σ", flush=True)


def cubic(values: Floats) -> tuple[float, float, float]:
    """Return the 11, 12 and 44 components of a fourth-rank tensor of a cubic crystal, its equal ones averaged."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    first = float(np.mean([values[k, k, k, k] for k in range(3)]))
    second = float(np.mean([values[a, a, b, b] for a, b in pairs]))
    third = float(np.mean([values[a, b, a, b] for a, b in pairs]))
    return first, second, third


def elastic(steps: int, count: int = 20) -> None:
    """Print C11, C12, C44 of argon from the strains of a flexible cell and from stresses of strained cells.

    S = V⟨εε⟩/k_BT (Parrinello & Rahman 1982, J. Chem. Phys. 76, 2662). Both are the coefficients of stress and strain
    under that pressure.
    """
    state = at(argon(count, T_K, a=A), T_K, P_GPA * GPA)
    found = cells(state, CellRescaling(8.0, 0.3, 400.0, 80.0, flexible=True), DenseArgon(), steps)
    rest = found.mean(axis=(0, 1))
    change = np.linalg.inv(rest) @ found
    strain = 0.5 * (np.swapaxes(change, -1, -2) @ change - np.eye(3))
    away = strain - strain.mean(axis=(0, 1))
    each = np.einsum("tsij,tskl->sijkl", away, away) / len(away) * np.linalg.det(rest) / (KB * T_K)

    def stiffness(compliance: Floats) -> Floats:
        s11, s12, s44 = cubic(compliance)
        low = (s11 - s12) * (s11 + 2 * s12)
        return np.array([(s11 + s12) / low, -s12 / low, 1 / (4 * s44)]) / GPA

    value = stiffness(each.mean(axis=0))
    left_out = [stiffness(np.delete(each, k, axis=0).mean(axis=0)) for k in range(count)]
    error = np.sqrt((count - 1) * np.var(left_out, axis=0))
    wanted = by_strain(rest, steps)
    for name, a, b, c in zip(("C11", "C12", "C44"), value, error, wanted, strict=True):
        print(f"E4 argon {name}: {a:.2f} ± {b:.2f} GPa from strains, {c:.2f} from stresses: {100 * (a / c - 1):+.0f} %")


def by_strain(rest: Floats, steps: int, h: float = 0.005) -> tuple[float, float, float]:
    """Return C11, C12, C44 from mean stresses at constant cell, strained by ± h along x and in yz, GPa."""

    def stress(strain: Floats) -> Floats:
        state = argon(10, T_K, a=A)
        inner = state.batch.positions @ torch.linalg.inv(state.batch.cell[0])
        cell = torch.from_numpy(rest @ (np.eye(3) + strain))
        batch = replace(state.batch, positions=inner @ cell, cell=cell.expand(10, 3, 3).clone())
        now = at(start(batch, DenseArgon(), T_K, range(10)), T_K)
        found = []
        for step in range(SKIP + steps // 2):
            now = Bussi(8.0, 80.0).step(now, DenseArgon())
            if step >= SKIP:
                found.append(-now.pressure_tensor.mean(dim=0).numpy())
        return np.asarray(np.mean(found, axis=0))

    along, shear = np.zeros((3, 3)), np.zeros((3, 3))
    along[0, 0], shear[1, 2], shear[2, 1] = h, h, h
    x = (stress(along) - stress(-along)) / (2 * h * GPA)
    yz = (stress(shear) - stress(-shear)) / (4 * h * GPA)
    return float(x[0, 0]), float((x[1, 1] + x[2, 2]) / 2), float(yz[1, 2])


def oxide(steps: int) -> None:
    """Print ⟨ΔV²⟩ of Li2O, 12 atoms at 300 K with the student, over k_BT V κ with κ from two pressures."""
    crystal, potential, found = load_prototype("Li2O").atoms, load_potential(STUDENT, "cpu"), []
    crystal = crystal if len(crystal) == 12 else crystal * (2, 2, 1)
    for pressure in (-1.0, 1.0):
        state = start(Batch.pack([crystal] * 4), potential, 300.0, range(4))
        integrator = CellRescaling(2.0, 0.012, 200.0, 50.0)
        found.append(volumes(at(state, 300.0, pressure * GPA), integrator, potential, steps))
    compliance = (found[0].mean() - found[1].mean()) / (2 * GPA)
    each = np.array([v.var(axis=0) for v in found]).ravel() / (KB * 300.0 * compliance)
    error = each.std(ddof=1) / np.sqrt(len(each))
    print(f"E4 Li2O ({len(crystal)} atoms) ⟨ΔV²⟩ over k_BT V κ: {each.mean():.3f} ± {error:.3f}", flush=True)


KINDS = {"gas": ideal_gas, "volume": volume_against_ase, "elastic": elastic, "oxide": oxide}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--steps", type=int, default=4000)
    chosen = parser.parse_args()
    for name in chosen.only:
        KINDS[name](chosen.steps)


if __name__ == "__main__":
    main()
