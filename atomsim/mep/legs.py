"""Paths that run through a minimum between their ends are two hops, and are found as two."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atomsim.mep.barrier import Ends, Path, PathSettings, at_positions, find_paths
from atomsim.models.interface import Surface
from atomsim.relaxation import RelaxSettings, iter_relax

DEPTH_EV = 0.02
"""A dip between two humps that is less deep is roughness, eV."""
SAME_A = 0.3
"""A minimum in which no atom is further than this from where it is at an end is that end, Å."""


@dataclass(frozen=True)
class Legs:
    """A path, and the hops that it consists of where there is more than one."""

    path: Path
    legs: tuple[Path, ...] = ()


def dip(energies: NDArray[np.float64]) -> int | None:
    """Return the deepest image between two humps, or None if no dip is deeper than ``DEPTH_EV``."""
    best: tuple[float, int] | None = None
    for n in range(1, len(energies) - 1):
        depth = float(min(energies[: n + 1].max(), energies[n:].max()) - energies[n])
        inside = energies[n] <= energies[n - 1] and energies[n] <= energies[n + 1]
        if inside and depth > DEPTH_EV and (best is None or depth > best[0]):
            best = depth, n
    return None if best is None else best[1]


def resolve(path: Path, ends: Ends, surface: Surface, settings: PathSettings) -> Legs:
    """Split a path at the minimum between its ends, if there is one, and find both parts.

    The whole is then both parts joined: its barrier is that of the highest saddle, which is proven as
    its part was, and it has converged where both have.
    """
    middle = dip(path.energies)
    if middle is None or path.status not in ("converged", "max_steps", "unproven"):
        return Legs(path)
    how = RelaxSettings(fmax_eV_per_A=0.5 * settings.fmax_eV_per_A, cell=False, noise_A=0.0)
    ((_, found),) = iter_relax([path.images[middle]], surface, how)
    path = replace(path, force_calls=path.force_calls + found.force_calls)
    to_middle = found.atoms.positions - ends.start.positions
    to_end = ends.moved - to_middle
    far = [float(np.linalg.norm(part, axis=1).max()) > SAME_A for part in (to_middle, to_end)]
    if not found.converged or not all(far):
        return Legs(path)
    first = replace(ends, key="first", moved=to_middle, end_energy=found.energy, mirrors=())
    second = replace(
        ends,
        key="second",
        start=at_positions(ends.start, found.atoms.positions),
        moved=to_end,
        start_energy=found.energy,
        mirrors=(),
    )
    parts = {p.key: p for p in find_paths([first, second], surface, settings)}
    return _joined(path, parts["first"], parts["second"], path.key)


def _joined(path: Path, first: Path, second: Path, key: Hashable) -> Legs:
    """Join two parts that share an image."""
    higher = first if first.energies.max() >= second.energies.max() else second
    worse = next((p for p in (first, second) if p.status != "converged"), None)
    both = (first, second)
    moments = [p.magmoms for p in both]
    joined = replace(
        higher,
        key=key,
        images=first.images + second.images[1:],
        energies=np.concatenate([first.energies, second.energies[1:]]),
        slopes=np.concatenate([first.slopes, second.slopes[1:]]),
        forces=np.concatenate([first.forces, second.forces[1:]]),
        magmoms=None if any(m is None for m in moments) else np.concatenate([moments[0], moments[1][1:]]),  # type: ignore[index]
        status="converged" if worse is None else worse.status,
        message="; ".join(f"a part of the path: {p.message}" for p in both if p.message),
        residual=max(p.residual for p in both),
        steps=path.steps + sum(p.steps for p in both),
        force_calls=path.force_calls + sum(p.force_calls for p in both),
        kicks=path.kicks + sum(p.kicks for p in both),
    )
    return Legs(joined, both)
