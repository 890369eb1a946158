"""From a rough band to a proven saddle, and from there to the path: many hops in step, few force calls each.

A climbing band moves all its images until the last has converged. Here three images find where the saddle is;
one system then follows the mode along the path to it (``follow``), the Hessian there is put to the proof, and
the other images are laid between the saddle and both ends, in two bands that need not be converged as tightly.
Nothing is taken on trust: a ridge is left along its second mode, a shallow minimum on top of the path along the
path, an image higher than the saddle is where the search begins again, and a hop that ends otherwise is handed
to a climbing band.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from atomsim.batch import Batch
from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.constraints.projectors import free_axes
from atomsim.mep.band import ElasticBand
from atomsim.mep.follow import Follow, held, informed, with_lowest
from atomsim.mep.path import Endpoints, PathSettings, ReactionPath, at_positions
from atomsim.mep.proof import prove
from atomsim.mep.sides import to_paths
from atomsim.mep.state import KICK_A, Key, SaddleSearch, Watched, band_between, begin_search
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.drive import Outcome, drive
from atomsim.optimize.entering import Group
from atomsim.optimize.newton import Newton
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop
from atomsim.types import FloatArray

ROUGH_IMAGES = 3
ROUGH_FMAX, ROUGH_STEPS = 10.0, 4
"""The rough band stops at this multiple of ``fmax_eV_per_A``, or after so many steps."""
SADDLE_FMAX = 0.4
"""Part of ``fmax_eV_per_A`` that no force at the saddle may exceed: soft modes make a barrier of a small force."""
STEPS_PER_HESSIAN_REFRESH, MAX_HESSIAN_REFRESHES = 15, 3
"""Steps after which curvatures are measured again, and how often that is tried."""
DISPLACEMENT_A = 0.03
"""Displacement of a moving atom, for its own curvature, Å."""
MEASURED_ATOMS = 2
"""Moving atoms whose curvature is measured, at most."""
LEAVE_A = 0.3
"""The same of the step out of a shallow minimum, Å."""
ONE_SIDED = "a shallow minimum on top of the path has a proven saddle on one side alone: the barrier may be higher"
Guess = Callable[[Key, Endpoints, int], FloatArray]
"""(key, ends, number of images) to positions on a first guess of the path, Å, (n_images, n_atoms, 3)."""


def search(
    hops: Sequence[tuple[Key, Endpoints]], guess: Guess, potential: EnergyModel, settings: PathSettings, room: Capacity
) -> list[tuple[Key, ReactionPath | None, int]]:
    """Find the paths of some hops together.

    Args:
        hops: (key, ends) of each.
        guess: positions to begin from.
        potential: the potential.
        settings: how.
        room: what may be in flight.

    Returns:
        For each hop its key, its path, or None where a climbing band must look, and the force calls spent.
    """
    climbs = _roughly(hops, guess, potential, settings, room)
    continue_searches(climbs, potential, settings, room)
    return [(c.key, c.path if not c.failed else None, c.calls) for c in climbs]


def continue_searches(
    climbs: Sequence[SaddleSearch], potential: EnergyModel, settings: PathSettings, room: Capacity
) -> None:
    """Follow modes from where each climb stands to a proven saddle, and lay out the path from there."""
    for _ in range(3):
        active = [c for c in climbs if c.path is None and not c.failed]
        if not active:
            break
        _to_saddles(active, potential, settings, room)
        to_paths([c for c in active if not c.failed], potential, settings, room)


def _roughly(
    hops: Sequence[tuple[Key, Endpoints]], guess: Guess, potential: EnergyModel, settings: PathSettings, room: Capacity
) -> list[SaddleSearch]:
    """Few images, few steps: where is the saddle?"""
    device = device_of(potential)
    ends = dict(hops)
    bands = (band_between(key, e, guess(key, e, ROUGH_IMAGES), settings.spring_eV_per_A2, device) for key, e in hops)
    watched = Watched(ElasticBand(settings.spring_eV_per_A2, climb=False))
    stop = Stop(
        fmax=ROUGH_FMAX * settings.fmax_eV_per_A, max_steps=min(ROUGH_STEPS, settings.max_steps), exploded_force=1e3
    )
    climbs = {}
    for found in drive(bands, potential, Newton(conservative=False), Space(), stop, room, project=watched):
        key: Key = found.key  # type: ignore[assignment]
        images = found.batch.to("cpu").split()
        climbs[key] = begin_search(key, ends[key], images, watched.seen[key])
        climbs[key].calls = (found.steps + 1) * len(images)
        climbs[key].failed |= found.status not in ("converged", "max_steps")
    return [climbs[key] for key, _ in hops]


def _to_saddles(climbs: Sequence[SaddleSearch], potential: EnergyModel, settings: PathSettings, room: Capacity) -> None:
    """Follow the mode along the path, prove, and leave ridges, until there is a saddle of first order."""
    for climb in climbs:
        climb.hessian, climb.basin_positions, climb.n_escapes, climb.note = None, None, 0, ""
    active = list(climbs)
    for attempt in range(settings.retries + 1):
        _followed(active, potential, settings, room)
        active = [c for c in active if not c.failed]
        if not settings.prove_saddle:
            return
        _prove(active, potential)
        active = [c for c in active if c.proof and c.proof.negative_modes != 1]
        for climb in active:
            assert climb.proof is not None
            if attempt == settings.retries:
                climb.failed = climb.proof.negative_modes == 0
            elif climb.proof.negative_modes == 0:
                _leave(climb)
            else:
                _kick(climb)
    _take_the_higher([c for c in climbs if c.n_escapes == 1 and not c.failed], potential, settings, room)


def _take_the_higher(
    climbs: Sequence[SaddleSearch], potential: EnergyModel, settings: PathSettings, room: Capacity
) -> None:
    """Look for the saddle on the other side of a shallow minimum too: the path goes over both."""
    others = [
        replace(c, positions=c.basin_positions, calls=0, steps=0) for c in climbs if c.basin_positions is not None
    ]
    for other in others:
        _leave(other)
    _followed(others, potential, settings, room)
    _prove([c for c in others if not c.failed], potential)
    by_key = {c.key: c for c in climbs}
    for other in others:
        climb = by_key[other.key]
        climb.calls, climb.steps = climb.calls + other.calls, climb.steps + other.steps
        assert climb.saddle is not None
        assert other.saddle is not None
        found = not other.failed and other.proof is not None and other.proof.negative_modes == 1
        if found and float(other.saddle.evaluation.energy[0]) > float(climb.saddle.evaluation.energy[0]):
            climb.saddle, climb.proof, climb.hessian = other.saddle, other.proof, other.hessian
            climb.positions, climb.force = other.positions, other.force
        elif not found:
            climb.note = ONE_SIDED


def _followed(climbs: Sequence[SaddleSearch], potential: EnergyModel, settings: PathSettings, room: Capacity) -> None:
    """Follow modes until forces vanish; where that takes long, measure curvatures again on the way."""
    stop = Stop(
        fmax=SADDLE_FMAX * settings.fmax_eV_per_A,
        max_steps=min(STEPS_PER_HESSIAN_REFRESH, settings.max_steps),
        exploded_force=1e3,
    )
    active = list(climbs)
    for _ in range(MAX_HESSIAN_REFRESHES):
        _measure([c for c in active if not c.force_is_stale], potential)
        by_key: dict[Hashable, SaddleSearch] = {c.key: c for c in active}
        groups = (_group(c, device_of(potential)) for c in active)
        for found in drive(groups, potential, Follow(), Space(), stop, room):
            _take(by_key[found.key], found)
        active = [c for c in active if c.saddle and c.saddle.status == "max_steps"]
    for climb in climbs:
        assert climb.saddle is not None
        highest_end = max(climb.ends.start_energy, climb.ends.end_energy)
        near = climb.saddle.status == "max_steps" and climb.saddle.residual <= settings.fmax_eV_per_A
        between = float(climb.saddle.evaluation.energy[0]) > highest_end
        climb.failed = not between or not (climb.saddle.status == "converged" or near)


def _take(climb: SaddleSearch, found: Outcome) -> None:
    """Remember how far a climb has come."""
    assert isinstance(found.inverse_hessian, Tensor)
    climb.calls, climb.steps = climb.calls + found.steps + 1, climb.steps + found.steps
    climb.saddle, climb.positions = found, found.batch.positions.cpu().numpy()
    climb.force_is_stale = False
    climb.force = found.evaluation.forces.cpu().numpy()
    climb.hessian = found.inverse_hessian.cpu().numpy()


def _measure(climbs: Sequence[SaddleSearch], potential: EnergyModel) -> None:
    """Measure the curvature of the moving atoms by forward differences, and begin the Hessian with it."""
    directions = [_axes(c) for c in climbs]
    moved = [
        at_positions(c.ends.start, c.positions + DISPLACEMENT_A * d.reshape(-1, 3))
        for c, axes in zip(climbs, directions, strict=True)
        for d in axes
    ]
    forces = iter(_forces(moved, potential))
    for climb, axes in zip(climbs, directions, strict=True):
        free = climb.ends.free
        products = np.array([-(next(forces) - climb.force) / DISPLACEMENT_A for _ in axes]).reshape(len(axes), -1, 3)
        products = np.einsum("aij,kaj->kai", free.numpy(), products).reshape(len(axes), -1)
        if climb.hessian is None:
            known, along = held(climb.ends.curvature().numpy(), free), climb.tangent
        else:
            known, along = climb.hessian, np.linalg.eigh(climb.hessian)[1][:, 0]
        climb.hessian = with_lowest(informed(known, axes, products), along)
        climb.calls += len(axes)


def _axes(climb: SaddleSearch) -> FloatArray:
    """Unit vectors of the atoms that move most, along which they may, (k, 3 n_atoms)."""
    length = np.linalg.norm(climb.ends.displacement, axis=1)
    chosen = sorted(climb.ends.moving, key=lambda n: -length[n])[:MEASURED_ATOMS]
    axes = []
    for n in sorted(chosen):
        for axis in free_axes(climb.ends.free[n]).numpy():
            axes.append(np.zeros_like(climb.positions))
            axes[-1][n] = axis
    return np.array(axes).reshape(len(axes), climb.positions.size)


def _forces(systems: Sequence[Atoms], potential: EnergyModel) -> Iterator[FloatArray]:
    for batch, evaluation in evaluate_all(systems, potential):
        yield from (f.numpy() for f in evaluation.forces.split(batch.sizes))


def _group(climb: SaddleSearch, device: torch.device) -> Group:
    assert climb.hessian is not None
    batch = Batch.pack([at_positions(climb.ends.start, climb.positions)], device)
    return Group(climb.key, batch, torch.from_numpy(climb.hessian).to(device))


def _prove(climbs: Sequence[SaddleSearch], potential: EnergyModel) -> None:
    proofs = prove(
        [at_positions(c.ends.start, c.positions) for c in climbs],
        [c.force for c in climbs],
        [c.tangent for c in climbs],
        [c.hessian for c in climbs if c.hessian is not None],
        potential,
    )
    for climb, proof in zip(climbs, proofs, strict=True):
        climb.proof, climb.calls = proof, climb.calls + proof.force_calls


def _leave(climb: SaddleSearch) -> None:
    """Step out of a shallow minimum on top of the path, along the path: first one way, then the other."""
    assert climb.hessian is not None
    climb.basin_positions = climb.positions
    climb.positions = (
        climb.positions
        + LEAVE_A * (-1) ** climb.n_escapes * climb.tangent / np.linalg.norm(climb.tangent, axis=1).max()
    )
    climb.hessian = with_lowest(climb.hessian, climb.tangent)
    climb.n_escapes += 1
    climb.force_is_stale = True


def _kick(climb: SaddleSearch) -> None:
    """Step off a ridge along its second mode; the first continues to be followed."""
    assert climb.proof is not None
    assert climb.hessian is not None
    second = climb.proof.second_mode
    climb.positions = climb.positions + KICK_A * (-1) ** climb.kicks * second / np.linalg.norm(second, axis=1).max()
    unit = second.ravel()[None] / np.linalg.norm(second)
    climb.hessian = with_lowest(informed(climb.hessian, unit, 0.5 * unit), climb.proof.mode)
    climb.kicks += 1
    climb.force_is_stale = True
