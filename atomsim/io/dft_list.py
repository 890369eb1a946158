"""Inputs of density-functional calculations of a few crystals: those on which potentials differ most.

INCAR and KPOINTS are pymatgen's set of the Materials Project (``MPRelaxSet``): PBE, +U for oxides of 3d metals, and
magnetic moments, so that energies can stand beside those the potentials learned from. POTCAR is the user's; the
list names which.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomsim.errors import InputError
from atomsim.io.files import write_atomically

if TYPE_CHECKING:
    from ase import Atoms


def write_dft_list(
    folder: Path, structures: Sequence[tuple[str, Atoms]], facts: Sequence[Mapping[str, Any]]
) -> list[Path]:
    """Write POSCAR, INCAR and KPOINTS of each crystal into a folder of its own, and ``list.csv``.

    Args:
        folder: where; made if it is not there.
        structures: labels and crystals, the most wanted first.
        facts: of each, for the list.

    Returns:
        The folders, in order.

    Raises:
        InputError: if there is nothing to write, or a structure is not periodic.
    """
    if not structures:
        raise InputError("no structure to compute by DFT: the potentials share none; give check_with")
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        _one(folder / f"{n:02d}-{_plain(label)}", label, atoms) for n, (label, atoms) in enumerate(structures, 1)
    ]
    rows = [
        {"folder": path.name, "label": label, **facts, "potcar": " ".join(_symbols(path))}
        for path, (label, _), facts in zip(written, structures, facts, strict=True)
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomically(folder / "list.csv", text.getvalue())
    return written


def _one(target: Path, label: str, atoms: Atoms) -> Path:
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.io.vasp.sets import MPRelaxSet

    if not atoms.pbc.all():
        raise InputError(f"{label} is not periodic in three dimensions; DFT inputs are written for crystals")
    bare = atoms.copy()
    bare.set_constraint()
    bare.calc = None
    for array in ("initial_magmoms", "magmoms"):
        if bare.has(array):
            del bare.arrays[array]
    structure = AseAtomsAdaptor.get_structure(bare[bare.numbers.argsort(kind="stable")])
    target.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that Co begins as low spin; INCAR shows it
        inputs = MPRelaxSet(structure, user_potcar_functional="PBE")
        write_atomically(target / "POSCAR", str(inputs.poscar))
        write_atomically(target / "INCAR", str(inputs.incar))
        write_atomically(target / "KPOINTS", str(inputs.kpoints))
    return target


def _symbols(target: Path) -> list[str]:
    return (target / "POSCAR").read_text().splitlines()[5].split()


def _plain(label: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.=-") else "-" for c in label).strip("-.") or "structure"
