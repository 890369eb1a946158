"""From hosts and names of hops to paths: what hops share is computed once, all bands fly together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ase import Atoms

from atomsim.errors import AtomsimError
from atomsim.hopping.endpoints import DefectState, HopInSupercell, representative
from atomsim.hopping.survey import (
    RelaxedEnd,
    Survey,
    SurveySettings,
    ends_of,
    host_hessian,
    needed_ends,
    relax_ends,
    survey,
)
from atomsim.mep.find import find_paths
from atomsim.mep.path import Endpoints, ReactionPath
from atomsim.mep.rates import full_prefactor, prefactor
from atomsim.mep.segments import SegmentedPath, resolve
from atomsim.models.interface import EnergyModel
from atomsim.models.shared import Shared, lasting
from atomsim.optimize.hessian import Hessian

NOT_KEPT = ("invalid", "too_large", "not_a_number")
"""Statuses of ends that other hops try again: it may have been the device's fault."""


@dataclass(frozen=True)
class HopRequest:
    """A hop to be computed."""

    key: int
    host_id: str
    """Hash of the host's structure: what its hops share is computed once for it."""
    host: Atoms = field(repr=False)
    hop: str
    """Name of the hop, as ``find_hops`` gives it."""


@dataclass(frozen=True)
class HopResult:
    """A hop that was computed, or not: ``path`` is None where its ends could not be used."""

    key: int
    status: str
    message: str
    path: ReactionPath | None
    segments: tuple[ReactionPath, ...] = ()
    """Where the path splits through a minimum between its ends: the hops on either side of it."""
    attempt_Hz: float | None = None
    hessian_calls: int = 0
    """Force calls of the host's Hessian, which all its hops share."""
    end_calls: dict[str, int] = field(default_factory=dict)
    """Force calls of its ends, which other hops share, by their names."""


@dataclass
class _Host:
    """Host Hessian and relaxed end points shared by all hops of one host, computed when first needed."""

    view: Survey
    hessian: Hessian | None = None
    ends: dict[DefectState, RelaxedEnd] = field(default_factory=dict)


def compute(
    requests: Sequence[HopRequest],
    ion: str,
    settings: SurveySettings,
    potential: EnergyModel,
    *,
    prefactors: bool | str = False,
    shared: Shared | None = None,
) -> Iterator[HopResult]:
    """Compute hops of one or many hosts; results come as they are ready.

    Args:
        requests: which hops.
        ion: element that moves.
        settings: how.
        potential: the potential.
        prefactors: compute attempt frequencies too: of the ion and its first shell, or of all atoms (``full``).
        shared: where hosts' Hessians and ends are kept between calls.
    """
    owner = Shared() if shared is None else shared
    hosts = {r.key: _host(r, ion, settings, potential, owner) for r in requests}
    placed = {r.key: _placed(hosts[r.key].view, r.hop) for r in requests}
    for one in {id(h): h for h in hosts.values()}.values():
        chosen = [placed[r.key] for r in requests if hosts[r.key] is one]
        _prepare(one, chosen, settings, potential)
    ends: dict[int, Endpoints] = {}
    for request in requests:
        found = _ends(hosts[request.key], placed[request.key])
        if isinstance(found, str):
            status, message = ("drifted", found) if ": drifted:" in found else ("invalid", found)
            yield _costed(HopResult(request.key, status, message, None), hosts[request.key], placed[request.key])
        else:
            ends[request.key] = replace(found, key=request.key)
    for path in find_paths(ends.values(), potential, settings.path):
        key = int(str(path.key))
        result = _result(resolve(path, ends[key], potential, settings.path), potential, prefactors=prefactors)
        yield _costed(result, hosts[key], placed[key])


def _host(request: HopRequest, ion: str, settings: SurveySettings, potential: EnergyModel, shared: Shared) -> _Host:
    what = ("hops", request.host_id, ion, settings)
    return shared.get(potential, what, lambda: _Host(survey(request.host, ion, settings)))


def _placed(view: Survey, name: str) -> HopInSupercell:
    for placed in view.placed:
        if placed.hop.name == name:
            return placed
    raise AtomsimError(f"no hop {name!r} in {view.hops.host.get_chemical_formula()}; list them again")


def _prepare(host: _Host, chosen: Sequence[HopInSupercell], settings: SurveySettings, potential: EnergyModel) -> None:
    """Compute the Hessian and the ends that are still missing."""
    if host.hessian is None:
        with lasting(potential):
            host.hessian = host_hessian(host.view, potential)
    known = {end for end, found in host.ends.items() if found.status not in NOT_KEPT}
    missing = [e for e in needed_ends(chosen, host.view.cell) if e not in known]
    if missing:
        with lasting(potential):
            host.ends.update({r.end: r for r in relax_ends(missing, host.view, settings, potential)})


def _ends(host: _Host, placed: HopInSupercell) -> Endpoints | str:
    assert host.hessian is not None
    return ends_of(placed, host.view, host.ends, host.hessian)


def _result(found: SegmentedPath, potential: EnergyModel, *, prefactors: bool | str) -> HopResult:
    path = found.path
    attempt, calls = None, 0
    if prefactors and path.status == "converged":
        if prefactors == "full":
            attempt, calls = full_prefactor(path, potential)
        else:
            attempt, calls = prefactor(path, (len(path.images[0]) - 1,), potential)
    path = replace(path, force_calls=path.force_calls + calls)
    return HopResult(int(str(path.key)), path.status, path.message, path, found.segments, attempt)


def _costed(result: HopResult, host: _Host, placed: HopInSupercell) -> HopResult:
    """Add what the shared parts cost, whether or not it was this hop that paid."""
    assert host.hessian is not None
    known = {representative(end, host.view.cell)[0] for end in (placed.start, placed.end)}
    calls = {end.name: host.ends[end].force_calls for end in sorted(known)}
    return replace(result, hessian_calls=host.hessian.force_calls, end_calls=calls)
