"""From relaxed orderings, as records, to the data that a lattice gas is fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.errors import InputError
from atomsim.lattice_gas.lattice import IonLattice
from atomsim.lattice_gas.model import Datum
from atomsim.store.records import Record


def lattice_of(records: Sequence[Record], cutoff_A: float) -> tuple[IonLattice, list[Datum], Record]:
    """Return the ion sites of a host, its relaxed orderings on them, and the record of the host with all its ions.

    Args:
        records: relaxed orderings of one host by ``delithiate``.
        cutoff_A: longest pair of ion sites in the energy, Å.

    Raises:
        InputError: without a relaxed full host, or for structures that ``delithiate`` did not make.
    """
    full = [r for r in records if not r.tags.get("vacancies", [None]) and "supercell" in r.tags]
    if not full:
        raise InputError(
            "found no relaxed host with all its ions among the orderings; wanted x of the full host in delithiate's "
            "list, and its relaxation converged"
        )
    host = min(full, key=lambda r: len(r.atoms))
    lattice = IonLattice.of(host.atoms, str(host.tags["ion"]), float(cutoff_A))
    return lattice, [_datum(record, host) for record in records], host


def _datum(record: Record, host: Record) -> Datum:
    if "supercell" not in record.tags or "vacancies" not in record.tags:
        raise InputError(f"{record.label}: not by delithiate, so that the sites that ions left are not known")
    # tags have the vectors in units of the parent as it was given, which need not be primitive
    relative = np.array(record.tags["supercell"], float) @ np.linalg.inv(np.array(host.tags["supercell"], float))
    matrix = np.rint(relative).astype(np.int64)
    if not np.allclose(relative, matrix, atol=1e-6):
        raise InputError(
            f"{record.label}: its cell is no supercell of {host.label}, the smallest with all ions; wanted "
            "orderings of one call of delithiate"
        )
    vacancies = np.array(record.tags["vacancies"], dtype=float).reshape(-1, 3)
    return Datum(matrix, vacancies, float(record.values["energy_eV"]))
