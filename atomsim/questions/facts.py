"""Facts of a structure that defaults follow from: its mobile ion, layers, magnetic metals and size."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from ase import Atoms

from atomsim.analysis.stacking import Stacking, find_stacking
from atomsim.errors import InputError, nearest
from atomsim.structures.charges import redox_metals
from atomsim.structures.mobility import require_mobile
from atomsim.structures.prototypes import is_prototype, prototype_names
from atomsim.tasks.base import Context, find_files, origins

IONS = ("Li", "Na", "K", "Ag", "Rb", "Cs", "Mg", "Ca", "Zn", "Cu")
"""Ions that are taken for the mobile one, the first that a structure holds."""
METALS = frozenset({"Li", "Na", "K", "Mg", "Ca", "Zn", "Al"})
"""Ions whose metal is a shipped prototype: a zero of the voltage."""
MAGNETIC = frozenset({"V", "Cr", "Mn", "Fe", "Co", "Ni", "Ru", "Os", "Ir"})
"""Metals that often carry a moment in oxides, sulfides and phosphates."""
SYMPREC_A = 0.01
HALF = 0.5
"""Part of the ions that lies between the layers of a layered crystal, at least."""


@dataclass(frozen=True)
class Subject:
    """One structure that a question is asked of."""

    word: str
    """As the campaign names it: a prototype, or a file from the campaign's folder."""
    name: str
    """Name of the file or the prototype."""
    atoms: Atoms
    """In its space group, without noise."""
    primitive: Atoms
    space_group: str

    @property
    def formula(self) -> str:
        """Reduced formula as it is usually written."""
        from atomsim.interfaces.record import reduced

        return reduced(self.atoms.get_chemical_formula())[0]

    @property
    def elements(self) -> list[str]:
        """In the order of their first appearance."""
        return list(dict.fromkeys(self.atoms.get_chemical_symbols()))

    @cached_property
    def redox(self) -> list[str]:
        """Metals whose charge may change."""
        return redox_metals(self.atoms)

    def stacking(self, ion: str) -> Stacking | None:
        """Layers of redox metals with an ion between them; None where there are none."""
        found = find_stacking(self.atoms, ion)
        if found is None or not set(self.redox) - {ion}:
            return None
        ions = np.array(self.atoms.get_chemical_symbols()) == ion
        return found if (~found.in_metal_layer[ions]).mean() > HALF else None

    def remarks(self) -> list[str]:
        """Facts for the head of a file."""
        n, p = len(self.atoms), len(self.primitive)
        cell = f"{n} atoms in the cell" + (f", {p} in the primitive one" if p != n else "")
        found = [f"{self.name}: {self.formula}, {self.space_group}, {cell}."]
        if magnetic := [e for e in self.elements if e in MAGNETIC]:
            found.append(
                f"{' and '.join(magnetic)} may be magnetic: CHGNet gives sizes of moments without sign, "
                "other potentials none; no magnetic order can be asked for."
            )
        return found


def subject(word: str, folder: Path) -> Subject:
    """Read a structure.

    Args:
        word: a prototype or a file, from the current folder.
        folder: of the campaign file.

    Raises:
        InputError: if there is none, or not exactly one, or it cannot be read as it means it.
    """
    from atomsim.structures.symmetrise import symmetrised
    from atomsim.vibrations.cells import primitive_cell

    if not is_prototype(word, Path()) and not find_files(word, Path()):
        hint = nearest(word, prototype_names()) or " check the name"
        raise InputError(
            f"{word!r} is neither a file nor a prototype;{hint}; 'atomsim structures list' shows prototypes"
        )
    found = origins([word], {}, Context("new"))
    if len(found) != 1:
        raise InputError(f"{word}: found {len(found)} structures, wanted one; write the one that you mean to a file")
    atoms = found[0].atoms
    if not atoms.pbc.all():
        raise InputError(
            f"{word}: {atoms.get_chemical_formula()} is not periodic in three directions, wanted a crystal"
        )
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    exact = symmetrised(bare)
    primitive = primitive_cell(exact.atoms, SYMPREC_A)
    name = word if is_prototype(word, Path()) else Path(word).name
    return Subject(word_from(word, folder), name, exact.atoms, primitive, exact.space_group)


def word_from(word: str, folder: Path) -> str:
    """Return a prototype's name, or a file as it is named from a folder: its whole path if that is shorter."""
    if is_prototype(word, Path()):
        return word
    path = Path(word).expanduser().resolve()
    relative = os.path.relpath(path, folder.resolve())
    if relative.count("..") > 2:
        return str(path)
    return f"./{relative}" if relative in prototype_names() else relative


def mobile_ion(crystal: Subject, asked: str | None) -> tuple[str, str]:
    """Return the mobile ion of a crystal and the reason for the choice.

    Raises:
        InputError: if there is none, or the one asked for is not there or belongs to the framework.
    """
    elements = crystal.elements
    if asked is not None:
        if asked not in elements:
            raise InputError(
                f"no {asked} in {crystal.formula};{nearest(asked, elements)} wanted --ion of {_or(elements)}"
            )
        require_mobile(crystal.atoms, asked)
        return asked, "as asked for"
    found = [ion for ion in IONS if ion in elements]
    if not found:
        raise InputError(
            f"{crystal.name}: no ion that is known to be mobile in {crystal.formula}; wanted one of {', '.join(IONS)}, "
            "or name the element by --ion"
        )
    if len(found) == len(elements):
        raise InputError(f"{crystal.name}: {crystal.formula} is {found[0]} alone, wanted a host that keeps its atoms")
    others = f"; {_or(found[1:])} by --ion" if found[1:] else ""
    return found[0], f"the ion of {crystal.formula} that is known to be mobile{others}"


def image_distance(cell: np.ndarray, repeat: Sequence[int] = (1, 1, 1)) -> float:
    """Return the shortest distance between an atom and its image, Å."""
    from atomsim.structures.supercells import image_distance as shortest

    return float(shortest(np.asarray(cell) * np.asarray(repeat)[:, None]))


def copies(atoms: Atoms, least_A: float, max_atoms: int) -> list[int]:
    """Return the copies along each vector that bring images so far apart in the fewest atoms, or as far as allowed."""
    most = max(1, max_atoms // len(atoms))
    found: list[tuple[int, ...]] = [n for n in product(range(1, most + 1), repeat=3) if math.prod(n) <= most]
    reached = {n: round(image_distance(atoms.cell.array, n), 3) for n in found}
    wide = [n for n in found if reached[n] >= least_A]
    farthest = max(reached.values())
    chosen = wide or [n for n in found if reached[n] == farthest]
    best = min(chosen, key=lambda n: (math.prod(n), -reached[n], n))
    return list(best)


def _or(words: Sequence[str]) -> str:
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"
