"""Structure files in: CIFs as they mean it, and whatever else ASE or pymatgen reads."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.io
from ase import Atoms
from pymatgen.core import Structure

from atomsim.constraints.formats import from_selective_dynamics, restored_from_info
from atomsim.errors import InputError
from atomsim.io.convert import from_pymatgen
from atomsim.io.poscar import check_poscar, selective_flags
from atomsim.io.text import decoded, is_cif, is_poscar


def read_structures(path: Path) -> list[Atoms]:
    """Return every structure of a file, in its order.

    CIFs are expanded and checked here. All else ASE is asked for first, then pymatgen; results
    that the file carries stay on each structure's calculator.

    Args:
        path: any file that either reads: CIF, POSCAR, extended XYZ, ASE trajectory or database,
            pymatgen JSON …

    Raises:
        InputError: if the file is missing, empty, of no known format, without a structure, or
            a CIF whose atoms are not certain (disorder, a setting that is not told, another formula).
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; want a structure file")
    if not path.exists():
        raise InputError(f"{path} does not exist; check the name")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; want a structure")
    if is_cif(path):
        from atomsim.io.cif_ase import read_cif_as_ase  # gemmi and spglib, which other formats do without

        return read_cif_as_ase(path)
    flags = None
    if is_poscar(path):
        check_poscar(path)
        flags = selective_flags(path)
    structures, reasons = [], []
    for reader in (_read_ase, _read_pymatgen):
        try:
            # Readers warn on standard error about what they guess; a wrong guess shows in the sanity checks.
            with warnings.catch_warnings(), decoded(path) as plain:
                warnings.simplefilter("ignore")
                structures = reader(plain)
            break
        # Both libraries raise whatever their parsers meet: KeyError, IndexError, UnicodeDecodeError …
        except Exception as error:
            reasons.append(_one_line(error))
    else:
        raise InputError(f"{path} cannot be read as a structure (ASE: {reasons[0]}; pymatgen: {reasons[1]})")
    if not structures or any(len(atoms) == 0 for atoms in structures):
        raise InputError(f"{path} has no structure, or one without atoms; want at least one atom in each")
    if flags is not None and len(structures) == 1 and len(structures[0]) == len(flags):
        structures[0].set_constraint(from_selective_dynamics(flags))
    return structures


def _read_ase(path: Path) -> list[Atoms]:
    # Not split at '@': a file may have it in its name. A suffix that says it goes before ASE's signatures in names.
    kind = "extxyz" if path.suffix.lower() == ".extxyz" else None
    return [restored_from_info(a) for a in ase.io.read(path, index=":", format=kind, do_not_split_by_at_sign=True)]


def _read_pymatgen(path: Path) -> list[Atoms]:
    structure = Structure.from_file(path)
    return [from_pymatgen(structure)]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "…"
