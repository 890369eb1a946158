"""Caveats of a path, to read before using its barrier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomsim.mep.path import ReactionPath
from atomsim.mep.segments import dips

CHANGED_MUB = 0.4
"""A moment that changes by more along the path says that a metal changes its oxidation state, μB."""
BELOW_EV = 0.01
"""An image lower than the end on its side by more says that the end is not the bottom of its basin, eV."""
RESOLVED_EV = 1e-3
"""A saddle above an end by less is none: a force that counts as small moves energies on soft modes by as much, eV."""
WITHOUT_SADDLE = "no saddle between the ends"
LOW_OVERLAP = 0.3
"""Below this the unstable mode is not the motion along the path."""
D_METALS = frozenset([*range(21, 31), *range(39, 49), *range(72, 81)])


def path_flags(path: ReactionPath, segments: Sequence[ReactionPath] = ()) -> list[str]:
    """Return what limits the use of a barrier, in words; empty where nothing is wrong.

    Args:
        path: the whole path.
        segments: the hops that it consists of, where there is more than one.
    """
    found = []
    if path.status == "converged" and without_saddle(path):
        found.append(WITHOUT_SADDLE)
    if path.status == "unproven":
        found.append("no first-order saddle")
    if path.proof is not None and path.proof.overlap < LOW_OVERLAP:
        found.append("unstable mode is not along the path")
    if segments:
        found.append("passes an intermediate minimum")
    elif path.status == "converged" and dips(path.energies):
        found.append("dips between two humps, where no minimum of its own was found")
    if any(_below_an_end(p) for p in segments or [path]):
        found.append("an end is not the lowest point of its basin")
    deepest = min((float(p.energies[-1]) for p in segments[:-1]), default=np.inf)
    below = min(path.energies[0], path.energies[-1]) - deepest
    if below > BELOW_EV:
        found.append(f"an intermediate minimum lies {below:.3f} eV below both ends")
    changed = moment_change(path)
    if changed is not None and changed[0] > CHANGED_MUB:
        found.append("a metal changes its oxidation state")
    return found


def _below_an_end(path: ReactionPath) -> bool:
    before, after = path.energies[: path.highest + 1], path.energies[path.highest :]
    return bool(before.min() < path.energies[0] - BELOW_EV or after.min() < path.energies[-1] - BELOW_EV)


def without_saddle(path: ReactionPath) -> bool:
    """True if the path is highest at an end, or not higher there by what energies and forces can resolve."""
    inside = 0 < path.highest < len(path.images) - 1
    return not inside or min(path.barrier, path.reverse_barrier) < RESOLVED_EV


def moment_change(path: ReactionPath) -> tuple[float, int] | None:
    """Largest change of a d metal's moment along a path, μB, and the atom; None where no moment is known."""
    metals = [n for n, z in enumerate(path.images[0].numbers) if int(z) in D_METALS]
    if path.magmoms is None or not metals:
        return None
    known = path.magmoms[~np.isnan(path.magmoms).any(axis=1)][:, metals]
    if not len(known):
        return None
    change = np.ptp(np.abs(known), axis=0)
    most = int(change.argmax())
    return float(change[most]), metals[most]
