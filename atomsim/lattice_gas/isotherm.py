"""Insertion isotherm: ion content against voltage at temperature, beside the staircase of the hull at 0 K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from atomsim.lattice_gas.free_energy import FreeEnergies, Sampling, free_energies
from atomsim.lattice_gas.lattice import IonLattice
from atomsim.lattice_gas.model import Datum, LatticeGas, fit
from atomsim.structures.supercells import choose_supercell
from atomsim.types import FloatArray
from atomsim.units import KB

WIDTH_A = 30.0
"""Distance of images that the sampled cell would have if the budget of sites let it, Å."""
AGREE = 1.1
"""R̂ up to which chains agree (Gelman & Rubin 1992)."""
WIDE_V = 0.1
"""Standard error of a voltage beyond which a curve is not resolved, V."""


@dataclass(frozen=True, eq=False)
class InsertionIsotherm:
    """Ion content against voltage at one temperature."""

    model: LatticeGas = field(repr=False)
    free: FreeEnergies = field(repr=False)
    temperature_K: float
    share: FloatArray
    """Occupied share of the ion sites between neighbouring numbers of ions, ascending, (n_sites,)."""
    voltage_V: FloatArray
    """Against the ion's metal, of the equilibrium at these shares, (n_sites,)."""
    error_V: FloatArray
    """Standard error by fit and sampling, V, (n_sites,)."""
    flags: tuple[str, ...]

    def content(self, voltage_V: FloatArray, metal_eV: float, charge: int = 1) -> FloatArray:
        """Mean occupied share at given voltages, (n,)."""
        return content(self.free, np.asarray(voltage_V, float), metal_eV, charge)


def isotherm(
    lattice: IonLattice,
    data: Sequence[Datum],
    metal_eV: float,
    *,
    temperature_K: float = 300.0,
    charge: int = 1,
    max_sites: int = 48,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
) -> InsertionIsotherm:
    """Fit the lattice gas and sample it.

    Args:
        lattice: ion sites of the host.
        data: relaxed orderings of it.
        metal_eV: energy of the ion's metal, eV per atom, from the same potential.
        temperature_K: of the isotherm, K.
        charge: of the ion, e.
        max_sites: most ion sites in the sampled cell.
        sampling: chains, sweeps, seed.

    Returns:
        Voltages with their errors, ascending in ion content.

    Raises:
        InputError: if the orderings are too few to fit.
    """
    model = fit(lattice, data)
    ions = lattice.host[lattice.sites]
    cell = lattice.supercell(choose_supercell(ions, WIDTH_A, max(max_sites, len(ions))))
    free = free_energies(model, cell, temperature_K, sampling)
    error = np.hypot(free.sampling_errors_eV, free.model_errors_eV) / charge
    share = (np.arange(cell.n_sites) + 0.5) / cell.n_sites
    voltage = equilibrium(free, metal_eV, charge)
    return InsertionIsotherm(model, free, temperature_K, share, voltage, error, _flags(model, free, error))


def content(free: FreeEnergies, voltage_V: FloatArray, metal_eV: float, charge: int = 1) -> FloatArray:
    """Mean occupied share in equilibrium with the metal at given voltages: all numbers of ions, each by its weight."""
    beta, n = 1 / (KB * free.temperature_K), np.arange(free.cell.n_sites + 1)
    chemical = metal_eV - charge * voltage_V
    exponent = -beta * (free.free_energies_eV - chemical[:, None] * n)
    mean: FloatArray = np.exp(exponent - logsumexp(exponent, axis=1, keepdims=True)) @ n / free.cell.n_sites
    return mean


def equilibrium(free: FreeEnergies, metal_eV: float, charge: int = 1) -> FloatArray:
    """Voltages at which the mean content is n + ½ ions, (n_sites,), by bisection, as the content falls with it."""
    bounds = (metal_eV - free.steps_eV) / charge
    wanted = (np.arange(free.cell.n_sites) + 0.5) / free.cell.n_sites
    margin = 50 * KB * free.temperature_K + 0.1
    low, high = np.full(len(wanted), bounds.min() - margin), np.full(len(wanted), bounds.max() + margin)
    for _ in range(60):
        middle = (low + high) / 2
        above = content(free, middle, metal_eV, charge) > wanted
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found: FloatArray = (low + high) / 2
    return found


def _flags(model: LatticeGas, free: FreeEnergies, error: FloatArray) -> tuple[str, ...]:
    """Facts without which the curve would be believed too much."""
    flags = []
    per_ion = model.rms_error_eV / len(model.lattice.sites)
    if per_ion > KB * free.temperature_K:
        flags.append(
            f"the fitted energy is off by {1000 * per_ion:.0f} meV per ion site (leave-one-out), more than kT = "
            f"{1000 * KB * free.temperature_K:.0f} meV: steps and plateaus that are small may not be there"
        )
    wide = int((error > WIDE_V).sum())
    if wide:
        flags.append(f"not resolved at {wide} of {len(error)} contents: their standard error is above {WIDE_V:g} V")
    apart = int((free.scale_reduction > AGREE).sum())
    if apart:
        flags.append(f"chains disagree at {apart} of {len(free.scale_reduction)} contents (R̂ > {AGREE:g}): more sweeps")
    return tuple(flags)
