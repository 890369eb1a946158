"""Structures of a step's records as files that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.io.metadata import merged
from atomsim.store.records import Record, usable
from atomsim.store.run_folder import RunFolder
from atomsim.units import GPA

if TYPE_CHECKING:
    from ase import Atoms


def export(folder: RunFolder, step: str, records: Sequence[Record]) -> None:
    """Write a finished step's good structures as extended XYZ."""
    good = usable(records)
    if good:
        write_structures(folder.step(step) / "structures.extxyz", good)


def write_structures(path: Path, records: Sequence[Record]) -> None:
    """Write the structures of records with their results in the format that the name says, all or none.

    Raises:
        AtomsimError: if the file cannot be written.
    """
    from atomsim.io.write import write_structures as write

    write(path, [annotated(r) for r in records if r.structure is not None])


def annotated(record: Record) -> Atoms:
    """Return the record's structure with all it carries, its results and what a reader of the file wants to know."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from atomsim.structures.hosts import left_sites

    atoms = record.atoms
    arrays = record.structure["arrays"] if record.structure else {}
    for name in arrays:  # results go to the calculator
        del atoms.arrays[name]
    simple = {k: v for k, v in record.tags.items() if isinstance(v, str | int | float)}
    # what has moved fits its host's sites no more
    left = {} if "potential" in record.provenance else left_sites(record.tags)
    ours = simple | left | {"label": record.label, "task": record.task, "status": record.status}
    atoms.info = merged(atoms.info, ours)
    results: dict[str, Any] = {k: np.asarray(arrays[k]) for k in ("forces", "magmoms") if k in arrays}
    if "energy_eV" in record.values:
        results["energy"] = record.values["energy_eV"]
    if "stress_GPa" in record.values:
        results["stress"] = np.asarray(record.values["stress_GPa"]) * GPA
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
