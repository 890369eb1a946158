"""The prototype library: published crystal structures, and cells derived from them, as data with citation."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.errors import InputError, nearest

if TYPE_CHECKING:  # 'atomsim structures list' does without what takes seconds to import
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray

SYMPREC_A = 0.01
"""Tolerance of the symmetry search in a prototype, Å; coordinates are given to 1e-4."""


@dataclass(frozen=True)
class SpaceGroup:
    """A space group, of the average structure where sites are disordered."""

    symbol: str
    """Hermann–Mauguin symbol, ``C2/c``."""
    number: int


@dataclass(frozen=True)
class StructureReference:
    """Where the data are from."""

    authors: str
    journal: str
    year: int
    doi: str | None = None


@dataclass(frozen=True)
class Prototype:
    """A crystal structure with its provenance."""

    name: str
    """Name that a user types: ``Li2RuO3-R-3``."""
    title: str
    formula: str
    """Formula unit, of the ordered cell that is shipped."""
    formula_units: int
    """Formula units in ``atoms``."""
    space_group: SpaceGroup
    density_g_cm3: float | None
    """Mass density to compare with; None for a molecule in a box or where nothing is published."""
    density_from: str | None
    """``measured``, or ``lattice`` where it is only what the published lattice implies."""
    positions: str
    """``published``: lattice and coordinates are; ``relaxed``: the lattice is published, the
    coordinates are relaxed in it; ``derived``: neither is published, the notes say how they were made."""
    citation: StructureReference
    notes: str
    sublattices: tuple[str, ...] = field(repr=False)
    """Name of the sublattice of each site; the element where a site is not disordered."""
    _atoms: Atoms = field(repr=False, compare=False)

    @property
    def atoms(self) -> Atoms:
        """A fresh copy of the cell, conventional unless it is a supercell, sites in a fixed order."""
        result: Atoms = self._atoms.copy()
        return result

    @property
    def primitive(self) -> Atoms:
        """The primitive cell in the same orientation, species in the order of ``atoms``."""
        import numpy as np
        import spglib
        from ase import Atoms

        atoms = self.atoms
        cell = spglib.standardize_cell(
            (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers),
            to_primitive=True,
            no_idealize=True,
            symprec=SYMPREC_A,
        )
        if cell is None or len(cell[2]) == len(atoms):
            return atoms
        lattice, fractional, numbers = (np.asarray(part) for part in cell)
        order = np.argsort([_first_seen(atoms.numbers, int(number)) for number in numbers], kind="stable")
        return Atoms(numbers=numbers[order], scaled_positions=fractional[order], cell=lattice, pbc=True)


def list_prototypes() -> list[Prototype]:
    """Return all prototypes of the library, by name."""
    return [load_prototype(name) for name in prototype_names()]


def prototype_facts() -> list[dict[str, Any]]:
    """Name, formula, space group, number of atoms and title of all prototypes, from their files alone."""
    return [_facts(name, _content(name)) for name in prototype_names()]


def _facts(name: str, data: dict[str, Any]) -> dict[str, Any]:
    per_unit = sum(int(n or 1) for _, n in re.findall(r"([A-Z][a-z]?)(\d*)", data["formula"]))
    return {
        "name": name,
        "formula": data["formula"],
        "space group": f"{data['space_group']['symbol']} ({data['space_group']['number']})",
        "atoms": per_unit * data["formula_units"],
        "title": data["title"],
    }


def prototype_names() -> list[str]:
    """Return the names of all prototypes, without reading them."""
    return sorted(_files())


def is_prototype(word: str, folder: Path) -> bool:
    """True if a word that may name a prototype or a file of this folder names a prototype.

    Raises:
        InputError: if it names both, as either may be meant; saying how to name the file.
    """
    if word not in prototype_names():
        return False
    if (folder / word).is_file():
        raise InputError(
            f"{word!r} is a prototype and a file in {folder.resolve()}; say './{word}' for the file, or rename it for "
            "the prototype"
        )
    return True


def load_prototype(name: str) -> Prototype:
    """Return one prototype.

    Raises:
        InputError: if there is none of that name.
    """
    known = _files()
    if name not in known:
        hint = nearest(name, known) or " choose from " + ", ".join(sorted(known))
        raise InputError(f"no prototype {name!r};{hint} 'atomsim structures list' shows all")
    return _load(name)


def _files() -> dict[str, Any]:
    folder = resources.files("atomsim.structures") / "prototypes"
    return {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}


@cache
def _load(name: str) -> Prototype:
    data = _content(name)
    average, sublattices = _average_structure(data)
    if "ordering" in data:
        average, sublattices = _order(average, sublattices, data["ordering"])
    return Prototype(
        name=name,
        title=data["title"],
        formula=data["formula"],
        formula_units=data["formula_units"],
        space_group=SpaceGroup(**data["space_group"]),
        density_g_cm3=data.get("density_g_cm3"),
        density_from=data.get("density_from"),
        positions=data["positions"],
        citation=StructureReference(**data["citation"]),
        notes=data["notes"].strip(),
        sublattices=sublattices,
        _atoms=average,
    )


def _content(name: str) -> dict[str, Any]:
    return tomllib.loads(_files()[name].read_text(encoding="utf-8"))


def _average_structure(data: dict[str, Any]) -> tuple[Atoms, tuple[str, ...]]:
    """Expand the sites of a file by its space group; a disordered site holds its first species."""
    from ase import Atoms
    from pymatgen.core import Lattice, Structure
    from pymatgen.io.ase import AseAtomsAdaptor

    sites = data["site"]
    lattice = Lattice.from_parameters(*(data["lattice"][key] for key in ("a", "b", "c", "alpha", "beta", "gamma")))
    structure = Structure.from_spacegroup(
        data["space_group"]["symbol"],
        lattice,
        [site["element"] for site in sites],
        [site["xyz"] for site in sites],
        site_properties={"sublattice": [site.get("sublattice", site["element"]) for site in sites]},
    )
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    sublattices = tuple(structure.site_properties["sublattice"])
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), sublattices


def _order(average: Atoms, sublattices: tuple[str, ...], ordering: dict[str, Any]) -> tuple[Atoms, tuple[str, ...]]:
    """Build the cell of a file's ``[ordering]`` and put the listed species on its disordered sublattice."""
    import numpy as np

    vectors = np.array(ordering["supercell"]) / ordering["denominator"]
    atoms, index = _carve(average, vectors)
    expanded = np.array(sublattices)[index]
    symbols = np.array(atoms.get_chemical_symbols(), dtype=object)
    symbols[expanded == ordering["sublattice"]] = ordering["species"]
    atoms.set_chemical_symbols(list(symbols))
    return atoms, tuple(str(name) for name in expanded)


def _carve(atoms: Atoms, vectors: NDArray[np.float64]) -> tuple[Atoms, NDArray[np.int64]]:
    """Return the cell spanned by any lattice vectors, centrings included, and the atom each site is an image of.

    Args:
        atoms: conventional cell.
        vectors: rows in units of the conventional vectors, (3, 3).
    """
    import numpy as np
    from ase import Atoms

    reach = int(np.ceil(np.abs(vectors).sum(axis=0).max())) + 1
    shifts = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    conventional = atoms.get_scaled_positions()[:, None, :] + shifts
    fractional = conventional @ np.linalg.inv(vectors)
    inside = np.all((fractional > -1e-6) & (fractional < 1 - 1e-6), axis=2)
    carved = Atoms(
        numbers=atoms.numbers[np.nonzero(inside)[0]],
        scaled_positions=fractional[inside],
        cell=vectors @ atoms.cell.array,
        pbc=True,
    )
    return carved, np.nonzero(inside)[0]


def _first_seen(numbers: NDArray[np.int64], number: int) -> int:
    import numpy as np

    return int(np.flatnonzero(numbers == number)[0])
