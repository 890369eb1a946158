"""Curvature for children that lost ions: the host's Hessian, computed once for all of them.

A child whose tags say where its ions were (``vacancies``, fractional) can be filled up to its
host again. The host is relaxed, its Hessian computed (some fifty force calls at 24 atoms), and
every child starts from the rows and columns of the atoms that it kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from atomsim.models.interface import Surface
from atomsim.optimize.hessian import Hessian, hessian
from atomsim.records import Task, atoms_from_json
from atomsim.relaxation import RelaxSettings, iter_relax

HOST_FMAX = 0.01
"""To what force the host is relaxed before its Hessian is taken, eV/Å."""

FRACTION_DIGITS, CELL_DIGITS = 5, 6
"""To which decimals hosts are rounded: children tell where their ions were to some digits only."""

_COMPUTED: dict[str, Hessian | None] = {}
"""Hessians of hosts met by this process: they cost time, and decide nothing that is not in the key."""


@dataclass(frozen=True)
class Host:
    """A child filled up: order and, to the last bit, numbers do not depend on which child it was.

    So a task's result does not depend on which of its siblings this process has met before.
    """

    atoms: Atoms
    child_index: np.ndarray
    """Atom of the host that each of the child's atoms is, (n_child,)."""

    @property
    def key(self) -> str:
        """Hash of the structure, equal for all children of one host."""
        parts = (self.atoms.numbers, self.atoms.cell.array, self.atoms.positions)
        return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


def host_of(task: Task) -> Host | None:
    """Return the host of a task's structure, or None where its tags name no vacancies."""
    vacancies = task.tags.get("vacancies")
    if not vacancies or "ion" not in task.tags or task.structure is None:
        return None
    child = atoms_from_json(task.structure)
    ions = Atoms([task.tags["ion"]] * len(vacancies), scaled_positions=vacancies, cell=child.cell, pbc=True)
    filled = child + ions
    fractional = filled.get_scaled_positions().round(FRACTION_DIGITS) % 1.0
    order = np.lexsort((*fractional.T[::-1], filled.numbers))
    place = np.empty(len(filled), dtype=np.int64)
    place[order] = np.arange(len(filled))
    cell = filled.cell.array.round(CELL_DIGITS) + 0.0  # no negative zeros
    atoms = Atoms(filled.numbers[order], scaled_positions=fractional[order], cell=cell, pbc=True)
    return Host(atoms, place[: len(child)])


def known_hessians(tasks: Sequence[Task], surface: Surface, settings: RelaxSettings) -> Mapping[int, Hessian]:
    """Return the Hessian of every task that has a host, by the task's place in ``tasks``."""
    found: dict[int, Hessian] = {}
    for n, task in enumerate(tasks):
        host = host_of(task)
        whole = _of_host(host, surface, settings) if host else None
        if host is not None and whole is not None:
            found[n] = whole.of_child(host.child_index)
    return found


def _of_host(host: Host, surface: Surface, settings: RelaxSettings) -> Hessian | None:
    """Relax the host and take its Hessian, once in this process; None if it does not relax."""
    key = f"{host.key} {getattr(surface, 'sha256', id(surface))} {settings.cell} {settings.pressure_GPa}"
    if key not in _COMPUTED:
        plain = replace(settings, fmax_eV_per_A=HOST_FMAX, noise_A=0.0, starts=1, check_minimum=False)
        ((_, relaxed),) = iter_relax([host.atoms], surface, plain)
        _COMPUTED[key] = _counted(relaxed.atoms, surface, relaxed.force_calls) if relaxed.converged else None
    return _COMPUTED[key]


def _counted(atoms: Atoms, surface: Surface, before: int) -> Hessian:
    computed = hessian(atoms, surface)
    return replace(computed, force_calls=computed.force_calls + before)
