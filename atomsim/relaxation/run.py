"""Relaxations of many systems at once, each yielded as it ends."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from ase import Atoms

from atomsim.batching.capacity import Capacity, capacity_for, in_one_line
from atomsim.constraints.rules import symmetry_of, without_symmetry
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel, device_of
from atomsim.models.precision import finishing
from atomsim.optimize.drive import Outcome, drive
from atomsim.optimize.entering import Group
from atomsim.optimize.fire import Fire
from atomsim.optimize.group_builder import GroupBuilder, packs
from atomsim.optimize.hessian import Hessian
from atomsim.optimize.lbfgs import Lbfgs
from atomsim.optimize.limited import LimitedNewton
from atomsim.optimize.minima import continued, to_minima
from atomsim.optimize.newton import Newton
from atomsim.optimize.rows import Method
from atomsim.optimize.space import Space
from atomsim.optimize.sparse import is_large
from atomsim.optimize.starts import SCREEN_FMAX, lowest_starts
from atomsim.optimize.stop import Stop
from atomsim.optimize.symmetry import KeepSymmetry, require_keepable
from atomsim.relaxation.result import Relaxation, refusal, result_of
from atomsim.relaxation.settings import RelaxSettings
from atomsim.structures.given import require_sound
from atomsim.structures.sanity import right_handed
from atomsim.units import GPA

if TYPE_CHECKING:
    pass


def iter_relax(
    systems: Iterable[Atoms],
    potential: EnergyModel,
    settings: RelaxSettings,
    *,
    capacity: Capacity | None = None,
    hessians: Mapping[int, Hessian] | None = None,
) -> Iterator[tuple[int, Relaxation]]:
    """Relax systems as they come and yield (index, relaxation) as each ends.

    One that is not sound (see ``check_structure``) ends as ``invalid`` and costs no other its result. One with a
    ``FixSymmetry`` constraint is relaxed as by ``keep_symmetry``.

    Args:
        systems: what to relax.
        potential: the potential.
        settings: how to relax.
        capacity: how much to evaluate at once.
        hessians: what is known of some systems, by index, for ``newton`` to start from.
    """
    systems, known = list(systems), hessians or {}
    symmetric = {n: c for n, c in enumerate(map(symmetry_of, systems)) if c is not None}
    others = [n for n in range(len(systems)) if n not in symmetric]
    if others or not symmetric:
        found = _by_size([systems[n] for n in others], potential, settings, capacity, _taken(known, others))
        yield from ((others[k], relaxation) for k, relaxation in found)
    kept: list[int] = []
    for n, constraint in symmetric.items():
        try:
            require_keepable(systems[n], constraint, settings.cell, settings.starts)
            kept.append(n)
        except InputError as error:
            yield n, refusal(systems[n], str(error))
    if kept:
        plain = [without_symmetry(systems[n]) for n in kept]
        how = replace(settings, keep_symmetry=True)
        for k, relaxation in _by_size(plain, potential, how, capacity, _taken(known, kept)):
            relaxation.atoms.set_constraint([*relaxation.atoms.constraints, symmetric[kept[k]]])
            yield kept[k], relaxation


def _taken(known: Mapping[int, Hessian], chosen: Sequence[int]) -> dict[int, Hessian]:
    """Known Hessians of the chosen systems, by their place among these."""
    return {k: known[n] for k, n in enumerate(chosen) if n in known}


def _by_size(
    systems: Sequence[Atoms],
    potential: EnergyModel,
    settings: RelaxSettings,
    capacity: Capacity | None,
    hessians: Mapping[int, Hessian],
) -> Iterator[tuple[int, Relaxation]]:
    """Relax small systems, then large ones: these keep no matrix, and a matrix would be as wide as the largest."""
    sizes = [isinstance(s, Atoms) and is_large(len(s)) for s in systems]
    for large in sorted(set(sizes)) or [False]:
        some = [n for n, size in enumerate(sizes) if size == large]
        known = _taken(hessians, some)
        found = _iter_alike([systems[n] for n in some], potential, settings, capacity, known, large=large)
        yield from ((some[k], relaxation) for k, relaxation in found)


def _iter_alike(
    systems: Sequence[Atoms],
    potential: EnergyModel,
    settings: RelaxSettings,
    capacity: Capacity | None,
    hessians: Mapping[int, Hessian],
    *,
    large: bool,
) -> Iterator[tuple[int, Relaxation]]:
    potential = finishing(potential, settings.fmax_eV_per_A) if settings.finish_in_double else potential
    device = device_of(potential)
    room = capacity or default_capacity(potential, systems, device)
    space = Space(cell=settings.cell, pressure=settings.pressure_GPa * GPA)
    stop = Stop(fmax=settings.fmax_eV_per_A, max_steps=settings.max_steps)
    symmetry = KeepSymmetry() if settings.keep_symmetry else None
    refused: list[tuple[int, Relaxation]] = []
    newton = settings.method == "newton"
    builder = GroupBuilder(space, device, newton, settings.noise_A, settings.seed, settings.starts, symmetry)
    groups: Iterable[Group] = _groups(systems, potential, builder, hessians, refused)
    descend = partial(
        drive,
        potential=potential,
        method=_method(settings.method, large),
        space=space,
        capacity=room,
        project=symmetry,
    )
    spent: dict[Hashable, Outcome] = {}
    if settings.starts > 1:
        coarse = partial(descend, stop=replace(stop, fmax=max(SCREEN_FMAX, stop.fmax)))
        groups = _noted(lowest_starts(groups, coarse, settings.starts, space), spent)
    finely = partial(descend, stop=stop)
    look = settings.check_minimum and not settings.keep_symmetry
    outcomes = to_minima(groups, finely, potential, space, room, settings.seed) if look else finely(groups)
    for outcome in outcomes:
        n = int(str(outcome.key))
        yield n, result_of(continued(outcome, spent.pop(outcome.key, None)), systems[n], potential)
    yield from refused


def default_capacity(potential: EnergyModel, systems: Sequence[Atoms], device: torch.device) -> Capacity:
    """One system at a time on a CPU, so that results never depend on their neighbours; what fits on a GPU."""
    if device.type == "cpu":
        return Capacity(systems=1)
    return capacity_for(potential, [s for s in systems if _is_sound(s, potential) and packs(s)])


def _is_sound(atoms: Atoms, potential: EnergyModel) -> bool:
    try:
        require_sound(atoms, potential)
    except Exception:  # whatever is wrong with it is told where it is set up
        return False
    return True


def _method(name: str, large: bool) -> Method[Any]:
    methods: dict[str, Method[Any]] = {
        "newton": LimitedNewton() if large else Newton(),
        "lbfgs": Lbfgs(),
        "fire": Fire(),
    }
    return methods[name]


def _groups(
    systems: Sequence[Atoms],
    potential: EnergyModel,
    builder: GroupBuilder,
    known: Mapping[int, Hessian],
    refused: list[tuple[int, Relaxation]],
) -> Iterator[Group]:
    """Set up systems as the driver asks for them; one that cannot be set up goes to ``refused``."""
    for n, atoms in enumerate(systems):
        try:
            require_sound(atoms, potential)
            groups = builder.groups(n, right_handed(atoms), known.get(n))
        except Exception as error:  # raised inside the driver, it would end all that are in flight
            refused.append((n, refusal(atoms, in_one_line(error))))
        else:
            yield from groups


def _noted(going_on: Iterable[tuple[Outcome, Group]], spent: dict[Hashable, Outcome]) -> Iterator[Group]:
    """Pass groups on and note what they have cost."""
    for cost, group in going_on:
        spent[group.key] = cost
        yield group
