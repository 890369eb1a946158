"""Constant pressure by stochastic cell rescaling, isotropic or fully flexible, with a CSVR bath.

Isotropic: Bernetti & Bussi 2020, J. Chem. Phys. 153, 114107, in λ = √V, whose noise is additive. Flexible: Del Tatto,
Raiteri, Bernetti & Bussi 2022, Appl. Sci. 12, 1139. Positions are scaled with the cell and momenta inversely,
so that a step of the cell at fixed scaled coordinates and momenta sees −∂H/∂V = P_int, the instantaneous
pressure. The centre of mass is at rest (3N − 3 momenta): an ideal gas has p(V) ∝ V^(N−1) exp(−PV/k_BT), ⟨V⟩ = N k_BT/P.

A step is kick ½ · cell · drift · evaluation · kick ½ · bath. The cell moves while forces and stress are those of its
positions, and what it has moved is never used before it is evaluated: one evaluation a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.dynamics.integrators.bussi import rescaled
from atomsim.dynamics.integrators.splitting import check_timestep, drift, evaluate, finished, kick, transform
from atomsim.dynamics.noise import Purpose, normals
from atomsim.dynamics.state import MDState
from atomsim.errors import InputError, check_flag, check_number
from atomsim.models.interface import EnergyModel
from atomsim.units import GPA, KB

MIN_STEPS_PER_TAU = 50
"""Time steps in τ_p at least: with fewer the cell's own first-order steps are too long."""


@dataclass(frozen=True)
class CellRescaling:
    """A bath of velocities and a barostat that samples the volume, or the whole cell, of the NPT ensemble."""

    timestep_fs: float = 1.0
    compressibility_per_GPa: float = 0.01
    """Isothermal compressibility β, 1/GPa; it and τ_p set how fast the cell follows, not what is sampled."""
    tau_p_fs: float = 1000.0
    """Relaxation time of the pressure, fs: a physical time, not a number of steps."""
    tau_fs: float = 100.0
    """Relaxation time of the kinetic energy, fs."""
    flexible: bool = False
    """Sample all of the cell (a solid), not its volume alone (a liquid or a glass)."""
    ensemble: ClassVar[str] = "NPT"

    def __post_init__(self) -> None:
        check_timestep(self.timestep_fs)
        check_number("tau_fs", self.tau_fs, f"at least one time step ({self.timestep_fs:g} fs)", low=self.timestep_fs)
        low = MIN_STEPS_PER_TAU * self.timestep_fs
        check_number("tau_p_fs", self.tau_p_fs, f"at least {MIN_STEPS_PER_TAU} time steps ({low:g} fs)", low=low)
        wanted = "a compressibility above 0, 1/GPa (dynamics.compressibility measures it)"
        check_number("compressibility_per_GPa", self.compressibility_per_GPa, wanted, above=0.0)
        check_flag("flexible", self.flexible)

    def check(self, batch: Batch) -> None:
        """Refuse systems that have no pressure.

        Raises:
            InputError: without three periodic directions, or with constraints.
        """
        refuse_without_pressure(batch)

    def step(self, state: MDState, potential: EnergyModel) -> MDState:
        """Advance all systems by one time step: one evaluation."""
        half = 0.5 * self.timestep_fs
        state = kick(state, half)
        strain = self._strain(state)
        scaled = deformed(state, strain)
        given = _kinetic_change(state, strain) + 0.5 * _mechanical(state, strain)
        moved = evaluate(drift(scaled, self.timestep_fs), potential)
        # the potential energy that scaling gave: ∫ Vσ:dε by the mean of its ends. An end's stress alone would leave
        # out the response to the strain, k_BT/τ_p for each direction
        moved = replace(moved, work=state.work + given + 0.5 * _mechanical(moved, strain))
        return rescaled(finished(kick(moved, half)), self.timestep_fs, self.tau_fs)

    def _strain(self, state: MDState) -> Strain:
        """Draw the strain of the cell in one step."""
        n = state.n_systems
        drawn = normals(state.seed.tolist(), state.step.tolist(), Purpose.CELL, [3] * n, state.batch.device)
        rate = self.compressibility_per_GPa / GPA / self.tau_p_fs * self.timestep_fs  # β Δt/τ_p, Å³/eV
        return (_flexible if self.flexible else _isotropic)(state, drawn.view(n, 3, 3), rate)


@dataclass(frozen=True)
class Strain:
    """Symmetric logarithmic strains ε, (n_systems, 3, 3) each."""

    log: Tensor
    """ε."""
    stretch: Tensor
    """exp(ε)."""
    inverse: Tensor
    """exp(−ε)."""

    @classmethod
    def of(cls, values: Tensor, axes: Tensor | None = None) -> Strain:
        """Return strains of principal values, (n_systems, 3), along axes as columns; along x, y, z if not given."""
        if axes is None:
            return cls(*(torch.diag_embed(v) for v in (values, values.exp(), (-values).exp())))
        return cls(*(_product(axes * v[:, None, :], axes.mT) for v in (values, values.exp(), (-values).exp())))


def _isotropic(state: MDState, drawn: Tensor, rate: float) -> Strain:
    """One Euler–Maruyama step of λ = √V.

    dλ = −(β λ/2τ_p)(P₀ − P_int − k_BT/2V) dt + √(k_BT β/2τ_p) dW (Bernetti & Bussi 2020, Sec. II).
    """
    volume, thermal = state.volume, KB * state.temperature
    root = volume.sqrt()
    internal = state.pressure_tensor.diagonal(dim1=1, dim2=2).sum(dim=1) / 3.0
    force = state.pressure - internal - 0.5 * thermal / volume
    changed = root - 0.5 * rate * root * force + (0.5 * rate * thermal).sqrt() * drawn[:, 0, 0]
    length = (changed / root).log() * (2.0 / 3.0)  # V ∝ λ²
    return Strain.of(length[:, None].expand(-1, 3))


def _flexible(state: MDState, drawn: Tensor, rate: float) -> Strain:
    """One Euler–Maruyama step of the cell matrix, its rotation taken away.

    dh = −(β/3τ_p)(P₀ − P_int − k_BT/V) h dt + √(2 k_BT β/3Vτ_p) dW h (Del Tatto et al. 2022, Sec. 2), with
    nine normal numbers in dW. F = 1 + … maps the cell; of its polar decomposition F = R U the rotation R of everything
    is dropped, and the strain is ln U = ½ ln FᵀF.
    """
    volume, thermal = state.volume[:, None, None], (KB * state.temperature)[:, None, None]
    eye = torch.eye(3, dtype=torch.float64, device=volume.device)
    force = (state.pressure[:, None, None] - thermal / volume) * eye - state.pressure_tensor
    change = eye - (rate / 3.0) * force + (2.0 * thermal * rate / (3.0 * volume)).sqrt() * drawn
    values, axes = torch.linalg.eigh(_product(change.mT, change))
    return Strain.of(0.5 * values.log(), axes)


def deformed(state: MDState, strain: Strain) -> MDState:
    """Scale cell and positions by exp(ε) and momenta by exp(−ε)."""
    batch, system = state.batch, state.batch.system
    positions = transform(batch.positions, strain.stretch, system)
    moved = replace(batch, positions=positions, cell=_product(batch.cell, strain.stretch))
    return replace(state, batch=moved, velocities=transform(state.velocities, strain.inverse, system))


def _kinetic_change(state: MDState, strain: Strain) -> Tensor:
    """Kinetic energy that ``deformed`` gives, ½ (Σ m v ⊗ v):(exp(−2ε) − 1), eV, (n_systems,)."""
    after = (state.kinetic_stress * _product(strain.inverse, strain.inverse)).sum(dim=(1, 2))
    return 0.5 * (after - state.kinetic_stress.diagonal(dim1=1, dim2=2).sum(dim=1))


def _mechanical(state: MDState, strain: Strain) -> Tensor:
    """V σ:ε, eV, (n_systems,)."""
    return state.volume * (state.evaluation.stress * strain.log).sum(dim=(1, 2))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of 3 × 3 matrices, written out so that their rounding does not depend on how many there are."""
    return (a[:, :, :, None] * b[:, None, :, :]).sum(dim=2)


def refuse_without_pressure(batch: Batch) -> None:
    """Refuse systems without three periodic directions, or with constraints.

    Raises:
        InputError: naming the first such system.
    """
    open_ = torch.nonzero(~batch.pbc.all(dim=1)).flatten().tolist()
    if open_:
        n = int(batch.pbc[open_[0]].sum())
        raise InputError(
            f"system {open_[0]} has no pressure: found {n} periodic directions, wanted 3 for constant pressure; "
            "use an ensemble at constant cell"
        )
    held = batch.n_free < 3
    if bool(held.any()):
        n = int(held.sum())
        raise InputError(
            f"system {int(batch.system[held][0])} has constraints on atoms ({n} in all): found them with constant "
            "pressure, which moves every atom with the cell; remove them, or use an ensemble at constant cell"
        )


def compressibility(batch: Batch, potential: EnergyModel, strain: float = 0.01) -> list[float]:
    """Measure the compressibility −(1/V) dV/dP of each system from two evaluations, atoms moving with the cell, 1/GPa.

    It is that of the frozen structure, a lower bound of the isothermal one and right in its order: good to set the time
    scale of a barostat, and no result.

    Args:
        batch: the systems.
        potential: gives stresses.
        strain: relative change of the volume to either side.

    Raises:
        InputError: if a system has no pressure, or expands when it is compressed.
    """
    refuse_without_pressure(batch)
    eye = torch.eye(3, dtype=torch.float64, device=batch.device)
    pressures = []
    for sign in (-1.0, 1.0):
        scale = (1.0 + sign * strain) ** (1.0 / 3.0)
        changed = replace(batch, positions=batch.positions * scale, cell=batch.cell @ (scale * eye))
        pressures.append(-potential(changed).stress.diagonal(dim1=1, dim2=2).sum(dim=1) / 3.0)
    modulus = ((pressures[0] - pressures[1]) / (2.0 * strain) / GPA).tolist()
    return [_inverse(value, n) for n, value in enumerate(modulus)]


def _inverse(modulus: float, n: int) -> float:
    if not (math.isfinite(modulus) and modulus > 0):
        raise InputError(
            f"system {n} has no compressibility: found a bulk modulus of {modulus:.3g} GPa, wanted more than 0; "
            "relax it first, or give compressibility_per_GPa"
        )
    return 1.0 / modulus
