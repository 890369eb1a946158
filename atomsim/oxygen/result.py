"""Results of the search for a dimer in a pair."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from ase import Atoms

from atomsim.analysis.oxygen import Species
from atomsim.mep.path import ReactionPath
from atomsim.oxygen.scan import ScanPoint
from atomsim.relaxation import Relaxation
from atomsim.structures.pairs import Pair

DIMERS = ("O2", "superoxide", "peroxide")
"""Species that are a bond between two oxygens."""
SAME_EV, SAME_A, SAME_MOMENT = 0.01, 0.02, 0.05
"""Minima that differ by less are one."""
RETURNED_EV = 0.1
"""A minimum without a dimer this near to the intact cell has returned to it, eV."""


@dataclass(frozen=True)
class Minimum:
    """Where a released pair has come to rest."""

    relaxation: Relaxation = field(repr=False)
    energy_eV: float
    """Above the intact cell, eV; negative where it is more stable."""
    pair: tuple[int, int]
    """Atoms of the shortest O–O pair: not always the two that were driven."""
    species: Species
    reached_from: tuple[str, ...]
    """Where it was released: ``in 1.32 Å``, ``out 1.20 Å``, ``void``."""
    metal_bonds: tuple[int, int]
    """Metals within 2.6 Å of each of the two atoms."""

    @property
    def converged(self) -> bool:
        """True if its energy may be used."""
        return self.relaxation.converged

    @property
    def outcome(self) -> str:
        """``O2``, ``superoxide``, ``peroxide`` or ``peroxo-like``; else ``returned`` or ``rearranged``."""
        if self.species.name in DIMERS:
            return self.species.name
        if abs(self.energy_eV) < RETURNED_EV:  # intact cells may have pairs just below the border of peroxo-like
            return "returned"
        return self.species.name if self.species.name == "peroxo-like" else "rearranged"

    def same_as(self, other: Minimum) -> bool:
        """True if both are one minimum."""
        near = abs(self.energy_eV - other.energy_eV) < SAME_EV
        near &= abs(self.species.length - other.species.length) < SAME_A
        one, two = self.species.moment, other.species.moment
        return near and (one is None or two is None or abs(one - two) < SAME_MOMENT)


@dataclass(frozen=True)
class PairSearch:
    """One pair of one structure: its profile, the minima that it led to, and the way there."""

    key: Hashable
    pair: Pair
    intact: Relaxation = field(repr=False)
    profile: tuple[ScanPoint, ...] = field(default=(), repr=False)
    minima: tuple[Minimum, ...] = ()
    """The lowest first, those that are one merged."""
    bound_eV: float | None = None
    """Upper bound of the barrier to ``driven``, from the top of the scan; None where no scan led to a dimer."""
    path: ReactionPath | None = field(default=None, repr=False)
    """From the intact cell to ``driven``, over the saddle that was found, if one was."""
    status: str = "converged"
    """``converged``, or why the intact cell or the scan could not be computed."""
    message: str = ""
    force_calls: dict[str, int] = field(default_factory=dict)
    """Force calls of ``scan``, ``release``, ``void``, ``bound`` and ``saddle``; the intact cell's are in its
    relaxation."""

    @property
    def dimer(self) -> Minimum | None:
        """The lowest dimer, or else the lowest peroxo-like pair."""
        return _lowest(self.minima)

    @property
    def driven(self) -> Minimum | None:
        """The same among those that the scan led to: bound and barrier are to this one."""
        scanned = [m for m in self.minima if any(p.name in m.reached_from for p in self.profile)]
        return _lowest(scanned)

    @property
    def way(self) -> tuple[ScanPoint, ...]:
        """Points of the profile as far as the first that this dimer was released from; none if no scan led to one."""
        from_where = () if self.driven is None else self.driven.reached_from
        last = next((n for n, p in enumerate(self.profile) if p.name in from_where), -1)
        return self.profile[: last + 1]

    @property
    def proven_barrier(self) -> float | None:
        """Barrier to the dimer that the scan led to, eV; None without a proven saddle of first order."""
        path = self.path
        if path is None or path.status != "converged" or path.proof is None or not path.proof.first_order:
            return None
        return path.barrier

    @property
    def barrier_words(self) -> str:
        """Knowledge about the barrier, in words."""
        if self.dimer is None:
            return "no dimer was found"
        if self.proven_barrier is not None:
            return f"{self.proven_barrier:.2f} eV, saddle proven"
        if self.bound_eV is not None:
            return f"at most {self.bound_eV:.2f} eV (upper bound, from the top of the scan)"
        return "unknown: no scan led to a dimer"

    @property
    def atoms(self) -> Atoms:
        """The lowest dimer's structure, or the intact one."""
        return self.dimer.relaxation.atoms if self.dimer else self.intact.atoms


def _lowest(minima: Sequence[Minimum]) -> Minimum | None:
    for names in (DIMERS, ("peroxo-like",)):
        found = [m for m in minima if m.converged and m.outcome in names]
        if found:
            return min(found, key=lambda m: m.energy_eV)
    return None
