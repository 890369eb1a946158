"""The search for dimers: all pairs of all structures are driven, released and joined to the intact cell together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from atomsim.analysis.oxygen import oxygen_pairs, species_of
from atomsim.batching.capacity import Capacity, capacity_for
from atomsim.errors import InputError
from atomsim.models.interface import EnergyModel
from atomsim.oxygen.place import in_void
from atomsim.oxygen.result import Minimum, PairSearch
from atomsim.oxygen.saddle import paths_between
from atomsim.oxygen.scan import BRIDGE_IMAGES, Scan, ScanPoint, bound, bridge, metal_bonds, release_points, run_scans
from atomsim.oxygen.settings import DimerSettings, require_target
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax
from atomsim.structures.pairs import Pair, require_pair
from atomsim.units import GPA

REACH_A = 3.2
"""O–O pairs looked at in a minimum, Å."""
VOID = "void"


@dataclass(frozen=True)
class Request:
    """A pair to be looked at."""

    key: Hashable
    atoms: Atoms
    """The structure; it is relaxed first."""
    pair: Pair


@dataclass(frozen=True)
class _Candidate:
    """A structure to be released."""

    key: Hashable
    atoms: Atoms
    reached_from: str
    point: int | None
    """Number of the profile's point that it was released from."""


def find_dimers(
    requests: Sequence[Request],
    potential: EnergyModel,
    settings: DimerSettings | None = None,
    *,
    capacity: Capacity | None = None,
) -> list[PairSearch]:
    """Drive pairs together, release them, put O2 into voids and look for the saddle to the lowest dimer.

    All requests are computed together; an answer does not depend on the others.

    Args:
        requests: structures and pairs.
        potential: the potential.
        settings: how.
        capacity: how much to evaluate at once.

    Returns:
        One result for each request, in order. What does not relax is no exception: ``status`` says so.

    Raises:
        InputError: for a pair that cannot be driven, or a target that is not below its length.
    """
    chosen = settings or DimerSettings()
    for request in requests:
        require_pair(request.pair)
        require_target(chosen.target_A, request.pair.length_A, request.pair.name)
    room = capacity or capacity_for(potential, [r.atoms for r in requests])
    found = _intact(requests, potential, chosen, room)
    scans = [Scan(s.key, s.intact.atoms, s.intact.energy, s.pair) for s in found.values() if s.status == "converged"]
    profiles = run_scans(scans, potential, chosen, room)
    for scan in scans:
        found[scan.key] = _with_profile(found[scan.key], profiles[scan.key])
    _release(found, potential, chosen, room)
    _bounds(found, scans, potential)
    if chosen.saddle and not chosen.cell:
        found |= paths_between(list(found.values()), potential, chosen, room)
    return [found[r.key] for r in requests]


def _intact(
    requests: Sequence[Request], potential: EnergyModel, settings: DimerSettings, room: Capacity
) -> dict[Hashable, PairSearch]:
    """Relax each distinct structure once, and measure the pairs in it."""
    distinct: dict[bytes, Atoms] = {_bytes(r.atoms): r.atoms for r in requests}
    relaxed = dict(iter_relax(distinct.values(), potential, _tight(settings), capacity=room))
    by_atoms = dict(zip(distinct, (relaxed[n] for n in range(len(distinct))), strict=True))
    found: dict[Hashable, PairSearch] = {}
    for request in requests:
        intact = by_atoms[_bytes(request.atoms)]
        if not intact.converged:
            why = f"the intact cell did not relax ({intact.status}: {intact.message})"
            found[request.key] = PairSearch(request.key, request.pair, intact, status=intact.status, message=why)
            continue
        pair = replace(request.pair, length_A=pair_length(intact.atoms, request.pair))
        found[request.key] = PairSearch(request.key, pair, intact)
        try:
            _require_fit(intact, pair, settings)
        except InputError as error:
            found[request.key] = replace(found[request.key], status="invalid", message=str(error))
    return found


def _tight(settings: DimerSettings) -> RelaxSettings:
    return RelaxSettings(
        fmax_eV_per_A=settings.fmax_eV_per_A, max_steps=settings.max_steps, cell=settings.cell, seed=settings.seed
    )


def _bytes(atoms: Atoms) -> bytes:
    result: bytes = atoms.numbers.tobytes() + atoms.positions.tobytes() + atoms.cell.array.tobytes()
    return result


def _require_fit(intact: Relaxation, pair: Pair, settings: DimerSettings) -> None:
    """Refuse what only the relaxed structure shows."""
    require_pair(pair)
    require_target(settings.target_A, pair.length_A, pair.name)
    formula = intact.atoms.get_chemical_formula()
    pressure = -float(np.trace(intact.stress)) / 3 / GPA
    if abs(pressure) > settings.max_pressure_GPa:
        raise InputError(
            f"{formula} is under {pressure:.1f} GPa, wanted at most {settings.max_pressure_GPa:g}: "
            "relax its cell first, or raise max_pressure_GPa"
        )
    if settings.moments and intact.magmoms is None:
        raise InputError(
            f"moments of {formula} were asked for and this potential has none; set moments = false to name "
            "species by length alone, or use a potential with moments"
        )


def pair_length(atoms: Atoms, pair: Pair) -> float:
    """Length of a pair, Å."""
    image = np.array(pair.shift) @ atoms.cell.array
    return float(np.linalg.norm(atoms.positions[pair.second] + image - atoms.positions[pair.first]))


def _with_profile(search: PairSearch, profile: Sequence[ScanPoint]) -> PairSearch:
    calls = {"scan": sum(p.force_calls for p in profile)}
    found = replace(search, profile=tuple(profile), force_calls=calls)
    if not profile:
        why = "the potential failed at the first length of the scan"
        return replace(found, status="invalid", message=why)
    return found


def _release(
    found: dict[Hashable, PairSearch], potential: EnergyModel, settings: DimerSettings, room: Capacity
) -> None:
    """Let go what may be near a minimum, all in one batch, and merge what comes out."""
    candidates = [c for s in found.values() if s.status == "converged" for c in _candidates(s, settings)]
    relaxed = dict(iter_relax([c.atoms for c in candidates], potential, _tight(settings), capacity=room))
    for key, search in found.items():
        own = [(c, relaxed[n]) for n, c in enumerate(candidates) if c.key == key]
        calls = dict(search.force_calls)
        for part, from_void in (("release", False), ("void", True)):
            calls[part] = sum(r.force_calls for c, r in own if (c.point is None) == from_void)
        minima = [_minimum(search, c.reached_from, r) for c, r in own if np.isfinite(r.energy)]
        found[key] = replace(search, minima=tuple(_merged(minima)), force_calls=calls)


def _candidates(search: PairSearch, settings: DimerSettings) -> list[_Candidate]:
    profile = list(search.profile)
    found = [
        _Candidate(search.key, p.atoms, p.name, profile.index(p)) for p in release_points(profile, search.pair.length_A)
    ]
    placed = in_void(search.intact.atoms, search.pair) if settings.void else None
    return found if placed is None else [*found, _Candidate(search.key, placed, VOID, None)]


def _minimum(search: PairSearch, reached_from: str, relaxation: Relaxation) -> Minimum:
    atoms = relaxation.atoms
    pairs = oxygen_pairs(atoms, REACH_A)
    if pairs.shortest is None:
        first, second, length = search.pair.first, search.pair.second, float("inf")
    else:
        first, second, length = int(pairs.first[0]), int(pairs.second[0]), pairs.shortest
    moments = None
    if relaxation.magmoms is not None:
        moments = (float(relaxation.magmoms[first]), float(relaxation.magmoms[second]))
    return Minimum(
        relaxation=relaxation,
        energy_eV=relaxation.energy - search.intact.energy,
        pair=(first, second),
        species=species_of(length, moments),
        reached_from=(reached_from,),
        metal_bonds=metal_bonds(atoms, first, second)[0],
    )


def _merged(minima: Sequence[Minimum]) -> list[Minimum]:
    """Minima by energy, those that are one as one, with all the points that led there."""
    kept: list[Minimum] = []
    for m in sorted(minima, key=lambda m: (not m.converged, m.energy_eV)):
        for k, other in enumerate(kept):
            if m.same_as(other):
                kept[k] = replace(other, reached_from=(*other.reached_from, *m.reached_from))
                break
        else:
            kept.append(m)
    return kept


def _bounds(found: dict[Hashable, PairSearch], scans: Sequence[Scan], potential: EnergyModel) -> None:
    """The highest energy that each scan has passed before the point that led to its lowest dimer."""
    for scan in scans:
        search = found[scan.key]
        if not search.way:
            continue
        bridges = bridge(scan, search.way, potential)
        calls = {**search.force_calls, "bound": BRIDGE_IMAGES * len(bridges)}
        found[scan.key] = replace(search, bound_eV=bound(search.way, bridges), force_calls=calls)
