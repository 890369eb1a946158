"""Hops whose ends a symmetry operation of the host swaps: one half of the path is the image of the other.

Only what follows from a saddle is had in this way, never the saddle: guesses that keep a symmetry end on ridges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from atomsim.mep.path import MIRRORED_A, Ends, Mirror, largest
from atomsim.optimize.drive import Outcome
from atomsim.types import FloatArray

SADDLE_A = 0.06
"""The same of a saddle, which need be no better known than its forces allow, Å."""


def mirrors_of(
    operations: Sequence[tuple[FloatArray, NDArray[np.int64]]], start: FloatArray, moved: FloatArray, end: FloatArray
) -> Iterator[Mirror]:
    """Yield the operations that swap the ends of a hop as they are after relaxation.

    Args:
        operations: Cartesian rotation, and where each atom goes, of those that swap the two sites.
        start: displacements from the sites at the start, Å, (n_atoms, 3).
        moved: displacement of every atom from start to end, Å, (n_atoms, 3).
        end: displacements from the sites at the end, Å, (n_atoms, 3).
    """
    for rotation, image in operations:
        mirror = Mirror(rotation, image)
        off = mirror.vectors(start) - end
        if largest(off - off.mean(axis=0)) < MIRRORED_A and mirror.swaps(moved):
            yield mirror


def mirror_at(ends: Ends, saddle: FloatArray) -> Mirror | None:
    """Return the operation that takes one half of the path over a saddle, positions in Å, to the other; or None."""
    at = saddle - ends.start.positions
    for mirror in ends.mirrors:
        off = mirror.off(ends.moved, at)
        if largest(off - off.mean(axis=0)) < SADDLE_A:  # the crystal may have drifted as a whole
            return mirror
    return None


def mirrored(half: Outcome, ends: Ends, mirror: Mirror, saddle: FloatArray) -> Outcome:
    """Return the half from the saddle, positions in Å, to the end, made from the one between start and saddle."""
    batch, said = half.batch, half.evaluation
    shape = (batch.n_systems, len(ends.start), 3)
    # a drift at the saddle, taken back on the way to the end
    drift = mirror.off(ends.moved, saddle - ends.start.positions).mean(axis=0)
    back = np.linspace(1, 0, batch.n_systems + 2)[1:-1, None, None] * drift
    order = np.empty_like(mirror.image)
    order[mirror.image] = np.arange(len(order))

    def vectors(rows: torch.Tensor, origin: FloatArray | float = 0.0, target: FloatArray | float = 0.0) -> torch.Tensor:
        images = rows.detach().cpu().numpy().reshape(shape)[::-1] - origin
        return torch.from_numpy(mirror.vectors(images) + target).reshape(-1, 3).to(rows)

    target = ends.end.positions - back

    def scalars(rows: torch.Tensor | None) -> torch.Tensor | None:
        return None if rows is None else rows.reshape(shape[:2]).flip(0)[:, order].reshape(-1)

    turn = torch.from_numpy(mirror.rotation).to(said.stress)
    return replace(
        half,
        batch=replace(batch, positions=vectors(batch.positions, ends.start.positions, target)),
        evaluation=replace(
            said,
            energy=said.energy.flip(0),
            forces=vectors(said.forces),
            stress=turn @ said.stress.flip(0) @ turn.T,
            magmoms=scalars(said.magmoms),
            energies=scalars(said.energies),
        ),
    )
