"""``atomsim.evaluate``, ``atomsim.relax`` and their iterating forms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atomsim.api.arguments import check_unit, fields_of, verb
from atomsim.api.each import Call
from atomsim.api.relaxed import Evaluation, Evaluations, Relaxation, Relaxations
from atomsim.errors import InputError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from atomsim.relaxation import RelaxSettings


RELAX_KEYS = (
    "fmax_eV_per_A",
    "max_steps",
    "cell",
    "pressure_GPa",
    "noise_A",
    "starts",
    "method",
    "curvature",
    "keep_symmetry",
    "check_minimum",
    "standard_cell",
    "finish_in_double",
)
"""Keywords of ``relax`` that are keys of a ``relax`` step."""


@verb
def evaluate(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    check_with: Sequence[Any] = (),
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Evaluation | Evaluations:
    """Compute energy, forces and stress of structures as they are.

    Args:
        structures: one or many: ASE Atoms, pymatgen Structures, files of one structure, prototypes' names, results.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        check_with: further potentials; their results are in ``.checks`` and in tables.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept and resumed.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One result for one structure, and for many a sequence in their order. What cannot be computed has the status
        ``invalid`` and raises nothing. Energies in eV, forces in eV/Å, stress in GPa, moments in μB.

    Raises:
        InputError: for an empty list, a wrong type, or a potential that cannot be loaded.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.evaluate("Li", "lj-test", device="cpu")
        >>> found.status, round(found.energy_per_atom_eV, 4), found.forces_eV_per_A.shape
        ('done', -0.1592, (2, 3))
    """
    call = Call("evaluate", potential, {}, 0, device, processes, run, progress, check_with)
    return call.all(structures, Evaluation, Evaluations)


@verb
def relax(
    structures: Any,
    potential: Any = "chgnet-0.3.0",
    *,
    fmax_eV_per_A: float = 0.05,
    max_steps: int = 500,
    cell: bool = True,
    pressure_GPa: float = 0.0,
    noise_A: float = 0.0,
    starts: int = 1,
    method: Literal["newton", "lbfgs", "fire"] = "newton",
    curvature: Literal["host", "springs"] = "host",
    keep_symmetry: bool = False,
    check_minimum: bool = True,
    standard_cell: bool = False,
    finish_in_double: bool = True,
    settings: RelaxSettings | Mapping[str, Any] | BaseModel | None = None,
    check_with: Sequence[Any] = (),
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    run: str | Path | None = None,
    progress: Any = None,
) -> Relaxation | Relaxations:
    """Relax structures, atoms and cell, to the nearest minimum of energy.

    Args:
        structures: one or many: ASE Atoms, pymatgen Structures, files of one structure, prototypes' names, results.
        potential: name, path, ``Potential``, ASE calculator or TorchSim model.
        fmax_eV_per_A: converged when no force is larger; of the cell as ASE's ``FrechetCellFilter`` counts it.
        max_steps: steps after which a relaxation is given up.
        cell: relax the cell too.
        pressure_GPa: target pressure.
        noise_A: random displacement before relaxing: leaves saddle points.
        starts: starts of each structure, all but the first with noise of 0.1 Å or more; the lowest is kept.
        method: ``newton``, ``lbfgs`` or ``fire``.
        curvature: what ``newton`` starts from: the Hessian of the ``host`` that ions were taken from, or ``springs``.
        keep_symmetry: keep the space group of the start.
        check_minimum: look for a mode of negative curvature at the end, and leave a saddle along it.
        standard_cell: relax the primitive cell in its standard setting.
        finish_in_double: below 0.01 eV/Å, take the last part in float64.
        settings: all of these at once; keywords take their place.
        check_with: further potentials, which evaluate the relaxed geometries.
        seed: of everything random. Random numbers depend on it and on the structure, not on the place in a list.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use; this one alone if not given.
        run: folder in which results are kept; the same call again resumes.
        progress: None (a bar where a person looks), True, False or a ``Progress``.

    Returns:
        One ``Relaxation`` for one structure, and for many ``Relaxations`` in their order. One that cannot be computed
        or does not converge raises nothing: ``status`` and ``message`` say so.

    Raises:
        InputError: for unknown settings, values that only a wrong unit explains, an empty list, a wrong type.
        Interrupted: after Ctrl-C, with ``.results``.

    Examples:
        >>> import atomsim
        >>> found = atomsim.relax("Li", "lj-test", fmax_eV_per_A=0.01, device="cpu")
        >>> found.status, round(found.energy_per_atom_eV, 4)
        ('converged', -0.7824)
        >>> atomsim.relax("Li", "lj-test", fmax=0.01)
        Traceback (most recent call last):
        ...
        atomsim.errors.InputError: unknown setting 'fmax'; did you mean 'fmax_eV_per_A'? ...
    """
    keys = {key: value for key, value in locals().items() if key in RELAX_KEYS}
    del settings
    call = Call("relax", potential, keys, seed, device, processes, run, progress, check_with)
    return call.all(structures, Relaxation, Relaxations)


@verb
def iter_relax(
    structures: Iterable[Any],
    potential: Any = "chgnet-0.3.0",
    *,
    seed: int = 0,
    device: str = "auto",
    processes: int | None = None,
    settings: RelaxSettings | Mapping[str, Any] | BaseModel | None = None,
    **keywords: Any,
) -> Iterator[tuple[int, Relaxation]]:
    """Relax structures as they come; hold no more than what is in flight.

    Args:
        structures: any iterable, also one that never ends, of what ``relax`` takes.
        potential: as in ``relax``.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use.
        settings: settings of ``relax`` at once; keywords take their place.
        **keywords: settings of ``relax``, such as ``fmax_eV_per_A=0.02``.

    Yields:
        ``(index, relaxation)`` as each ends.

    Raises:
        InputError: as ``relax`` does.

    Examples:
        >>> import atomsim
        >>> from ase.build import bulk
        >>> cells = (bulk("Ar", cubic=True, a=a) for a in (3.4, 3.6))
        >>> for n, found in atomsim.iter_relax(cells, "lj-test", device="cpu", cell=False):
        ...     print(n, found.status)
        0 converged
        1 converged
    """
    keys = checked_keys(settings, keywords)
    return Call("relax", potential, keys, seed, device, processes).each(structures, Relaxation)


@verb
def iter_evaluate(
    structures: Iterable[Any],
    potential: Any = "chgnet-0.3.0",
    *,
    device: str = "auto",
    processes: int | None = None,
) -> Iterator[tuple[int, Evaluation]]:
    """Evaluate structures as they come; hold no more than what is in flight.

    Args:
        structures: any iterable of what ``evaluate`` takes.
        potential: as in ``evaluate``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: on a CPU, how many to use.

    Yields:
        ``(index, evaluation)`` as each ends.

    Raises:
        InputError: as ``evaluate`` does.

    Examples:
        >>> import atomsim
        >>> [(n, found.status) for n, found in atomsim.iter_evaluate(["Li", "nothing"], "lj-test", device="cpu")]
        [(0, 'done'), (1, 'invalid')]
    """
    return Call("evaluate", potential, {}, 0, device, processes).each(structures, Evaluation)


def checked_keys(settings: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys of a ``relax`` step from settings and keywords.

    Raises:
        InputError: for one that it has not.
    """
    for key in keywords:
        if key not in RELAX_KEYS:
            raise InputError(f"unknown setting {key!r};{nearest(key, RELAX_KEYS)} wanted {', '.join(RELAX_KEYS)}")
        check_unit(key, keywords[key])
    base = {} if settings is None else fields_of(settings, (*RELAX_KEYS, "seed"))
    base.pop("seed", None)
    return base | dict(keywords)
