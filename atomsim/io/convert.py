"""Both ways between pymatgen and ASE, with all that either carries."""

from __future__ import annotations

import warnings
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np
from ase import Atoms
from pymatgen.core import Lattice, Molecule, SiteCollection, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from atomsim.constraints.formats import from_selective_dynamics, selective_dynamics
from atomsim.errors import InputError
from atomsim.io.metadata import PREFIX, as_it_came


def from_pymatgen(system: SiteCollection[Any]) -> Atoms:
    """Return a Structure or Molecule as plain ASE Atoms; labels as the array ``labels`` where they say something.

    Raises:
        InputError: if sites are partly occupied.
    """
    if not system.is_ordered:
        formula = system.composition.reduced_formula
        raise InputError(f"{formula} has partly occupied sites; want every site full: make an ordered supercell first")
    # the adaptor's own constraints hold Cartesian axes, VASP's flags mean lattice vectors
    flags = system.site_properties.get("selective_dynamics")
    try:
        atoms = AseAtomsAdaptor.get_atoms(_unheld(system) if flags else system, msonable=False)
    except Exception:  # a property that no array can hold
        atoms = AseAtomsAdaptor.get_atoms(_stripped(system), msonable=False)
    if any(site.label != site.species_string for site in system):
        atoms.set_array("labels", np.array([site.label for site in system]))
    atoms.set_constraint([] if flags is None else from_selective_dynamics(flags))
    return as_it_came(atoms)


def to_pymatgen(atoms: Atoms, magmoms: np.ndarray | None, source: Any = None) -> Structure | Molecule:
    """Return atoms as pymatgen has them: a Molecule where nothing is periodic, else a Structure.

    Args:
        atoms: geometry, and what they carry if there is no source.
        magmoms: moments, μB, which become the site property ``magmom``.
        source: pymatgen object that the atoms were made from: the result is of its kind, with its labels,
            oxidation states, properties and whatever a subclass adds.
    """
    made = _plain(atoms) if source is None else _moved(source, atoms)
    with suppress(InputError):  # other constraints have no word in pymatgen
        if (flags := selective_dynamics(atoms)) is not None:
            made.add_site_property("selective_dynamics", flags.tolist())
    for site, moment in zip(made, [] if magmoms is None else magmoms, strict=False):
        if "magmom" in site.properties:
            site.properties[f"{PREFIX}magmom"] = site.properties["magmom"]
        site.properties["magmom"] = float(moment)
    return made


def _unheld(system: Any) -> Any:
    """Return a copy without what says which coordinates are held."""
    loose = deepcopy(system)
    for site in loose:
        site.properties.pop("selective_dynamics", None)
    return loose


def _stripped(system: Any) -> Any:
    """Return a copy without properties."""
    bare = deepcopy(system)
    bare.properties = {}
    for site in bare:
        site.properties = {}
    return bare


def _plain(atoms: Atoms) -> Structure | Molecule:
    if atoms.pbc.any():
        full = atoms.copy()
        full.set_constraint()
        full.set_cell(atoms.cell.complete())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of constraints that pymatgen has no word for
            return AseAtomsAdaptor.get_structure(full)
    charge = round(float(atoms.get_initial_charges().sum()))
    properties = {name: a.tolist() for name, a in atoms.arrays.items() if name not in {"numbers", "positions"}}
    if "initial_magmoms" in properties:
        properties["magmom"] = properties.pop("initial_magmoms")
    if "initial_charges" in properties:
        properties["charge"] = properties.pop("initial_charges")
    return Molecule(
        list(atoms.symbols),
        atoms.positions,
        charge,
        site_properties=properties,
        charge_spin_check=False,
        properties=deepcopy(atoms.info),
    )


def _moved(source: Any, atoms: Atoms) -> Any:
    """Return a copy of a pymatgen object with its sites and lattice where the atoms and their cell are."""
    made = deepcopy(source)
    if len(made) != len(atoms):  # refused before it became atoms
        return made
    lattice = getattr(made, "lattice", None)
    if lattice is not None:
        made._lattice = Lattice(atoms.cell.array, pbc=lattice.pbc)  # the immutable kind has no setter
        for site in made:
            site.lattice = made._lattice
    for site, position in zip(made, atoms.positions, strict=True):
        site.coords = position
    return made
