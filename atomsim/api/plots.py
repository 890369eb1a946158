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
