"""Settings of a search for cation order, and of doping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Compensation = Literal["none", "remove_ion", "swap"]


@dataclass(frozen=True)
class OrderSettings:
    """Settings by which arrangements are searched, sampled and relaxed."""

    sublattices: tuple[str, ...] = ("metal-layer",)
    """Names of sublattices (``sublattice.sites_of``), each ordered within itself."""
    ion: str = "Li"
    """Element between the layers."""
    charges: Mapping[str, float] = field(default_factory=dict)
    """Formal charges of some elements, e; the others follow from common states and neutrality."""
    shells: int = 3
    """Pair shells of the model and of the short-range order."""
    relaxations: int = 40
    """Most arrangements to relax."""
    batch: int = 10
    """Arrangements relaxed between two fits."""
    lowest: int = 3
    """Lowest arrangements that are relaxed to the end and handed on."""
    target_meV_per_site: float = 15.0
    """Leave-one-out error at which a search may end before ``relaxations``."""
    temperature_K: tuple[float, ...] = (300.0, 600.0, 1000.0, 1500.0)
    """Temperatures of short-range order and Boltzmann weights."""
    chains: int = 4
    """Independent chains of replica exchange."""
    sweeps: int = 400
    """Sweeps of the final sampling, after a quarter of them as burn-in."""
    enumerate_limit: int = 2000
    """Symmetry-distinct arrangements up to which all are enumerated."""
    fmax_eV_per_A: float = 0.05
    """Largest force while searching, eV/Å."""
    final_fmax_eV_per_A: float = 0.02
    """Largest force of the lowest ones, eV/Å."""
    max_steps: int = 300
    """Steps of one relaxation."""
    noise_A: float = 0.02
    """Seeded noise at the start of a relaxation, Å."""
    cell: bool = True
    """Relax the cell too."""
    seed: int = 0
    """Seed of sampling and noise."""


@dataclass(frozen=True)
class DopingSettings:
    """A dopant, where it is tried, and how many configurations are computed."""

    dopant: str
    sites: tuple[str, ...] = ("Mn",)
    """Sublattices. The first gives up the atoms that the dopant replaces; on the others the dopant is exchanged with
    what stands there, so that all have one composition."""
    count: int | None = None
    """Dopants per cell."""
    fraction: float | None = None
    """Share of the first sublattice's atoms, in place of ``count``; rounded to whole atoms."""
    per_site: int = 4
    """Configurations computed on each sublattice: half the lowest in Coulomb energy, half drawn from the rest."""
    compensation: Compensation = "none"
    """``none``: the metals take up the charge; ``remove_ion``: ions leave; ``swap``: host cations become ions."""
    ion: str = "Li"
    charges: Mapping[str, float] = field(default_factory=dict)
    """Formal charges, e: of the dopant where it is not known, or of hosts."""
    seed: int = 0
