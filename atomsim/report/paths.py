"""Images of the paths of hops, as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path as FilePath

import numpy as np
from ase import Atoms

from atomsim.store.records import Record


def path_images(record: Record) -> list[Atoms]:
    """Return the images of a record's path, both ends among them, with energies and forces where they are known."""
    from ase.calculators.singlepoint import SinglePointCalculator

    known = record.values.get("path")
    if record.structure is None or known is None:
        return []
    plain = Atoms(record.structure["numbers"], cell=record.structure["cell"], pbc=record.structure["pbc"])
    images = []
    for n, positions in enumerate(known["positions_A"]):
        image = plain.copy()
        image.positions = positions
        results = {"energy": known["energy_eV"][n]}
        if 0 < n < len(known["positions_A"]) - 1:
            results["forces"] = np.array(known["forces_eV_per_A"][n])
        image.calc = SinglePointCalculator(image, **results)
        image.info |= {"hop": record.tags.get("hop", record.label), "image": n, "path_length_A": known["length_A"][n]}
        images.append(image)
    return images


def write_paths(folder: FilePath, records: Sequence[Record], code: str | None) -> list[FilePath]:
    """Write each hop's images as extended XYZ, and as inputs of a DFT code where one is named."""
    from atomsim.io.dft_inputs import write_inputs
    from atomsim.io.write import openable, write_extxyz

    written = []
    for record in records:
        images = path_images(record)
        if not images:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", record.label)
        target = folder / openable(f"{name}.extxyz")
        write_extxyz(target, images)
        written.append(target)
        if code is not None:
            write_inputs(folder / f"{name}-{code}", images, code)
    return written
