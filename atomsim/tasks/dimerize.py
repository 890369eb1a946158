"""Step kind ``dimerize``: oxygens driven together, released, put into voids; what they become and what it takes.

One task is one symmetry-distinct pair of one structure. Its cell stays as it is, unless ``cell`` is set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import Field

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.store.records import Record, Task, count_statuses, total_calls
from atomsim.tasks.base import Context, Inputs, Origin, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared
    from atomsim.oxygen.settings import DimerSettings
    from atomsim.structures.pairs import Pair

KIND = "dimerize"
NEEDS_POTENTIAL = True
report = "atomsim.report.oxygen:dimer_part"
LIMITS = ("max_steps",)
PairKind = Literal[
    "shared edge of two octahedra", "edge of one octahedron", "edge around an ion's site", "across the ion layer"
]
"""``structures.pairs.KINDS``, which cannot be imported here: settings must load fast."""


class Settings(StepSettings):
    """Keys of a ``dimerize`` step."""

    structures: Structures = Field(min_length=1, description="relaxed crystals: an earlier step, prototypes or files")
    kinds: list[PairKind] = Field(
        default=list(get_args(PairKind)), min_length=1, description="pairs to drive, by their place"
    )
    per_kind: int = Field(default=1, ge=0, description="pairs of each kind, the shortest first; 0 for all")
    longest_A: float = Field(default=3.2, gt=0, le=6, description="longest pair, Å")
    symprec_A: float = Field(
        default=0.05, gt=0, le=0.5, description="tolerance in which sites and pairs are alike by symmetry, Å"
    )
    target_A: float = Field(default=1.2, ge=0.9, description="length that a scan ends at, Å")
    points: int = Field(default=12, ge=2, le=100, description="lengths of a scan in one direction; it goes in and out")
    scan_fmax_eV_per_A: float = Field(default=0.1, gt=0, description="largest force at the points of a scan, eV/Å")
    fmax_eV_per_A: float = Field(default=0.01, gt=0, description="largest force at minima, eV/Å")
    max_steps: int = Field(default=500, ge=1, description="steps of one relaxation")
    noise_A: float = Field(default=0.02, ge=0, le=0.2, description="seeded noise at the start of a scan, Å")
    void: bool = Field(default=True, description="also put O2 into the largest void that both atoms leave")
    saddle: bool = Field(default=True, description="look for the saddle from the top of the scan, and prove it")
    cell: bool = Field(
        default=False,
        description="let the cell follow before a scan and after a release; then no saddle is looked for",
    )
    max_pressure_GPa: float = Field(default=10.0, gt=0, description="structures under more are refused, GPa")
    moments: bool = Field(default=False, description="refuse a potential without magnetic moments")
    check_with: list[str] = Field(
        default=[], description="further potentials to evaluate each minimum with: names, NAME#HEAD or paths"
    )


def cost(task: Task, settings: Settings) -> float:
    """Grow with the atoms and the points of a scan."""
    return cost_per_atom(task, settings) * settings.points


def dimer_settings(settings: Settings, seed: int) -> DimerSettings:
    """Return the engine's settings."""
    from atomsim.oxygen.settings import DimerSettings

    of_both = DimerSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    return DimerSettings(seed=seed, **settings.model_dump(include=set(of_both)))


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each distinct pair of each structure.

    Raises:
        InputError: if a structure has no pair of oxygens, one that is a bond already or shorter than the target, is
            under too much pressure, has constraints, or an element is unknown to the potential or to one of
            ``check_with``.
    """
    from atomsim.constraints.rules import require_unconstrained
    from atomsim.oxygen.settings import require_target
    from atomsim.structures.pairs import find_pairs, require_pair
    from atomsim.structures.sanity import check_structure
    from atomsim.tasks.barriers_checks import further_elements

    others = further_elements(settings, context)
    pressures = {r.task: r.values.get("pressure_GPa", 0.0) for records in inputs.values() for r in records}
    tasks = []
    for origin in origins(settings.structures, inputs, context):
        try:
            for known in (context.elements, *others.values()):
                check_structure(origin.atoms, known)
            require_unconstrained(origin.atoms, "a drive of one pair for all that are alike by symmetry")
            _require_little_pressure([pressures.get(p, 0.0) for p in origin.parents], settings)
            pairs = _chosen(
                find_pairs(origin.atoms, longest_A=settings.longest_A, symprec=settings.symprec_A), settings
            )
            for pair in pairs:
                require_pair(pair)
                require_target(settings.target_A, pair.length_A, pair.name)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {origin.label}: {error}") from error
        tasks += [make_task(_of_pair(origin, pair), KIND, settings, context) for pair in pairs]
    return tasks


def _require_little_pressure(pressures: Sequence[float], settings: Settings) -> None:
    most = max(map(abs, pressures), default=0.0)
    if most > settings.max_pressure_GPa:
        raise InputError(
            f"under {most:.1f} GPa, wanted at most {settings.max_pressure_GPa:g}: relax its cell first, "
            "or raise max_pressure_GPa"
        )


def _chosen(pairs: Sequence[Pair], settings: Settings) -> list[Pair]:
    by_kind = [[p for p in pairs if p.kind == kind] for kind in settings.kinds]
    chosen = [p for own in by_kind for p in (own[: settings.per_kind] if settings.per_kind else own)]
    if not chosen:
        there = ", ".join(sorted({p.kind for p in pairs}))
        raise InputError(f"no pair of the kinds wanted below {settings.longest_A:g} Å; there are: {there}")
    return chosen


def _of_pair(origin: Origin, pair: Pair) -> Origin:
    tags = origin.tags | {
        "host": origin.label,
        "pair": [pair.first, pair.second, list(pair.shift)],
        "pair_kind": pair.kind,
        "pair_centres": list(pair.centres),
        "pair_length_A": round(pair.length_A, 6),
        "multiplicity": pair.multiplicity,
    }
    return Origin(f"{origin.label} {pair.name}", origin.atoms, tags, origin.parents)


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Drive all pairs; on a CPU one after the other, so that records come as they end."""
    from atomsim.models.interface import device_of
    from atomsim.oxygen.dimers import Request, find_dimers
    from atomsim.tasks.dimerize_record import search_record

    del inputs, shared
    assert potential is not None
    how = dimer_settings(settings, context.seed)
    one_by_one = device_of(potential).type == "cpu"
    for part in [[t] for t in tasks] if one_by_one else [list(tasks)]:
        requests = [Request(t.id, atoms_from_json(t.structure or {}), _pair_of(t)) for t in part]
        for task, search in zip(part, find_dimers(requests, potential, how), strict=True):
            yield search_record(task, search, settings.check_with, potential, context)


def _pair_of(task: Task) -> Pair:
    from atomsim.structures.pairs import Pair

    t = task.tags
    first, second, shift = t["pair"]
    return Pair(
        first, second, tuple(shift), t["pair_length_A"], t["pair_kind"], t["multiplicity"], tuple(t["pair_centres"])
    )


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses, force calls and what pairs became."""
    del settings
    outcomes: dict[str, int] = {}
    for r in records:
        if r.good:
            outcomes[r.values["outcome"]] = outcomes.get(r.values["outcome"], 0) + 1
    return {"statuses": count_statuses(records), "force_calls": total_calls(records), "outcomes": outcomes}
