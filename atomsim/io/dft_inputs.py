"""Inputs of density-functional codes for the images of a path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from atomsim.errors import InputError
from atomsim.io.files import write_atomically

CODES = ("vasp", "espresso")

INCAR = """\
# Climbing-image band along the path of a machine-learned potential. IMAGES and SPRING are VASP's own;
# LCLIMB needs the VTST tools. Set MAGMOM and +U as for the bulk.
ENCUT = 520
EDIFF = 1E-6
EDIFFG = -0.03
IBRION = 3
POTIM = 0
IOPT = 3
ISIF = 2
ISMEAR = 0
SIGMA = 0.05
ISPIN = 2
LREAL = Auto
NSW = 200
IMAGES = {images}
SPRING = -5
LCLIMB = .TRUE.
"""


def write_inputs(folder: Path, images: Sequence[Atoms], code: str) -> list[Path]:
    """Write inputs for the images of a path, both ends among them.

    VASP: one POSCAR in each of ``00``, ``01`` …, and INCAR and KPOINTS; POTCAR is the user's, in the order
    of the POSCAR's elements. Quantum ESPRESSO: one pw.x input for each image; names of
    pseudopotentials are to be replaced.

    Args:
        folder: where; made if it is not there.
        images: both ends and what is between them.
        code: ``vasp`` or ``espresso``.

    Raises:
        InputError: for another code.
    """
    if code not in CODES:
        raise InputError(f"cannot write inputs for {code!r}; wanted one of {', '.join(CODES)}")
    folder.mkdir(parents=True, exist_ok=True)
    return _vasp(folder, images) if code == "vasp" else _espresso(folder, images)


def _vasp(folder: Path, images: Sequence[Atoms]) -> list[Path]:
    written = []
    for n, image in enumerate(images):
        # sorted by element once for all images, so that atoms keep their order from image to image
        ordered = image[sorted(range(len(image)), key=lambda k: (image.symbols[k], k))]
        target = folder / f"{n:02d}" / "POSCAR"
        target.parent.mkdir(exist_ok=True)
        ase.io.write(target, ordered, format="vasp", direct=True, vasp5=True)
        written.append(target)
    write_atomically(folder / "INCAR", INCAR.format(images=len(images) - 2))
    divisions = _divisions(images[0])
    write_atomically(folder / "KPOINTS", f"spacing of about 0.25/Å\n0\nGamma\n{' '.join(map(str, divisions))}\n0 0 0\n")
    return [*written, folder / "INCAR", folder / "KPOINTS"]


def _espresso(folder: Path, images: Sequence[Atoms]) -> list[Path]:
    written = []
    for n, image in enumerate(images):
        target = folder / f"image-{n:02d}.in"
        names = {symbol: f"{symbol}.UPF" for symbol in sorted(set(image.symbols))}
        control = {"calculation": "scf", "prefix": f"image{n:02d}", "tprnfor": True}
        system = {"ecutwfc": 60, "ecutrho": 480, "occupations": "smearing", "degauss": 0.005, "nspin": 2}
        data = {"control": control, "system": system}
        bare = Atoms(image.numbers, image.positions, cell=image.cell, pbc=image.pbc)
        bare.set_initial_magnetic_moments([0.1] * len(bare))
        ase.io.write(
            target, bare, format="espresso-in", input_data=data, pseudopotentials=names, kpts=_divisions(image)
        )
        written.append(target)
    return written


def _divisions(atoms: Atoms) -> tuple[int, int, int]:
    """Divisions of the reciprocal cell about 0.25/Å apart."""
    import numpy as np

    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    a, b, c = (max(1, round(float(length) / 0.25)) for length in lengths)
    return a, b, c
