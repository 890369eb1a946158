"""The quasi-harmonic approximation: phonons at several volumes, and what heat does to a crystal.

At each volume the crystal is relaxed under the pressure that holds it there, shape and atoms within its space
group, and is harmonic; F(V, T) = E(V) + F_vib(V, T) is fitted by the equation of state of Vinet at each temperature,
by ``phonopy.run_qha`` (Togo, J. Phys. Soc. Jpn. 2023, 92, 012001).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms

from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.models.interface import EnergyModel
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.types import FloatArray
from atomsim.units import GPA
from atomsim.vibrations.settings import FEWEST_VOLUMES, PhononSettings
from atomsim.vibrations.thermal import LEAST_THZ

if TYPE_CHECKING:
    from atomsim.vibrations.phonons import ForceConstants

STIFFENING = 4.0
"""dB/dP of most solids: only for the pressures that the volumes are looked for at."""
DOUBTFUL = 0.2
"""Error of the bulk modulus over itself above which the fit is none."""
FMAX_EV_PER_A = 1e-3
"""Largest force after the relaxation at each volume."""


@dataclass(frozen=True, eq=False)
class QuasiHarmonic:
    """A crystal at zero pressure against temperature; all per atom."""

    volumes_A3_per_atom: FloatArray
    """Volumes that phonons were computed at, ascending, (n_volumes,)."""
    energies_eV_per_atom: FloatArray
    """Energies of the resting crystal at these, (n_volumes,)."""
    temperature_K: FloatArray
    """(n,), ascending; it ends where the crystal would be larger than the largest volume."""
    volume_A3_per_atom: FloatArray
    """V(T), (n,)."""
    thermal_expansion_per_K: FloatArray
    """Volumetric, (dV/dT)/V, (n,)."""
    bulk_modulus_GPa: FloatArray
    """Isothermal, (n,)."""
    heat_capacity_eV_per_K_per_atom: FloatArray
    """C_P, (n,)."""
    gibbs_eV_per_atom: FloatArray
    """G(T), the energy of the resting crystal included, (n,)."""
    volume_error_A3_per_atom: FloatArray
    """Standard error by jackknife over the volumes: what the equation of state does not fit, (n,)."""
    thermal_expansion_error_per_K: FloatArray
    """The same of the expansion, (n,)."""
    bulk_modulus_error_GPa: FloatArray
    """The same of the bulk modulus, (n,)."""

    def at(self, temperature_K: float) -> dict[str, float]:
        """Return all quantities at a temperature, between those computed by a line; NaN beyond them."""
        names = (
            "volume_A3_per_atom", "thermal_expansion_per_K", "bulk_modulus_GPa", "heat_capacity_eV_per_K_per_atom",
            "gibbs_eV_per_atom", "volume_error_A3_per_atom", "thermal_expansion_error_per_K", "bulk_modulus_error_GPa",
        )  # fmt: skip
        return {
            name: float(np.interp(temperature_K, self.temperature_K, getattr(self, name), np.nan, np.nan))
            for name in names
        }


@dataclass(frozen=True, eq=False)
class Heated:
    """Result of ``quasi_harmonic``."""

    found: QuasiHarmonic | None
    """None where too few volumes have phonons."""
    flags: tuple[str, ...]
    force_calls: int


def quasi_harmonic(
    constants: ForceConstants,
    mesh: Sequence[int],
    potential: EnergyModel,
    how: PhononSettings,
    capacity: Capacity | None = None,
) -> Heated:
    """Compute phonons at ``how.volumes`` volumes, from half of ``how.expansion`` below to all of it above.

    Args:
        constants: force constants of the relaxed crystal; the supercell is used at all volumes.
        mesh: q points along each axis, the same at all volumes: other meshes change F by more than heat does.
        potential: the potential.
        how: settings of the phonons.
        capacity: supercells at once.
    """
    from atomsim.vibrations.phonons import constants_at  # which calls this module

    crystals, calls, flags = _at_volumes(constants.primitive, potential, how, capacity)
    kept: list[ForceConstants] = []
    for crystal in crystals:
        one = constants_at(crystal, constants.matrix, potential, how, capacity)
        calls += one.force_calls
        if _imaginary(one, mesh, how):
            volume = crystal.get_volume() / len(crystal)
            flags.append(f"imaginary modes at {volume:.2f} Å³/atom: that volume is left out of the quasi-harmonic fit")
        else:
            kept.append(one)
    if len(kept) < FEWEST_VOLUMES:
        flags.append(
            f"no quasi-harmonic values: {len(kept)} volumes without imaginary modes, wanted {FEWEST_VOLUMES} or more"
        )
        return Heated(None, tuple(flags), calls)
    found = _fitted(kept, mesh, how)
    if not len(found.temperature_K):
        flags.append(
            "no quasi-harmonic values: already at 0 K the crystal is larger than the largest volume; raise expansion"
        )
        return Heated(None, tuple(flags), calls)
    if found.temperature_K[-1] < how.t_max_K - 0.5 * how.t_step_K:
        flags.append(
            f"quasi-harmonic values end at {found.temperature_K[-1]:.0f} K: beyond, the crystal is larger than the "
            "largest volume, or the fit fails; raise expansion"
        )
    doubt = found.bulk_modulus_error_GPa > DOUBTFUL * found.bulk_modulus_GPa
    if doubt.any():
        first = int(np.argmax(doubt))
        flags.append(
            f"the volumes do not follow an equation of state: B = {found.bulk_modulus_GPa[first]:.0f} ± "
            f"{found.bulk_modulus_error_GPa[first]:.0f} GPa at {found.temperature_K[first]:.0f} K; expansion and "
            "stiffness are not resolved: try another expansion, a larger supercell, or another potential"
        )
    return Heated(found, tuple(flags), calls)


def _at_volumes(
    crystal: Atoms, potential: EnergyModel, how: PhononSettings, capacity: Capacity | None
) -> tuple[list[Atoms], int, list[str]]:
    """The crystal relaxed at each volume, ascending; the force calls; and which could not be had."""
    bulk = _bulk_modulus(crystal, potential, capacity)
    found, calls, flags = [], 2, []
    for strain in np.linspace(-how.expansion / 2, how.expansion, how.volumes):
        pressure = bulk / STIFFENING * ((1 + strain) ** -STIFFENING - 1)  # Murnaghan
        start = crystal.copy()
        start.set_cell(crystal.cell.array * (1 + strain) ** (1 / 3), scale_atoms=True)
        settings = RelaxSettings(
            fmax_eV_per_A=FMAX_EV_PER_A, pressure_GPa=pressure, keep_symmetry=True, max_steps=how.max_steps
        )
        ((_, end),) = iter_relax([start], potential, settings)
        calls += end.force_calls
        if end.converged:
            found.append(end.atoms)
        else:
            flags.append(f"the crystal at {pressure:+.1f} GPa was not relaxed ({end.status}) and is left out")
    return sorted(found, key=lambda atoms: float(atoms.get_volume())), calls, flags


def _bulk_modulus(crystal: Atoms, potential: EnergyModel, capacity: Capacity | None) -> float:
    """Bulk modulus of atoms that do not relax, GPa: near enough to choose pressures by."""
    strained = []
    for volume in (0.99, 1.01):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell.array * volume ** (1 / 3), scale_atoms=True)
        strained.append(atoms)
    stresses = torch.cat([evaluation.stress for _, evaluation in evaluate_all(strained, potential, capacity)])
    small, large = (-torch.einsum("nii->n", stresses) / 3 / GPA).tolist()
    return max(float((small - large) / 0.02), 0.1)


def _imaginary(constants: ForceConstants, mesh: Sequence[int], how: PhononSettings) -> bool:
    constants.phonopy.run_mesh(list(mesh), is_gamma_center=True)
    found: Any = constants.phonopy.mesh
    return bool((found.frequencies < -max(LEAST_THZ, how.imaginary_THz)).any())


def _fitted(kept: Sequence[ForceConstants], mesh: Sequence[int], how: PhononSettings) -> QuasiHarmonic:
    """Fit the equation of state with all volumes, and without each of them in turn for the errors."""
    whole = _fit(kept, mesh, how)
    volumes, atoms = np.array([c.primitive.get_volume() for c in kept]), len(kept[0].primitive)
    within = (whole["volume"] >= volumes.min()) & (whole["volume"] <= volumes.max())
    count = len(within) if within.all() else int(np.argmin(within))
    parts = [_fit([c for c in kept if c is not left], mesh, how) for left in kept]
    count = min(count, *(len(part["volume"]) for part in parts))
    error = {key: _jackknife(np.array([part[key][:count] for part in parts])) for key in whole}
    return QuasiHarmonic(
        volumes_A3_per_atom=volumes / atoms,
        energies_eV_per_atom=np.array([c.energy_eV for c in kept]) / atoms,
        temperature_K=whole["temperature"][:count],
        volume_A3_per_atom=whole["volume"][:count] / atoms,
        thermal_expansion_per_K=whole["expansion"][:count],
        bulk_modulus_GPa=whole["bulk"][:count] / GPA,
        heat_capacity_eV_per_K_per_atom=whole["capacity"][:count] / atoms,
        gibbs_eV_per_atom=whole["gibbs"][:count] / atoms,
        volume_error_A3_per_atom=error["volume"] / atoms,
        thermal_expansion_error_per_K=error["expansion"],
        bulk_modulus_error_GPa=error["bulk"] / GPA,
    )


def _jackknife(parts: FloatArray) -> FloatArray:
    """Standard error from values without each datum in turn, (n, …): √((n − 1)/n Σ(θᵢ − θ̄)²), Efron 1982."""
    found: FloatArray = np.sqrt(len(parts) - 1) * parts.std(axis=0)
    return found


def _fit(kept: Sequence[ForceConstants], mesh: Sequence[int], how: PhononSettings) -> dict[str, FloatArray]:
    """Phonopy's quasi-harmonic values of the primitive cell, up to the highest temperature whose fit succeeds."""
    from phonopy import run_qha

    # two temperatures more than wanted: differences use those beside them
    temperatures = np.arange(0.0, how.t_max_K + 2.5 * how.t_step_K, how.t_step_K)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no lattice parameters of monoclinic cells; a fit that failed is left out
        energies = [c.energy_eV for c in kept]
        # acoustic modes at Γ have no frequency: what is computed is noise, and where it is positive kT ln ν enters F
        found = run_qha([c.phonopy for c in kept], temperatures, energies, mesh=list(mesh), exclude_gamma_acoustic=True)
    wanted = found.temperatures <= how.t_max_K + 1e-6
    gaps = np.flatnonzero(np.abs(found.temperatures - temperatures[: len(found.temperatures)]) > 1e-6)
    count = int(wanted.sum()) if not len(gaps) else min(int(wanted.sum()), max(0, int(gaps[0]) - 2))
    return {
        "temperature": found.temperatures[:count], "volume": found.equilibrium_volumes[:count],
        "expansion": found.thermal_expansion[:count], "bulk": found.bulk_moduli[:count],
        "capacity": found.heat_capacity_P.heat_capacities[:count], "gibbs": found.gibbs_free_energies[:count],
    }  # fmt: skip
