"""Symmetry-distinct vacancies of an element: single ones, and pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms

from atomsim.errors import InputError
from atomsim.structures.pairs import LONGEST_A, find_pairs
from atomsim.structures.setting import SYMPREC_A
from atomsim.structures.supercells import compact_supercell, expand
from atomsim.types import IntArray


@dataclass(frozen=True)
class Vacancy:
    """Atoms to be taken out, standing for all that symmetry makes of them."""

    sites: tuple[int, ...]
    """Atoms of the cell that are taken out: one or two."""
    multiplicity: int
    """Such vacancies in the cell."""
    kind: str
    """``single``, or where in the crystal the pair is."""

    @property
    def name(self) -> str:
        """``V12`` or ``V12-16``."""
        return "V" + "-".join(map(str, self.sites))

    def made_in(self, atoms: Atoms) -> Atoms:
        """Return the structure without these atoms."""
        left: Atoms = atoms.copy()
        left.calc = None
        del left[list(self.sites)]
        return left


def distinct_sites(atoms: Atoms, element: str, symprec: float = SYMPREC_A) -> dict[int, int]:
    """Return the symmetry-distinct sites of an element and how many there are of each.

    Raises:
        InputError: if there is no such atom.
    """
    own = [n for n, s in enumerate(atoms.symbols) if s == element]
    if not own:
        raise InputError(f"{atoms.get_chemical_formula()} has no {element}: found 0 atoms, wanted one or more")
    alike = _equivalent(atoms, symprec)
    counts: dict[int, int] = {}
    for n in own:
        counts[int(alike[n])] = counts.get(int(alike[n]), 0) + 1
    return {min(n for n in own if alike[n] == kind): count for kind, count in counts.items()}


def _equivalent(atoms: Atoms, symprec: float) -> IntArray:
    found = spglib.get_symmetry_dataset(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec
    )
    return np.arange(len(atoms)) if found is None else np.asarray(found.equivalent_atoms)


def find_vacancies(
    atoms: Atoms,
    element: str = "O",
    *,
    pairs: bool = False,
    longest_A: float = LONGEST_A,
    symprec: float = SYMPREC_A,
) -> list[Vacancy]:
    """Return the symmetry-distinct vacancies of a crystal: single ones, then pairs within ``longest_A``.

    Raises:
        InputError: if there is no such atom, or nothing would be left of the element.
    """
    sites = distinct_sites(atoms, element, symprec)
    if sum(sites.values()) < 2:
        raise InputError(
            f"{atoms.get_chemical_formula()} has a single {element}: without it nothing of the oxide is left; "
            "build a supercell"
        )
    found = [Vacancy((n,), count, "single") for n, count in sites.items()]
    if pairs:
        found += [
            Vacancy((p.first, p.second), p.multiplicity, p.kind)
            for p in find_pairs(atoms, element, longest_A=longest_A, symprec=symprec)
        ]
    return found


def wide_supercell(atoms: Atoms, least_A: float, max_atoms: int) -> Atoms:
    """Return the smallest compact supercell whose images are ``least_A`` apart, as far as ``max_atoms`` allow."""
    best: Atoms = atoms.copy()
    for multiple in range(1, max(1, max_atoms // len(atoms)) + 1):
        matrix = compact_supercell(atoms.cell.array, multiple)
        if multiple > 1 and image_distance(matrix @ atoms.cell.array) <= image_distance(best.cell.array) + 1e-6:
            continue
        best = atoms.copy() if multiple == 1 else expand(atoms, matrix)[0]
        if image_distance(best.cell.array) >= least_A - 1e-6:
            break
    return best


def image_distance(cell: np.ndarray) -> float:
    """Distance between an atom and its nearest image, Å."""
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(grid[np.any(grid != 0, axis=1)] @ cell, axis=1)
    return float(lengths.min())
