"""Sites of a mobile ion, and how the space group of the host carries them and pairs of them about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from numpy.typing import NDArray

from atomsim.errors import AtomsimError
from atomsim.structures.setting import cell_shifts
from atomsim.structures.voids import find_voids
from atomsim.types import FloatArray

Point = tuple[int, tuple[int, int, int]]
"""A site and the cell it lies in."""
Key = tuple[Point, ...]
"""A hop: from, to, and further vacancies; the first in cell (0, 0, 0)."""


@dataclass(frozen=True)
class Site:
    """A place where the mobile ion sits or could sit, in the host's cell."""

    index: int
    name: str
    """Element or shape, and a letter for each kind: ``Li-a``, ``tetrahedral-b``."""
    fractional: tuple[float, float, float]
    atom: int | None
    """The host's atom on it, or None where it is empty."""
    kind: int
    """Sites of one kind are equivalent by symmetry."""


Operations = list[tuple[NDArray[np.int64], FloatArray]]


def operations_of(host: Atoms, symprec: float) -> tuple[Operations, str]:
    """Return the host's operations on fractional coordinates, and its space group's symbol."""
    cell = (host.cell.array, host.get_scaled_positions(), host.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if found is None:
        raise AtomsimError(f"spglib found no symmetry of {host.get_chemical_formula()}; check it for overlapping atoms")
    return list(zip(found.rotations, found.translations, strict=True)), found.international


def find_sites(host: Atoms, ion: str, interstitials: bool, operations: Operations, symprec: float) -> list[Site]:
    """Occupied sites in the order of the atoms, then empty ones; kinds from the space group."""
    occupied = [int(n) for n in np.flatnonzero(np.array(host.get_chemical_symbols()) == ion)]
    places = [tuple(host.get_scaled_positions()[n]) for n in occupied]
    shapes: list[str] = [ion] * len(occupied)
    if interstitials:
        for void in find_voids(host, symprec=symprec):
            places.append(void.fractional)
            shapes.append(void.shape)
    atoms: list[int | None] = [*occupied, *([None] * (len(places) - len(occupied)))]
    bare = [Site(n, "", p, a, n) for n, (p, a) in enumerate(zip(places, atoms, strict=True))]
    images = site_images(bare, host, operations, symprec)
    kinds = [min(image[n][0] for image in images) for n in range(len(bare))]
    letters: dict[int, str] = {}
    for kind in sorted(set(kinds), key=lambda k: (-kinds.count(k), round(_room(places[k], host), 2), k)):
        used = sum(name.startswith(f"{shapes[kind]}-") for name in letters.values())
        letters[kind] = f"{shapes[kind]}-{_letter(used)}"
    return [Site(s.index, letters[kind], s.fractional, s.atom, kind) for s, kind in zip(bare, kinds, strict=True)]


def _room(place: tuple[float, ...], host: Atoms) -> float:
    """Mean distance to the six nearest atoms, Å: tells sites apart whatever the setting, and whatever its noise."""
    around = host.get_scaled_positions()[:, None] + cell_shifts(host.cell.array, 8.0)
    length = np.sort(np.linalg.norm((around - np.array(place)) @ host.cell.array, axis=2).ravel())
    return float(length[length > 0.3][:6].mean())


def _letter(n: int) -> str:
    return chr(ord("a") + n) if n < 26 else f"{chr(ord('a') + n // 26 - 1)}{chr(ord('a') + n % 26)}"


def site_images(sites: list[Site], host: Atoms, operations: Operations, symprec: float) -> list[MappedSites]:
    """Where each operation takes each site; operations that a site does not follow are left out."""
    fractional = np.array([s.fractional for s in sites])
    occupied = np.array([s.atom is not None for s in sites])
    reach = max(10 * symprec, 0.15)
    mapped = []
    for rotation, translation in operations:
        moved = fractional @ rotation.T + translation
        offset = moved[:, None] - fractional[None]
        cells = np.round(offset).astype(np.int64)
        length = np.linalg.norm((offset - cells) @ host.cell.array, axis=2)
        length[occupied[:, None] != occupied[None]] = np.inf
        image = length.argmin(axis=1)
        if (length.min(axis=1) < reach).all() and len(set(image)) == len(image):
            where = [(int(n), tuple(int(x) for x in cells[k, n])) for k, n in enumerate(image)]
            mapped.append(MappedSites(rotation, where))  # type: ignore[arg-type]
    return mapped


class MappedSites:
    """An operation on sites with their cells."""

    def __init__(self, rotation: NDArray[np.int64], where: list[Point]) -> None:
        self.rotation, self.where = rotation.tolist(), where

    def __getitem__(self, site: int) -> Point:
        return self.where[site]

    def __call__(self, point: Point) -> Point:
        """Return where a site in any cell goes."""
        site, cell = self.where[point[0]]
        r, at = self.rotation, point[1]
        turned = [r[k][0] * at[0] + r[k][1] * at[1] + r[k][2] * at[2] + cell[k] for k in range(3)]
        return site, (turned[0], turned[1], turned[2])


def canonical(key: Key) -> Key:
    """The smaller of both directions, shifted so that it starts in cell (0, 0, 0)."""
    return min(shifted(key), shifted((key[1], key[0], *key[2:])))


def shifted(key: Key) -> Key:
    """Return the same hop, starting in cell (0, 0, 0)."""
    a, b, c = key[0][1]
    moved: list[Point] = [(p[0], (p[1][0] - a, p[1][1] - b, p[1][2] - c)) for p in key]
    return (moved[0], moved[1], *sorted(moved[2:]))


def orbits_of(keys: list[Key], images: list[MappedSites]) -> list[tuple[list[Key], bool]]:
    """Sets of equivalent hops in one direction, and whether an operation exchanges the ends of each."""
    left = dict.fromkeys(keys)
    orbits = []
    while left:
        key = next(iter(left))
        own, reversed_ = shifted(key), shifted((key[1], key[0], *key[2:]))
        members: dict[Key, Key] = {canonical(key): own}
        exchanged = False
        for image in images:
            moved = tuple(image(p) for p in key)
            placed = shifted(moved)
            exchanged |= placed == reversed_ and own != reversed_
            members.setdefault(canonical(moved), placed)
        for member in members:
            left.pop(member, None)
        # the hop itself comes first and stands for its orbit
        orbits.append(([own, *sorted(m for m in members.values() if m != own)], exchanged))
    return orbits
