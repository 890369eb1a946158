"""Step kind ``neb``: the minimum-energy path between two given structures, its saddle proven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from atomsim.errors import InputError
from atomsim.io.atoms_json import atoms_from_json, atoms_to_json
from atomsim.store.records import Record, Task, count_statuses, record_of, total_calls
from atomsim.tasks.barriers_checks import checked_images, further_elements
from atomsim.tasks.base import Context, Inputs, Later, Origin, Parent, StepSettings, make_task, origins

if TYPE_CHECKING:
    from atomsim.mep.path import PathSettings
    from atomsim.mep.result import MinimumEnergyPath
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "neb"
NEEDS_POTENTIAL = True

LIMITS = ("max_steps",)
"""Settings that may be raised in a run that has begun."""
PLAIN = (
    "barrier_eV",
    "reverse_barrier_eV",
    "reaction_energy_eV",
    "upper_bound",
    "fmax_eV_per_A",
    "negative_modes",
    "overlap_with_path",
    "attempt_frequency_Hz",
    "moved",
)
"""Fields of a path that are values of its record, where they are known."""


class Settings(StepSettings):
    """Keys of a ``neb`` step."""

    start: Parent = Field(description="one end: a prototype, a file or an earlier step with one structure")
    end: Parent = Field(description="the other: the same cell and atoms, in the same order")
    images: int = Field(default=5, ge=1, le=50, description="images between the ends of the path")
    fmax_eV_per_A: float = Field(
        default=0.05, gt=0, description="of a band, largest projected force; of a followed saddle 0.4 of it, eV/Å"
    )
    max_steps: int = Field(default=200, ge=1, description="steps of a band before it is given up")
    search: Literal["follow", "band"] = Field(
        default="follow", description="follow the mode along a rough path to the saddle, or a climbing band all the way"
    )
    guess: Literal["idpp", "linear"] = Field(default="idpp", description="first guess of the path")
    noise_A: float = Field(default=0.03, ge=0, le=0.5, description="seeded noise on the guess, Å: leaves ridges")
    starts: int = Field(default=1, ge=1, le=20, description="bands with other noise; the lowest is kept")
    relax_ends: bool = Field(default=True, description="relax both ends first, at fixed cell")
    order: Literal["checked", "matched", "given"] = Field(
        default="checked", description="of like atoms: refuse another order, match it, or take it as given"
    )
    prefactor: bool = Field(default=False, description="attempt frequency too (Vineyard)")
    check_with: Annotated[list[str], Later()] = Field(
        default_factory=list, description="further potentials that evaluate the images of the path"
    )


def cost(task: Task, settings: Settings) -> float:
    """Grow with the atoms and the images of a band."""
    return float(len(task.structure["numbers"]) * settings.images) if task.structure else 1.0


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make the one task; it holds both ends.

    Raises:
        InputError: if the ends cannot be joined; the message names the atom. Or if a potential of ``check_with`` is
            not at hand or the first one.
    """
    from atomsim.mep.pairing import paired
    from atomsim.structures.sanity import check_structure

    further_elements(settings, context)
    ends = []
    for name, word in (("start", settings.start), ("end", settings.end)):
        found = origins([word], inputs, context, as_given=True)
        if len(found) != 1:
            raise InputError(f"{name}: {word!r} gives {len(found)} structures; want one")
        try:
            check_structure(found[0].atoms, context.elements)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        ends.append(found[0])
    first, last = ends
    paired(first.atoms, last.atoms, settings.order)
    tags = first.tags | {"end": atoms_to_json(last.atoms), "end_label": last.label}
    label = first.label if first.label == last.label else f"{first.label} to {last.label}"
    parents = (*first.parents, *last.parents)
    return [make_task(Origin(label, first.atoms, tags, parents), KIND, settings, context)]


def path_settings(settings: Settings, seed: int) -> PathSettings:
    """Return the engine's settings."""
    from atomsim.mep.path import PathSettings

    of_both = PathSettings.__dataclass_fields__.keys() & Settings.model_fields.keys()
    return PathSettings(seed=seed, **settings.model_dump(include=set(of_both)))


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Find each path."""
    from atomsim.mep.neb import neb

    del inputs, shared
    assert potential is not None
    for task in tasks:
        path = neb(
            atoms_from_json(task.structure or {}),
            atoms_from_json(task.tags["end"]),
            potential,
            relax_ends=settings.relax_ends,
            order=settings.order,
            prefactor=settings.prefactor,
            settings=path_settings(settings, context.seed),
        )
        opinions = {}
        if settings.check_with and path.status == "converged" and path.barrier_eV is not None:
            opinions = checked_images(path.images, path.barrier_eV, settings.check_with, potential, context)
        yield _record(task, path, opinions)


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count statuses and force calls, and name the barriers."""
    del settings
    barriers = {r.label: r.values["barrier_eV"] for r in records if "barrier_eV" in r.values}
    return {"statuses": count_statuses(records), "force_calls": total_calls(records), "barriers_eV": barriers}


def _record(task: Task, path: MinimumEnergyPath, opinions: dict[str, Any]) -> Record:
    """Return the record of a path; its structure is the highest image, or the start where there is no barrier."""
    known = {key: getattr(path, key) for key in PLAIN}
    values = {key: value for key, value in known.items() if value is not None}
    values |= {
        "flags": list(path.flags),
        "remarks": list(path.remarks),
        "segments": [asdict(s) for s in path.segments],
        "lowest_curvatures_eV_per_A2": list(path.lowest_curvatures_eV_per_A2),
        "end_fmax_eV_per_A": _finite(path.end_fmax_eV_per_A),
        "end_moved_A": _finite(path.end_moved_A),
        "force_calls": path.evaluations,
        "n_atoms": len(path.images[0]),
        "n_images": len(path.images),
        "path": _images(path),
    } | opinions
    shown = path.images[0] if path.saddle is None else path.saddle
    structure = atoms_to_json(shown) if np.isfinite(shown.positions).all() else task.structure
    return record_of(task, path.status, path.message, values=values, structure=structure)


def _finite(numbers: Sequence[float]) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in numbers]


def _images(path: MinimumEnergyPath) -> dict[str, Any]:
    results: list[dict[str, Any]] = [dict(a.calc.results) if a.calc is not None else {} for a in path.images]

    def arrays(name: str) -> list[Any]:
        found = [r.get(name) for r in results]
        return [np.asarray(a).tolist() if a is not None and np.isfinite(a).all() else None for a in found]

    return {
        "length_A": _finite(path.lengths_A.tolist()),
        "energy_eV": _finite(path.energies_eV.tolist()),
        "positions_A": [a.positions.tolist() for a in path.images],
        "forces_eV_per_A": arrays("forces"),
        "magmoms_muB": arrays("magmoms"),
    }
