"""Figures of results: matplotlib axes with units on them; nothing is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from atomsim.api.migrated import Migration

ARRHENIUS_K = np.linspace(250.0, 1000.0, 26)


def chosen(kind: Any, kinds: tuple[str, ...]) -> str:
    """Return a kind of figure.

    Raises:
        InputError: if there is none of that name.
    """
    if kind not in kinds:
        raise InputError(f"kind: found {kind!r}, wanted {' or '.join(kinds)};{nearest(str(kind), kinds)}".rstrip(";"))
    return str(kind)


def migration(found: Migration, ax: Axes, kind: str) -> Axes:
    """Draw barriers, paths or an Arrhenius plot.

    Raises:
        InputError: where there is nothing of that kind.
    """
    kind = chosen(kind, ("barriers", "paths", "arrhenius"))
    if kind == "paths":
        for path in found.hops:
            if path.barrier_eV is not None:
                ax.plot(path.lengths_A, path.energies_eV - path.energies_eV[0], "o-", label=path.record.tags["hop"])
        ax.set_xlabel("length of the path, Å")
        ax.set_ylabel("energy over the start, eV")
        ax.legend()
        return ax
    if kind == "arrhenius":
        values = [found.diffusivity(t) for t in ARRHENIUS_K]
        if any(v is None or v.mean <= 0 for v in values):
            raise InputError(f"no Arrhenius plot: {found.why_no_diffusivity or 'the diffusivity is 0'}")
        ax.semilogy(1000 / ARRHENIUS_K, [v.mean for v in values if v is not None])
        ax.set_xlabel("1000 K / T")
        ax.set_ylabel("diffusivity, cm²/s")
        return ax
    names = [p.record.tags["hop"] for p in found.hops]
    for n, path in enumerate(found.hops):
        if path.barrier_eV is not None:
            ax.hlines(path.barrier_eV, n - 0.4, n + 0.4, color="C0" if path.ok else "0.6")
    for d, threshold in found.percolation.threshold_eV.items():
        if threshold is not None:
            ax.axhline(threshold, color=f"C{d}", ls="--", label=f"{d}D")
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_ylabel("barrier, eV")
    if any(t is not None for t in found.percolation.threshold_eV.values()):
        ax.legend()
    return ax


def electrode(found: Any, ax: Axes, kind: str) -> Axes:
    """Draw voltage, hull, lattice or XRD patterns against x.

    Raises:
        InputError: for another kind, or where there is nothing of it.
    """
    kind = chosen(kind, ("voltage", "hull", "lattice", "xrd"))
    if not found.ok:
        raise InputError(f"nothing to draw: {found.message}")
    rows = found.structures
    if kind == "xrd":
        for n, pattern in enumerate(found.record.values["xrd"]["patterns"]):
            ax.vlines(pattern["two_theta_deg"], n, n + np.array(pattern["intensity"]) / 110, color=f"C{n % 10}")
        ax.set_yticks(
            range(len(found.record.values["xrd"]["patterns"])),
            [f"x = {p['x']:g}" for p in found.record.values["xrd"]["patterns"]],
        )
        ax.set_xlabel(f"2θ, ° ({found.record.values['xrd']['radiation']})")
        return ax
    ax.set_xlabel(f"x, {found.record.values['ion']} per formula unit")
    if kind == "hull":
        ax.plot([r["x"] for r in rows], [r["formation_eV_per_fu"] for r in rows], "o", mfc="none")
        ax.plot([v.x for v in found.hull], [v.formation_eV_per_fu for v in found.hull], "o-")
        ax.set_ylabel("formation energy, eV per formula unit")
        return ax
    if kind == "lattice":
        ax.plot([r["x"] for r in rows], [r["volume_per_fu_A3"] for r in rows], "o")
        ax.set_ylabel("volume, Å³ per formula unit")
        return ax
    if not found.voltages:
        raise InputError("no voltages: there is no relaxed reference; give reference=")
    for step in found.voltages:
        ax.hlines(step.voltage_V, step.x_low, step.x_high)
    ax.set_ylabel("voltage, V")
    return ax
