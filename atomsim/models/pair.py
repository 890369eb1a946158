"""Lennard-Jones and Morse: potentials whose answers are known, for checks and dry runs.

Both are switched off smoothly between an onset and a cutoff, so that forces are continuous.
All elements are alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.models.edges import evaluate_pairs
from atomsim.models.interface import refuse_unknown_elements
from atomsim.models.neighbors import Neighbors, SkinList
from atomsim.registry.cards import ALL_ELEMENTS


@dataclass(eq=False)
class PairPotential:
    """Sum over pairs of a function of distance times a switch. Subclasses give the function."""

    onset_A: float
    """Where the switch begins, Å."""
    cutoff_A: float
    """Where it has reached zero, Å."""
    name: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float64
    elements: frozenset[int] = ALL_ELEMENTS
    cutoff: float = field(init=False)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.onset_A < self.cutoff_A:
            raise InputError(
                f"{self._form}: found onset_A = {self.onset_A} and cutoff_A = {self.cutoff_A}; "
                "wanted 0 < onset_A < cutoff_A"
            )
        self.name = self.name or self._form
        self.cutoff = self.cutoff_A
        self._neighbors = SkinList(self.cutoff)
        self.sha256 = hashlib.sha256(json.dumps([self._form, self.parameters], sort_keys=True).encode()).hexdigest()

    @property
    def _form(self) -> str:
        return type(self).__name__

    @property
    def parameters(self) -> dict[str, float]:
        """Numbers of the analytic form, units in the keys."""
        return {k: float(v) for k, v in vars(self).items() if k.endswith(("_eV", "_A"))}

    def pair_energy(self, distance: Tensor) -> Tensor:
        """Return the energy of a pair before switching, eV, for distances in Å."""
        raise NotImplementedError

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces and stresses of every system.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        refuse_unknown_elements(batch, self.elements, self.name)
        pairs = self._neighbors(batch)
        return evaluate_pairs(batch, pairs, partial(self._atom_energies, batch, pairs))

    def _atom_energies(self, batch: Batch, pairs: Neighbors, vectors: Tensor) -> Tensor:
        distance = vectors.to(self.dtype).norm(dim=1)
        energy = 0.5 * self.pair_energy(distance) * switch(distance, self.onset_A, self.cutoff_A)
        return energy.new_zeros(batch.n_atoms).index_add(0, pairs.i, energy)


@dataclass(eq=False)
class LennardJones(PairPotential):
    """4ε[(σ/r)¹² − (σ/r)⁶], of argon unless told otherwise (Rahman, Phys. Rev. 136, A405 (1964))."""

    onset_A: float = 6.8
    cutoff_A: float = 8.5
    epsilon_eV: float = field(default=0.010341, kw_only=True)
    """Depth of the minimum, eV."""
    sigma_A: float = field(default=3.4, kw_only=True)
    """Distance of zero energy, Å; the minimum is at 2^(1/6) σ."""

    def pair_energy(self, distance: Tensor) -> Tensor:
        """Return 4ε[(σ/r)¹² − (σ/r)⁶], eV."""
        sixth = (self.sigma_A / distance) ** 6
        return 4.0 * self.epsilon_eV * (sixth**2 - sixth)


@dataclass(eq=False)
class Morse(PairPotential):
    """D[e^(−2α(r−r₀)) − 2e^(−α(r−r₀))], of copper unless told otherwise.

    Girifalco, Weizer, Phys. Rev. 114, 687 (1959).
    """

    onset_A: float = 7.0
    cutoff_A: float = 9.0
    depth_eV: float = field(default=0.3429, kw_only=True)
    """Depth of the minimum, D, eV."""
    alpha_per_A: float = field(default=1.3588, kw_only=True)
    """Inverse width of the well, α, 1/Å."""
    r0_A: float = field(default=2.866, kw_only=True)
    """Distance of the minimum, r₀, Å."""

    def pair_energy(self, distance: Tensor) -> Tensor:
        """Return D[e^(−2α(r−r₀)) − 2e^(−α(r−r₀))], eV."""
        decay = torch.exp(-self.alpha_per_A * (distance - self.r0_A))
        return self.depth_eV * (decay**2 - 2.0 * decay)


def switch(distance: Tensor, onset: float, cutoff: float) -> Tensor:
    """Return 1 below ``onset`` falling to 0 at ``cutoff``, with a continuous derivative.

    Brooks et al., J. Comput. Chem. 4, 187 (1983), the switching function of CHARMM; all distances in Å.
    """
    r2, on2, off2 = distance**2, onset**2, cutoff**2
    falling = (off2 - r2) ** 2 * (off2 + 2.0 * r2 - 3.0 * on2) / (off2 - on2) ** 3
    return torch.where(r2 < on2, torch.ones_like(r2), torch.where(r2 < off2, falling, torch.zeros_like(r2)))
