"""Verdict on a structure: a glass, or the reasons why it is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from atomsim.amorphous.composition import Composition
from atomsim.amorphous.contacts import ionic_radius
from atomsim.amorphous.integrity import Units, composition_of, flows, mixing, overlaps, unit_counts
from atomsim.amorphous.mixture import Crystal, cheapest_mixture
from atomsim.amorphous.units import UNITS
from atomsim.analysis.framework import framework_species
from atomsim.analysis.lattice_order import LatticeOrder, lattice_order
from atomsim.analysis.oxygen import oxygen_pairs
from atomsim.analysis.pair_distribution import PairDistribution, pair_distribution, require_periodic
from atomsim.analysis.polyhedra import BOND_FACTOR, angles, bonds, coordination_numbers, ring_counts, sharing
from atomsim.analysis.scattering import StructureFactor, structure_factor
from atomsim.errors import InputError
from atomsim.types import FloatArray
from atomsim.units import GPA, PER_G_CM3

O2_A = 1.65
"""O–O pairs below are peroxide, superoxide or O2, Å."""
CLUSTERED = 0.15
"""Clustering of atoms on a lattice that tells a grain from displacements; 0 ± 0.05 in both glass and crystal."""
LEAST_GRAIN, MOST_GRAIN = 0.2, 0.9
"""Part of the atoms that a grain has."""
STRESS_GPA = 1.0
"""Pressure from which on a structure is said to be strained."""
LOOSE = 0.85
"""Density, as a part of that of the crystals, below which a structure is said to be loose."""
FOLLOWED = 2000
"""Frames at most in which units are counted."""
AVERAGED = 20
"""Frames at most that distributions are averaged over."""
MIN_CATIONS_CHARGE = 1.5
FLAGS = (
    "O2",
    "broken unit",
    "crystal",
    "noise on a crystal",
    "composite",
    "phase-separated",
    "flowing",
    "overlap",
    "too small to judge",
)
"""Flags in the order in which they name a verdict."""


@dataclass(frozen=True)
class Moving:
    """A trajectory of the structure that is judged: its last part, at one temperature."""

    positions: FloatArray
    """Unwrapped, Å, (n_frames, n_atoms, 3)."""
    cells: FloatArray
    """(n_frames, 3, 3)."""

    def frames(self, atoms: Atoms, most: int) -> list[Atoms]:
        """Return frames at equal intervals as Atoms."""
        which = np.unique(np.linspace(0, len(self.positions) - 1, most).round().astype(int))
        return [Atoms(atoms.numbers, self.positions[n], cell=self.cells[n], pbc=atoms.pbc) for n in which]


@dataclass(frozen=True)
class Known:
    """Facts of a structure beside its geometry."""

    energy_eV: float | None = None
    stress_eV_per_A3: FloatArray | None = None
    moving: Moving | None = None


@dataclass(frozen=True)
class Verdict:
    """All that is known of one structure as a glass."""

    verdict: str
    """``glass``, ``composite``, or the first of ``flags``."""
    flags: tuple[str, ...]
    """Members of ``FLAGS``; empty for a glass."""
    reasons: tuple[str, ...]
    """One sentence for each flag, with numbers; and remarks that decide nothing."""
    values: dict[str, Any]
    """Numbers, JSON-able, units in the keys."""
    order: LatticeOrder
    distribution: PairDistribution = field(repr=False)
    scattering: StructureFactor = field(repr=False)


def judge(atoms: Atoms, known: Known | None = None, crystals: Sequence[Crystal] = ()) -> Verdict:
    """Judge whether a structure is a glass.

    Args:
        atoms: periodic structure.
        known: its energy, stress and trajectory, where there are any.
        crystals: relaxed crystals of the same potential, for energy and density.

    Raises:
        InputError: if it is not periodic in three directions, or has one kind of atoms alone.
    """
    require_periodic(atoms)
    if len(set(atoms.symbols)) < 2:
        raise InputError(f"{atoms.get_chemical_formula()} has one kind of atoms; wanted ions of two or more elements")
    facts, what = known or Known(), composition_of(atoms)
    frames = [*(facts.moving.frames(atoms, AVERAGED) if facts.moving else []), atoms]
    followed = [*(facts.moving.frames(atoms, FOLLOWED) if facts.moving else []), atoms]
    found = _Findings()
    found.values |= {"n_atoms": len(atoms), "density_g_per_cm3": float(what.mass / atoms.cell.volume / PER_G_CM3)}
    order = lattice_order(atoms, _anions(what))
    _contacts(found, atoms, what)
    _units(found, unit_counts(followed))
    _order(found, order)
    _mixing(found, atoms, what)
    _flow(found, atoms, facts.moving)
    found.values |= _polyhedra(atoms, what)
    _against_crystals(found, what, atoms, facts, crystals)
    _stress(found, facts.stress_eV_per_A3)
    distribution, scattering = pair_distribution(frames), structure_factor(frames)
    _halo(found, scattering)
    flags = tuple(flag for flag in FLAGS if flag in found.flags)
    named = next((f for f in flags if f != "too small to judge"), None)
    verdict = named or ("undecided" if flags else "glass")
    reasons = tuple(found.flags[f] for f in flags)
    return Verdict(verdict, flags, (*reasons, *found.remarks), found.values, order, distribution, scattering)


class _Findings:
    """Flags with their reasons, remarks and numbers."""

    def __init__(self) -> None:
        self.flags: dict[str, str] = {}
        self.remarks: list[str] = []
        self.values: dict[str, Any] = {}


def _anions(what: Composition) -> list[str]:
    charges = what.charges
    return [s for s in what.counts if charges[s] < 0]


def _contacts(found: _Findings, atoms: Atoms, what: Composition) -> None:
    near = overlaps(atoms, what)
    if near:
        found.flags["overlap"] = f"ions overlap: {', '.join(near[:4])}; relax it first"
    if "O" not in what.counts:
        return
    pairs = oxygen_pairs(atoms)
    short = int((pairs.length < O2_A).sum())
    found.values |= {"oo_pairs": short, "oo_shortest_A": pairs.shortest}
    if short:
        found.flags["O2"] = f"{short} O–O pairs below {O2_A} Å, the shortest {pairs.shortest:.2f} Å: peroxide or O2"


def _units(found: _Findings, units: Sequence[Units]) -> None:
    for one in units:
        key = one.name
        found.values |= {
            f"{key}_whole": one.whole,
            f"{key}_total": one.total,
            f"{key}_coordination": one.coordination,
            f"{key}_broken_times": one.broken,
            f"{key}_reformed_times": one.reformed,
        }
        if one.whole < one.total:
            found.flags["broken unit"] = (
                f"{one.total - one.whole} of {one.total} {key} are broken (mean coordination {one.coordination:.2f})"
            )
        if one.broken:
            found.remarks.append(f"{key} broke {one.broken} times along the trajectory and formed {one.reformed} again")


def _order(found: _Findings, order: LatticeOrder) -> None:
    lattice = "".join(order.species)
    found.values |= {
        "bragg_peak": order.peak,
        "bragg_threshold": order.threshold,
        "crystallinity": order.fraction if order.ordered else 0.0,
        "space_group": order.space_group if order.symmetric else None,
    }
    if order.symmetric:
        found.flags["crystal"] = f"it has the symmetry of {order.space_group} to 0.1 Å: a crystal"
    elif order.clustering > CLUSTERED and LEAST_GRAIN < order.fraction < MOST_GRAIN:
        found.flags["composite"] = (
            f"{order.fraction:.0%} of {lattice} are on one lattice and beside each other: a grain"
        )
        found.values["crystallinity"] = order.fraction
    elif order.ordered:
        found.flags["noise on a crystal"] = (
            f"a Bragg peak of {lattice} has {order.peak:.2f} of its full height (a glass of this size stays below "
            f"{order.threshold:.2f}): displacements on a lattice"
        )
    elif not order.large_enough:
        found.flags["too small to judge"] = (
            "the cell is too small to tell a glass from a lattice with displacements; take 100 atoms or more"
        )


def _mixing(found: _Findings, atoms: Atoms, what: Composition) -> None:
    for one in mixing(atoms, what):
        found.values[f"{one.species}_unmixing"] = one.order
        if one.separated:
            found.flags["phase-separated"] = (
                f"{one.species} is apart from the other cations: Warren–Cowley order {one.order:.2f}, chance "
                f"{one.chance:.3f}"
            )


def _flow(found: _Findings, atoms: Atoms, moving: Moving | None) -> None:
    if moving is None:
        return
    mobile = [s for s in ("Li", "Na", "K", "Ag") if s in atoms.symbols]
    rest = framework_species(atoms, mobile[0]) if mobile else sorted(set(atoms.symbols))
    flowing, grown = flows(moving.positions, moving.cells, np.isin(list(atoms.symbols), rest))
    found.values["framework_msd_A2"] = grown
    if flowing:
        found.flags["flowing"] = f"the framework ({', '.join(rest)}) flows: {grown:.1f} Å² in half the trajectory"


def _polyhedra(atoms: Atoms, what: Composition) -> dict[str, Any]:
    charges = what.charges
    values: dict[str, Any] = {}
    anions = _anions(what)
    cations = [s for s in what.counts if charges[s] >= 0] if anions else []
    reach = {c: {a: _longest(c, a, charges) for a in anions} for c in cations}
    found = {c: bonds(atoms, c, anions, reach[c]) for c in cations}
    for c in cations:
        numbers = coordination_numbers(atoms, c, found[c])
        values[f"{c}_coordination"] = float(numbers.mean())
        values[f"{c}_coordinations"] = {str(n): int(k) for n, k in enumerate(np.bincount(numbers)) if k}
        if len(found[c].length):
            values[f"{c}_bond_A"] = float(found[c].length.mean())
            within = angles(found[c])
            values[f"{c}_angle_deg"] = [float(within.mean()), float(within.std())] if len(within) else None
    framework = [c for c in cations if charges[c] > MIN_CATIONS_CHARGE]
    values["sharing"] = {f"{a}-{b}": sharing(found[a], found[b]) for a in framework for b in framework if a <= b}
    if framework and anions:
        longest = max(max(reach[c].values()) for c in framework)
        values["rings"] = {str(n): k for n, k in ring_counts(atoms, framework, anions, longest).items()}
    return values


def _longest(cation: str, anion: str, charges: dict[str, float]) -> float:
    own = [u.bond_A for u in UNITS.values() if (u.centre, u.ligand) == (cation, anion)]
    sum_of_radii = ionic_radius(cation, charges[cation]) + ionic_radius(anion, charges[anion])
    return BOND_FACTOR * (own[0] if own else sum_of_radii)


def _against_crystals(
    found: _Findings, what: Composition, atoms: Atoms, facts: Known, crystals: Sequence[Crystal]
) -> None:
    mixture = cheapest_mixture(what.counts, crystals)
    if mixture is None:
        if crystals:
            found.remarks.append("the crystals given have no mixture of this composition: no density ratio")
        return
    found.values |= {
        "density_ratio": mixture.volume_A3 / atoms.cell.volume,
        "crystals": dict(mixture.cells),
        "crystals_density_g_per_cm3": what.mass / mixture.volume_A3 / PER_G_CM3,
    }
    if (ratio := found.values["density_ratio"]) < LOOSE:
        found.remarks.append(
            f"its density is {ratio:.3f} of that of the crystals of the same potential, below {LOOSE:g}: it is loose, "
            "as fast quenches leave it; compare seeds and slower ones"
        )
    if facts.energy_eV is not None:
        found.values["above_crystals_eV_per_atom"] = (facts.energy_eV - mixture.energy_eV) / len(atoms)


def _stress(found: _Findings, stress: FloatArray | None) -> None:
    if stress is None or not np.isfinite(stress).all():
        return
    values = np.asarray(stress, dtype=float).reshape(3, 3) / GPA
    pressure = -float(np.trace(values)) / 3
    deviator = values + pressure * np.eye(3)
    found.values |= {"pressure_GPa": pressure, "shear_GPa": float(np.sqrt(1.5 * np.square(deviator).sum()))}
    if abs(pressure) > STRESS_GPA:
        found.remarks.append(f"it is under {pressure:+.1f} GPa: relax its cell before densities are compared")


def _halo(found: _Findings, scattering: StructureFactor) -> None:
    halo = scattering.halo()
    if halo is None:
        return
    found.values |= {
        "halo_q_per_A": halo.q,
        "halo_two_theta_deg": halo.two_theta,
        "halo_height": halo.height,
        "halo_resolution_deg": halo.resolution_degrees,
    }
    if np.isfinite(halo.fwhm_degrees):
        found.values["halo_fwhm_deg"] = halo.fwhm_degrees
        if halo.fwhm_degrees < 1.5 * halo.resolution_degrees:
            found.remarks.append(
                f"the halo's width ({halo.fwhm_degrees:.1f}°) is near what the size of the cell makes of a sharp line "
                f"({halo.resolution_degrees:.1f}°): it says nothing of the order"
            )
