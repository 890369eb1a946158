"""The minimum-energy path between two given structures: ``atomsim.neb``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from atomsim.batch import Batch
from atomsim.constraints.projectors import free_directions
from atomsim.errors import InputError, nearest
from atomsim.mep.find import find_paths
from atomsim.mep.interpolate import IDENTICAL_A, between
from atomsim.mep.pairing import Pair, moves, paired
from atomsim.mep.path import Endpoints, PathSettings, travellers, with_end_forces
from atomsim.mep.rates import prefactor as vineyard_prefactor
from atomsim.mep.result import MinimumEnergyPath, Question, attempted
from atomsim.mep.segments import SegmentedPath, resolve
from atomsim.models.interface import EnergyModel, Potential
from atomsim.models.load import as_energy_model
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax
from atomsim.structures.given import given_structures, require_sound
from atomsim.types import FloatArray

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

END_FMAX, END_STEPS = 0.4, 300
"""Part of ``fmax_eV_per_A`` that forces on ends must fall to, and in how many steps at most."""
FAR_FORCE = 10.0
"""An end that is not to be relaxed, with a force above so many ``fmax_eV_per_A``, is near no minimum: a search would
find the way down from it, at length, and no barrier."""
ADVICE = "relax the ends (without --no-relax or relax_ends=False)"
GONE_A = 1.0
"""An atom of an end that relaxes further has left the place it was given, Å."""
NAMES = ("start", "end")

_log = logging.getLogger(__name__)


def neb(
    start: Atoms | Structure | str | FilePath,
    end: Atoms | Structure | str | FilePath,
    potential: Potential | EnergyModel | Calculator | str = "chgnet-0.3.0",
    *,
    relax_ends: bool = True,
    order: str = "checked",
    prefactor: bool = False,
    device: str = "auto",
    settings: PathSettings | None = None,
    **overrides: Any,
) -> MinimumEnergyPath:
    """Find the minimum-energy path between two structures and prove its saddle.

    Args:
        start: one end: Atoms, a pymatgen Structure, or a file of one structure.
        end: the other: the same cell and atoms, in the same order.
        potential: a potential, an ASE calculator, or the name of a card or path of a model.
        relax_ends: relax both first, at fixed cell; otherwise they must be minima of this potential already.
        order: of like atoms: ``checked``, ``matched`` or ``given`` (``mep.pairing.paired``).
        prefactor: compute the attempt frequency too (Vineyard), of the travelling atoms and their neighbors.
        device: where the potential is given by name.
        settings: how; single fields may be given as keywords instead.
        **overrides: fields of ``PathSettings``, e.g. ``images=7, fmax_eV_per_A=0.02``.

    Returns:
        The path; where it runs through minima, all its segments joined.

    Raises:
        InputError: if the ends cannot be joined. One that does not relax raises nothing: ``status`` says so.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> from atomsim.models.pair import LennardJones
        >>> crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat(2)
        >>> start, end = crystal[1:], crystal[1:]
        >>> end.positions[0] = crystal.positions[0]
        >>> path = atomsim.neb(start, end, LennardJones(onset_A=4.5, cutoff_A=5.2), images=3, fmax_eV_per_A=0.005)
        >>> path.status, path.negative_modes, len(path.images)
        ('converged', 1, 5)
    """
    chosen = _with_overrides(settings or PathSettings(), overrides)
    given = [_atoms(s, name) for name, s in zip(NAMES, (start, end), strict=True)]
    model = as_energy_model(potential, device)
    for name, atoms in zip(NAMES, given, strict=True):
        try:
            require_sound(atoms, model)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    pair = paired(given[0], given[1], order)
    question = question_of(pair, model, chosen, relax=relax_ends)
    failed = _failed(question, relax=relax_ends)
    if failed is not None:
        return question.without_path(*failed)
    found, moving = path_of(question, model)
    answer = question.with_path(found.path, found.segments)
    if prefactor and answer.ok:
        return attempted(answer, *vineyard_prefactor(found.path, moving, model))
    return answer


def _with_overrides(settings: PathSettings, overrides: Mapping[str, Any]) -> PathSettings:
    known = PathSettings.__dataclass_fields__
    for key in overrides:
        if key not in known:
            raise InputError(f"unknown setting {key!r}, wanted one of {', '.join(known)};{nearest(key, known)}")
    return replace(settings, **overrides)


def _atoms(given: Any, name: str) -> Atoms:
    found = list(given_structures([given]))
    if len(found) != 1:
        raise InputError(f"{name}: {given} holds {len(found)} structures; want one")
    if found[0].problem:
        raise InputError(f"{name}: {found[0].problem}")
    return found[0].atoms


def question_of(pair: Pair, model: EnergyModel, settings: PathSettings, *, relax: bool) -> Question:
    """Relax or evaluate the ends, and say what there is to say of them."""
    given = (pair.start, pair.end)
    how = RelaxSettings(
        fmax_eV_per_A=(END_FMAX if relax else 1.0) * settings.fmax_eV_per_A,
        cell=False,
        max_steps=END_STEPS if relax else 0,
        check_minimum=relax,
    )
    found = dict(iter_relax(given, model, how))
    if not relax:
        _tell_forces(found, settings.fmax_eV_per_A)
    ends = (found[0], found[1]) if relax else tuple(_looked_at(found[n], model, how) for n in (0, 1))
    flags = [_gone(name, atoms, end) for name, atoms, end in zip(NAMES, given, ends, strict=True)]
    troubles = [] if relax else [_no_minimum(name, end, settings) for name, end in zip(NAMES, ends, strict=True)]
    known = [t for t in troubles if t]
    advice = f"{ADVICE}: barriers count from the geometries given"
    return Question(
        settings=settings,
        potential=str(getattr(model, "name", type(model).__name__)),
        first=ends[0],
        last=ends[1],
        moved=moves(between(ends[0].atoms, ends[1].atoms), pair.start),
        end_moved_A=(_furthest(pair.start, ends[0]), _furthest(pair.end, ends[1])),
        remarks=pair.remarks,
        flags=(*(f for f in flags if f), *known),
        trouble="; ".join([*known, advice]) if known else "",
    )


def _tell_forces(ends: Mapping[Any, Relaxation], wanted: float) -> None:
    """Say the forces on ends that are no minima before anything long begins."""
    forces = [ends[n].fmax for n in range(len(NAMES))]
    if max(forces) > wanted:
        text = " and ".join(f"{f:.3g} eV/Å at the {name}" for name, f in zip(NAMES, forces, strict=True))
        _log.warning("largest force %s, wanted at most %g: no minima; %s", text, wanted, ADVICE)


def _looked_at(end: Relaxation, model: EnergyModel, settings: RelaxSettings) -> Relaxation:
    """Look for a mode of negative curvature at an end that is not to be relaxed; it stays where it is."""
    if not end.converged:
        return end
    ((_, seen),) = iter_relax([end.atoms], model, replace(settings, check_minimum=True))
    # one that was stepped off its saddle is not converged any more
    curvature = seen.lowest_curvature
    status = "converged" if seen.converged else "saddle"
    return replace(end, status=status, lowest_curvature=curvature, force_calls=end.force_calls + seen.force_calls)


def _no_minimum(name: str, end: Relaxation, settings: PathSettings) -> str:
    if end.status == "saddle":
        return f"the {name} is on a saddle"
    if end.fmax > settings.fmax_eV_per_A:
        return f"the {name} is no minimum: force {end.fmax:.3g} eV/Å, wanted at most {settings.fmax_eV_per_A:g}"
    return ""


def _furthest(given: Atoms, end: Relaxation) -> float:
    return float(np.linalg.norm(end.atoms.positions - given.positions, axis=1).max())


def _gone(name: str, given: Atoms, end: Relaxation) -> str:
    """Say that an end has relaxed to another place than the one it was given."""
    if not _furthest(given, end) > GONE_A:
        return ""
    who = moves(end.atoms.positions - given.positions, given)
    return f"the {name} has relaxed far from where it was given ({who}): it may be another site"


def _failed(question: Question, *, relax: bool) -> tuple[str, str] | None:
    """Status and message where there is no path to look for."""
    for name, end in zip(NAMES, (question.first, question.last), strict=True):
        if relax and not end.converged:
            return end.status, f"the {name} cannot be relaxed ({end.status}: {end.message})"
        if not np.isfinite(end.energy):
            return end.status, f"the {name} cannot be computed ({end.status}: {end.message})"
    if not relax and max(question.first.fmax, question.last.fmax) > FAR_FORCE * question.settings.fmax_eV_per_A:
        return "unproven", f"no path was looked for, as {question.trouble}"
    apart = float(np.linalg.norm(between(question.first.atoms, question.last.atoms), axis=1).max())
    if apart < IDENTICAL_A:
        return "drifted", "both ends relax to one minimum: there is no barrier between them; choose another end"
    return None


def path_of(question: Question, model: EnergyModel) -> tuple[SegmentedPath, tuple[int, ...]]:
    """Find the path and split it into its segments; also the atoms that travel."""
    first, last = question.first, question.last
    moved = without_drift(first.atoms, between(first.atoms, last.atoms))
    plain = first.atoms.copy()
    ends = Endpoints("path", plain, moved, first.energy, last.energy, travellers(moved))
    (path,) = find_paths([ends], model, question.settings)
    found = resolve(path, ends, model, question.settings)
    segments = found.segments and (
        with_end_forces(found.segments[0], first, None),
        *found.segments[1:-1],
        with_end_forces(found.segments[-1], None, last),
    )
    return SegmentedPath(with_end_forces(found.path, first, last), segments), ends.moving


def without_drift(start: Atoms, moved: FloatArray) -> FloatArray:
    """Take out what constraints hold, and the mean displacement of the atoms that do not travel.

    A lone atom is in a field that knows its place.
    """
    moved = np.einsum("aij,aj->ai", free_directions(start), moved)
    if len(start) == 1:
        return moved
    still = np.setdiff1d(np.arange(len(start)), travellers(moved))
    shifts = Batch.pack([start]).free_shifts[0].numpy()
    return np.asarray(moved - (moved[still] if len(still) else moved).mean(axis=0) @ shifts.T @ shifts)
