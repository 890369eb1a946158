"""Further potentials on oxygen: formation energies and onsets of release by each, each against its own O2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atomsim.oxygen.summary import LEVELS, summary_of_step
from atomsim.store.opinions import by_another, first_potential, judges
from atomsim.store.records import Record


def oxygen_opinions(records: Sequence[Record]) -> dict[str, Any]:
    """Formation energies of vacancies and onsets of release by each potential that has an O2 and judged them.

    Args:
        records: of one ``oxygen`` step.

    Returns:
        ``potentials``; ``vacancies``: energies by each with ``spread_eV``, the largest first: there DFT decides most;
        ``onsets``: by level, ion contents between which O2 is released. Empty where one alone was asked.
    """
    names = judges(records)
    if not names:
        return {"potentials": [], "vacancies": [], "onsets": []}
    own = first_potential(records)
    found = {own: summary_of_step(records)} | {name: summary_of_step(by_another(records, name)) for name in names}
    found = {name: s for name, s in found.items() if s.oxygen_eV is not None}
    energies: dict[str, dict[str, float]] = {}
    for name, summary in found.items():
        for v in summary.vacancies:
            if v.relaxed_eV is not None:
                energies.setdefault(v.label, {})[name] = v.relaxed_eV
    rows: list[dict[str, Any]] = [
        {"label": label, "by": by, "spread_eV": float(np.ptp(list(by.values())))}
        for label, by in energies.items()
        if len(by) > 1
    ]
    onsets = [
        {"level": level, "by": by}
        for level in LEVELS
        if len(by := {n: s.onset(level, gas=True) for n, s in found.items() if (level, True) in s.releases}) > 1
    ]
    ranked = sorted(rows, key=lambda row: (-row["spread_eV"], row["label"]))
    return {"potentials": list(found), "vacancies": ranked, "onsets": onsets}
