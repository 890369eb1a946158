"""Symmetry-distinct pairs of anions, and the place of each in the crystal, named in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product

import numpy as np
import spglib
from ase import Atoms
from ase.neighborlist import neighbor_list
from scipy.spatial import cKDTree

from atomsim.errors import InputError
from atomsim.structures.setting import SYMPREC_A, heights
from atomsim.types import FloatArray, IntArray

LONGEST_A = 3.2
"""Longest pair, Å: the edges of MO₆ octahedra (2.6–3.0 Å) and pairs across an emptied layer lie within."""
ALREADY_A = 1.6
"""Pairs below this are bonds already, Å."""
BOND_A = 2.6
"""Longest bond of a metal to oxygen, Å."""
MOBILE = frozenset({"Li", "Na", "K", "Mg", "Ca", "Zn", "Ag"})
"""Elements that are no centre of a framework's polyhedron."""
SHARED = "shared edge of two octahedra"
EDGE = "edge of one octahedron"
SITE_EDGE = "edge around an ion's site"
ACROSS = "across the ion layer"
KINDS = (SHARED, EDGE, SITE_EDGE, ACROSS)
"""Places of a pair: between two metals, of one metal, of none but within one slab, and between slabs."""
Image = tuple[int, int, int]


@dataclass(frozen=True)
class Pair:
    """A pair of atoms that stands for all that symmetry makes of it."""

    first: int
    second: int
    shift: Image
    """Lattice translation of the second atom, in units of the cell's vectors."""
    length_A: float
    kind: str
    """One of ``KINDS``."""
    multiplicity: int
    """Such pairs in the cell."""
    centres: tuple[str, ...]
    """Metals that both atoms are bonded to."""

    @property
    def name(self) -> str:
        """Unique within a structure: ``O3-O7``, with the translation where there is one."""
        image = "" if self.shift == (0, 0, 0) else "(" + ",".join(map(str, self.shift)) + ")"
        return f"{self.first}-{self.second}{image}"


def find_pairs(
    atoms: Atoms, element: str = "O", *, longest_A: float = LONGEST_A, symprec: float = SYMPREC_A
) -> list[Pair]:
    """Return the symmetry-distinct pairs of an element within ``longest_A``, the shortest first.

    Pairs of an atom and its own image are left out: their length is one of the lattice.

    Args:
        atoms: periodic crystal.
        element: of both atoms.
        longest_A: longest pair, Å.
        symprec: tolerance of the symmetry search, Å.

    Raises:
        InputError: if it is not periodic in three dimensions, or has none or only one atom of the element in reach.
    """
    formula = atoms.get_chemical_formula()
    if not atoms.pbc.all():
        raise InputError(f"{formula} is not periodic in 3 dimensions; pairs are those of a crystal")
    if element not in atoms.symbols:
        raise InputError(f"{formula} has no {element}: found 0 atoms, wanted two or more; choose another element")
    i, j, d, shift = neighbor_list("ijdS", _bare(atoms), {(element, element): longest_A})
    own = (i == j).sum()
    found = {_one_way(int(a), int(b), s): float(x) for a, b, x, s in zip(i, j, d, shift, strict=True) if a != b}
    if not found:
        only = f"; {own // 2} are of an atom and its own image: build a supercell" if own else ""
        raise InputError(f"{formula} has no {element}–{element} pair below {longest_A:g} Å{only}; raise longest_A")
    places = _Places(_bare(atoms))
    pairs = []
    for orbit in _orbits(sorted(found, key=lambda p: (round(found[p], 3), p)), atoms, symprec):
        first = orbit[0]
        kind, centres = places.of(*first)
        pairs.append(Pair(*first, found[first], kind, len(orbit), centres))
    return pairs


def require_pair(pair: Pair) -> None:
    """Refuse a pair that cannot be driven together.

    Raises:
        InputError: for an atom and its own image, and for one that is a bond already.
    """
    if pair.first == pair.second:
        raise InputError(f"pair {pair.name} is an atom and its own image; wanted two atoms: build a supercell")
    if pair.length_A < ALREADY_A:
        raise InputError(
            f"pair {pair.name} is a bond already: found {pair.length_A:.2f} Å, wanted {ALREADY_A} Å or more; "
            "relax the structure without it, or choose another pair"
        )


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _one_way(i: int, j: int, shift: IntArray | Image) -> tuple[int, int, Image]:
    """The same pair from its first atom."""
    a, b, c = (int(s) for s in shift)
    return (i, j, (a, b, c)) if i < j else (j, i, (-a, -b, -c))


def _orbits(pairs: list[tuple[int, int, Image]], atoms: Atoms, symprec: float) -> list[list[tuple[int, int, Image]]]:
    """Sort pairs into those that the space group makes alike; the first of each is the first in order."""
    fractional = atoms.get_scaled_positions(wrap=False)
    symmetry = spglib.get_symmetry((atoms.cell.array, fractional, atoms.numbers), symprec=symprec)
    if symmetry is None:
        return [[p] for p in pairs]
    rotations, translations = symmetry["rotations"], symmetry["translations"]
    images, offsets = _site_images(fractional, rotations, translations, atoms, symprec)
    left, orbits = set(pairs), []
    for pair in pairs:
        if pair not in left:
            continue
        i, j, shift = pair
        turned = rotations @ np.array(shift) + offsets[:, j] - offsets[:, i]
        orbit = {_one_way(int(images[o, i]), int(images[o, j]), turned[o]) for o in range(len(rotations))}
        orbits.append([pair, *sorted((orbit & left) - {pair})])
        left -= orbit
    return orbits


def _site_images(
    fractional: FloatArray, rotations: IntArray, translations: FloatArray, atoms: Atoms, symprec: float
) -> tuple[IntArray, IntArray]:
    """Atom that each operation takes each atom to, and the lattice translation that it lands with."""
    moved = np.einsum("oij,nj->oni", rotations, fractional) + translations[:, None, :]
    tree = cKDTree(fractional % 1.0 % 1.0, boxsize=1.0)
    distance, images = tree.query(moved % 1.0 % 1.0)
    if float(distance.max()) > 10 * symprec / float(heights(atoms.cell.array).min()):
        raise InputError(f"{atoms.get_chemical_formula()}: symmetry is not clear within {symprec:g} Å; lower symprec_A")
    return np.asarray(images), np.rint(moved - fractional[images]).astype(np.int64)


class _Places:
    """Which metals each oxygen is bonded to."""

    def __init__(self, atoms: Atoms) -> None:
        self.symbols = list(atoms.symbols)
        i, j, shift = neighbor_list("ijS", atoms, BOND_A)
        self.metals: dict[int, set[tuple[int, Image]]] = {}
        self.anions: Counter[int] = Counter()
        self.shells: dict[int, set[tuple[int, Image]]] = {}
        for a, b, s in zip(i.tolist(), j.tolist(), shift.tolist(), strict=True):
            if self._is_anion(a) and self._is_centre(b):
                self.metals.setdefault(a, set()).add((b, tuple(s)))
                self.anions[b] += 1
                self.shells.setdefault(b, set()).add((a, (-s[0], -s[1], -s[2])))

    def _is_anion(self, n: int) -> bool:
        return self.symbols[n] in {"O", "S", "Se", "F"}

    def _is_centre(self, n: int) -> bool:
        return not self._is_anion(n) and self.symbols[n] not in MOBILE

    def of(self, first: int, second: int, shift: Image) -> tuple[str, tuple[str, ...]]:
        """Kind of a pair and the metals that both its atoms are bonded to."""
        one = self.metals.get(first, set())
        two = {(m, _plus(s, shift)) for m, s in self.metals.get(second, set())}
        centres = tuple(sorted(self.symbols[m] for m, _ in one & two))
        if centres:
            return (SHARED if len(centres) > 1 else EDGE), centres
        joined = any(
            {(o, _plus(s, _minus(p, q))) for o, s in self.shells[a]} & self.shells[b]
            for (a, p), (b, q) in product(one, two)
        )
        return (SITE_EDGE if joined else ACROSS), ()


def _plus(a: Image, b: Image) -> Image:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _minus(a: Image, b: Image) -> Image:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])
