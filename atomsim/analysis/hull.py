"""Formation energies along the ion content x and their lower convex hull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atomsim.errors import InputError

SAME_X = 1e-6
"""Two ion contents closer than this (ions per host unit) are one composition."""


@dataclass(frozen=True)
class Hull:
    """Lower convex hull of energy against ion content, between the ends that are at hand."""

    x: tuple[float, ...]
    """Ions per host unit of every entry, in the order given."""
    formation: tuple[float, ...]
    """Energy relative to the mixture of the two ends, eV per host unit; at an end 0 for its lowest entry."""
    above_hull: tuple[float, ...]
    """Energy above the hull, eV per host unit, never negative."""
    vertices: tuple[int, ...]
    """Entries on the hull, by increasing x."""
    vertex_x: tuple[float, ...]
    """x of the vertices, increasing."""
    vertex_energy: tuple[float, ...]
    """Total energy of the vertices, eV per host unit."""

    def energy(self, x: float) -> float:
        """Total energy of the stable (mixture of) phases at ``x``, eV per host unit.

        Raises:
            InputError: if ``x`` lies outside the hull.
        """
        low, high = self.vertex_x[0], self.vertex_x[-1]
        if not low - SAME_X <= x <= high + SAME_X:
            raise InputError(f"x = {x:g} lies outside the hull, which runs from {low:g} to {high:g}")
        return float(np.interp(x, self.vertex_x, self.vertex_energy))


def lower_hull(x: Sequence[float], energy: Sequence[float]) -> list[int]:
    """Return the indices of the lower convex hull by increasing x, collinear points left out.

    Andrew's monotone chain (Inf. Process. Lett. 1979, 9, 216): exact for two points and for
    points on one line, where Qhull refuses. Of several entries at one x the lowest counts.
    """
    chain: list[int] = []
    for k in lowest_at_each_x(x, energy):
        while len(chain) > 1 and _turn(chain[-2], chain[-1], k, x, energy) <= 0:
            chain.pop()
        chain.append(k)
    return chain


def lowest_at_each_x(x: Sequence[float], energy: Sequence[float]) -> list[int]:
    """Return the index of the lowest entry at every distinct x, by increasing x."""
    lowest: list[int] = []
    for k in sorted(range(len(x)), key=lambda k: (x[k], energy[k], k)):
        if lowest and abs(x[k] - x[lowest[-1]]) < SAME_X:
            if energy[k] < energy[lowest[-1]]:
                lowest[-1] = k
        else:
            lowest.append(k)
    return lowest


def formation_hull(x: Sequence[float], energy_eV: Sequence[float]) -> Hull:
    """Build the hull of total energies against ion content.

    Args:
        x: ions per host unit of every entry, (n,).
        energy_eV: total energy of every entry, eV per host unit, (n,).

    Returns:
        Formation energies E_f = E(x) − [(x − x₀) E(x₁) − (x − x₁) E(x₀)] / (x₁ − x₀), where x₀ and x₁
        are the smallest and the largest x present, and the hull.

    Raises:
        InputError: if nothing was given, or lengths differ, or an energy is not a number.
    """
    if len(x) == 0 or len(x) != len(energy_eV):
        raise InputError(
            f"a hull needs one energy for each of at least one x; found {len(x)} x, {len(energy_eV)} energies"
        )
    if not (np.isfinite(x).all() and np.isfinite(energy_eV).all()):
        raise InputError("a hull needs finite numbers; found a NaN or an infinity among x and energies")
    vertices = lower_hull(x, energy_eV)
    ends = [vertices[0], vertices[-1]]
    content, total = np.asarray(x, float), np.asarray(energy_eV, float)
    mixture = np.interp(content, content[ends], total[ends])
    stable = np.interp(content, content[vertices], total[vertices])
    return Hull(
        x=tuple(content.tolist()),
        formation=tuple((total - mixture).tolist()),
        above_hull=tuple(np.maximum(total - stable, 0.0).tolist()),
        vertices=tuple(vertices),
        vertex_x=tuple(content[vertices].tolist()),
        vertex_energy=tuple(total[vertices].tolist()),
    )


def _turn(i: int, j: int, k: int, x: Sequence[float], energy: Sequence[float]) -> float:
    """Signed area of the triangle i, j, k: positive where the path turns upwards at j."""
    return (x[j] - x[i]) * (energy[k] - energy[i]) - (energy[j] - energy[i]) * (x[k] - x[i])
