"""Events of one crystal with and without a dopant: hops of ions, oxygen vacancies, metals that leave their layer.

The same atoms take part on both sides, so that differences are paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list

from atomsim.analysis.stacking import ANIONS, Stacking, find_stacking, require_stacking
from atomsim.errors import InputError
from atomsim.types import FloatArray

EventKind = Literal["hop", "vacancy", "migration"]
BONDED_A, SHARED_EDGE_A = 2.6, 3.4
"""Anions nearer than this to a metal are its neighbours; metals nearer than this share an edge of octahedra, Å."""
IN_THE_WAY_A = 2.3
"""Ions nearer than this to a tetrahedral site share a face with it: a metal comes there once they have left, Å."""


@dataclass(frozen=True)
class EventSettings:
    """Numbers of events of each kind, half of them near the dopant, half far from it."""

    ion: str = "Li"
    hops: int = 6
    max_length_A: float = 3.4
    """Longest hop."""
    near_A: float = 3.6
    """Metals within this of the middle of a hop are at its bottleneck: those that share an anion with it."""
    vacancies: int = 4
    migrations: int = 0
    migrating: tuple[str, ...] = ("Mn",)
    """Elements that go from the octahedron to the tetrahedron in the ion layer; the dopant may be among them."""
    seed: int = 0


@dataclass(frozen=True)
class CrystalPair:
    """A relaxed crystal without and with dopants, atom by atom the same."""

    undoped: Atoms = field(repr=False)
    doped: Atoms = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.undoped) != len(self.doped):
            raise InputError(
                f"found {len(self.undoped)} atoms without the dopant and {len(self.doped)} with it; wanted the same "
                'atoms, so that events are paired: dope with compensation = "none"'
            )
        if not self.dopants:
            raise InputError("found no atom that differs between the two crystals, wanted a dopant in one of them")

    @property
    def dopants(self) -> tuple[int, ...]:
        """Atoms of another element in the doped crystal."""
        return tuple(int(n) for n in np.flatnonzero(self.undoped.numbers != self.doped.numbers))

    @property
    def dopant(self) -> str:
        """Element of the first of them."""
        return str(self.doped.symbols[self.dopants[0]])


@dataclass(frozen=True)
class Event:
    """One event, of the atoms of a pair."""

    kind: EventKind
    name: str
    removed: tuple[int, ...]
    """Atoms that are taken out; of a hop the ion in whose place the other goes."""
    moves: int | None
    """Atom that moves; None for a vacancy."""
    upward: bool
    """Side of the layer to which a metal moves."""
    near: bool
    """A dopant stands at the bottleneck, is bonded to the anion, or shares an edge with the metal."""
    distance_A: float
    """From the event's place to the nearest dopant."""
    around: dict[str, int]
    """Metals at that place, in the doped crystal."""
    around_undoped: dict[str, int]
    """The same without the dopant."""


def find_events(pair: CrystalPair, settings: EventSettings) -> list[Event]:
    """Choose events of a pair: half near a dopant, half far from it, spread over unlike surroundings.

    Raises:
        InputError: if a kind is asked for that the crystal has none of, or metals of one that has no layers.
    """
    finders: list[tuple[EventKind, int, Callable[[CrystalPair, EventSettings], Iterator[Event]]]] = [
        ("hop", settings.hops, _hops),
        ("vacancy", settings.vacancies, _vacancies),
        ("migration", settings.migrations, _migrations),
    ]
    found: list[Event] = []
    for place, (kind, number, finder) in enumerate(finders):
        if not number:
            continue
        candidates = list(finder(pair, settings))
        if not candidates:
            raise InputError(_none(kind, pair, settings))
        found += _chosen(candidates, number, np.random.default_rng([settings.seed, place]))
    return found


def ends_of(atoms: Atoms, event: Event, settings: EventSettings) -> list[Atoms]:
    """Return the unrelaxed cells of an event: the two ends of a path, or the cell with a vacancy."""
    start: Atoms = atoms.copy()
    start.calc = None
    if event.moves is None:
        del start[list(event.removed)]
        return [start]
    if event.kind == "hop":
        step = find_mic(atoms.positions[event.removed[0]] - atoms.positions[event.moves], atoms.cell, pbc=True)[0]
    else:
        step = _to_tetrahedron(atoms, event.moves, upward=event.upward, ion=settings.ion)
    end = start.copy()
    end.positions[event.moves] += step
    for one in (start, end):
        del one[list(event.removed)]
    return [start, end]


def moving_atom(event: Event) -> int:
    """Number of the atom that moves, in the cells of ``ends_of``."""
    assert event.moves is not None
    return event.moves - sum(n < event.moves for n in event.removed)


def _hops(pair: CrystalPair, settings: EventSettings) -> Iterator[Event]:
    """All hops between neighbouring ions, of the ion layer where there is one."""
    atoms = pair.undoped
    stacking = find_stacking(atoms, settings.ion)
    ions = atoms.symbols == settings.ion
    if stacking is not None:
        ions = ions & ~stacking.in_metal_layer
    i, j, vectors = neighbor_list("ijD", _bare(atoms), settings.max_length_A)
    ways = Counter(zip(i.tolist(), j.tolist(), strict=True))
    for a, b, vector in zip(i.tolist(), j.tolist(), vectors, strict=True):
        if a < b and ions[a] and ions[b] and ways[a, b] == 1:  # two ways between one pair: an image would be met
            middle = atoms.positions[a] + vector / 2
            *around, distance = _surroundings(pair, middle, settings.near_A, settings.ion)
            name = f"{settings.ion}{a}>{settings.ion}{b}"
            near = distance <= settings.near_A
            yield Event("hop", name, (b,), a, False, near, distance, *around)


def _vacancies(pair: CrystalPair, settings: EventSettings) -> Iterator[Event]:
    """Each oxygen; those far from a dopant begin with the farthest."""
    atoms = pair.undoped
    found = []
    for n in np.flatnonzero(atoms.symbols == "O").tolist():
        *around, distance = _surroundings(pair, atoms.positions[n], BONDED_A, settings.ion)
        found.append(Event("vacancy", f"O{n}", (n,), None, False, distance <= BONDED_A, distance, *around))
    yield from sorted(found, key=lambda e: -round(e.distance_A, 3))


def _migrations(pair: CrystalPair, settings: EventSettings) -> Iterator[Event]:
    """Each metal of the metal layer to the tetrahedron above or below it, where fewer ions have to leave."""
    atoms = pair.undoped
    stacking = require_stacking(atoms, settings.ion)
    moving = np.isin(atoms.symbols, settings.migrating) | np.isin(pair.doped.symbols, settings.migrating)
    ions = np.flatnonzero(atoms.symbols == settings.ion)
    for n in np.flatnonzero(moving & stacking.in_metal_layer).tolist():
        if n in pair.dopants and pair.dopant not in settings.migrating:
            continue
        sides = []
        for upward in (True, False):
            at = atoms.positions[n] + _to_tetrahedron(atoms, n, upward=upward, ion=settings.ion)
            away = find_mic(atoms.positions[ions] - at, atoms.cell, pbc=True)[1]
            sides.append((upward, tuple(int(k) for k in ions[away < IN_THE_WAY_A])))
        upward, removed = min(sides, key=lambda s: len(s[1]))
        *around, distance = _surroundings(pair, atoms.positions[n], SHARED_EDGE_A, settings.ion, but=n)
        name = f"{atoms.symbols[n]}{n} to the tetrahedron"
        yield Event("migration", name, removed, n, upward, distance <= SHARED_EDGE_A, distance, *around)


def _surroundings(
    pair: CrystalPair, place: FloatArray, within_A: float, ion: str, but: int | None = None
) -> tuple[dict[str, int], dict[str, int], float]:
    """Metals within a distance, with and without the dopant, and the distance to the nearest dopant."""
    away = find_mic(pair.undoped.positions - place, pair.undoped.cell, pbc=True)[1]
    close = away <= within_A
    if but is not None:
        close[but] = False
    counts = []
    for crystal in (pair.doped, pair.undoped):
        here = [s for s, c in zip(crystal.symbols, close, strict=True) if c and s != ion and s not in ANIONS]
        counts.append({metal: here.count(metal) for metal in dict.fromkeys(crystal.symbols) if metal in here})
    return counts[0], counts[1], round(float(away[list(pair.dopants)].min()), 4)


def _to_tetrahedron(atoms: Atoms, metal: int, *, upward: bool, ion: str) -> FloatArray:
    """Step from an octahedron in the metal layer to the tetrahedron that shares its face to the ion layer, Å.

    Of the point on the face's normal that is equally far from its three anions and the fourth, a gap above them:
    t = (G² − r²) / 2G above the face of circumradius r.
    """
    stacking = require_stacking(atoms, ion)
    normal = _normal(atoms, stacking) * (1 if upward else -1)
    anions = np.flatnonzero(np.isin(atoms.get_chemical_symbols(), ANIONS))
    vectors, lengths = find_mic(atoms.positions[anions] - atoms.positions[metal], atoms.cell, pbc=True)
    above = vectors @ normal > 0
    face = vectors[above][np.argsort(lengths[above])[:3]]
    centre = face.mean(axis=0)
    radius = float(np.linalg.norm(face - centre, axis=1).mean())
    gap = stacking.spacing - 2 * float(np.abs(stacking.heights[anions]).mean()) * stacking.spacing
    up = max((gap**2 - radius**2) / (2 * gap), 0.0)
    step: FloatArray = centre + up * normal
    return step


def _normal(atoms: Atoms, stacking: Stacking) -> FloatArray:
    normal: FloatArray = np.linalg.inv(atoms.cell.array) @ np.asarray(stacking.hkl, float) * stacking.spacing
    return normal


def _chosen(candidates: Sequence[Event], number: int, generator: np.random.Generator) -> list[Event]:
    """Half near, half far; where one side has too few the other gives more."""
    near, far = ([e for e in candidates if e.near is side] for side in (True, False))
    some = min(len(near), max((number + 1) // 2, number - len(far)))
    return [*_spread(near, some, generator), *_spread(far, number - some, generator)]


def _spread(candidates: Sequence[Event], number: int, generator: np.random.Generator) -> list[Event]:
    """One of each surroundings in turn; of vacancies and metals the order given, of hops a drawn one."""
    if candidates and candidates[0].kind == "hop":
        candidates = [candidates[int(n)] for n in generator.permutation(len(candidates))]
    groups: dict[tuple[tuple[str, int], ...], list[Event]] = {}
    for event in candidates:
        groups.setdefault(tuple(sorted(event.around.items())), []).append(event)
    found: list[Event] = []
    while len(found) < min(number, len(candidates)):
        for members in groups.values():
            if members and len(found) < number:
                found.append(members.pop(0))
    return found


def _none(kind: EventKind, pair: CrystalPair, settings: EventSettings) -> str:
    formula = pair.undoped.get_chemical_formula()
    if kind == "hop":
        return (
            f"no hop of {settings.ion} up to {settings.max_length_A:g} Å in {formula}; raise max_length_A, choose "
            "another ion, or give a cell in which neighbours are no images"
        )
    if kind == "vacancy":
        return f"no oxygen in {formula}; ask for vacancies = 0"
    return f"no {' or '.join(settings.migrating)} in the metal layer of {formula}; ask for migrations = 0"


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
