"""The saddle between the intact cell and a dimer, looked for from the top of the scan."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity
from atomsim.mep.path import Endpoints, PathSettings, travellers
from atomsim.mep.search import continue_searches
from atomsim.mep.state import SaddleSearch
from atomsim.models.interface import EnergyModel, device_of
from atomsim.oxygen.result import PairSearch
from atomsim.oxygen.settings import DimerSettings
from atomsim.types import FloatArray

PATH_FMAX = 0.05
"""Force threshold of the path's images, eV/Å; at the saddle 0.4 of it."""
IMAGES = 5
UNPROVEN = "no saddle of first order was found from the top of the scan: the barrier is an upper bound"


def paths_between(
    searches: Sequence[PairSearch], potential: EnergyModel, settings: DimerSettings, room: Capacity
) -> dict[Hashable, PairSearch]:
    """Join each intact cell and the lowest dimer that its scan led to by the saddle."""
    by_key = {s.key: s for s in searches if s.bound_eV is not None}
    climbs = [_climb(s, potential) for s in by_key.values()]
    how = PathSettings(images=IMAGES, fmax_eV_per_A=PATH_FMAX, seed=settings.seed)
    continue_searches(climbs, potential, how, room)
    found: dict[Hashable, PairSearch] = {}
    for climb in climbs:
        search = by_key[climb.key[0]]
        path = climb.path if not climb.failed else None
        found[search.key] = replace(search, path=path, force_calls={**search.force_calls, "saddle": climb.calls + 1})
        if found[search.key].proven_barrier is None:
            found[search.key] = replace(found[search.key], message=UNPROVEN)
    return found


def _climb(search: PairSearch, potential: EnergyModel) -> SaddleSearch:
    assert search.driven is not None
    start, end = search.intact.atoms.copy(), search.driven.relaxation.atoms
    start.calc = None
    moved = end.positions - start.positions
    ends = Endpoints(search.key, start, moved, search.intact.energy, search.driven.relaxation.energy, travellers(moved))
    way = search.way
    top = max(range(len(way)), key=lambda n: way[n].energy_eV)
    at = way[top].atoms
    before = way[top - 1].atoms.positions if top else start.positions
    after = way[top + 1].atoms.positions if top + 1 < len(way) else end.positions
    tangent: FloatArray = after - before
    forces = potential(Batch.pack([at], device_of(potential))).forces.cpu().numpy()
    return SaddleSearch((search.key, 0), ends, at.positions, forces, tangent / np.linalg.norm(tangent))
