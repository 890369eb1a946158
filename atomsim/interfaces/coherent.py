"""Coherent interfaces of two crystals: lattice matches, terminations, and the cells that are relaxed.

Matches are those of Zur & McGill, J. Appl. Phys. 1984, 55, 378, as pymatgen finds them; the film takes the lattice of
the substrate.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.io.convert import from_pymatgen

if TYPE_CHECKING:
    from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
    from pymatgen.core import Structure
    from pymatgen.core.interface import Interface

LOOSE = 0.3
"""Strain up to which the least mismatch is looked for, to be named where none is allowed."""
TERMINATION_A = 0.25
"""Planes nearer to each other than this end a slab together, Å."""


@dataclass(frozen=True)
class CoherentSettings:
    """Planes, and what is allowed."""

    film_hkl: tuple[int, int, int] = (0, 0, 1)
    substrate_hkl: tuple[int, int, int] = (0, 0, 1)
    max_strain: float = 0.05
    """Largest principal strain of the film."""
    max_area_A2: float = 200.0
    thickness_A: float = 8.0
    """Least thickness of each slab."""
    gap_A: float = 2.0
    """Between the slabs, before relaxing."""
    vacuum_A: float = 12.0
    shifts: int = 2
    """Lateral shifts along each vector of the film that are evaluated; the lowest is relaxed."""
    max_atoms: int = 400


@dataclass(frozen=True)
class LatticeMatch:
    """Two supercells of the planes that coincide but for a strain."""

    area_A2: float
    film_area_A2: float
    """Area of the film's supercell before it is strained."""
    strain: tuple[float, float]
    """Principal strains of the film."""
    film_cells: int
    """Cells of the film's plane in it."""
    substrate_cells: int
    number: int
    """Among pymatgen's matches."""

    @property
    def largest(self) -> float:
        """The larger of the two strains, without its sign."""
        return max(abs(s) for s in self.strain)


@dataclass(frozen=True, eq=False)
class CoherentCell:
    """One interface before relaxing: the substrate below, the film above, and vacuum."""

    atoms: Atoms = field(repr=False)
    film: NDArray[np.bool_] = field(repr=False)
    """True for the film's atoms, (n_atoms,)."""
    match: LatticeMatch
    film_termination: str
    """Plane of the film that faces the substrate."""
    substrate_termination: str

    def slab(self, *, film: bool, atoms: Atoms | None = None) -> Atoms:
        """Return one of the slabs alone, in the same cell."""
        whole = self.atoms if atoms is None else atoms
        alone: Atoms = whole[self.film if film else ~self.film]
        return alone


class CoherentPlanes:
    """Matches and terminations of two crystals along two planes."""

    def __init__(self, film: Atoms, substrate: Atoms, settings: CoherentSettings) -> None:
        """Find them.

        Args:
            film: crystal that takes the other's lattice.
            substrate: the other.
            settings: planes of the cells given, and what is allowed.

        Raises:
            InputError: if the lattices do not match within the strain and the area that are allowed, naming the least
                strain; a plane is none, or a crystal is not periodic.
        """
        for name, atoms, hkl in (("film", film, settings.film_hkl), ("substrate", substrate, settings.substrate_hkl)):
            if not atoms.pbc.all():
                raise InputError(f"{name}: {atoms.get_chemical_formula()} is not periodic in three directions")
            if not any(hkl):
                raise InputError(f"{name}_hkl: found (0 0 0), wanted a plane, such as (0 0 1)")
        self.settings = settings
        self.names = (film.get_chemical_formula(empirical=True), substrate.get_chemical_formula(empirical=True))
        self._builder = _builder(film, substrate, settings, settings.max_strain)
        matches = _matches(self._builder)
        allowed = [m for m in matches if m.largest <= settings.max_strain]
        if not allowed:
            raise InputError(self._refusal(film, substrate))
        self.matches: list[LatticeMatch] = allowed
        """Those allowed, the smallest area first, then the smallest strain; those alike once."""

    @property
    def terminations(self) -> list[tuple[str, str]]:
        """Pairs of planes that can face each other, film and substrate, as pymatgen names them."""
        return [(str(film), str(substrate)) for film, substrate in self._builder.terminations]

    def cell(self, termination: tuple[str, str], match: LatticeMatch | None = None) -> CoherentCell:
        """Build the interface of a pair of terminations.

        Raises:
            InputError: if there is no such pair, or the cell has more atoms than allowed.
        """
        s, chosen = self.settings, match or self.matches[0]
        if termination not in self.terminations:
            known = ", ".join(" | ".join(t) for t in self.terminations)
            raise InputError(f"no termination {' | '.join(termination)}; there are {known}")
        made = self._builder.get_interfaces(
            termination, gap=s.gap_A, vacuum_over_film=s.vacuum_A, film_thickness=s.thickness_A,
            substrate_thickness=s.thickness_A, in_layers=False,
        )  # fmt: skip
        found = next(one for n, one in enumerate(made) if n == chosen.number)
        if len(found) > s.max_atoms:
            raise InputError(
                f"{self.names[0]} | {self.names[1]}: the interface has {len(found)} atoms, wanted at most "
                f"{s.max_atoms}; raise max_atoms, or lower thickness_A or max_area_A2"
            )
        return CoherentCell(_atoms(found), _is_film(found), chosen, *termination)

    def _refusal(self, film: Atoms, substrate: Atoms) -> str:
        s = self.settings
        planes = " | ".join(
            f"{n} ({' '.join(map(str, h))})" for n, h in zip(self.names, (s.film_hkl, s.substrate_hkl), strict=True)
        )
        wanted = f"wanted at most {100 * s.max_strain:g} % within {s.max_area_A2:g} Å²"
        loose = _matches(_builder(film, substrate, s, LOOSE))
        if not loose:
            return f"{planes}: no lattice match, {wanted}; raise max_area_A2 or choose other planes"
        best = min(loose, key=lambda m: m.largest)
        return (
            f"{planes}: the lattices match with {100 * best.largest:.1f} % strain at best ({best.area_A2:.0f} Å²), "
            f"{wanted}; raise max_strain or max_area_A2, or choose other planes"
        )


def shifted(cell: CoherentCell, shifts: int) -> list[Atoms]:
    """Return the interface with the film on a grid of lateral shifts, that of pymatgen first."""
    found = []
    for a in range(shifts):
        for b in range(shifts):
            moved = cell.atoms.copy()
            moved.positions[cell.film] += np.array([a, b]) / shifts @ moved.cell.array[:2]
            moved.wrap()
            found.append(moved)
    return found


def _builder(film: Atoms, substrate: Atoms, settings: CoherentSettings, strain: float) -> CoherentInterfaceBuilder:
    from pymatgen.analysis.interfaces.coherent_interfaces import CoherentInterfaceBuilder
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator

    matcher = ZSLGenerator(
        max_area_ratio_tol=2.2 * strain + 1e-3, max_area=settings.max_area_A2, max_length_tol=strain + 1e-3,
        max_angle_tol=strain + 1e-3, bidirectional=True,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # electronegativities that nothing here uses
        return CoherentInterfaceBuilder(
            _crystal(substrate), _crystal(film), settings.film_hkl, settings.substrate_hkl, matcher,
            termination_ftol=TERMINATION_A, label_index=True,
        )  # fmt: skip


def _matches(builder: CoherentInterfaceBuilder) -> list[LatticeMatch]:
    """All of them, alike ones once, by area and strain."""
    found: dict[tuple[float, float, float], LatticeMatch] = {}
    for number, match in enumerate(builder.zsl_matches):
        film, substrate = np.asarray(match.film_sl_vectors), np.asarray(match.substrate_sl_vectors)
        scales = np.linalg.svd(np.linalg.pinv(film) @ substrate, compute_uv=False)
        strain = np.sort(scales[np.argsort(-scales)[:2]] - 1).round(9) + 0.0  # no negative zero
        areas = [
            float(np.linalg.norm(np.cross(*v))) for v in (film, substrate, match.film_vectors, match.substrate_vectors)
        ]
        one = LatticeMatch(
            areas[1],
            areas[0],
            (float(strain[0]), float(strain[1])),
            round(areas[0] / areas[2]),
            round(areas[1] / areas[3]),
            number,
        )
        found.setdefault((round(areas[1], 2), round(strain[0], 5), round(strain[1], 5)), one)
    return sorted(found.values(), key=lambda m: (round(m.area_A2, 2), round(m.largest, 5), m.number))


def _crystal(atoms: Atoms) -> Structure:
    from pymatgen.core import Structure

    return Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def _atoms(interface: Interface) -> Atoms:
    plain: Atoms = from_pymatgen(interface)
    return Atoms(plain.numbers, plain.positions, cell=plain.cell, pbc=True)


def _is_film(interface: Interface) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.array([label == "film" for label in interface.site_properties["interface_label"]])
    return found
