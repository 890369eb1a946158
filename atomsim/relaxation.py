"""Relaxing structures: the one function that users, tasks and tests call."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity, device_capacity, in_one_line
from atomsim.checks import check_flag, check_number, check_whole
from atomsim.constraints.rules import symmetry_of, without_symmetry
from atomsim.errors import InputError, nearest
from atomsim.exchange import as_surface, given_structures, require_sound
from atomsim.io.metadata import as_it_came, with_geometry
from atomsim.models.interface import Potential, Surface
from atomsim.models.precision import finishing
from atomsim.optimize.drive import Group, Outcome, Stop, drive
from atomsim.optimize.entry import Entry, packs
from atomsim.optimize.fire import Fire
from atomsim.optimize.hessian import Hessian
from atomsim.optimize.lbfgs import Lbfgs
from atomsim.optimize.minima import continued, to_minima
from atomsim.optimize.newton import Newton
from atomsim.optimize.rows import Method
from atomsim.optimize.space import Space
from atomsim.optimize.starts import SCREEN_FMAX, lowest_starts
from atomsim.optimize.symmetry import KeepSymmetry, require_keepable
from atomsim.structures.sanity import handedness, lone_atoms, right_handed
from atomsim.units import GPA

if TYPE_CHECKING:
    from pathlib import Path

    from ase.calculators.calculator import Calculator
    from pymatgen.core import Molecule, Structure

METHODS = ("newton", "lbfgs", "fire")
CURVATURES = ("host", "springs")


@dataclass(frozen=True)
class RelaxSettings:
    """How to relax."""

    fmax_eV_per_A: float = 0.05
    """Largest force on an atom, and on a row of V(σ + P)/n_atoms where the cell moves (as ASE's FrechetCellFilter).
    What constraints hold does not count."""
    max_steps: int = 500
    cell: bool = True
    """Relax the cell too. Systems that are not periodic in all directions keep theirs."""
    pressure_GPa: float = 0.0
    noise_A: float = 0.0
    """Standard deviation of seeded noise on free atoms at the start, Å: breaks a symmetry that holds it on a saddle."""
    seed: int = 0
    starts: int = 1
    """Starts of each system, all but the first with noise of 0.1 Å or more; the lowest is relaxed to the end."""
    check_minimum: bool = True
    """Look for a mode of negative curvature at the end, and leave a saddle along it."""
    finish_in_double: bool = True
    """Below 0.01 eV/Å, take the last part of a relaxation in float64, where the potential offers it."""
    keep_symmetry: bool = False
    """Keep the space group of the start; noise is left out, and so is the check, as both would break it.
    A ``FixSymmetry`` constraint asks for the same, for its structure alone."""
    method: str = "newton"
    """``newton`` (quasi-Newton from a spring model or a parent's Hessian), ``lbfgs`` or ``fire``."""
    curvature: str = "host"
    """What ``newton`` starts from: ``host``, where a structure's ``info`` says where ions were, and else or always
    ``springs``."""

    def __post_init__(self) -> None:
        check_number("fmax_eV_per_A", self.fmax_eV_per_A, "a force in eV/Å above 0", above=0.0)
        check_whole("max_steps", self.max_steps, "a whole number, 0 or more", low=0)
        check_number("pressure_GPa", self.pressure_GPa, "a pressure in GPa")
        check_number("noise_A", self.noise_A, "a length from 0 to 0.5 Å", low=0.0, high=0.5)
        check_whole("seed", self.seed, "a whole number, 0 or more", low=0)
        check_whole("starts", self.starts, "a whole number from 1 to 20", low=1, high=20)
        for key in ("cell", "check_minimum", "finish_in_double", "keep_symmetry"):
            check_flag(key, getattr(self, key))
        if self.starts > 1 and self.keep_symmetry:
            raise InputError(
                f"found starts={self.starts} with keep_symmetry={self.keep_symmetry}; wanted 1 where symmetry is "
                "kept: several starts differ by noise, which breaks it"
            )
        if self.method not in METHODS:
            raise InputError(
                f"unknown method {self.method!r}, wanted one of {', '.join(METHODS)};"
                f"{nearest(str(self.method), METHODS)}"
            )
        if self.curvature not in CURVATURES:
            hint = nearest(str(self.curvature), CURVATURES)
            raise InputError(f"unknown curvature {self.curvature!r}, wanted one of {', '.join(CURVATURES)};{hint}")


@dataclass(frozen=True)
class Relaxation:
    """A relaxed structure, or the last one of a relaxation that failed: ``status`` says which."""

    atoms: Atoms
    """Final structure; energy, forces, stress and moments also through ``atoms.calc``."""
    energy: float
    """eV."""
    forces: np.ndarray
    """eV/Å, (n_atoms, 3): as the potential gives them, on what constraints hold too."""
    stress: np.ndarray
    """eV/Å³, (3, 3)."""
    magmoms: np.ndarray | None
    """μB, (n_atoms,), or None."""
    status: str
    """``converged``, ``saddle``, ``max_steps``, ``exploded``, ``not_a_number``, ``too_large`` or ``invalid``."""
    message: str
    """What went wrong and what to try; when converged, empty or what could not be checked."""
    steps: int
    force_calls: int
    fmax: float
    """Largest residual force at the end, eV/Å; forces along what constraints hold do not count."""
    initial_energy: float
    """Of the first geometry, noise included, without PV, eV."""
    lowest_curvature: float | None = None
    """Curvature of the softest mode found at the end, eV/Å²; None if it was not looked for, or nothing can move."""
    source: Any = field(default=None, repr=False, compare=False)
    """The pymatgen object that was given, if it was one."""

    @property
    def converged(self) -> bool:
        """Whether the result may be used."""
        return self.status == "converged"

    @property
    def structure(self) -> Structure | Molecule:
        """Final structure as pymatgen has it (a Molecule if not periodic), moments as the site property ``magmom``.

        A pymatgen object that was relaxed comes out as its own kind, with all that it carried.
        """
        from atomsim.io.convert import to_pymatgen

        return to_pymatgen(self.atoms, self.magmoms, self.source)


def relax(
    systems: Any,
    potential: Potential | Calculator | str | Path = "chgnet-0.3.0",
    *,
    device: str = "auto",
    settings: RelaxSettings | None = None,
    capacity: Capacity | None = None,
    **overrides: Any,
) -> list[Relaxation]:
    """Relax structures with one potential; results come in the order of the input.

    Args:
        systems: one or many (any iterable) of: ASE Atoms, pymatgen Structures or Molecules, names of
            prototypes, and files, which stand for every structure in them. What they carry (info, arrays,
            constraints, site properties) comes out again.
        potential: a ``Potential``, an ASE calculator, or the name of a card or path of a model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, where the potential is given by name.
        settings: how to relax; single fields may be given as keywords instead.
        capacity: how many systems and atoms to evaluate at once; by default one system on a
            CPU (where larger batches gain nothing) and 20,000 atoms on a GPU.
        **overrides: fields of ``RelaxSettings``, e.g. ``fmax_eV_per_A=0.02, cell=False``.

    Raises:
        InputError: for an unknown potential, setting or method. A structure that cannot be
            relaxed raises nothing: its ``status`` is ``invalid`` and its ``message`` says why.
    """
    from atomsim.hosts import inherited

    chosen = _with_overrides(settings, overrides)
    if not isinstance(capacity, Capacity | None):
        raise InputError(f"capacity: found {type(capacity).__name__}, wanted a Capacity, such as Capacity(systems=8)")
    surface = as_surface(potential, device)
    given = list(given_structures(systems))
    sound = [n for n, g in enumerate(given) if not g.problem]
    found = {n: _refused(g.atoms, g.problem) for n, g in enumerate(given) if g.problem}
    atoms = [given[n].atoms for n in sound]
    known = {n: k.hessian for n, k in inherited(atoms, surface, chosen).items()}
    for k, relaxation in iter_relax(atoms, surface, chosen, capacity=capacity, hessians=known):
        found[sound[k]] = relaxation
    return [replace(found[n], source=g.source) for n, g in enumerate(given)]


def iter_relax(
    systems: Iterable[Atoms],
    surface: Surface,
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
        surface: the potential.
        settings: how to relax.
        capacity: how much to evaluate at once.
        hessians: what is known of some systems, by index, for ``newton`` to start from.
    """
    systems, known = list(systems), hessians or {}
    symmetric = {n: c for n, c in enumerate(map(symmetry_of, systems)) if c is not None}
    others = [n for n in range(len(systems)) if n not in symmetric]
    if others or not symmetric:
        found = _iter_alike([systems[n] for n in others], surface, settings, capacity, _taken(known, others))
        yield from ((others[k], relaxation) for k, relaxation in found)
    kept: list[int] = []
    for n, constraint in symmetric.items():
        try:
            require_keepable(systems[n], constraint, settings.cell, settings.starts)
            kept.append(n)
        except InputError as error:
            yield n, _refused(systems[n], str(error))
    if kept:
        plain = [without_symmetry(systems[n]) for n in kept]
        how = replace(settings, keep_symmetry=True)
        for k, relaxation in _iter_alike(plain, surface, how, capacity, _taken(known, kept)):
            relaxation.atoms.set_constraint([*relaxation.atoms.constraints, symmetric[kept[k]]])
            yield kept[k], relaxation


def _taken(known: Mapping[int, Hessian], chosen: Sequence[int]) -> dict[int, Hessian]:
    """What is known of the chosen systems, by their place among these."""
    return {k: known[n] for k, n in enumerate(chosen) if n in known}


def _iter_alike(
    systems: Sequence[Atoms],
    surface: Surface,
    settings: RelaxSettings,
    capacity: Capacity | None,
    hessians: Mapping[int, Hessian],
) -> Iterator[tuple[int, Relaxation]]:
    surface = finishing(surface, settings.fmax_eV_per_A) if settings.finish_in_double else surface
    device = getattr(surface, "device", torch.device("cpu"))
    room = capacity or default_capacity(surface, systems, device)
    space = Space(cell=settings.cell, pressure=settings.pressure_GPa * GPA)
    stop = Stop(fmax=settings.fmax_eV_per_A, max_steps=settings.max_steps)
    symmetry = KeepSymmetry() if settings.keep_symmetry else None
    refused: list[tuple[int, Relaxation]] = []
    newton = settings.method == "newton"
    entry = Entry(space, device, newton, settings.noise_A, settings.seed, settings.starts, symmetry)
    groups: Iterable[Group] = _groups(systems, surface, entry, hessians, refused)
    descend = partial(
        drive,
        surface=surface,
        method=_method(settings.method),
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
    outcomes = to_minima(groups, finely, surface, space, room, settings.seed) if look else finely(groups)
    for outcome in outcomes:
        n = int(str(outcome.key))
        yield n, _relaxation(continued(outcome, spent.pop(outcome.key, None)), systems[n], surface)
    yield from refused


def default_capacity(surface: Surface, systems: Sequence[Atoms], device: torch.device) -> Capacity:
    """One system at a time on a CPU, so that results never depend on their neighbours; what fits on a GPU."""
    if device.type == "cpu" or not systems:
        return Capacity(systems=1)
    by_size = sorted((s for s in systems if _is_sound(s, surface) and packs(s)), key=len)
    if not by_size:
        return Capacity(systems=1)
    return device_capacity(surface, Batch.pack([by_size[-1], by_size[len(by_size) // 2]], device))


def _is_sound(atoms: Atoms, surface: Surface) -> bool:
    try:
        require_sound(atoms, surface)
    except Exception:  # whatever is wrong with it is told where it is set up
        return False
    return True


def _method(name: str) -> Method[Any]:
    methods: dict[str, Method[Any]] = {"newton": Newton(), "lbfgs": Lbfgs(), "fire": Fire()}
    return methods[name]


def _groups(
    systems: Sequence[Atoms],
    surface: Surface,
    entry: Entry,
    known: Mapping[int, Hessian],
    refused: list[tuple[int, Relaxation]],
) -> Iterator[Group]:
    """Set up systems as the driver asks for them; one that cannot be set up goes to ``refused``."""
    for n, atoms in enumerate(systems):
        try:
            require_sound(atoms, surface)
            groups = entry.groups(n, right_handed(atoms), known.get(n))
        except Exception as error:  # raised inside the driver, it would end all that are in flight
            refused.append((n, _refused(atoms, in_one_line(error))))
        else:
            yield from groups


def _refused(atoms: Atoms, message: str) -> Relaxation:
    """Return a system that could not be set up, as it came."""
    atoms = as_it_came(atoms) if isinstance(atoms, Atoms) else Atoms()
    nan = np.full((len(atoms), 3), np.nan)
    return Relaxation(
        atoms=atoms,
        energy=np.nan,
        forces=nan,
        stress=np.full((3, 3), np.nan),
        magmoms=None,
        status="invalid",
        message=message,
        steps=0,
        force_calls=0,
        fmax=np.nan,
        initial_energy=np.nan,
    )


def _noted(going_on: Iterable[tuple[Outcome, Group]], spent: dict[Hashable, Outcome]) -> Iterator[Group]:
    """Pass groups on and note what they have cost."""
    for cost, group in going_on:
        spent[group.key] = cost
        yield group


def _relaxation(outcome: Outcome, source: Atoms, surface: Surface) -> Relaxation:
    (moved,) = outcome.batch.to("cpu").split()
    cell = moved.cell.array * handedness(source)
    atoms = with_geometry(source, moved.positions, cell)
    said = outcome.evaluation
    energy, forces, stress = float(said.energy[0]), said.forces.cpu().numpy(), said.stress[0].cpu().numpy()
    magmoms = None if said.magmoms is None else said.magmoms.cpu().numpy()
    results = {"energy": energy, "forces": forces, "stress": stress}
    atoms.calc = SinglePointCalculator(atoms, **results, **({} if magmoms is None else {"magmoms": magmoms}))
    atoms.info.pop("vacancies", None)  # what has moved fits its host's sites no more
    return Relaxation(
        atoms=atoms,
        energy=energy,
        forces=forces,
        stress=stress,
        magmoms=magmoms,
        status=outcome.status,
        message="; ".join(filter(None, (outcome.message, lone_atoms(atoms, surface)))),
        steps=outcome.steps,
        force_calls=outcome.force_calls,
        fmax=outcome.residual,
        initial_energy=outcome.first_energy,
        lowest_curvature=outcome.curvature,
    )


def _with_overrides(settings: RelaxSettings | None, overrides: dict[str, Any]) -> RelaxSettings:
    if not isinstance(settings, RelaxSettings | None):
        raise InputError(f"settings: found {type(settings).__name__}, wanted RelaxSettings, or its fields as keywords")
    known = RelaxSettings.__dataclass_fields__
    for key in overrides:
        if key not in known:
            raise InputError(f"unknown setting {key!r}, wanted one of {', '.join(known)};{nearest(key, known)}")
    return replace(settings or RelaxSettings(), **overrides)
