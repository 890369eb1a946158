"""Segments of a path: one that runs through minima between its ends is several hops, each with its own saddle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from atomsim.mep.find import find_paths
from atomsim.mep.path import Endpoints, PathSettings, ReactionPath, at_positions, travellers, with_end_forces
from atomsim.models.interface import EnergyModel
from atomsim.relaxation import Relaxation, RelaxSettings, iter_relax
from atomsim.types import FloatArray

DEPTH_EV, HIDDEN_EV = 0.02, 0.05
"""Least depth of a dip between two humps, eV: of an image, and of the cubic between two images; less is roughness."""
OTHER_MINIMUM_A = 0.3
"""A minimum in which no atom is further than this from where it is at an end is that end, Å."""
FINE = 20
"""Points between two images at which the interpolated energy is looked at."""
MOST_SEGMENTS, ROUNDS = 8, 4
"""A path is split into no more segments, and segments are looked at for further minima no more often."""


@dataclass(frozen=True)
class SegmentedPath:
    """A path, and the hops that it consists of where there is more than one."""

    path: ReactionPath
    segments: tuple[ReactionPath, ...] = ()


@dataclass(frozen=True)
class _Segment:
    path: ReactionPath
    ends: Endpoints
    first: Relaxation | None = None
    """The minimum that it starts from; None for an end of the whole path."""
    last: Relaxation | None = None
    settled: bool = False
    """It was looked at, and has no minimum inside."""


def dips(energies: FloatArray, depth: float = DEPTH_EV) -> list[int]:
    """Return the numbers of the minima whose prominence, the climb out of them on the lower side, exceeds ``depth``."""
    found = []
    for n in range(1, len(energies) - 1):
        here = energies[n]
        if energies[n - 1] <= here or energies[n + 1] < here:  # of a plateau, its first point
            continue
        lower_before = np.flatnonzero(energies[:n] <= here)
        lower_after = np.flatnonzero(energies[n + 1 :] < here)
        begin = int(lower_before[-1]) if len(lower_before) else 0
        end = n + 1 + int(lower_after[0]) if len(lower_after) else len(energies) - 1
        if min(energies[begin : n + 1].max(), energies[n : end + 1].max()) - here > depth:
            found.append(n)
    return found


def resolve(path: ReactionPath, ends: Endpoints, potential: EnergyModel, settings: PathSettings) -> SegmentedPath:
    """Split a path at every minimum between its ends, and find each segment as a path of its own.

    Segments are looked at again until none has a minimum inside. The whole is then all of them joined: its
    barrier is that of the highest saddle, which is proven as its segment was, and it has converged where all have.
    """
    segments, calls, steps, kicks = [_Segment(path, ends)], 0, 0, 0
    for _ in range(ROUNDS):
        parted: list[_Segment] = []
        for number, segment in enumerate(segments):
            left = MOST_SEGMENTS - len(parted) - (len(segments) - number)
            stops, spent = _stops(segment, potential, settings, left)
            calls += spent
            if stops:
                calls += segment.path.force_calls
                steps, kicks = steps + segment.path.steps, kicks + segment.path.kicks
                parted += _parted(segment, stops, potential, settings)
            else:
                parted.append(replace(segment, settled=True))
        segments = parted
        if all(s.settled for s in segments):
            break
    paths = [_with_forces(s) for s in segments]
    if len(paths) == 1:
        return SegmentedPath(replace(paths[0], force_calls=paths[0].force_calls + calls))
    whole = joined(paths, path)
    whole = replace(whole, force_calls=whole.force_calls + calls, steps=whole.steps + steps, kicks=whole.kicks + kicks)
    return SegmentedPath(whole, tuple(paths))


def _stops(
    segment: _Segment, potential: EnergyModel, settings: PathSettings, most: int
) -> tuple[list[Relaxation], int]:
    """Relax from every dip; return the minima that are neither end nor each other, in order, and the calls spent."""
    path, ends = segment.path, segment.ends
    if segment.settled or path.status not in ("converged", "max_steps", "unproven"):
        return [], 0
    guesses = [at_positions(ends.start, positions) for positions in _dip_positions(path)][: max(most, 0)]
    if not guesses:
        return [], 0
    how = RelaxSettings(fmax_eV_per_A=0.5 * settings.fmax_eV_per_A, cell=False, noise_A=0.0)
    found = dict(iter_relax(guesses, potential, how))
    kept: list[Relaxation] = []
    before = ends.start.positions
    for n in range(len(guesses)):
        at = found[n].atoms.positions
        if found[n].converged and _apart(at, before) and _apart(at, ends.end.positions):
            kept.append(found[n])
            before = at
    return kept, sum(r.force_calls for r in found.values())


def _apart(one: FloatArray, other: FloatArray) -> bool:
    return float(np.linalg.norm(one - other, axis=1).max()) > OTHER_MINIMUM_A


def _dip_positions(path: ReactionPath) -> list[FloatArray]:
    """Positions in the dips of the images, and in those that energies and slopes say are between two images."""
    images = np.array([a.positions for a in path.images])
    inside = dips(path.energies)
    points = [(float(n), images[n]) for n in inside]
    fine, energies = _interpolated(path)
    for n in dips(energies, HIDDEN_EV):
        before = int(np.searchsorted(path.lengths, fine[n], side="right")) - 1
        if not {before, before + 1} & set(inside):
            part = (fine[n] - path.lengths[before]) / (path.lengths[before + 1] - path.lengths[before])
            points.append((before + part, images[before] + part * (images[before + 1] - images[before])))
    return [positions for _, positions in sorted(points, key=lambda p: p[0])]


def _interpolated(path: ReactionPath) -> tuple[FloatArray, FloatArray]:
    """Lengths, Å, and energies, eV, on the cubic through energies and slopes of all images."""
    lengths = path.lengths
    if not (np.diff(lengths) > 1e-6).all() or not np.isfinite(path.slopes).all():
        return lengths, path.energies
    knots = np.arange(len(lengths))
    fine = np.interp(np.linspace(0, knots[-1], FINE * int(knots[-1]) + 1), knots, lengths)
    return fine, np.asarray(CubicHermiteSpline(lengths, path.energies, path.slopes)(fine))


def _parted(
    segment: _Segment, stops: Sequence[Relaxation], potential: EnergyModel, settings: PathSettings
) -> list[_Segment]:
    """Find the paths between successive minima."""
    whole = segment.ends
    points = [whole.start.positions, *(s.atoms.positions for s in stops), whole.end.positions]
    energies = [whole.start_energy, *(s.energy for s in stops), whole.end_energy]
    minima = [segment.first, *stops, segment.last]
    ends = []
    for n in range(len(points) - 1):
        moved = points[n + 1] - points[n]
        moving = tuple(k for k in travellers(moved) if k in whole.moving) or travellers(moved)
        ends.append(
            replace(
                whole,
                key=f"segment {n + 1}",
                start=at_positions(whole.start, points[n]),
                displacement=moved,
                start_energy=energies[n],
                end_energy=energies[n + 1],
                moving=moving,
                swaps=(),
            )
        )
    found = {p.key: p for p in find_paths(ends, potential, settings)}
    return [_Segment(found[e.key], e, minima[n], minima[n + 1]) for n, e in enumerate(ends)]


def _with_forces(segment: _Segment) -> ReactionPath:
    """The path of a segment with the true forces at the minima that it was split at."""
    return with_end_forces(segment.path, segment.first, segment.last)


def joined(parts: Sequence[ReactionPath], whole: ReactionPath) -> ReactionPath:
    """Join segments that share their end images; what is to be known of one is to be known of the whole."""
    higher = max(parts, key=lambda p: float(p.energies.max()))
    worse = next((p for p in parts if p.status != "converged"), None)
    notes = [f"segment {n} of {len(parts)}: {p.message}" for n, p in enumerate(parts, 1) if p.message]
    moments = [p.magmoms for p in parts if p.magmoms is not None]
    return replace(
        higher,
        key=whole.key,
        images=(*parts[0].images, *(image for p in parts[1:] for image in p.images[1:])),
        energies=_shared([p.energies for p in parts]),
        slopes=_shared([p.slopes for p in parts]),
        forces=_shared([p.forces for p in parts]),
        magmoms=_shared(moments) if len(moments) == len(parts) else None,
        status="converged" if worse is None else worse.status,
        message="; ".join(notes),
        residual=max(p.residual for p in parts),
        steps=sum(p.steps for p in parts),
        force_calls=sum(p.force_calls for p in parts),
        kicks=sum(p.kicks for p in parts),
    )


def _shared(arrays: Sequence[FloatArray]) -> FloatArray:
    """Concatenate, the first row of each but the first left out: it is the last of the one before."""
    return np.concatenate([arrays[0], *(a[1:] for a in arrays[1:])])
