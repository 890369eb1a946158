"""Step kind ``order``: cation order on named sublattices, by a model fitted on the fly to relaxations.

A task is one structure: its whole search. Evaluations are kept, so an interrupted search continues to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.store.records import Record, Task, count_statuses, total_calls
from atomsim.tasks.barriers_checks import further_elements
from atomsim.tasks.base import Context, Inputs, Later, StepSettings, Structures, make_task, origins
from atomsim.tasks.relax_checks import second_opinions

if TYPE_CHECKING:
    from atomsim.cations.settings import OrderSettings
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "order"
NEEDS_POTENTIAL = True
report = "atomsim.report.order:order_part"


class Settings(StepSettings):
    """Keys of an ``order`` step."""

    structures: Structures = Field(
        min_length=1, description="cells of the average lattice, best unrelaxed: prototypes, files or an earlier step"
    )
    sublattices: list[str] = Field(
        default=["metal-layer"],
        min_length=1,
        max_length=6,
        description="each ordered within itself: 'metal-layer', 'Li:ion-layer', 'Mn', '#12', joined by '+'",
    )
    ion: str = Field(default="Li", description="element between the layers")
    charges: dict[str, float] = Field(
        default={}, description="formal charges of elements, e; the others follow from common states and neutrality"
    )
    shells: int = Field(default=3, ge=1, le=8, description="pair shells of the model and of the short-range order")
    relaxations: int = Field(default=40, ge=1, description="most arrangements to relax")
    batch: int = Field(default=10, ge=1, description="arrangements relaxed between two fits")
    lowest: int = Field(default=3, ge=1, le=50, description="lowest arrangements relaxed to the end and handed on")
    target_meV_per_site: float = Field(
        default=15.0, gt=0, description="leave-one-out error at which a search may end early, meV per site"
    )
    temperature_K: list[float] = Field(
        default=[300.0, 600.0, 1000.0, 1500.0], min_length=1, description="of short-range order and weights, K"
    )
    chains: int = Field(default=4, ge=2, le=64, description="independent chains of replica exchange")
    sweeps: int = Field(default=400, ge=20, description="sweeps of the final sampling, after a quarter of them")
    enumerate_limit: int = Field(
        default=2000, ge=0, description="symmetry-distinct arrangements up to which all are enumerated"
    )
    fmax_eV_per_A: float = Field(default=0.05, gt=0, description="largest force while searching, eV/Å")
    final_fmax_eV_per_A: float = Field(default=0.02, gt=0, description="largest force of the lowest ones, eV/Å")
    max_steps: int = Field(default=300, ge=1, description="steps of one relaxation")
    noise_A: float = Field(default=0.02, ge=0, le=0.2, description="seeded noise at the start of a relaxation, Å")
    cell: bool = Field(default=True, description="relax the cell too")
    check_with: Annotated[list[str], Later()] = Field(
        default_factory=list, description="further potentials that judge the lowest arrangements"
    )
    check_relax: Annotated[bool, Later()] = Field(
        default=False, description="relax again by each potential of check_with, instead of evaluating only"
    )


def cost(task: Task, settings: Settings) -> float:
    """Grow with the atoms and the relaxations."""
    return float(len((task.structure or {"numbers": [0]})["numbers"])) * settings.relaxations


def order_settings(settings: Settings, seed: int) -> OrderSettings:
    """Return the engine's settings."""
    from atomsim.cations.settings import OrderSettings

    values = settings.model_dump(exclude={"structures", "check_with", "check_relax"})
    values |= {"sublattices": tuple(settings.sublattices), "temperature_K": tuple(settings.temperature_K)}
    return OrderSettings(seed=seed, **values)


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure.

    Raises:
        InputError: if a sublattice matches nothing, holds one element only or shares atoms with another; layers are
            asked of what has none; charges do not balance; a temperature is not above 0; the potential does not
            know an element; a potential of ``check_with`` is not at hand or the first one.
    """
    from atomsim.cations.model import make_features
    from atomsim.cations.problem import OrderingProblem
    from atomsim.constraints.rules import require_unconstrained
    from atomsim.structures.sanity import check_structure

    further_elements(settings, context)
    for temperature in settings.temperature_K:
        if temperature <= 0:
            raise InputError(f"step {context.step!r}: temperature_K: found {temperature:g}, wanted above 0 K")
    tasks = []
    for origin in origins(settings.structures, inputs, context):
        try:
            check_structure(origin.atoms, context.elements)
            require_unconstrained(origin.atoms, "an exchange of cations")
            problem = OrderingProblem.of(origin.atoms, settings.sublattices, settings.ion)
            make_features(problem, settings.shells, settings.charges or None)
        except InputError as error:
            raise InputError(f"step {context.step!r}: {origin.label}: {error}") from error
        tasks.append(make_task(origin, KIND, settings, context))
    return tasks


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Search each structure; on a GPU the relaxations of a batch run together."""
    from atomsim.cations.search import final_settings, find_order
    from atomsim.tasks.order_record import order_record

    del inputs, shared
    assert potential is not None
    how = order_settings(settings, context.seed)
    again = final_settings(how) if settings.check_relax else None
    judge = partial(second_opinions, check_with=settings.check_with, how=again, potential=potential, context=context)
    for task in tasks:
        yield order_record(
            task,
            find_order(atoms_from_json(task.structure or {}), potential, how),
            judge,
            getattr(potential, "name", "first"),
        )


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses, force calls and relaxations."""
    del settings
    relaxed = sum(r.values.get("relaxations", 0) for r in records)
    return {"statuses": count_statuses(records), "force_calls": total_calls(records), "relaxations": relaxed}
