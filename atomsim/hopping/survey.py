"""All hops of a host: supercell, ends relaxed once each, one Hessian, and all paths as one flight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from atomsim.constraints.rules import require_unconstrained
from atomsim.hopping.endpoints import (
    Cell,
    DefectState,
    HopInSupercell,
    build_cell,
    carried,
    drifted,
    pair_of,
    place,
    representative,
    shifts_of,
    structure_of,
    swapping,
)
from atomsim.hopping.hops import HopSet, find_hops
from atomsim.mep.endpoint_swap import swaps_of
from atomsim.mep.path import Endpoints, PathSettings
from atomsim.models.interface import EnergyModel
from atomsim.optimize.hessian import Hessian, hessian
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.supercells import choose_supercell

SAME_MINIMUM_A = 0.3
"""Ends between which no atom moves further are the same minimum, Å."""
FREE_ION = 3.0
"""Curvature assumed for an added ion, which the host has no row for, eV/Å²."""


@dataclass(frozen=True)
class SurveySettings:
    """Which hops, in what supercell, and how."""

    max_length_A: float = 4.0
    interstitials: bool = False
    divacancies: bool = False
    supercell_min_A: float = 8.0
    """Distance between an ion and its image that is wanted, Å."""
    max_atoms: int = 200
    end_fmax_eV_per_A: float = 0.02
    end_max_steps: int = 300
    path: PathSettings = field(default_factory=PathSettings)


@dataclass(frozen=True)
class Survey:
    """The hops of a host and the supercell that they are computed in; no force call yet."""

    hops: HopSet
    cell: Cell
    placed: tuple[HopInSupercell, ...]
    """Those that can be computed: not blocked by an atom, not onto an image."""
    left_out: tuple[tuple[str, str], ...]
    """Names of the others, and why."""


@dataclass(frozen=True)
class RelaxedEnd:
    """An end that stands for all that symmetry makes of it."""

    end: DefectState
    shifts: NDArray[np.float64] = field(repr=False)
    """From the sites, Å, (n_atoms + n_empty, 3), NaN where nobody is."""
    energy: float
    """eV."""
    status: str
    message: str
    force_calls: int


def survey(host: Atoms, ion: str, settings: SurveySettings) -> Survey:
    """Find the hops of a host and put them into a supercell.

    Raises:
        InputError: if the ion is absent, no hop is short enough, or the host exceeds the budget of atoms or has
            constraints.
    """
    require_unconstrained(host, "a search for hops")
    found = find_hops(
        host,
        ion,
        max_length_A=settings.max_length_A,
        interstitials=settings.interstitials,
        divacancies=settings.divacancies,
    )
    cell = build_cell(found, choose_supercell(found.host, settings.supercell_min_A, settings.max_atoms))
    placed, left_out = [], []
    for hop in found.hops:
        if hop.blocked_by is not None:
            atom = f"{found.host.symbols[hop.blocked_by]}{hop.blocked_by + 1}"
            left_out.append((hop.name, f"the straight line runs into {atom}"))
            continue
        one = place(hop, found, cell)
        if one is None:
            key = "max_atoms" if cell.image_distance_A < settings.supercell_min_A else "supercell_min_A"
            left_out.append((hop.name, f"its sites are images of each other in this supercell; raise {key}"))
        else:
            placed.append(one)
    return Survey(found, cell, tuple(placed), tuple(left_out))


def needed_ends(chosen: Iterable[HopInSupercell], cell: Cell) -> list[DefectState]:
    """Return the ends to be relaxed, one for all that are equivalent, in order."""
    return sorted({representative(end, cell)[0] for p in chosen for end in (p.start, p.end)})


def relax_ends(
    ends: Sequence[DefectState], view: Survey, settings: SurveySettings, potential: EnergyModel
) -> list[RelaxedEnd]:
    """Relax ends at fixed cell, all in one flight."""
    ion, cell = view.hops.ion, view.cell
    how = RelaxSettings(fmax_eV_per_A=settings.end_fmax_eV_per_A, max_steps=settings.end_max_steps, cell=False)
    found = dict(iter_relax([structure_of(e, cell, ion) for e in ends], potential, how))
    relaxed = []
    for n, end in enumerate(ends):
        one = found[n]
        shifts = shifts_of(end, one.atoms.positions, cell, ion)
        status, message = one.status, one.message
        gone = drifted(shifts) if one.converged else None
        if gone is not None:
            status = "drifted"
            message = f"an atom relaxed {gone:.2f} Å away from its site: the end is in another basin"
        relaxed.append(RelaxedEnd(end, shifts, one.energy, status, message, one.force_calls))
    return relaxed


def host_hessian(view: Survey, potential: EnergyModel) -> Hessian:
    """Hessian of the supercell without defects; symmetry saves most of its force calls."""
    return hessian(view.cell.atoms, potential)


def ends_of(
    placed: HopInSupercell, view: Survey, relaxed: dict[DefectState, RelaxedEnd], host: Hessian
) -> Endpoints | str:
    """Return the two minima of a hop, or why they cannot be used."""
    cell, ion = view.cell, view.hops.ion
    shifts, energies = [], []
    for end in (placed.start, placed.end):
        known, operation = representative(end, cell)
        one = relaxed[known]
        if one.status != "converged":
            return f"end {known.name}: {one.status}: {one.message}"
        shifts.append(carried(one.shifts, cell, operation))
        energies.append(one.energy)
    first, moved = pair_of(placed, shifts[0], shifts[1], cell, ion)
    if float(np.linalg.norm(moved, axis=1).max()) < SAME_MINIMUM_A:
        return f"end {placed.end.name}: drifted: both ends of the hop relax to one minimum"
    atoms = [[*placed.kept, place] for place in placed.site_indices]
    operations = swapping(placed, cell)
    swaps = tuple(swaps_of(operations, shifts[0][atoms[0]], moved, shifts[1][atoms[1]]))
    return Endpoints(
        key=placed.hop.name,
        start=first,
        displacement=moved,
        start_energy=energies[0],
        end_energy=energies[1],
        moving=(len(first) - 1,),
        hessian=_child(host, placed, cell),
        swaps=swaps,
    )


def _child(host: Hessian, placed: HopInSupercell, cell: Cell) -> Tensor:
    """The host's Hessian for the atoms of a path; the ion takes the row of a site that it joins."""
    own = [s for s in placed.site_indices if s < cell.n_atoms]
    if own:
        return host.of_child([*placed.kept, own[0]]).matrix(cell=False)
    ion = FREE_ION * torch.eye(3, dtype=torch.float64)
    result: Tensor = torch.block_diag(host.of_child(placed.kept).matrix(cell=False), ion)
    return result
