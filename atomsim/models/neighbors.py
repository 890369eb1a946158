"""Neighbour lists of batches, and a skin that spares most rebuilds.

On a CPU the pairs come from pymatgen's compiled ``find_points_in_spheres``, system by
system (0.3 ms at 24 atoms and 6 Å); on a CUDA device from nvalchemi-toolkit-ops, one
launch for the whole batch. Both handle cells smaller than the cutoff and any shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from atomsim.batch import Batch
from atomsim.errors import AtomsimError

FAR_CELLS = 3
"""Cells from home beyond which an atom is brought back; within, pairs keep the order that they have always had."""
NEVER = 1e30
"""Stands for the inverse of a cell that must not change: any change is then too large, 1/Å."""
_CELL_LIST_FROM = 1000
"""Atoms in a system from which a cell list beats looking at all pairs on a GPU."""


@dataclass(frozen=True)
class Neighbors:
    """Directed pairs within a cutoff, sorted by first atom; both directions are listed."""

    i: Tensor
    """First atom, (n_edges,), int64, index into the batch."""
    j: Tensor
    """Second atom, (n_edges,), int64."""
    shift: Tensor
    """Lattice translations of the second atom, (n_edges, 3), float64 holding integers."""

    def vectors(self, batch: Batch) -> Tensor:
        """Vectors from i to the image of j, Å, (n_edges, 3), for the positions of ``batch``."""
        cells = batch.cell[batch.system[self.i]]
        translation = torch.einsum("ek,ekc->ec", self.shift, cells)
        return batch.positions[self.j] + translation - batch.positions[self.i]


def neighbor_list(batch: Batch, cutoff: float) -> Neighbors:
    """List all pairs of a batch closer than ``cutoff`` (Å), the distance itself excluded.

    Atoms need not be wrapped. Atoms of different systems are never neighbours; an atom is
    a neighbour of its own images.

    Raises:
        AtomsimError: for a CUDA batch, if nvalchemi-toolkit-ops is not installed.
    """
    if batch.device.type == "cuda":
        return _sorted(*_pairs_warp(batch, cutoff))
    parts = [_pairs_cpu(*system, cutoff) for system in _systems(batch.to("cpu"))]
    starts = _starts(batch)
    first = np.concatenate([p[0] + s for p, s in zip(parts, starts, strict=True)])
    second = np.concatenate([p[1] + s for p, s in zip(parts, starts, strict=True)])
    shift = np.concatenate([p[2] for p in parts])
    pairs = _sorted(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(shift))
    return Neighbors(*(t.to(batch.device) for t in (pairs.i, pairs.j, pairs.shift)))


def _systems(batch: Batch) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    positions, cell, pbc = batch.positions.detach().numpy(), batch.cell.detach().numpy(), batch.pbc.numpy()
    spans = zip(_starts(batch), batch.sizes, strict=True)
    return [(positions[s : s + n], cell[k], pbc[k]) for k, (s, n) in enumerate(spans)]


def _starts(batch: Batch) -> list[int]:
    """First atom of each system, for which no device is asked."""
    return list(accumulate(batch.sizes[:-1], initial=0))


def _pairs_cpu(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> tuple[np.ndarray, ...]:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    lattice = _completed(cell, pbc, positions, cutoff)
    away = _cells_away(positions, lattice, pbc)
    points = np.ascontiguousarray(positions - away @ lattice, dtype=np.float64)
    first, second, shift, distance = find_points_in_spheres(
        points, points, r=cutoff, pbc=np.ascontiguousarray(pbc, dtype=np.int64), lattice=lattice, tol=1e-8
    )
    # An atom is not its own neighbour; tol above is how the library recognises it.
    keep = (distance < cutoff) & ~((first == second) & (np.abs(shift).sum(axis=1) == 0))
    first, second = first[keep].astype(np.int64), second[keep].astype(np.int64)
    return first, second, shift[keep].astype(np.float64) + away[first] - away[second]


def _cells_away(positions: np.ndarray, lattice: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Whole cells by which atoms far outside are brought home: the list's memory grows with the space they span."""
    away = np.floor(positions @ np.linalg.inv(lattice)) * pbc
    return np.where(np.abs(away) > FAR_CELLS, away, 0.0)


def _completed(cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray, cutoff: float) -> np.ndarray:
    """Give directions without periodicity a lattice vector that is linearly independent."""
    if pbc.all():
        return np.ascontiguousarray(cell)
    from ase.geometry import complete_cell

    periodic = np.where(pbc[:, None], cell, 0.0)
    span = float(np.ptp(positions, axis=0).max()) + 2.0 * cutoff
    full = complete_cell(periodic)
    return np.ascontiguousarray(np.where(pbc[:, None], full, full * span))


def _sorted(i: Tensor, j: Tensor, shift: Tensor) -> Neighbors:
    """Order pairs canonically, so that sums over neighbours do not depend on how they were found."""
    if len(i) == 0:
        return Neighbors(i, j, shift)
    reach = shift.abs().max() + 1
    base = 2 * reach + 1
    image = (((shift[:, 0] + reach) * base + shift[:, 1] + reach) * base + shift[:, 2] + reach).to(torch.int64)
    # atoms of a pair share a system, so j − i is small: the key cannot overflow
    partner = j - i
    partner = partner - partner.min()
    key = (i * (partner.max() + 1) + partner) * (base**3).to(torch.int64) + image
    order = torch.argsort(key)
    return Neighbors(i[order], j[order], shift[order])


def _pairs_warp(batch: Batch, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """All systems in one launch, on the device of the batch (also a CPU, for tests)."""
    try:
        from nvalchemiops.torch.neighbors import NeighborOverflowError
        from nvalchemiops.torch.neighbors import neighbor_list as search
    except ImportError as error:
        raise AtomsimError(
            "neighbour lists on a GPU need nvalchemi-toolkit-ops, which is not installed; "
            "run: pip install 'atomsim[cuda]'"
        ) from error
    cell = batch.cell
    if not batch.known.periodic.all():
        completed = [_completed(c, p, x, cutoff) for x, c, p in _systems(batch.to("cpu"))]
        cell = torch.from_numpy(np.stack(completed)).to(batch.device)
    density = float((batch.counts / torch.linalg.det(cell).abs()).max())
    room = 32 + int(1.5 * density * 4.19 * cutoff**3)
    while True:
        try:
            pairs, _, shift = search(
                positions=batch.positions,
                cutoff=cutoff,
                cell=cell,
                pbc=batch.pbc,
                batch_idx=batch.system.to(torch.int32),
                method="batch_naive" if max(batch.sizes) < _CELL_LIST_FROM else "batch_cell_list",
                max_neighbors=room,
                return_neighbor_list=True,
            )
            return pairs[0].to(torch.int64), pairs[1].to(torch.int64), shift.to(torch.float64)
        except NeighborOverflowError:
            room *= 2


@dataclass
class SkinList:
    """Neighbours of a moving batch, searched again only where a system has moved too far.

    Pairs are searched within ``cutoff + skin`` and filtered to ``cutoff`` at each call.
    The list is reused while no pair outside it can have come within the cutoff; then all systems are searched, as one
    launch takes them all, and the next to move too far starts from here too.
    With reference positions r₀ and cell C₀, F the deformation C = C₀F, and
    u = r − r₀F the displacement beyond it, a pair's vector is d = d₀F + (uⱼ − uᵢ), so
    |d| ≥ σ_min(F)·|d₀| − 2 max|u|: the list holds while
    σ_min(F)·(cutoff + skin) − 2 max|u| > cutoff. True for any deformation; σ_min(F) is taken as
    1 − ‖F − 1‖, which is no larger and needs no decomposition, so that a device is asked once.

    A list belongs to a reference geometry, not to a name: after a system was retired,
    refilled or re-ordered it fails the test above and is searched again.
    """

    cutoff: float
    skin: float = 0.5
    searched: int = 0
    """Systems searched so far; for benchmarks."""
    pairs: Neighbors | None = field(default=None, repr=False)
    """Those of the reference geometry within cutoff and skin."""
    _reference: Batch | None = field(default=None, repr=False)
    _inverse: Tensor | None = field(default=None, repr=False)
    """Inverse of the reference cells, 1/Å, (n_systems, 3, 3); huge where a cell must not change at all."""

    def __call__(self, batch: Batch) -> Neighbors:
        """Return the pairs of ``batch`` within ``cutoff``."""
        self.renew(batch)
        return self.near(batch)

    def renew(self, batch: Batch) -> bool:
        """Search again if that is needed; return whether it was so."""
        stale = self.stale(batch)
        return self.update(batch, None if stale is None else stale.tolist())

    def near(self, batch: Batch) -> Neighbors:
        """Return those of ``pairs`` that are within ``cutoff``."""
        assert self.pairs is not None
        near = torch.nonzero(self.pairs.vectors(batch).square().sum(dim=1) < self.cutoff**2).flatten()
        return Neighbors(*(t.index_select(0, near) for t in (self.pairs.i, self.pairs.j, self.pairs.shift)))

    def stale(self, batch: Batch) -> Tensor | None:
        """Which systems have moved too far, (n_systems,), bool; None if nothing is known of such a batch."""
        if self._reference is None or self._inverse is None or not _same_layout(self._reference, batch):
            return None
        self._reference = batch.moved(self._reference.positions, self._reference.cell)  # known when it is met again
        strain = torch.bmm(self._inverse, batch.cell - self._reference.cell)  # F − 1
        origin = self._reference.positions
        carried = torch.bmm(origin[:, None], strain.index_select(0, batch.system))[:, 0]
        moved = torch.linalg.vector_norm(batch.positions - origin - carried, dim=1)
        largest = moved.new_zeros(batch.n_systems).scatter_reduce(0, batch.system, moved, "amax")
        least = 1.0 - torch.linalg.vector_norm(strain, dim=(1, 2))  # σ_min(F) ≥ 1 − ‖F − 1‖
        stale: Tensor = ~(least * (self.cutoff + self.skin) - 2.0 * largest > self.cutoff)
        return stale

    def update(self, batch: Batch, stale: Sequence[bool] | None) -> bool:
        """Search again if a system has moved too far, or nothing is known (None); return whether it was so."""
        if stale is not None and not any(stale):
            return False
        self._reference, self.pairs = batch, neighbor_list(batch, self.cutoff + self.skin)
        full = batch.pbc.all(dim=1)[:, None, None]
        eye = torch.eye(3, dtype=batch.cell.dtype, device=batch.device)
        inverse = torch.linalg.inv_ex(torch.where(full, batch.cell, eye))[0]
        self._inverse = torch.where(full, inverse, NEVER * eye)
        self.searched += batch.n_systems
        return True


def _same_layout(one: Batch, other: Batch) -> bool:
    if one.system is other.system and one.pbc is other.pbc:
        return True
    return one.device == other.device and one.sizes == other.sizes and torch.equal(one.pbc, other.pbc)
