"""Structure files: in, whatever ASE or pymatgen reads; out, extended XYZ with results."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifFile

from atomsim.constraint_formats import from_selective_dynamics, noted_in_info, restored_from_info
from atomsim.errors import AtomsimError, InputError

FULL = 1 - 1e-3
"""Occupancy from which a site of a CIF counts as full."""


def read_structures(path: Path) -> list[Atoms]:
    """Return every structure of a file, in its order.

    ASE is asked first, then pymatgen; results that the file carries stay on each structure's
    calculator.

    Args:
        path: any file that either reads: CIF, POSCAR, extended XYZ, ASE trajectory or database,
            pymatgen JSON …

    Raises:
        InputError: if the file is missing, empty, of no known format, without a structure, or
            a CIF with partly occupied sites.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; want a structure file")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; want a structure")
    if path.suffix.lower() in {".cif", ".mcif"}:
        _refuse_partial_occupancy(path)
    structures, reasons = [], []
    for reader in (_read_ase, _read_pymatgen):
        try:
            # Readers warn on standard error about what they guess; a wrong guess shows in the sanity checks.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                structures = reader(path)
            break
        # Both libraries raise whatever their parsers meet: KeyError, IndexError, UnicodeDecodeError …
        except Exception as error:
            reasons.append(_one_line(error))
    else:
        raise InputError(f"{path} cannot be read as a structure (ASE: {reasons[0]}; pymatgen: {reasons[1]})")
    if not structures or any(len(atoms) == 0 for atoms in structures):
        raise InputError(f"{path} has no structure, or one without atoms; want at least one atom in each")
    return structures


def write_extxyz(path: Path, structures: Sequence[Atoms], results: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Write structures as extended XYZ, whole or not at all.

    Args:
        path: file to write; an old one is replaced when the new one is complete.
        structures: what to write; ``info`` and arrays go along.
        results: for each structure, what is known of ``energy`` eV, ``forces`` (n, 3) eV/Å,
            ``stress`` (6,) eV/Å³ in the order xx yy zz yz xz xy, ``magmoms`` (n,) μB. Without it,
            what a structure's calculator has already computed is written.

    Raises:
        InputError: if there are not as many results as structures.
        AtomsimError: if the file cannot be written; an old file is untouched.
    """
    if results is not None and len(results) != len(structures):
        raise InputError(f"{len(results)} results for {len(structures)} structures; want one for each")
    ready = list(structures) if results is None else [_attach(a, r) for a, r in zip(structures, results, strict=True)]
    text = StringIO()
    ase.io.write(text, [noted_in_info(a) for a in ready], format="extxyz")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise AtomsimError(
            f"cannot write {path}: {error.strerror}; an earlier file of that name is untouched"
        ) from error


def _attach(atoms: Atoms, results: Mapping[str, Any]) -> Atoms:
    with_results = atoms.copy()
    known = {key: results[key] for key in ("energy", "forces", "stress", "magmoms") if results.get(key) is not None}
    arrays = {key: value if key == "energy" else np.asarray(value, dtype=float) for key, value in known.items()}
    with_results.calc = SinglePointCalculator(with_results, **arrays)
    return with_results


def _read_ase(path: Path) -> list[Atoms]:
    # Not split at '@': a file may have it in its name.
    return [restored_from_info(a) for a in ase.io.read(path, index=":", do_not_split_by_at_sign=True)]


def _read_pymatgen(path: Path) -> list[Atoms]:
    structure = Structure.from_file(path)
    if not structure.is_ordered:
        raise ValueError("has partly occupied sites; make an ordered supercell")
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    # the adaptor's own hold Cartesian axes, VASP's flags lattice vectors
    flags = structure.site_properties.get("selective_dynamics")
    atoms.set_constraint([] if flags is None else from_selective_dynamics(flags))
    return [atoms]


def _refuse_partial_occupancy(path: Path) -> None:
    try:
        blocks = CifFile.from_file(path).data
    # A CIF that pymatgen cannot parse may be one that ASE can.
    except Exception:
        return
    for block in blocks.values():
        labels = block.data.get("_atom_site_label", block.data.get("_atom_site_type_symbol", []))
        occupancies = block.data.get("_atom_site_occupancy", [])
        for label, text in zip(labels, occupancies, strict=False):
            number = re.match(r"\d+\.?\d*|\.\d+", str(text))  # an s.u. follows in brackets; "." is not given
            if number and float(number.group()) < FULL:
                raise InputError(
                    f"{path}: site {label} has occupancy {float(number.group()):g}; want every site full: "
                    "make an ordered supercell first"
                )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "…"
