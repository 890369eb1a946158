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
class HostHops:
    """Hops of a host, and what they share: the host's Hessian and the relaxed ends, each computed when first needed."""

    view: Survey
    settings: SurveySettings
    hessian: Hessian | None = None
    ends: dict[DefectState, RelaxedEnd] = field(default_factory=dict)

    def compute_hessian(self, potential: EnergyModel) -> Hessian:
        """Compute the Hessian, if it is missing, and return it."""
        if self.hessian is None:
            with lasting(potential):
                self.hessian = host_hessian(self.view, potential)
        return self.hessian

    def relax_ends(self, chosen: Sequence[HopInSupercell], potential: EnergyModel) -> None:
        """Relax the ends of hops that are still missing, all in one flight."""
        known = {end for end, found in self.ends.items() if found.status not in NOT_KEPT}
        missing = [e for e in needed_ends(chosen, self.view.cell) if e not in known]
        if missing:
            with lasting(potential):
                self.ends.update({r.end: r for r in relax_ends(missing, self.view, self.settings, potential)})

    def endpoints(self, placed: HopInSupercell) -> Endpoints | str:
        """Return the two minima of a hop, or why they cannot be used."""
        assert self.hessian is not None, "its Hessian is computed first"
        return ends_of(placed, self.view, self.ends, self.hessian)


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
        one.compute_hessian(potential)
        one.relax_ends([placed[r.key] for r in requests if hosts[r.key] is one], potential)
    ends: dict[int, Endpoints] = {}
    for request in requests:
        found = hosts[request.key].endpoints(placed[request.key])
        if isinstance(found, str):
            status, message = ("drifted", found) if ": drifted:" in found else ("invalid", found)
            yield _costed(HopResult(request.key, status, message, None), hosts[request.key], placed[request.key])
        else:
            ends[request.key] = replace(found, key=request.key)
    for path in find_paths(ends.values(), potential, settings.path):
        key = int(str(path.key))
        result = _result(resolve(path, ends[key], potential, settings.path), potential, prefactors=prefactors)
        yield _costed(result, hosts[key], placed[key])


def _host(request: HopRequest, ion: str, settings: SurveySettings, potential: EnergyModel, shared: Shared) -> HostHops:
    what = ("hops", request.host_id, ion, settings)
    return shared.get(potential, what, lambda: HostHops(survey(request.host, ion, settings), settings))


def _placed(view: Survey, name: str) -> HopInSupercell:
    for placed in view.placed:
        if placed.hop.name == name:
            return placed
    raise AtomsimError(f"no hop {name!r} in {view.hops.host.get_chemical_formula()}; list them again")


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


def _costed(result: HopResult, host: HostHops, placed: HopInSupercell) -> HopResult:
    """Add what the shared parts cost, whether or not it was this hop that paid."""
    assert host.hessian is not None
    known = {representative(end, host.view.cell)[0] for end in (placed.start, placed.end)}
    calls = {end.name: host.ends[end].force_calls for end in sorted(known)}
    return replace(result, hessian_calls=host.hessian.force_calls, end_calls=calls)
