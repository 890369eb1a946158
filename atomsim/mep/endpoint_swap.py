"""Hops whose ends a symmetry operation of the host swaps: one half of the path is the image of the other.

Only what follows from a saddle is had in this way, never the saddle: guesses that keep a symmetry end on ridges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from atomsim.mep.path import MIRRORED_A, Endpoints, EndpointSwap, largest
from atomsim.optimize.drive import Outcome
from atomsim.types import FloatArray

SADDLE_A = 0.06
"""The same of a saddle, which need be no better known than its forces allow, Å."""


def swaps_of(
    operations: Sequence[tuple[FloatArray, NDArray[np.int64]]], start: FloatArray, moved: FloatArray, end: FloatArray
) -> Iterator[EndpointSwap]:
    """Yield the operations that swap the ends of a hop as they are after relaxation.

    Args:
        operations: Cartesian rotation, and where each atom goes, of those that swap the two sites.
        start: displacements from the sites at the start, Å, (n_atoms, 3).
        moved: displacement of every atom from start to end, Å, (n_atoms, 3).
        end: displacements from the sites at the end, Å, (n_atoms, 3).
    """
    for rotation, image in operations:
        swap = EndpointSwap(rotation, image)
        off = swap.vectors(start) - end
        if largest(off - off.mean(axis=0)) < MIRRORED_A and swap.swaps(moved):
            yield swap


def swap_at(ends: Endpoints, saddle: FloatArray) -> EndpointSwap | None:
    """Return the operation that takes one half of the path over a saddle, positions in Å, to the other; or None."""
    at = saddle - ends.start.positions
    for swap in ends.swaps:
        off = swap.off(ends.displacement, at)
        if largest(off - off.mean(axis=0)) < SADDLE_A:  # the crystal may have drifted as a whole
            return swap
    return None


def mirrored(half: Outcome, ends: Endpoints, swap: EndpointSwap, saddle: FloatArray) -> Outcome:
    """Return the half from the saddle, positions in Å, to the end, made from the one between start and saddle."""
    batch, evaluation = half.batch, half.evaluation
    shape = (batch.n_systems, len(ends.start), 3)
    # a drift at the saddle, taken back on the way to the end
    drift = swap.off(ends.displacement, saddle - ends.start.positions).mean(axis=0)
    back = np.linspace(1, 0, batch.n_systems + 2)[1:-1, None, None] * drift
    order = np.empty_like(swap.image)
    order[swap.image] = np.arange(len(order))

    def vectors(rows: torch.Tensor, origin: FloatArray | float = 0.0, target: FloatArray | float = 0.0) -> torch.Tensor:
        images = rows.detach().cpu().numpy().reshape(shape)[::-1] - origin
        return torch.from_numpy(swap.vectors(images) + target).reshape(-1, 3).to(rows)

    target = ends.end.positions - back

    def scalars(rows: torch.Tensor | None) -> torch.Tensor | None:
        return None if rows is None else rows.reshape(shape[:2]).flip(0)[:, order].reshape(-1)

    turn = torch.from_numpy(swap.rotation).to(evaluation.stress)
    return replace(
        half,
        batch=replace(batch, positions=vectors(batch.positions, ends.start.positions, target)),
        evaluation=replace(
            evaluation,
            energy=evaluation.energy.flip(0),
            forces=vectors(evaluation.forces),
            stress=turn @ evaluation.stress.flip(0) @ turn.T,
            magmoms=scalars(evaluation.magmoms),
            energies=scalars(evaluation.energies),
        ),
    )
