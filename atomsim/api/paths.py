"""``atomsim.neb``: the minimum-energy path between two structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomsim.api.arguments import made, verb
from atomsim.api.each import changed, others_of
from atomsim.api.execution import How, Plan, Planned, execute, run_path
from atomsim.api.inputs import one_item
from atomsim.api.path_results import MinimumEnergyPath, PathCheck
from atomsim.api.potentials import remember, resolve
from atomsim.errors import AtomsimError, InputError

if TYPE_CHECKING:
    from atomsim.api.potentials import Loaded
    from atomsim.mep.path import PathSettings

NEB_KEYS = (
    "images",
    "fmax_eV_per_A",
    "max_steps",
    "search",
    "guess",
    "noise_A",
    "starts",
    "relax_ends",
    "order",
    "prefactor",
)
"""Keywords of ``neb`` that are keys of a ``neb`` step."""


@verb
def neb(
    start: Any,
    end: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    images: int = 5,
    fmax_eV_per_A: float = 0.05,
    max_steps: int = 200,
    search: Literal["follow", "band"] = "follow",
    guess: Literal["idpp", "linear"] = "idpp",
    noise_A: float = 0.03,
    starts: int = 1,
    relax_ends: bool = True,
    order: Literal["checked", "matched", "given"] = "checked",
    prefactor: bool = False,
    settings: PathSettings | Mapping[str, Any] | None = None,
    check_with: Sequence[Any] = (),
    seed: int = 0,
    device: str = "auto",
    run: str | Path | None = None,
    progress: Any = None,
) -> MinimumEnergyPath:
    """Find the minimum-energy path between two structures and prove its saddle.

    Eigenvector following from a rough nudged elastic band (Henkelman & Jónsson, J. Chem. Phys. 113, 9978 (2000)).

    Args:
        start: one end: Atoms, a pymatgen Structure, a file of one structure, or a result.
        end: the other: the same cell and atoms, in the same order.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        images: images between the ends.
        fmax_eV_per_A: largest projected force of a band; of a followed saddle 0.4 of it.
        max_steps: steps of a band before it is given up.
        search: ``follow`` the mode along a rough path to the saddle, or a climbing ``band`` all the way.
        guess: first guess of the path, ``idpp`` or ``linear``.
        noise_A: seeded noise on the guess: leaves ridges.
        starts: bands with other noise; the lowest is kept.
        relax_ends: relax both ends first, at fixed cell; otherwise they must be minima already.
        order: of like atoms: ``checked``, ``matched`` or ``given``.
        prefactor: compute the attempt frequency too (Vineyard), of the travelling atoms and their neighbors.
        settings: all of these at once; keywords take their place.
        check_with: further potentials, which evaluate the same images.
        seed: of the noise.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        run: folder in which the result is kept.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        The path; where it runs through minima, all its segments joined. Energies in eV, lengths in Å.

    Raises:
        InputError: if the ends cannot be joined, naming the atom. One that does not relax raises nothing: ``status``
            says so.

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
    from atomsim.tasks.neb import Settings

    keys = {key: value for key, value in locals().items() if key in NEB_KEYS}
    step = made(Settings, {"start": "start", "end": "end", **keys})
    loaded = remember(resolve(potential, device))
    others = others_of(check_with, loaded, device)
    given = {name: [one_item(what, name)] for name, what in (("start", start), ("end", end))}
    planned = Planned("path", "neb", {"start": "start", "end": "end", **changed(keys, step)})
    plan = Plan("path", (planned,), given, seed)
    (path,) = execute(
        plan,
        How(loaded, None, run_path(run), progress),
        lambda found: [MinimumEnergyPath(r, given=given["start"][0].atoms) for r in found.get("path", ())],
    )
    if path.status in ("invalid", "crashed") and not path.record.values:
        raise InputError(path.message)
    return checked_path(path, others)


def checked_path(path: MinimumEnergyPath, others: Sequence[Loaded]) -> MinimumEnergyPath:
    """Evaluate the images of a path with further potentials; a check that fails is a flag."""
    from atomsim.batching.capacity import evaluate_all

    for other in others:
        if path.barrier_eV is None:
            break
        potential, name = other.potential, other.potential.name
        try:
            energy = np.concatenate([found.energy.numpy() for _, found in evaluate_all(path.images, potential)])
        except AtomsimError as error:
            path = replace(path, check_flags=(*path.check_flags, f"not checked with {name}: {error}"))
            continue
        check = PathCheck(float(energy.max() - energy[0]), int(energy.argmax()))
        path = replace(path, checks={**path.checks, name: check})
    return path
