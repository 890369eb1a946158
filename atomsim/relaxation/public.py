"""The function that users, notebooks and tests call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atomsim.batching.capacity import Capacity
from atomsim.errors import InputError
from atomsim.models.interface import Potential
from atomsim.models.load import as_energy_model
from atomsim.relaxation.hosts import inherited
from atomsim.relaxation.result import Relaxation, refusal
from atomsim.relaxation.run import iter_relax
from atomsim.relaxation.settings import RelaxSettings, with_overrides
from atomsim.structures.given import given_structures

if TYPE_CHECKING:
    from pathlib import Path

    from ase.calculators.calculator import Calculator


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
    chosen = with_overrides(settings, overrides)
    if not isinstance(capacity, Capacity | None):
        raise InputError(f"capacity: found {type(capacity).__name__}, wanted a Capacity, such as Capacity(systems=8)")
    model = as_energy_model(potential, device)
    given = list(given_structures(systems))
    sound = [n for n, g in enumerate(given) if not g.problem]
    found = {n: refusal(g.atoms, g.problem) for n, g in enumerate(given) if g.problem}
    atoms = [given[n].atoms for n in sound]
    known = {n: k.hessian for n, k in inherited(atoms, model, chosen).items()}
    for k, relaxation in iter_relax(atoms, model, chosen, capacity=capacity, hessians=known):
        found[sound[k]] = relaxation
    return [replace(found[n], source=g.source) for n, g in enumerate(given)]
