"""Symmetry-distinct hops of a mobile ion between the sites of a host.

A hop is an ion that goes from one site to another one near it. Both may be occupied in the host
(the ion then goes into a vacancy), empty (an interstitial), or one of each. The host's
space group as it really is, dopants and orderings included, says which hops are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from pymatgen.core import Element

from atomsim.errors import InputError
from atomsim.hopping.sites import (
    Key,
    Point,
    Site,
    canonical,
    find_sites,
    operations_of,
    orbits_of,
    site_images,
)
from atomsim.structures.mobility import require_mobile
from atomsim.structures.setting import SYMPREC_A, cell_shifts, standard_setting
from atomsim.types import FloatArray

BLOCKED_A = 0.7
"""An atom nearer than this to the straight line between two sites is hit, not passed, Å."""
NEAR_A = 4.0
"""Atoms further than this from the line are no obstacle, Å."""


@dataclass(frozen=True)
class Hop:
    """One of a set of equivalent hops."""

    name: str
    """``Li-a>Li-b 2.93``, made unique by a number."""
    start: int
    """Site that the ion leaves."""
    end: int
    """Site that it goes to."""
    jimage: tuple[int, int, int]
    """Cell of the end relative to that of the start."""
    length_A: float
    mechanism: str
    """``vacancy``, ``interstitial``, ``vacant-site`` or ``divacancy``."""
    multiplicity: int
    """Equivalent hops per cell of the host, both directions counted once."""
    bottleneck_A: float
    """Distance from the straight line to the nearest surface of an atom, ionic radii, Å."""
    reversible: bool
    """True if symmetry exchanges its ends, so that both barriers are equal."""
    blocked_by: int | None
    """Atom of the host that the straight line runs into, or None."""
    also_vacant: tuple[Point, ...] = ()
    """Further sites left empty, with their cells."""
    members: tuple[Key, ...] = field(default=(), repr=False)
    """All equivalent hops per cell, in the direction of this one."""


@dataclass(frozen=True)
class HopSet:
    """Sites and distinct hops of one host."""

    host: Atoms = field(repr=False)
    """Primitive cell in its standard setting; indices, cells and sites refer to it."""
    ion: str
    sites: tuple[Site, ...] = field(repr=False)
    hops: tuple[Hop, ...]
    """Shortest first."""
    space_group: str
    operations: int


def find_hops(
    host: Atoms,
    ion: str,
    *,
    max_length_A: float = 4.0,
    interstitials: bool = False,
    divacancies: bool = False,
    symprec: float = SYMPREC_A,
) -> HopSet:
    """List the symmetry-distinct hops of an ion in a host.

    They, their names and their order are the same for every cell, orientation, origin and order of atoms that
    describe one crystal, as they are those of its standard setting.

    Args:
        host: periodic crystal, its ions in place.
        ion: element that moves, ``"Li"``.
        max_length_A: longest hop, Å.
        interstitials: look for empty sites and hop between all sites; otherwise between occupied ones.
        divacancies: for hops into a vacancy, also those beside a second vacancy.
        symprec: tolerance of the symmetry search, Å.

    Raises:
        InputError: if the ion is not in the host and no empty site is looked for, or nothing is
            within ``max_length_A``; or if the ion is part of the framework (``mobility.require_mobile``).
    """
    _check(host, ion, interstitials)
    host = standard_setting(_bare(host), symprec)
    operations, symbol = operations_of(host, symprec)
    sites = find_sites(host, ion, interstitials, operations, symprec)
    images = site_images(sites, host, operations, symprec)
    keys = list(_pairs(sites, host, max_length_A))
    if not keys:
        shortest = _shortest(sites, host)
        raise InputError(
            f"no two {ion} sites within {max_length_A:g} Å; the nearest are {shortest:.2f} Å apart: "
            "raise max_length_A, or look for empty sites (interstitials)"
        )
    if divacancies:
        keys += [wide for key in keys for wide in _with_second_vacancy(key, sites, host, max_length_A)]
    orbits = orbits_of(keys, images)
    found = sorted(
        (_hop(orbit, sites, host) for orbit in orbits),
        key=lambda h: (len(h.also_vacant), round(h.length_A, 3), h.start, h.end, h.jimage, h.also_vacant),
    )
    return HopSet(host, ion, tuple(sites), tuple(_named(found, sites)), symbol, len(images))


def _bare(host: Atoms) -> Atoms:
    """The crystal alone: potentials know of no moments or charges put in, so these must not lower its symmetry."""
    return Atoms(host.numbers, host.positions, cell=host.cell, pbc=True)


def _check(host: Atoms, ion: str, interstitials: bool) -> None:
    if not host.pbc.all():
        raise InputError(f"{host.get_chemical_formula()} is not periodic in 3 dimensions; hops are those of a crystal")
    present = list(dict.fromkeys(host.get_chemical_symbols()))
    if ion not in present and not interstitials:
        raise InputError(
            f"no {ion} in {host.get_chemical_formula()}; choose the ion from {', '.join(present)}, "
            "or look for empty sites (interstitials)"
        )
    require_mobile(host, ion)


def _pairs(sites: list[Site], host: Atoms, longest: float) -> Iterator[Key]:
    """All hops of the cell, one direction of each."""
    fractional = np.array([s.fractional for s in sites])
    for cell in _cells(host, longest):
        vectors = (fractional[None] + np.array(cell) - fractional[:, None]) @ host.cell.array
        length = np.linalg.norm(vectors, axis=2)
        for i, j in np.argwhere((length < longest) & (length > 0.3)):
            key = canonical(((int(i), (0, 0, 0)), (int(j), cell)))
            if key[0] == (int(i), (0, 0, 0)) and key[1] == (int(j), cell):
                yield key


def _cells(host: Atoms, reach_A: float) -> list[tuple[int, int, int]]:
    return [(int(a), int(b), int(c)) for a, b, c in cell_shifts(host.cell.array, reach_A)]


def _shortest(sites: list[Site], host: Atoms) -> float:
    fractional = np.array([s.fractional for s in sites])
    best = np.inf
    for cell in _cells(host, float(max(host.cell.lengths()))):
        length = np.linalg.norm((fractional[None] + np.array(cell) - fractional[:, None]) @ host.cell.array, axis=2)
        best = min(best, float(length[length > 0.3].min(initial=np.inf)))
    return best


def _with_second_vacancy(key: Key, sites: list[Site], host: Atoms, longest: float) -> Iterator[Key]:
    """The hop beside each occupied site that is near both of its ends."""
    if any(sites[p[0]].atom is None for p in key):
        return
    a, b = (_cartesian(p, sites, host) for p in key)
    for site in sites:
        if site.atom is None:
            continue
        for cell in _cells(host, longest):
            point = (site.index, (cell[0] + key[1][1][0], cell[1] + key[1][1][1], cell[2] + key[1][1][2]))
            at = _cartesian(point, sites, host)
            to_a, to_b = float(np.linalg.norm(at - a)), float(np.linalg.norm(at - b))
            if point not in key and 0.3 < to_a < longest and 0.3 < to_b < longest:
                yield canonical((*key, point))


def _cartesian(point: Point, sites: list[Site], host: Atoms) -> FloatArray:
    return np.asarray((np.array(sites[point[0]].fractional) + np.array(point[1])) @ host.cell.array)


def _hop(orbit: tuple[list[Key], bool], sites: list[Site], host: Atoms) -> Hop:
    members, exchanged = orbit
    key = members[0]
    (start, _), (end, jimage) = key[0], key[1]
    a, b = _cartesian(key[0], sites, host), _cartesian(key[1], sites, host)
    bottleneck, blocked = _passage(a, b, key, sites, host)
    full = [sites[p[0]].atom is not None for p in key[:2]]
    mechanism = "vacancy" if all(full) else "vacant-site" if any(full) else "interstitial"
    if len(key) > 2:
        mechanism = "divacancy"
    return Hop(
        name="",
        start=start,
        end=end,
        jimage=jimage,
        length_A=float(np.linalg.norm(b - a)),
        mechanism=mechanism,
        multiplicity=len(members),
        bottleneck_A=bottleneck,
        reversible=exchanged,
        blocked_by=blocked,
        also_vacant=key[2:],
        members=tuple(members),
    )


def _passage(a: FloatArray, b: FloatArray, key: Key, sites: list[Site], host: Atoms) -> tuple[float, int | None]:
    """Clearance of the straight line to the atoms that stay, and the atom that it hits."""
    gone = {(sites[p[0]].atom, p[1]) for p in key}
    along = b - a
    shifts = cell_shifts(host.cell.array, NEAR_A + float(np.linalg.norm(along))) + np.array(key[0][1])
    clearance, blocked, nearest = np.inf, None, BLOCKED_A
    for n, fractional in enumerate(host.get_scaled_positions()):
        away = (fractional + shifts) @ host.cell.array - a
        part = np.clip(away @ along / (along @ along), 0, 1)
        gap = np.linalg.norm(away - part[:, None] * along, axis=1)
        for k in np.flatnonzero(gap <= NEAR_A):
            if (n, tuple(int(x) for x in shifts[k])) in gone:
                continue
            clearance = min(clearance, float(gap[k]) - _radius(host.symbols[n]))
            if gap[k] < nearest:
                nearest, blocked = float(gap[k]), n
    return clearance, blocked


def _radius(symbol: str) -> float:
    """Average ionic radius, or covalent where there is none, Å."""
    radius = float(Element(symbol).average_ionic_radius)
    return radius if radius > 0 else float(covalent_radii[Element(symbol).Z])


def _named(hops: list[Hop], sites: list[Site]) -> Iterator[Hop]:
    def base(hop: Hop) -> str:
        beside = "".join(f" beside {sites[p[0]].name}" for p in hop.also_vacant)
        return f"{sites[hop.start].name}>{sites[hop.end].name} {hop.length_A:.2f}{beside}"

    counts, seen = Counter(base(h) for h in hops), Counter[str]()
    for hop in hops:
        name = base(hop)
        seen[name] += 1
        yield replace(hop, name=f"{name} #{seen[name]}" if counts[name] > 1 else name)
