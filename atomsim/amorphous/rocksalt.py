"""Cation-disordered rocksalt: anions on a face-centred lattice, cations at random in its octahedral holes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from atomsim.amorphous.composition import Composition, composition
from atomsim.amorphous.contacts import ionic_radius
from atomsim.amorphous.packing import fitted
from atomsim.amorphous.units import UNITS
from atomsim.errors import InputError
from atomsim.structures.supercells import compact_supercell, expand, image_distance
from atomsim.types import FloatArray, IntArray

PRIMITIVE = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
OCTAHEDRAL = np.array([[0.5, 0.5, 0.5]])
TETRAHEDRAL = np.array([[0.25, 0.25, 0.25], [0.75, 0.75, 0.75]])
"""Holes of the lattice in fractions of the primitive cell."""
ALL_UP_TO = 128
"""Lattice points up to which all superlattices are looked at."""


def lattice_parameter(what: Composition) -> float:
    """Return the edge of the cubic cell from ionic radii of octahedral cations, Å."""
    charges = what.charges
    cations = [ionic_radius(s, charges[s]) for s, n in _octahedral(what).items() for _ in range(n)]
    anions = [ionic_radius(s, charges[s]) for s, n in what.counts.items() if charges[s] < 0 for _ in range(n)]
    if not anions or not cations:
        raise InputError(f"{what.name} has no anions and cations for a rocksalt lattice; take start='atoms'")
    return float(2.0 * (np.mean(cations) + np.mean(anions)))


def rocksalt_cell(what: Composition) -> Atoms:
    """Return the anions of a composition on a face-centred lattice, the cell as compact as can be."""
    charges = what.charges
    anions = [s for s, n in what.counts.items() if charges[s] < 0 for _ in range(n)]
    unit = Atoms("X", cell=PRIMITIVE * lattice_parameter(what), pbc=True)
    cell, _ = expand(unit, _supercell(unit.cell.array, len(anions)))
    return Atoms(anions, cell.positions, cell=cell.cell, pbc=True)


def _supercell(cell: FloatArray, n: int) -> IntArray:
    """Return the most compact cell of n lattice points: of all up to ``ALL_UP_TO``, else of the straight ones."""
    if n <= ALL_UP_TO:
        return compact_supercell(cell, n)
    cubic = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    found = []
    for base, cells in ((np.eye(3, dtype=int), n), (cubic, n // 4 if n % 4 == 0 else 0)):
        for a in range(1, cells + 1):
            for b in range(a, cells // a + 1):
                if cells % (a * b) == 0 and cells // (a * b) >= b:
                    matrix = np.array([a, b, cells // (a * b)])[:, None] * base
                    found.append((image_distance(matrix @ cell), matrix))
    return np.asarray(max(found, key=lambda one: one[0])[1])


def fill(
    what: Composition, units: Mapping[str, int], rng: np.random.Generator
) -> tuple[Atoms, list[IntArray], list[FloatArray]]:
    """Return the lattice with its holes filled, the atoms and the shape of each rigid unit.

    Centres of units are far apart in tetrahedral holes; the octahedral holes beside them stay empty where there are
    more holes than cations, and hold the ions of least charge otherwise.

    Raises:
        InputError: if a unit is no tetrahedron, or there are more of them than the lattice has room for.
    """
    lattice = rocksalt_cell(what)
    lattice.set_chemical_symbols(list(rng.permutation(np.array(list(lattice.symbols)))))
    centres = [UNITS[name].centre for name, n in units.items() for _ in range(n)]
    shapes = [UNITS[name] for name, n in units.items() for _ in range(n)]
    if any(unit.n_ligands != 4 for unit in shapes):
        raise InputError("only tetrahedral units have a place in a rocksalt lattice; take start='units'")
    holes = _holes(lattice, TETRAHEDRAL)
    chosen, corners = _far_apart(lattice, holes, len(centres), rng)
    octahedra = _holes(lattice, OCTAHEDRAL)
    cations = _octahedral(what)
    order = _by_room(lattice, octahedra, holes[chosen], rng)
    charged = sorted((s for s, n in cations.items() for _ in range(n)), key=lambda s: what.charges[s])
    sites = octahedra[order]
    if len(charged) > len(sites):
        free = np.setdiff1d(np.arange(len(holes)), chosen)
        more = holes[free][_by_room(lattice, holes[free], holes[chosen], rng)[::-1]]
        sites = np.vstack([more[: len(charged) - len(sites)][::-1], sites])
    used = sites[len(sites) - len(charged) :]
    atoms = lattice.copy()
    atoms += Atoms(_mixed(charged, len(used), rng), used)
    atoms += Atoms(centres, holes[chosen])
    first = len(lattice) + len(used)
    members = [np.array([first + n, *corner]) for n, corner in enumerate(corners)]
    for atom_indices, unit in zip(members, shapes, strict=True):
        atoms.positions[atom_indices] = _in_hole(atoms, atom_indices, unit.shape)
    return atoms, members, [unit.shape for unit in shapes]


def crystal_grain(what: Composition, crystal: str, fraction: float, rng: np.random.Generator) -> Atoms:
    """Return a sphere of cation-disordered rocksalt, without a cell.

    Args:
        what: composition of the whole.
        crystal: formula of the grain.
        fraction: part of the atoms that it has.
        rng: source of the disorder.

    Raises:
        InputError: if the composition does not hold a formula unit of it.
    """
    unit = composition(crystal, _least_atoms(crystal))
    most = min(what.counts.get(s, 0) // n for s, n in unit.counts.items())
    n_units = min(round(fraction * what.n_atoms / unit.n_atoms), most)
    if n_units < 1:
        raise InputError(
            f"{what.name} with {what.n_atoms} atoms holds no {crystal}; take another crystal or more atoms"
        )
    core = composition(crystal, n_units * unit.n_atoms)
    charges = core.charges
    anions = [s for s, n in core.counts.items() if charges[s] < 0 for _ in range(n)]
    cations = [s for s, n in core.counts.items() if charges[s] >= 0 for _ in range(n)]
    edge = lattice_parameter(core)
    around = int(np.ceil((len(core.symbols)) ** (1 / 3))) + 2
    grid = np.stack(np.meshgrid(*[np.arange(-around, around + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    parity, centre = grid.sum(axis=1) % 2, rng.uniform(-0.5, 0.5, 3)
    order = np.argsort(np.linalg.norm(grid - centre, axis=1), kind="stable")
    sites = [order[parity[order] == p] for p in (0, 1)]
    chosen = np.concatenate([sites[0][: len(anions)], sites[1][: len(cations)]])
    symbols = [*rng.permutation(anions), *rng.permutation(cations)]
    return Atoms(symbols, grid[chosen] * edge / 2.0)


def _least_atoms(formula: str) -> int:
    from pymatgen.core import Composition as Parsed

    try:
        return round(Parsed(Parsed(formula).get_integer_formula_and_factor()[0]).num_atoms)
    except Exception as error:
        raise InputError(f"found crystal={formula!r}, wanted a formula such as Li2RuO3 ({error})") from error


def _octahedral(what: Composition) -> dict[str, int]:
    """Cations that are no centres of oxyanions."""
    charges = what.charges
    centres = what.is_oxidised | ({"P", "C", "N", "B", "Si"} & set(what.counts))
    return {s: n for s, n in what.counts.items() if charges[s] >= 0 and s not in centres}


def _holes(lattice: Atoms, fractions: FloatArray) -> FloatArray:
    """Return holes of the lattice, as shifts of its points, Å, (n, 3)."""
    edge = _edge(lattice)
    shifts = fractions @ (PRIMITIVE * edge)
    return np.asarray((lattice.positions[:, None, :] + shifts[None]).reshape(-1, 3))


def _edge(lattice: Atoms) -> float:
    return float((4.0 * lattice.cell.volume / len(lattice)) ** (1 / 3))


def _distances(lattice: Atoms, one: FloatArray, other: FloatArray) -> FloatArray:
    vectors = (one[:, None] - other[None]).reshape(-1, 3)
    return np.asarray(find_mic(vectors, lattice.cell, pbc=True)[1]).reshape(len(one), len(other))


def _far_apart(lattice: Atoms, holes: FloatArray, n: int, rng: np.random.Generator) -> tuple[IntArray, list[IntArray]]:
    """Choose holes one after another, each among the farthest from those before; no two share a corner."""
    chosen: list[int] = []
    corners: list[IntArray] = []
    taken: set[int] = set()
    nearest = np.zeros(len(holes))
    for _ in range(n):
        for k in np.argsort(-(nearest + rng.uniform(0, 0.5, len(holes)))):
            around = np.argsort(_distances(lattice, holes[k : k + 1], lattice.positions)[0])[:4]
            if int(k) not in chosen and not taken & set(around.tolist()):
                break
        else:
            raise InputError("found more rigid units than a rocksalt lattice has room for; take start='units'")
        chosen.append(int(k))
        corners.append(around)
        taken |= set(around.tolist())
        nearest = _distances(lattice, holes, holes[chosen]).min(axis=1)
    return np.array(chosen, dtype=np.int64), corners


def _by_room(lattice: Atoms, sites: FloatArray, centres: FloatArray, rng: np.random.Generator) -> IntArray:
    """Order sites by their distance from the nearest centre, the nearest first, equal ones at random."""
    if not len(centres):
        return np.asarray(rng.permutation(len(sites)))
    distance = _distances(lattice, sites, centres).min(axis=1)
    beside = np.minimum(np.round(distance / _edge(lattice), 2), 0.5)  # a√3/4 = 0.43 a is beside, all others are not
    return np.lexsort((rng.uniform(size=len(sites)), beside))


def _mixed(charged: list[str], n: int, rng: np.random.Generator) -> list[str]:
    """Return cations in the order of sites: those of least charge beside centres, all at random elsewhere."""
    lowest = [s for s in charged if s == charged[0]] if charged else []
    kept = min(len(lowest) // 2, n)
    return [*charged[:kept], *rng.permutation(charged[kept:]).tolist()]


def _in_hole(atoms: Atoms, members: IntArray, shape: FloatArray) -> FloatArray:
    """Return a unit in its hole, the corners nearest to its centre taken as their images."""
    centre = atoms.positions[members[0]]
    vectors, _ = find_mic(atoms.positions[members[1:]] - centre, atoms.cell, pbc=True)
    best = min(
        (fitted(shape, np.vstack([centre, centre + vectors[list(p)]])) for p in _orders()),
        key=lambda placed: float(np.square(placed[1:] - centre - vectors).sum()),
    )
    return np.vstack([best[:1], _nearest_order(best[1:], centre + vectors)])


def _orders() -> list[tuple[int, ...]]:
    return [(0, 1, 2, 3), (1, 0, 2, 3)]


def _nearest_order(placed: FloatArray, corners: FloatArray) -> FloatArray:
    """Return ligands in the order of the corners that they are nearest to."""
    order = np.linalg.norm(placed[None] - corners[:, None], axis=2).argmin(axis=1)
    return np.asarray(placed[order])
