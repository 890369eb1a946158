"""Typed results of the records of a step, by its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atomsim.api.results import Result, Results
from atomsim.store.records import Record

Made = Result | Results[Any] | Any


def typed(
    kind: str,
    records: Sequence[Record],
    inputs: Mapping[str, Sequence[Record]] | None = None,
    path: Path | None = None,
) -> Made:
    """Return the typed result of a step's records; a kind of another package may bring its own ``result``.

    Args:
        kind: of the step.
        records: of the step.
        inputs: records of the steps that it takes from.
        path: folder of the run, which holds the frames of trajectories.
    """
    from atomsim.api.diffusion import Diffusivities
    from atomsim.api.dynamics import Dynamics
    from atomsim.api.electrode import Electrode, with_members
    from atomsim.api.glass import Amorphous, Glass, Glasses
    from atomsim.api.migrated import Migration
    from atomsim.api.orderings import Ordering, Orderings
    from atomsim.api.path_results import MinimumEnergyPath
    from atomsim.api.relaxed import Evaluation, Evaluations, Relaxation, Relaxations
    from atomsim.tasks import kind_of

    if kind == "relax":
        return Relaxations(map(Relaxation, records))
    if kind == "evaluate":
        return Evaluations(map(Evaluation, records))
    if kind == "delithiate":
        return Orderings(map(Ordering, records))
    if kind == "barriers":
        hosts = dict.fromkeys(r.tags.get("host", "") for r in records)
        found = [Migration(h, tuple(r for r in records if r.tags.get("host", "") == h)) for h in hosts]
        return found[0] if len(found) == 1 else {m.label: m for m in found}
    if kind == "electrode" and len(records) == 1:
        relaxed = {r.task: Relaxation(r) for step in (inputs or {}).values() for r in step}
        facts = records[0].values.get("reference") or {}
        reference = relaxed.get(facts.get("task", ""))
        return with_members(records[0], list(relaxed.values()), reference)
    if kind == "electrode":
        return Results(map(Electrode, records))
    if kind == "neb":
        return MinimumEnergyPath(records[0]) if len(records) == 1 else Results(map(MinimumEnergyPath, records))
    if kind == "amorphize":
        return Results(Amorphous(r, path=path) for r in records)
    if kind == "glass":
        return Glasses(map(Glass, records))
    if kind == "diffusion":
        measured = {r.label: Diffusivities.from_record(r.values) for r in records if r.good}
        return next(iter(measured.values())) if len(measured) == len(records) == 1 else measured
    if kind == "md":
        return Results(Dynamics(r, path=path) for r in records)
    own = getattr(kind_of(kind), "result", None)
    return own(records) if own is not None else Results(map(Result, records))
