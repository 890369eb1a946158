"""Crystals of CIFs as the files mean them, or one clear refusal.

A file is expanded here and, independently, by gemmi; its declared formula and space group are
compared with what came out. Whatever disagrees is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gemmi.cif
import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from atomsim.errors import InputError
from atomsim.io.cif_block import CifBlock, parse_number
from atomsim.io.cif_check import check_with_gemmi, format_formula, formula_fault
from atomsim.io.cif_formula import declared_formula
from atomsim.io.cif_sites import Site, composition, element, read_sites
from atomsim.io.expansion import closest, expand
from atomsim.io.symmetry import Declared, Symmetry, declared, listed
from atomsim.io.text import read_text

FLAT = 1e-4
"""Volume over the product of the lengths below which a cell is flat and has no atoms."""
DEUTERON_U = 2.01410177812
"""Mass of deuterium, u (AME2020)."""
LOOSE = 0.02
"""Largest change of a metric by operations of its own group: relaxed cells are not exact."""
TIGHT = 2e-4
"""The same where it decides between settings."""
NO_PAIR_A = 0.45
"""No two nuclei are closer than this, Å (H–H is 0.74 Å); gemmi takes images within 0.4 Å for one atom."""
PLAIN = {0x2212: "-", 0xA0: " ", 0xB7: "*", 0x2022: "*", 0x1A: None} | {0x2080 + n: str(n) for n in range(10)}
"""Characters that mean others: the minus sign, a blank that does not break, dots of hydrates, the end of a file,
subscripts. Those that mean nothing to a reader must not become ``?``, which says that a value is not known."""
OTHER_KINDS = {
    "_atom_site_moment": "a magnetic CIF",
    "_space_group_symop_magn": "a magnetic CIF",
    "_space_group_magn": "a magnetic CIF",
    "_space_group_ssg": "a modulated crystal",
    "_space_group_symop_ssg": "a modulated crystal",
    "_cell_modulation_dimension": "a modulated crystal",
}


@dataclass(frozen=True)
class Crystal:
    """Expanded sites of one setting."""

    symmetry: Symmetry
    sites: tuple[Site, ...]
    orbits: tuple[NDArray[np.float64], ...]
    """Fractional coordinates of the atoms of each site, (n, 3)."""
    cell: NDArray[np.float64]

    @property
    def symbols(self) -> list[str]:
        """Element of each atom."""
        return [s.symbol for s, orbit in zip(self.sites, self.orbits, strict=True) for _ in orbit]

    @property
    def positions(self) -> NDArray[np.float64]:
        """Fractional coordinates of all atoms, (n, 3)."""
        return np.concatenate(self.orbits)

    @property
    def composition(self) -> Counter[str]:
        """Number of atoms of each element."""
        return composition(self.symbols)


def read_cif(path: Path) -> list[Atoms]:
    """Return the crystal of every data block that has atoms, in order.

    Raises:
        InputError: if the file is no CIF, or a block cannot be read as one ordered crystal.
    """
    text = read_text(path).translate(PLAIN)
    if not text.strip():
        raise InputError(f"{path} is empty; want a structure")
    try:
        document = gemmi.cif.read_string(text.encode("ascii", "backslashreplace").decode(), check_level=0)
    except (RuntimeError, ValueError) as error:
        reason = re.sub(r"^string:(\d+)\S*", r"line \1:", " ".join(str(error).split()))
        raise InputError(f"{path} cannot be read as a CIF: {reason}; correct the file") from error
    several = sum(CifBlock(b, "").first(["_atom_site_"]) is not None for b in document) > 1
    blocks = [CifBlock(b, f"{path}, data_{b.name}" if several else f"{path}") for b in document]
    found = [_read_block(b) for b in blocks if b.first(["_atom_site_fract_", "_atom_site_cartn_"]) is not None]
    if not found:
        raise InputError(f"{path} has no structure; want _atom_site_fract_x, _y and _z of at least one atom")
    return found


def _read_block(block: CifBlock) -> Atoms:
    for prefix, kind in OTHER_KINDS.items():
        if tag := block.first([prefix]):
            raise InputError(f"{block.where} is {kind} ({tag}); want an ordinary CIF of the crystal: export it as one")
    if block.column("_atom_site_fract_x") is None:
        return _molecule(block)
    cell = _cell(block)
    formula = declared_formula(block)
    sites = read_sites(block, formula)
    if not sites:
        raise InputError(f"{block.where} has no structure, or one without atoms; want at least one atom")
    symmetry = listed(block)
    words = declared(block)
    if symmetry is None:
        crystal = _choose(block, words, sites, cell, formula)
    else:
        crystal = _build(block, symmetry, sites, cell)
        _check_formula(block, crystal, formula)
        _check_group(block, crystal, words)
    _check_pairs(block, crystal)
    labels = {site.label for site in sites}
    check_with_gemmi(block, None if symmetry else crystal.symmetry, labels, crystal.symbols, crystal.positions, cell)
    return _atoms(crystal.symbols, crystal.positions @ cell, cell)


def _atoms(symbols: list[str], positions: NDArray[np.float64], cell: NDArray[np.float64] | None) -> Atoms:
    atoms = Atoms([element(s) for s in symbols], positions=positions, cell=cell, pbc=cell is not None)
    if "D" in symbols:
        atoms.set_masses([DEUTERON_U if s == "D" else None for s in symbols])
    return atoms


def _cell(block: CifBlock) -> NDArray[np.float64]:
    lengths = [block.number(f"_cell_length_{v}") for v in "abc"]
    angles = [block.number(f"_cell_angle_{v}") for v in ("alpha", "beta", "gamma")]
    if min(lengths) <= 0 or min(angles) <= 0 or max(angles) >= 180:
        raise InputError(f"{block.where}: cell {lengths} Å, {angles}°; want positive lengths and angles below 180°")
    try:
        cell = np.asarray(cellpar_to_cell([*lengths, *angles]))
    except (AssertionError, ValueError):
        cell = np.zeros((3, 3))
    if not np.isfinite(cell).all() or np.linalg.det(cell) <= FLAT * np.prod(lengths):
        raise InputError(f"{block.where}: no cell has the angles {angles}°; correct them")
    return cell


def _molecule(block: CifBlock) -> Atoms:
    if block.first(["_cell_length_"]):
        raise InputError(
            f"{block.where} has Cartesian coordinates only ({block.first(['_atom_site_cartn_'])}), as mmCIF; want "
            "_atom_site_fract_x, _y and _z: export it as an ordinary CIF"
        )
    sites = read_sites(block, declared_formula(block), "Cartn")
    return _atoms([s.symbol for s in sites], np.array([s.position for s in sites]), None)


def _units(block: CifBlock) -> float | None:
    number = parse_number(block.value("_cell_formula_units_Z") or "")
    return number.value if number else None


def _build(block: CifBlock, symmetry: Symmetry, sites: list[Site], cell: NDArray[np.float64]) -> Crystal:
    if symmetry.mismatch(cell) > LOOSE:
        raise InputError(
            f"{block.where}: the cell does not have the symmetry of its space group ({symmetry.name}); "
            "correct the cell or the setting"
        )
    try:
        orbits = tuple(expand(site, symmetry, cell) for site in sites)
    except InputError as error:
        raise InputError(f"{block.where}: {error}") from error
    return Crystal(symmetry, tuple(sites), orbits, cell)


def _check_pairs(block: CifBlock, crystal: Crystal) -> None:
    pair = closest(crystal.positions, crystal.cell, NO_PAIR_A)
    if pair is None:
        return
    distance, i, j = pair
    sites = [n for n, orbit in enumerate(crystal.orbits) for _ in orbit]
    one, other = (crystal.sites[sites[n]].label for n in (i, j))
    if sites[i] != sites[j]:
        raise InputError(
            f"{block.where}: {one} and {other} lie on one site ({distance:.2g} Å apart), both full; "
            "want one atom on each: keep one, or make an ordered supercell"
        )
    raise InputError(
        f"{block.where}: {one} lies {distance:.2g} Å from its own image under {crystal.symmetry.name}; "
        "give its coordinates with more digits, or the right setting"
    )


def _check_formula(block: CifBlock, crystal: Crystal, formula: Mapping[str, float] | None) -> None:
    if formula and (fault := formula_fault(crystal.composition, formula, _units(block))):
        raise InputError(f"{block.where}: {fault}")


def _check_group(block: CifBlock, crystal: Crystal, words: Declared) -> None:
    """Refuse operations of another group than the declared one, unless all its atoms are there all the same."""
    number = crystal.symmetry.number
    n_declared = sum((declared_formula(block) or {}).values()) * (_units(block) or 0)
    known = words.number is not None or n_declared == len(crystal.symbols)
    if words.text and not known and len(crystal.symmetry.rotations) == 1:
        raise InputError(
            f"{block.where}: no space group is called {words.text}, and the only operation listed is x,y,z, so that "
            "atoms may be missing; want 'P 1' if all are there, or all operations"
        )
    if words.number in (None, number):
        return
    numbers = [atomic_numbers[element(s)] for s in crystal.symbols]
    found = spglib.get_symmetry_dataset((crystal.cell.tolist(), crystal.positions.tolist(), numbers), symprec=1e-2)
    if found is None or found.number != words.number:
        raise InputError(
            f"{block.where}: its operations are of space group {number}, but it says {words.text}, and "
            f"{format_formula(crystal.composition)} has not that symmetry; correct the loop of operations or remove it"
        )


def _choose(
    block: CifBlock,
    words: Declared,
    sites: list[Site],
    cell: NDArray[np.float64],
    formula: Mapping[str, float] | None,
) -> Crystal:
    """Return the crystal where no operations are listed: the only one that name, cell, formula and atoms allow."""
    settings = words.settings
    if not words.text:
        settings = _p1(block, sites, formula)
    elif not settings:
        raise InputError(
            f"{block.where}: no setting of a space group is called {words.text}, and no operations are listed; "
            "add _space_group_name_Hall or the loop _space_group_symop_operation_xyz"
        )
    exact = [s for s in settings if s.mismatch(cell) < TIGHT]
    crystals: list[Crystal] = []
    for symmetry in exact or settings:
        crystal = _build(block, symmetry, sites, cell)
        if not any(_same(crystal, other) for other in crystals):
            crystals.append(crystal)
    if len(crystals) == 1:
        _check_formula(block, crystals[0], formula)
        return crystals[0]
    return _decide(block, words, crystals, formula)


def _decide(block: CifBlock, words: Declared, crystals: list[Crystal], formula: Mapping[str, float] | None) -> Crystal:
    """Return the one crystal of the declared formula and multiplicities.

    That atoms are too close in one setting does not speak for another one.
    """
    left = [c for c in crystals if not (formula and formula_fault(c.composition, formula, _units(block)))]
    left = [c for c in left if _counted(c)] or left
    if len(left) == 1:
        return left[0]
    names = ", ".join(c.symmetry.name for c in crystals[:4]) + (" …" if len(crystals) > 4 else "")
    raise InputError(
        f"{block.where}: space group {words.text} may be {names}, which give different crystals; add "
        "_space_group_name_Hall, or the loop _space_group_symop_operation_xyz"
    )


def _counted(crystal: Crystal) -> bool:
    return all(s.multiplicity in (None, len(o)) for s, o in zip(crystal.sites, crystal.orbits, strict=True))


def _p1(block: CifBlock, sites: list[Site], formula: Mapping[str, float] | None) -> tuple[Symmetry, ...]:
    units = _units(block)
    counts = composition(s.symbol for s in sites)
    if not formula or not units or formula_fault(counts, formula, units):
        raise InputError(
            f"{block.where}: no space group and no operations; add _space_group_name_H-M_alt, "
            "'P 1' if all atoms of the cell are listed"
        )
    one = np.eye(3, dtype=int)[None]
    return (Symmetry("P 1", one, np.zeros((1, 3), dtype=int)),)


def _same(one: Crystal, other: Crystal) -> bool:
    """True if two settings put the same atoms to the same places."""
    if one.composition != other.composition:
        return False
    for orbit, twin in zip(one.orbits, other.orbits, strict=True):
        apart = orbit[:, None] - twin[None]
        apart -= np.rint(apart)
        if len(orbit) != len(twin) or np.linalg.norm(apart @ one.cell, axis=-1).min(axis=1).max() > 1e-3:
            return False
    return True
