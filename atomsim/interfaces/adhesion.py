"""Work of adhesion of a coherent interface."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.interfaces.coherent import CoherentCell, shifted
from atomsim.models.interface import EnergyModel
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.units import J_PER_M2

APART_A = 5.0
"""Slabs that have relaxed to a larger distance are apart."""


@dataclass(frozen=True, eq=False)
class Adhesion:
    """An interface and what it takes to pull it apart; ``status`` says whether it may be used."""

    status: str
    message: str
    atoms: Atoms = field(repr=False)
    """The relaxed interface."""
    work_J_per_m2: float
    """Work of adhesion, [E(film) + E(substrate) − E(interface)] / A, all relaxed in the interface's cell."""
    rigid_J_per_m2: float
    """The same of unrelaxed slabs, at the distance they were built with."""
    shift: tuple[float, float]
    """Lateral shift of the film that was taken, in parts of the cell's vectors."""
    shift_spread_eV: float
    """Difference between the highest and the lowest unrelaxed shift."""
    distance_A: float
    """From the substrate's highest atom to the film's lowest, relaxed."""
    energies_eV: tuple[float, float, float]
    """Interface, film, substrate, relaxed."""
    force_calls: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Things that a reader must know before using it."""
        found = []
        if self.work_J_per_m2 < 0:
            found.append("the slabs repel each other: another termination or shift lies lower")
        if self.distance_A > APART_A:
            found.append(f"the slabs are {self.distance_A:.1f} Å apart: they do not touch")
        return tuple(found)


def work_of_adhesion(
    cell: CoherentCell,
    potential: EnergyModel,
    settings: RelaxSettings,
    *,
    shifts: int = 2,
    capacity: Capacity | None = None,
) -> Adhesion:
    """Relax an interface and its two slabs apart, in one cell, and return the work of adhesion.

    The slabs keep the interface's lattice, so that the film's strain is on both sides and does not count.

    Args:
        cell: the interface.
        potential: the potential.
        settings: how to relax; the cell stays.
        shifts: lateral shifts along each vector that are evaluated, the lowest being relaxed.
        capacity: how much to evaluate at once.
    """
    starts = shifted(cell, shifts)
    apart = [cell.slab(film=True), cell.slab(film=False)]
    given = [*starts, *apart]
    rigid = np.concatenate([e.energy.numpy() for _, e in evaluate_all(given, potential, capacity)])
    best = int(np.argmin(rigid[: len(starts)].round(9)))
    how = replace(settings, cell=False)
    found = dict(iter_relax([starts[best], *apart], potential, how, capacity=capacity))
    whole, film, substrate = (found[n] for n in range(3))
    area = float(np.linalg.norm(np.cross(*cell.atoms.cell.array[:2])))
    names = ("interface", "film alone", "substrate alone")
    failed = [
        f"{n}: {r.status}: {r.message}" for n, r in zip(names, (whole, film, substrate), strict=True) if not r.converged
    ]
    status = next((r.status for r in (whole, film, substrate) if not r.converged), "converged")
    return Adhesion(
        status=status,
        message="; ".join(failed),
        atoms=whole.atoms,
        work_J_per_m2=(film.energy + substrate.energy - whole.energy) / area * J_PER_M2,
        rigid_J_per_m2=float(rigid[-2] + rigid[-1] - rigid[best]) / area * J_PER_M2,
        shift=(best // shifts / shifts, best % shifts / shifts),
        shift_spread_eV=float(np.ptp(rigid[: len(starts)])),
        distance_A=_distance(cell, whole.atoms),
        energies_eV=(whole.energy, film.energy, substrate.energy),
        force_calls=len(given) + sum(r.force_calls for r in (whole, film, substrate)),
    )


def _distance(cell: CoherentCell, atoms: Atoms) -> float:
    """Heights count from the middle of the vacuum, so that no slab is cut by the cell's face."""
    height = atoms.cell.array[2, 2]
    z = atoms.positions[:, 2] % height
    order = np.sort(z)
    gaps = np.diff(np.append(order, order[0] + height))
    middle = order[int(np.argmax(gaps))] + gaps.max() / 2
    above = (z - middle) % height
    return float(above[cell.film].min() - above[~cell.film].max())
