"""Curvature for children that lost ions: the host's Hessian, computed once for all of them.

A child that says where its ions were can be filled up to its host again. The host is relaxed, its Hessian computed
(some fifty force calls at 24 atoms), and every child starts from the rows and columns of the atoms that it kept.

Where ions were stands in ``atoms.info``: ``ion``, an element, and ``vacancies``, fractional coordinates. ``delithiate``
writes both, files keep them, and a campaign's tasks have them as tags, so an ordering is relaxed from the same
curvature, and to the same minimum, wherever it comes from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from numpy.typing import NDArray

from atomsim.errors import AtomsimError, StorageError
from atomsim.models.shared import Shared
from atomsim.optimize.hessian import Hessian, hessian
from atomsim.optimize.sparse import is_large
from atomsim.relaxation.run import iter_relax
from atomsim.relaxation.settings import RelaxSettings
from atomsim.structures.hosts import left_sites

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel

HOST_FMAX = 0.01
"""To what force the host is relaxed before its Hessian is taken, eV/Å."""
HOST_STEPS = 500
"""Steps in which it must be."""
FRACTION_DIGITS, CELL_DIGITS = 5, 6
"""To which decimals hosts are rounded: children tell where their ions were to some digits only."""
TIE = 1e-3
"""Distance from half a last digit within which numbers are rounded down: the last bits must not decide."""
TAKEN_A = 0.5
"""A site with an atom nearer than this is not empty, Å."""


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


@dataclass(frozen=True)
class Inherited:
    """Hessian and geometry that a child starts from."""

    hessian: Hessian
    host: str
    """First digits of the host's key: children of one host share its cost, ``hessian.force_calls``."""


def host_of(child: Atoms) -> Host | None:
    """Return the host of a structure, or None where its ``info`` names no vacancies, or sites that are taken."""
    left = left_sites(child.info)
    if not left or not child.pbc.all() or child.cell.rank < 3:
        return None
    plain = Atoms(child.numbers, child.positions, cell=child.cell, pbc=True)
    ions = Atoms([left["ion"]] * len(left["vacancies"]), scaled_positions=left["vacancies"], cell=child.cell, pbc=True)
    if len(plain) and get_distances(ions.positions, plain.positions, plain.cell, plain.pbc)[1].min() < TAKEN_A:
        return None
    filled = plain + ions
    fractional = _rounded(filled.get_scaled_positions(), FRACTION_DIGITS) % 1.0
    order = np.lexsort((*fractional.T[::-1], filled.numbers))
    place = np.empty(len(filled), dtype=np.int64)
    place[order] = np.arange(len(filled))
    cell = _rounded(filled.cell.array, CELL_DIGITS) + 0.0  # no negative zeros
    atoms = Atoms(filled.numbers[order], scaled_positions=fractional[order], cell=cell, pbc=True)
    return Host(atoms, place[: len(child)])


def _rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Round; of what lies halfway, as sites on an eighth of a supercell may, all last bits give one answer."""
    scale = 10.0**digits
    down = np.floor(values * scale)
    halfway = np.abs(values * scale - down - 0.5) < TIE
    return np.where(halfway, down / scale, values.round(digits))


def inherited(
    children: Sequence[Atoms], potential: EnergyModel, settings: RelaxSettings, shared: Shared | None = None
) -> dict[int, Inherited]:
    """Return what is known of every structure that has a host, by its place; empty where ``settings`` do not use it.

    Nothing is looked for of large cells, which start from springs (see ``sparse``).

    Args:
        children: what is to be relaxed.
        potential: the potential.
        settings: of the children. Only ``cell`` and ``pressure_GPa`` reach the host.
        shared: where hosts' Hessians are kept between calls.
    """
    if settings.method != "newton" or settings.curvature != "host":
        return {}
    shared = Shared() if shared is None else shared
    found: dict[int, Inherited] = {}
    for n, child in enumerate(children):
        host = None if is_large(len(child)) else host_of(child)  # a large cell keeps no matrix
        whole = _of_host(host, potential, settings, shared) if host else None
        if host is not None and whole is not None:
            found[n] = Inherited(whole.of_child(host.child_index), host.key[:16])
    return found


def _of_host(host: Host, potential: EnergyModel, settings: RelaxSettings, shared: Shared) -> Hessian | None:
    """Relax the host, in ways of its own, and take its Hessian; None if it does not relax."""
    own = RelaxSettings(
        fmax_eV_per_A=HOST_FMAX,
        max_steps=HOST_STEPS,
        cell=settings.cell,
        pressure_GPa=settings.pressure_GPa,
        check_minimum=False,
    )

    def computed() -> Hessian | None:
        ((_, relaxed),) = iter_relax([host.atoms], potential, own)
        if relaxed.status in ("invalid", "too_large", "not_a_number"):
            raise AtomsimError(relaxed.message)  # perhaps the device's fault, so it is not kept
        if not relaxed.converged:
            return None
        found = hessian(relaxed.atoms, potential)
        return replace(found, force_calls=found.force_calls + relaxed.force_calls)

    try:
        return shared.get(potential, ("host", host.key, own), computed)
    except StorageError:  # no fault of the host
        raise
    except AtomsimError:
        return None
