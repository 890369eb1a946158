"""From hosts and names of hops to paths: what hops share is computed once, all bands fly together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from ase import Atoms

from atomsim.errors import AtomsimError
from atomsim.mep.barrier import Ends, Path, find_paths
from atomsim.mep.ends import End, Placed, representative
from atomsim.mep.legs import Legs, resolve
from atomsim.mep.rates import full_prefactor, prefactor
from atomsim.mep.survey import (
    RelaxedEnd,
    Survey,
    SurveySettings,
    ends_of,
    host_hessian,
    needed_ends,
    relax_ends,
    survey,
)
from atomsim.models.interface import Surface
from atomsim.optimize.hessian import Hessian


@dataclass(frozen=True)
class HopRequest:
    """A hop to be computed."""

    key: int
    host_id: str
    """The same for the same host: what its hops share is computed once for it."""
    host: Atoms = field(repr=False)
    hop: str
    """Name of the hop, as ``find_hops`` gives it."""


@dataclass(frozen=True)
class HopResult:
    """A hop that was computed, or not: ``path`` is None where its ends could not be used."""

    key: int
    status: str
    message: str
    path: Path | None
    legs: tuple[Path, ...] = ()
    """Where the path splits through a minimum between its ends: the hops on either side of it."""
    attempt_Hz: float | None = None
    hessian_calls: int = 0
    """Force calls of the host's Hessian, which all its hops share."""
    end_calls: dict[str, int] = field(default_factory=dict)
    """Force calls of its ends, which other hops share, by their names."""


@dataclass
class _Shared:
    """What the hops of one host share, computed when it is first needed."""

    view: Survey
    hessian: Hessian | None = None
    ends: dict[End, RelaxedEnd] = field(default_factory=dict)


_MEMORY: WeakKeyDictionary[Any, dict[tuple[str, str, SurveySettings], _Shared]] = WeakKeyDictionary()
"""By potential, so that it is forgotten with it. A hop's result does not depend on what is here."""


def compute(
    requests: Sequence[HopRequest],
    ion: str,
    settings: SurveySettings,
    surface: Surface,
    *,
    prefactors: bool | str = False,
) -> Iterator[HopResult]:
    """Compute hops of one or many hosts; results come as they are ready.

    Args:
        requests: which hops.
        ion: element that moves.
        settings: how.
        surface: the potential.
        prefactors: compute attempt frequencies too: of the ion and its first shell, or of all atoms (``full``).
    """
    shared = {r.key: _shared(r, ion, settings, surface) for r in requests}
    placed = {r.key: _placed(shared[r.key].view, r.hop) for r in requests}
    for one in {id(s): s for s in shared.values()}.values():
        chosen = [placed[r.key] for r in requests if shared[r.key] is one]
        _prepare(one, chosen, settings, surface)
    ends: dict[int, Ends] = {}
    for request in requests:
        found = _ends(shared[request.key], placed[request.key])
        if isinstance(found, str):
            status, message = ("drifted", found) if ": drifted:" in found else ("invalid", found)
            yield _costed(HopResult(request.key, status, message, None), shared[request.key], placed[request.key])
        else:
            ends[request.key] = replace(found, key=request.key)
    for path in find_paths(ends.values(), surface, settings.path):
        key = int(str(path.key))
        result = _result(resolve(path, ends[key], surface, settings.path), surface, prefactors=prefactors)
        yield _costed(result, shared[key], placed[key])


def _shared(request: HopRequest, ion: str, settings: SurveySettings, surface: Surface) -> _Shared:
    known = _MEMORY.setdefault(surface, {})
    key = (request.host_id, ion, settings)
    if key not in known:
        known[key] = _Shared(survey(request.host, ion, settings))
    return known[key]


def _placed(view: Survey, name: str) -> Placed:
    for placed in view.placed:
        if placed.hop.name == name:
            return placed
    raise AtomsimError(f"no hop {name!r} in {view.hops.host.get_chemical_formula()}; list them again")


def _prepare(shared: _Shared, chosen: Sequence[Placed], settings: SurveySettings, surface: Surface) -> None:
    """Compute the Hessian and the ends that are still missing."""
    if shared.hessian is None:
        shared.hessian = host_hessian(shared.view, surface)
    missing = [e for e in needed_ends(chosen, shared.view.cell) if e not in shared.ends]
    if missing:
        shared.ends.update({r.end: r for r in relax_ends(missing, shared.view, settings, surface)})


def _ends(shared: _Shared, placed: Placed) -> Ends | str:
    assert shared.hessian is not None
    return ends_of(placed, shared.view, shared.ends, shared.hessian)


def _result(found: Legs, surface: Surface, *, prefactors: bool | str) -> HopResult:
    path = found.path
    attempt, calls = None, 0
    if prefactors and path.status == "converged":
        at_once = 1 if getattr(surface, "device", torch.device("cpu")).type == "cpu" else 64
        if prefactors == "full":
            attempt, calls = full_prefactor(path, surface, at_once)
        else:
            attempt, calls = prefactor(path, (len(path.images[0]) - 1,), surface, at_once)
    path = replace(path, force_calls=path.force_calls + calls)
    return HopResult(int(str(path.key)), path.status, path.message, path, found.legs, attempt)


def _costed(result: HopResult, shared: _Shared, placed: Placed) -> HopResult:
    """Add what the shared parts cost, whether or not it was this hop that paid."""
    assert shared.hessian is not None
    known = {representative(end, shared.view.cell)[0] for end in (placed.start, placed.end)}
    calls = {end.name: shared.ends[end].force_calls for end in sorted(known)}
    return replace(result, hessian_calls=shared.hessian.force_calls, end_calls=calls)
