"""Relaxing structures: the one function that users, tasks and tests call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomsim.batch import Batch
from atomsim.batching import Capacity
from atomsim.errors import InputError, nearest
from atomsim.models.interface import Potential, Surface
from atomsim.optimize.drive import Group, Outcome, Stop, drive
from atomsim.optimize.fire import Fire
from atomsim.optimize.lbfgs import Lbfgs
from atomsim.optimize.modes import lowest_modes
from atomsim.optimize.newton import Newton
from atomsim.optimize.rows import Method, Rows
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_guess
from atomsim.units import GPA

if TYPE_CHECKING:
    from pymatgen.core import Structure

METHODS = ("newton", "lbfgs", "fire")
NEGATIVE = -0.1
"""Curvature below which a point is a saddle, eV/Å²; soft modes above it are noise of the potential."""
KICK = 0.15
"""Longest row of the step off a saddle, Å."""
RESTARTS = 3
"""How often a relaxation may leave a saddle before it is given up as one."""


@dataclass(frozen=True)
class RelaxSettings:
    """How to relax."""

    fmax_eV_per_A: float = 0.05
    """Largest force on an atom, and on a row of V(σ + P)/n_atoms where the cell moves (as ASE's FrechetCellFilter)."""
    max_steps: int = 500
    cell: bool = True
    """Relax the cell too. Systems that are not periodic in all directions keep theirs."""
    pressure_GPa: float = 0.0
    noise_A: float = 0.0
    """Standard deviation of seeded noise on free atoms at the start, Å: breaks a symmetry that holds it on a saddle."""
    seed: int = 0
    check_minimum: bool = True
    """Look for a mode of negative curvature at the end, and leave a saddle along it."""
    method: str = "newton"
    """``newton`` (quasi-Newton from a spring model or a parent's Hessian), ``lbfgs`` or ``fire``."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                f"unknown method {self.method!r}, wanted one of {', '.join(METHODS)};{nearest(self.method, METHODS)}"
            )


@dataclass(frozen=True)
class Relaxation:
    """A relaxed structure, or the last one of a relaxation that failed: ``status`` says which."""

    atoms: Atoms
    """Final structure; energy, forces, stress and moments also through ``atoms.calc``."""
    energy: float
    """eV."""
    forces: np.ndarray
    """eV/Å, (n_atoms, 3)."""
    stress: np.ndarray
    """eV/Å³, (3, 3)."""
    magmoms: np.ndarray | None
    """μB, (n_atoms,), or None."""
    status: str
    """``converged``, ``saddle``, ``max_steps``, ``exploded``, ``not_a_number``, ``too_large`` or ``invalid``."""
    message: str
    """What went wrong and what to try; empty when converged."""
    steps: int
    force_calls: int
    fmax: float
    """Largest residual force at the end, eV/Å."""
    initial_energy: float
    """eV."""
    lowest_curvature: float | None = None
    """Curvature of the softest mode found at the end, eV/Å²; None if it was not looked for."""

    @property
    def converged(self) -> bool:
        """Whether the result may be used."""
        return self.status == "converged"

    @property
    def structure(self) -> Structure:
        """Final structure as pymatgen Structure, moments as the site property ``magmom``."""
        from pymatgen.io.ase import AseAtomsAdaptor

        plain = self.atoms.copy()
        structure = AseAtomsAdaptor.get_structure(plain)
        if self.magmoms is not None:
            structure.add_site_property("magmom", [float(m) for m in self.magmoms])
        return structure


def relax(
    systems: list[Atoms] | list[Structure] | tuple[Atoms | Structure, ...] | Atoms | Structure,
    potential: Potential | str = "chgnet-0.3.0",
    *,
    device: str = "auto",
    settings: RelaxSettings | None = None,
    capacity: Capacity | None = None,
    **overrides: Any,
) -> list[Relaxation]:
    """Relax structures with one potential; results come in the order of the input.

    Args:
        systems: ASE Atoms or pymatgen Structures, one or many.
        potential: a ``Potential``, or the name of a card or path of a model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``, where the potential is given by name.
        settings: how to relax; single fields may be given as keywords instead.
        capacity: how many systems and atoms to evaluate at once; by default one system on a
            CPU (where larger batches gain nothing) and 20,000 atoms on a GPU.
        **overrides: fields of ``RelaxSettings``, e.g. ``fmax_eV_per_A=0.02, cell=False``.

    Raises:
        InputError: for an unknown potential, setting or method. A structure that cannot be
            relaxed raises nothing: its ``status`` says so.
    """
    from atomsim.models.load import load_potential

    chosen = _with_overrides(settings or RelaxSettings(), overrides)
    surface = load_potential(potential, device=device) if isinstance(potential, str) else potential
    atoms = [_as_atoms(s) for s in (systems if isinstance(systems, list | tuple) else [systems])]
    found: dict[int, Relaxation] = dict(iter_relax(atoms, surface, chosen, capacity=capacity))
    return [found[n] for n in range(len(atoms))]


def iter_relax(
    systems: Iterable[Atoms],
    surface: Surface,
    settings: RelaxSettings,
    *,
    capacity: Capacity | None = None,
) -> Iterator[tuple[int, Relaxation]]:
    """Relax systems as they come and yield (index, relaxation) as each ends."""
    device = getattr(surface, "device", torch.device("cpu"))
    room = capacity or default_capacity(device)
    space = Space(cell=settings.cell, pressure=settings.pressure_GPa * GPA)
    stop = Stop(fmax=settings.fmax_eV_per_A, max_steps=settings.max_steps)
    groups: Iterable[Group] = (_group(n, atoms, settings, space, device) for n, atoms in enumerate(systems))
    earlier: dict[int, Relaxation] = {}
    for restart in range(RESTARTS + 1):
        outcomes = drive(groups, surface, _method(settings.method), space, stop, room)
        groups = []
        for done in _checked(outcomes, surface, space, settings, room):
            found = _continued(done.relaxation, earlier.get(done.key))
            if found.status == "saddle" and restart < RESTARTS:
                earlier[done.key] = found
                groups.append(done.kicked)
            else:
                yield done.key, found
        if not groups:
            return


def default_capacity(device: torch.device) -> Capacity:
    """One system at a time on a CPU, so that results never depend on their neighbours; many on a GPU."""
    return Capacity(systems=1) if device.type == "cpu" else Capacity(systems=4096, atoms=20_000)


def noisy(atoms: Atoms, noise: float, seed: int) -> Atoms:
    """Return a copy with normal noise on free atoms; the same structure and seed give the same noise."""
    content = hashlib.sha256(atoms.positions.tobytes() + atoms.cell.array.tobytes() + atoms.numbers.tobytes())
    rng = np.random.default_rng([seed, int.from_bytes(content.digest()[:8])])
    moved = atoms.copy()
    moved.set_positions(atoms.positions + rng.normal(0.0, noise, (len(atoms), 3)))  # respects constraints
    return moved


def _method(name: str) -> Method[Any]:
    methods: dict[str, Method[Any]] = {"newton": Newton(), "lbfgs": Lbfgs(), "fire": Fire()}
    return methods[name]


@dataclass(frozen=True)
class _Done:
    """A relaxation that ended, and where it would go on from if it ended on a saddle."""

    key: int
    relaxation: Relaxation
    kicked: Group


def _checked(
    outcomes: Iterable[Outcome], surface: Surface, space: Space, settings: RelaxSettings, room: Capacity
) -> Iterator[_Done]:
    """Look at the lowest mode of what has converged, as many systems at once as there is room for."""
    waiting: list[Outcome] = []
    for outcome in outcomes:
        if outcome.status != "converged" or not settings.check_minimum:
            yield _Done(int(str(outcome.key)), _relaxation(outcome), _again(outcome, outcome.batch))
            continue
        atoms = sum(o.batch.n_atoms for o in waiting) + outcome.batch.n_atoms
        if waiting and not room.admits(len(waiting) + 1, atoms):
            yield from _looked_at(waiting, surface, space, settings)
            waiting = []
        waiting.append(outcome)
    if waiting:
        yield from _looked_at(waiting, surface, space, settings)


def _looked_at(outcomes: list[Outcome], surface: Surface, space: Space, settings: RelaxSettings) -> Iterator[_Done]:
    batch = Batch.join([o.batch for o in outcomes])
    guesses = [spring_guess(o.batch, space) if o.inverse_hessian is None else o.inverse_hessian for o in outcomes]
    modes = lowest_modes(batch, surface, space, guesses, negative=NEGATIVE, seed=settings.seed)
    layout = space.layout(batch)
    rows = Rows(layout.system, batch.n_systems)
    kick = KICK / rows.largest(modes.mode)
    kicked = space.move(batch, kick[rows.group, None] * modes.mode, layout)
    looked = zip(outcomes, modes.curvature.tolist(), modes.force_calls.tolist(), strict=True)
    for n, (outcome, curvature, calls) in enumerate(looked):
        found = _relaxation(outcome)
        found = replace(found, lowest_curvature=curvature, force_calls=found.force_calls + calls)
        if curvature < NEGATIVE:
            found = replace(
                found,
                status="saddle",
                message=f"forces vanish on a saddle: a mode has curvature {curvature:.2f} eV/Å²; "
                "start from noise_A = 0.05 or more",
            )
        yield _Done(int(str(outcome.key)), found, _again(outcome, kicked.take([n])))


def _again(outcome: Outcome, batch: Batch) -> Group:
    return Group(outcome.key, batch, outcome.inverse_hessian)


def _continued(found: Relaxation, earlier: Relaxation | None) -> Relaxation:
    """Add the cost of what came before a restart."""
    if earlier is None:
        return found
    return replace(
        found,
        steps=found.steps + earlier.steps,
        force_calls=found.force_calls + earlier.force_calls,
        initial_energy=earlier.initial_energy,
    )


def _group(key: int, atoms: Atoms, settings: RelaxSettings, space: Space, device: torch.device) -> Group:
    start = noisy(atoms, settings.noise_A, settings.seed) if settings.noise_A > 0 else atoms
    batch = Batch.pack([start], device)
    return Group(key, batch, spring_guess(batch, space) if settings.method == "newton" else None)


def _relaxation(outcome: Outcome) -> Relaxation:
    (atoms,) = outcome.batch.to("cpu").split()
    said = outcome.evaluation
    energy, forces, stress = float(said.energy[0]), said.forces.cpu().numpy(), said.stress[0].cpu().numpy()
    magmoms = None if said.magmoms is None else said.magmoms.cpu().numpy()
    results = {"energy": energy, "forces": forces, "stress": stress}
    atoms.calc = SinglePointCalculator(atoms, **results, **({} if magmoms is None else {"magmoms": magmoms}))
    return Relaxation(
        atoms=atoms,
        energy=energy,
        forces=forces,
        stress=stress,
        magmoms=magmoms,
        status=outcome.status,
        message=outcome.message,
        steps=outcome.steps,
        force_calls=outcome.steps + 1,
        fmax=outcome.residual,
        initial_energy=outcome.first_energy,
    )


def _as_atoms(system: Atoms | Structure) -> Atoms:
    if isinstance(system, Atoms):
        return system
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = AseAtomsAdaptor.get_atoms(system)
    return Atoms(atoms)  # plain ASE Atoms, without pymatgen's subclass


def _with_overrides(settings: RelaxSettings, overrides: dict[str, Any]) -> RelaxSettings:
    known = RelaxSettings.__dataclass_fields__
    for key in overrides:
        if key not in known:
            raise InputError(f"unknown setting {key!r}, wanted one of {', '.join(known)};{nearest(key, known)}")
    return replace(settings, **overrides)
