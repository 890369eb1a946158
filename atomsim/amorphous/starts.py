"""Four starts of a melt: rigid units, single atoms, a rocksalt lattice, and a crystal in glass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from ase import Atoms

from atomsim.amorphous.composition import Composition
from atomsim.amorphous.contacts import contact_matrix, ionic_radius, ionic_volume
from atomsim.amorphous.packing import SWEEPS, Bodies, random_rotation, separate
from atomsim.amorphous.rocksalt import crystal_grain, fill, rocksalt_cell
from atomsim.amorphous.units import UNITS, units_in
from atomsim.errors import InputError, check_number, check_whole
from atomsim.types import FloatArray
from atomsim.units import PER_G_CM3

StartName = Literal["units", "atoms", "rocksalt", "composite"]
STARTS: tuple[str, ...] = get_args(StartName)
ATTEMPTS = 3
BISECTIONS = 5
INTERFACE = 1.15
"""Room of a composite, in that of the ions: a grain's surface packs badly."""


@dataclass(frozen=True)
class Start:
    """Structure before the melt, and its settings."""

    kind: str = "units"
    """``units``, ``atoms``, ``rocksalt`` or ``composite``."""
    units: tuple[str, ...] | None = None
    """Names of rigid units; those that the composition can hold if None."""
    density_g_per_cm3: float | None = None
    """Density of the packing; by ionic volumes if None. Rocksalt has that of its lattice."""
    crystal: str | None = None
    """Formula of the crystal of ``composite``."""
    crystal_fraction: float = 0.5
    """Part of the atoms that is crystal."""

    def __post_init__(self) -> None:
        if self.kind not in STARTS:
            raise InputError(f"found start={self.kind!r}, wanted one of {', '.join(STARTS)}")
        if self.density_g_per_cm3 is not None:
            check_number("density_g_per_cm3", self.density_g_per_cm3, "a density in g/cm³ above 0", above=0.0)
            if self.kind == "rocksalt":
                raise InputError("found density_g_per_cm3 with start='rocksalt', whose lattice has one; leave it out")
        check_number("crystal_fraction", self.crystal_fraction, "a part from 0.05 to 0.9", low=0.05, high=0.9)
        if self.kind == "atoms" and self.units:
            raise InputError(
                f"found units={list(self.units)} with start='atoms', which packs single atoms; leave them out, or take "
                "start='units'"
            )
        if (self.kind == "composite") != (self.crystal is not None):
            raise InputError("found crystal and start apart; start='composite' needs crystal, such as 'Li2RuO3'")


def make_start(what: Composition, how: Start, seed: int) -> Atoms:
    """Return the structure that a melt begins with.

    No two ions are nearer than their ionic distance (0.87 of the sum of radii), those of a rigid unit apart.

    Args:
        what: whole atoms.
        how: kind of start.
        seed: of everything random.

    Raises:
        InputError: if a unit does not fit the composition, or the density cannot be packed; the largest is named.
    """
    check_whole("seed", seed, "a whole number of 0 or more", low=0)
    rng = np.random.default_rng([seed, STARTS.index(how.kind)])
    units = {} if how.kind == "atoms" else units_in(what, how.units)
    if how.kind == "rocksalt":
        return _in_rocksalt(what, units, rng)
    volume = start_volume(what, how)
    made = _packed(what, how, units, volume, rng)
    if made is None:
        largest = _largest_density(what, how, units, volume, seed)
        raise InputError(
            f"{what.name} cannot be packed at {what.mass / volume / PER_G_CM3:.3g} g/cm³ by ionic distances; the "
            f"largest that could be is {largest:.2f} g/cm³; give that or less as density_g_per_cm3"
        )
    return made


def start_volume(what: Composition, how: Start) -> float:
    """Return the volume of the cell before the melt, Å³."""
    if how.density_g_per_cm3 is not None:
        return what.mass / (how.density_g_per_cm3 * PER_G_CM3)
    if how.kind == "rocksalt":
        return float(rocksalt_cell(what).cell.volume)
    loose = INTERFACE if how.kind == "composite" else 1.0
    return loose * ionic_volume(what.counts, what.charges)


def _packed(
    what: Composition,
    how: Start,
    units: Mapping[str, int],
    volume: float,
    rng: np.random.Generator,
    attempts: int = ATTEMPTS,
    sweeps: int = SWEEPS,
) -> Atoms | None:
    edge = volume ** (1.0 / 3.0)
    if not _fits(what, volume):
        return None
    for _ in range(attempts):
        core = _grain(what, how, edge, rng) if how.kind == "composite" else Atoms()
        rest = _less(what.counts, core)
        atoms, bodies = _scattered(rest, units, core, edge, rng)
        made = separate(atoms, contact_matrix(list(atoms.symbols), what.charges), rng, bodies, sweeps)
        if made is not None:
            made.wrap()
            return made
    return None


def _fits(what: Composition, volume: float) -> bool:
    """True if spheres of ionic radii could fill the cell at all: no packing is denser than π/√18."""
    spheres = sum(n * 4 / 3 * np.pi * ionic_radius(s, what.charges[s]) ** 3 for s, n in what.counts.items())
    result: bool = spheres * 0.9**3 < np.pi / np.sqrt(18) * volume
    return result


def _largest_density(what: Composition, how: Start, units: Mapping[str, int], volume: float, seed: int) -> float:
    """Return the largest density that could be packed, by bisection of the volume, g/cm³."""
    low, high = volume, max(2.0 * ionic_volume(what.counts, what.charges), 1.5 * volume)
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        done = _packed(what, how, units, middle, np.random.default_rng([seed, 9]), 1, SWEEPS // 4)
        low, high = (low, middle) if done is not None else (middle, high)
    return what.mass / high / PER_G_CM3


def _scattered(
    counts: Mapping[str, int], units: Mapping[str, int], core: Atoms, edge: float, rng: np.random.Generator
) -> tuple[Atoms, Bodies]:
    """Return a core in the middle, and units and the remaining ions anywhere."""
    symbols, positions = list(core.symbols), list(core.positions)
    members, shapes, left = [], [], dict(counts)
    for name, n in units.items():
        unit = UNITS[name]
        for _ in range(n):
            members.append(np.arange(len(symbols), len(symbols) + unit.n_ligands + 1))
            shapes.append(unit.shape)
            symbols += unit.symbols
            positions += list(unit.shape @ random_rotation(rng) + _outside(core, edge, 1, rng))
        left[unit.centre] -= n
        left[unit.ligand] -= n * unit.n_ligands
    for symbol, n in left.items():
        symbols += [symbol] * n
        positions += list(_outside(core, edge, n, rng))
    atoms = Atoms(symbols, np.array(positions).reshape(-1, 3), cell=[edge] * 3, pbc=True)
    return atoms, Bodies(members, shapes)


def _outside(core: Atoms, edge: float, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw points in a cube, outside the sphere that a core in its middle takes, (n, 3)."""
    radius = float(np.linalg.norm(core.positions - 0.5 * edge, axis=1).max()) if len(core) else 0.0
    drawn = rng.uniform(0, edge, (200 * n, 3))
    outside = drawn[np.linalg.norm(drawn - 0.5 * edge, axis=1) > min(radius, 0.6 * edge)]
    return np.asarray(outside[:n])


def _less(counts: Mapping[str, int], core: Atoms) -> dict[str, int]:
    symbols = list(core.symbols)
    return {s: n - symbols.count(s) for s, n in counts.items()}


def _grain(what: Composition, how: Start, edge: float, rng: np.random.Generator) -> Atoms:
    assert how.crystal is not None
    grain = crystal_grain(what, how.crystal, how.crystal_fraction, rng)
    grain.positions += 0.5 * edge - grain.positions.mean(axis=0)
    return grain


def _in_rocksalt(what: Composition, units: Mapping[str, int], rng: np.random.Generator) -> Atoms:
    """Return anions on a face-centred lattice, centres of units in tetrahedral holes, cations in octahedral ones."""
    atoms, members, shapes = fill(what, units, rng)
    contacts = contact_matrix(list(atoms.symbols), what.charges)
    # a unit whose corners are those of its hole has ligands nearer to others' than a packing would
    made = separate(atoms, 0.93 * contacts, rng, Bodies(members, shapes))
    if made is None:
        raise InputError(
            f"{what.name} does not fit a rocksalt lattice of {what.n_atoms} atoms: too many {', '.join(units)} for its "
            "tetrahedral holes; take start='units'"
        )
    made.wrap()
    return made


@lru_cache(maxsize=64)
def _checked(name: str, counts: tuple[tuple[str, int], ...], how: Start) -> None:
    make_start(Composition(name, dict(counts), {}), how, 1)


def check_start(what: Composition, how: Start) -> None:
    """Refuse what cannot be packed, before anything is computed.

    Raises:
        InputError: as ``make_start`` does.
    """
    _checked(what.name, tuple(what.counts.items()), how)
