"""Equilibrium of phases: the lower convex hull at one composition, by a linear program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from atomsim.errors import InputError
from atomsim.types import FloatArray

SOLVER = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
NOTHING = 1e-9
"""Amounts below are none."""


@dataclass(frozen=True)
class Phase:
    """A phase that may form."""

    name: str
    """Reduced formula, or what it is called."""
    composition: Mapping[str, float]
    """Atoms of each element in one formula unit."""
    energy_eV: float
    """Energy of the formula unit."""

    @property
    def n_atoms(self) -> float:
        """Atoms in the formula unit."""
        return float(sum(self.composition.values()))

    @property
    def energy_eV_per_atom(self) -> float:  # noqa: N802 - units in names
        """Energy per atom."""
        return self.energy_eV / self.n_atoms


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Phases in equilibrium at one composition."""

    energy_eV: float
    """Energy of the composition that was asked for."""
    amounts: dict[int, float]
    """Formula units of each phase, by its place."""
    potentials: FloatArray
    """Chemical potentials of the elements: the slope of the hull, eV, (n_elements,)."""


class Hull:
    """The lower convex hull of some phases, at fixed chemical potentials of elements in a reservoir."""

    def __init__(self, phases: Sequence[Phase], reservoir: Mapping[str, float] | None = None) -> None:
        """Keep the lowest phase of each composition.

        Args:
            phases: phases that may form; of those of one composition the lowest counts.
            reservoir: chemical potential of each element that is exchanged, eV.

        Raises:
            InputError: if there is no phase, or a number is none.
        """
        self.reservoir = dict(reservoir or {})
        elements = {e for p in phases for e, n in p.composition.items() if n > 0}
        self.elements = tuple(sorted(elements - set(self.reservoir)))
        self.phases = self._lowest(phases)
        if not self.phases:
            raise InputError("found no phase that may form, wanted at least one")
        self.columns = np.array([self.vector(p.composition) for p in self.phases]).T
        self.energies = np.array([self.grand(p.composition, p.energy_eV) for p in self.phases])
        if not (np.isfinite(self.energies).all() and np.isfinite(self.columns).all()):
            raise InputError("an energy or a composition of a phase is not a finite number")
        # per atom that is not exchanged, so that all columns are of one size
        self._sizes = self.columns.sum(axis=0)

    def _lowest(self, phases: Sequence[Phase]) -> list[Phase]:
        """The lowest phase of each composition, in the order given; pure reservoirs are none."""
        best: dict[tuple[tuple[str, float], ...], Phase] = {}
        for phase in phases:
            kept = {e: n for e, n in phase.composition.items() if n > 0}
            if not set(kept) - set(self.reservoir):
                continue
            total = sum(kept.values())
            key = tuple(sorted((e, round(n / total, 8)) for e, n in kept.items()))
            if key not in best or phase.energy_eV_per_atom < best[key].energy_eV_per_atom - 1e-12:
                best[key] = phase
        return list(best.values())

    def vector(self, composition: Mapping[str, float]) -> FloatArray:
        """Return the atoms of the elements that are not exchanged, (n_elements,)."""
        return np.array([float(composition.get(e, 0.0)) for e in self.elements])

    def grand(self, composition: Mapping[str, float], energy_eV: float) -> float:
        """Return the grand potential: the energy less that of what the reservoir gave."""
        return energy_eV - sum(mu * float(composition.get(e, 0.0)) for e, mu in self.reservoir.items())

    def at(self, vector: FloatArray) -> Equilibrium:
        """Return the equilibrium of a composition, given as atoms of the elements.

        Raises:
            InputError: if no mixture of the phases has this composition.
        """
        found = linprog(
            self.energies / self._sizes, A_eq=self.columns / self._sizes, b_eq=vector, method="highs", options=SOLVER
        )
        if found.status == 2:
            lacking = [e for e, n in zip(self.elements, vector, strict=True) if n > 0 and not self._held(e)]
            what = (
                f"no phase holds {', '.join(lacking)}" if lacking else "no mixture of the phases has this composition"
            )
            raise InputError(f"{what}; give the elements themselves among the phases")
        if found.status != 0:
            raise InputError(f"no equilibrium was found: {found.message}")
        amounts = {
            k: float(n) / self._sizes[k] for k, n in enumerate(found.x) if n > NOTHING * max(vector.sum(), 1e-300)
        }
        return Equilibrium(float(found.fun), amounts, np.asarray(found.eqlin.marginals))

    def _held(self, element: str) -> bool:
        return bool((self.columns[self.elements.index(element)] > 0).any())
