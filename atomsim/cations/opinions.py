"""Further potentials on dopants: where each puts them, and the cells on which they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atomsim.analysis.opinions import relative_opinions
from atomsim.cations.doped import preferences
from atomsim.store.opinions import by_another, first_potential, judged_by_all
from atomsim.store.records import Record


def dopant_opinions(records: Sequence[Record]) -> dict[str, Any]:
    """Preference of each sublattice by each potential that has judged every doped cell, and a ranking of cells.

    Args:
        records: of one ``dope`` step.

    Returns:
        ``potentials``; ``sites``: energy above the best sublattice of the same composition by each, with ``spread_eV``;
        ``ranking``: cells by the spread of their energies at one composition, the largest first. Empty lists where one
        potential alone was asked.
    """
    doped = [r for r in records if r.tags.get("role") == "doped"]
    others = judged_by_all(doped)
    if not others:
        return {"potentials": [], "sites": [], "ranking": []}
    by_name = {first_potential(doped): doped} | {name: by_another(doped, name) for name in others}
    found = {name: {(p.formula, p.site): p.above_eV for p in preferences(own)} for name, own in by_name.items()}
    sites = [
        {"formula": formula, "site": site, "by": by, "spread_eV": float(np.ptp(list(by.values())))}
        for formula, site in next(iter(found.values()))
        for by in [{name: above[formula, site] for name, above in found.items()}]
    ]
    ranking: list[dict[str, Any]] = []
    for formula in dict.fromkeys(r.tags["formula"] for r in doped):
        own = [n for n, r in enumerate(doped) if r.tags["formula"] == formula and r.good]
        if len(own) > 1:
            labels = [doped[n].label for n in own]
            energies = {name: [r.values["energy_eV"] for r in rs if r.label in labels] for name, rs in by_name.items()}
            ranking += relative_opinions(labels, energies)
    ranked = sorted(ranking, key=lambda row: (-row["spread_eV"], row["label"]))
    return {"potentials": list(by_name), "sites": sites, "ranking": ranked}
