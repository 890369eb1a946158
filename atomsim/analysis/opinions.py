"""Agreement of potentials on an electrode: voltages and hulls of each, their spread, and where they differ most.

Energies of two potentials share no zero. What is compared are differences that do not depend on it: voltages
against each one's own metal, formation energies between each one's own end members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atomsim.analysis.hull import formation_hull
from atomsim.analysis.voltage import voltage_steps


@dataclass(frozen=True)
class Judged:
    """Energies of the same structures by several potentials."""

    labels: Sequence[str]
    x: Sequence[float]
    """Ions per host unit."""
    energies: Mapping[str, Sequence[float]]
    """By potential, the first one first, eV per host unit."""
    ion_energies: Mapping[str, float]
    """Energy of the ion's metal, eV per atom, by potential; one that has none gives no voltages."""
    charge: int


def electrode_opinions(judged: Judged) -> dict[str, Any]:
    """Voltages at the same compositions, distances above each potential's hull, spreads, and a ranking.

    Args:
        judged: energies of at least two potentials.

    Returns:
        ``voltages``: one entry for each step of the first potential's hull, with the voltage of each potential between
        the lowest structures at these compositions, and ``spread_V``; ``above_hull``: per structure; ``ranking``:
        labels with the spread of their formation energies, largest first, which is where DFT decides most.
    """
    names = list(judged.energies)
    hulls = {name: formation_hull(judged.x, judged.energies[name]) for name in names}
    return {
        "potentials": names,
        "voltages": _voltages(judged, hulls[names[0]].vertex_x),
        "above_hull": [
            {"label": label, **_spread({n: hulls[n].above_hull[k] for n in names}, "eV_per_fu")}
            for k, label in enumerate(judged.labels)
        ],
        "ranking": _ranking(judged, {n: hulls[n].formation for n in names}),
    }


def relative_opinions(labels: Sequence[str], energies: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Energies of structures of one composition above the one that the first potential puts lowest.

    Args:
        labels: of the structures.
        energies: by potential, the first one first, eV.

    Returns:
        A row for each structure, ``by`` potential with ``spread_eV``, the largest spread first: there DFT decides most.
    """
    lowest = int(np.argmin(next(iter(energies.values()))))
    rows = [
        {"label": label, **_spread({n: float(e[k] - e[lowest]) for n, e in energies.items()}, "eV")}
        for k, label in enumerate(labels)
    ]
    return sorted(rows, key=lambda row: (-row["spread_eV"], row["label"]))


def _voltages(judged: Judged, at: Sequence[float]) -> list[dict[str, Any]]:
    """Each potential's voltage between the same compositions, its own lowest structures there."""
    by_name = {}
    for name, ion in judged.ion_energies.items():
        if name in judged.energies:
            lowest = [
                min(e for e, x in zip(judged.energies[name], judged.x, strict=True) if abs(x - v) < 1e-6) for v in at
            ]
            by_name[name] = voltage_steps(list(at), lowest, ion, judged.charge)
    first = next(iter(by_name.values()), [])
    return [
        {"x_high": step.x_high, "x_low": step.x_low, **_spread({n: s[k].voltage for n, s in by_name.items()}, "V")}
        for k, step in enumerate(first)
    ]


def _ranking(judged: Judged, formation: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    rows = [
        {"label": label, "x": judged.x[k], **_spread({n: f[k] for n, f in formation.items()}, "eV_per_fu")}
        for k, label in enumerate(judged.labels)
    ]
    return sorted(rows, key=lambda row: (-row["spread_eV_per_fu"], row["label"]))


def _spread(values: Mapping[str, float], unit: str) -> dict[str, Any]:
    """Values by potential, and the difference between the largest and the smallest."""
    return {"by": dict(values), f"spread_{unit}": float(np.ptp(list(values.values())))}
