"""Minimum-energy paths and their barriers: all bands of all hops in one flight, each saddle proven."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from atomsim.batch import Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.mep.band import Band, ElasticBand
from atomsim.mep.interpolate import idpp, linear, roughened
from atomsim.mep.path import Endpoints, PathSettings, ReactionPath, at_positions, path_tangents
from atomsim.mep.proof import Proof, prove
from atomsim.mep.search import search
from atomsim.mep.state import KICK_A, Key, band_between
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.drive import Outcome, drive
from atomsim.optimize.fire import Fire
from atomsim.optimize.newton import Newton
from atomsim.optimize.noise import seeded_noise
from atomsim.optimize.rows import Method
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop
from atomsim.relaxation import default_capacity
from atomsim.types import FloatArray

RETRIED = 0.3
"""Part of ``fmax_eV_per_A`` that a second try must reach: a flat saddle is further off than its small force tells."""
MAX_CONCURRENT_HOPS = 32
"""Hops that are searched for together, on a GPU."""
SEARCHES, OTHER_NOISE = 2, 1000
"""Searches for one saddle before a climbing band takes over, and what tells their noise apart."""
NEWTON_STEPS = 80
"""Steps after which a quasi-Newton band that has not converged has learned wrong curvatures: FIRE begins anew."""
LEAST_IMAGES = 3
"""Fewer leave no image on either side of the saddle."""


def find_paths(
    ends: Iterable[Endpoints],
    potential: EnergyModel,
    settings: PathSettings | None = None,
    *,
    capacity: Capacity | None = None,
    method: Method[Any] | None = None,
) -> Iterator[ReactionPath]:
    """Find the path between every pair of ends; one ``ReactionPath`` each, in no particular order.

    All systems in flight are evaluated together. What ``search`` cannot do goes to climbing bands: of these
    one that ends on a ridge (more than one negative mode) is pushed off it and continues; one that ends
    beside a flat saddle (none) continues to a smaller force; one that does not converge is begun anew with FIRE.

    Args:
        ends: what to join.
        potential: the potential.
        settings: how.
        capacity: images and atoms in flight; by default one band at a time on a CPU.
        method: the optimizer of climbing bands; by default a quasi-Newton seeded with the ends' Hessian, then FIRE.
    """
    chosen = settings or PathSettings()
    todo = {e.key: e for e in ends}
    device = device_of(potential)
    room = capacity or default_capacity(potential, [e.start for e in todo.values()], device)
    at_once = 1 if device.type == "cpu" else MAX_CONCURRENT_HOPS
    found: dict[Hashable, list[ReactionPath]] = {}
    keys = ((key, n) for key in todo for n in range(chosen.starts))
    while some := list(islice(keys, at_once)):
        done, left = _searched(some, todo, potential, chosen, room)
        for key, path in (*done, *_banded(left, todo, potential, chosen, room, method)):
            of_hop = found.setdefault(key[0], [])
            of_hop.append(path)
            if len(of_hop) == chosen.starts:
                yield best(of_hop)


def _searched(
    keys: Sequence[Key], todo: dict[Hashable, Endpoints], potential: EnergyModel, settings: PathSettings, room: Capacity
) -> tuple[list[tuple[Key, ReactionPath]], dict[Key, int]]:
    """Return what following a mode has found, and for the others the calls that were spent on them."""
    if settings.search == "band" or not settings.climb or settings.images < LEAST_IMAGES:
        return [], dict.fromkeys(keys, 0)

    done: list[tuple[Key, ReactionPath]] = []
    spent = dict.fromkeys(keys, 0)
    for again in range(SEARCHES):

        def guess(key: Key, ends: Endpoints, n_images: int, again: int = again) -> FloatArray:
            return first_guess(ends, replace(settings, images=n_images), key[1] + again * OTHER_NOISE)

        for key, path, calls in search([(key, todo[key[0]]) for key in spent], guess, potential, settings, room):
            spent[key] += calls
            if path is not None:
                done.append((key, _judged(replace(path, force_calls=spent.pop(key)))))
    return done, spent


def _banded(
    spent_before: dict[Key, int], todo: dict[Hashable, Endpoints], potential: EnergyModel, settings: PathSettings,
    room: Capacity, method: Method[Any] | None,
) -> Iterator[tuple[Key, ReactionPath]]:  # fmt: skip
    """Find paths by climbing bands; each is looked at, and continues where its highest image is no saddle."""
    device = device_of(potential)
    bands: Iterable[Band] = (band_of(todo[key[0]], settings, key[1], device) for key in spent_before)
    spent: dict[Hashable, ReactionPath] = {}
    lost: dict[Key, int] = {}
    steps = settings.max_steps if method else min(NEWTON_STEPS, settings.max_steps)
    at_once = 1 if device.type == "cpu" else MAX_CONCURRENT_HOPS
    for attempt in range(settings.retries + 1):
        again: list[Band] = []
        fmax = settings.fmax_eV_per_A * (RETRIED if attempt else 1.0)
        how = replace(settings, fmax_eV_per_A=fmax, max_steps=steps)
        outcomes = _driven(bands, potential, how, room, method)
        for key, path in _settled(outcomes, todo, potential, settings, at_once):
            path = _with_earlier(path, spent.get(key))
            if path.proof is not None and path.proof.negative_modes != 1 and attempt < settings.retries:
                spent[key] = path
                again.append(_again(path, key, todo[key[0]], settings.spring_eV_per_A2, device))
                continue
            path = replace(path, force_calls=path.force_calls + spent_before[key])
            if method is None and path.status in ("max_steps", "exploded"):
                lost[key] = path.force_calls
            else:
                yield key, path
        bands = again
    if lost:
        yield from _banded(lost, todo, potential, settings, room, Fire())


def _settled(
    outcomes: Iterator[Outcome],
    todo: dict[Hashable, Endpoints],
    potential: EnergyModel,
    settings: PathSettings,
    at_once: int,
) -> Iterator[tuple[tuple[Hashable, int], ReactionPath]]:
    """Turn outcomes into paths with their proofs, so many at once; keys are (hop, start)."""
    while waiting := list(islice(outcomes, at_once)):
        keys: list[tuple[Hashable, int]] = [o.key for o in waiting]  # type: ignore[misc]
        paths = [(_path(o, todo[key[0]], potential), todo[key[0]]) for o, key in zip(waiting, keys, strict=True)]
        proven = _proven(paths, potential) if settings.prove_saddle else [p for p, _ in paths]
        yield from zip(keys, proven, strict=True)


def _driven(
    bands: Iterable[Band], potential: EnergyModel, settings: PathSettings, room: Capacity, method: Method[Any] | None
) -> Iterator[Outcome]:
    stop = Stop(fmax=settings.fmax_eV_per_A, max_steps=settings.max_steps, exploded_force=1e3)
    project = ElasticBand(settings.spring_eV_per_A2, settings.climb)
    return drive(bands, potential, method or Newton(conservative=False), Space(), stop, room, project=project)


def best(paths: Sequence[ReactionPath]) -> ReactionPath:
    """Return the lowest of the proven paths of one hop, or else the lowest; its calls are those of all."""
    ranked = sorted(paths, key=lambda p: (p.status != "converged", p.status != "unproven", p.barrier))
    return replace(ranked[0], force_calls=sum(p.force_calls for p in paths))


def band_of(ends: Endpoints, settings: PathSettings, number: int, device: torch.device) -> Band:
    """Return the first guess of a band, with what is known of its curvature."""
    positions = first_guess(ends, settings, number)
    return band_between((ends.key, number), ends, positions, settings.spring_eV_per_A2, device)


def first_guess(ends: Endpoints, settings: PathSettings, number: int) -> FloatArray:
    """Return positions on a first guess of the path, with seeded noise, Å, (n_images, n_atoms, 3)."""
    start, moved, seed = ends.start, ends.displacement, settings.seed
    straight = linear(start, moved, settings.images)
    guess = straight if settings.guess == "linear" else idpp(start, moved, settings.images, seed, number)
    fields = [seeded_noise(start, seed, f"path {k}", number, also=ends.end.positions) for k in (1, 2)]
    return roughened(guess, settings.noise_A * np.array(fields), ends.free.numpy())


def _path(outcome: Outcome, ends: Endpoints, potential: EnergyModel) -> ReactionPath:
    """Evaluate the band once more, for its true forces."""
    inner = outcome.batch.to("cpu").split()
    images = (at_positions(ends.start, ends.start.positions), *inner, ends.end)
    energies = np.array([ends.start_energy, *outcome.evaluation.energy.tolist(), ends.end_energy])
    calls = (outcome.steps + 1) * len(inner)
    n_atoms = len(ends.start)
    forces, magmoms = np.zeros((len(images), n_atoms, 3)), None
    evaluation = _evaluated(outcome, potential)
    if evaluation is not None:
        calls += len(inner)
        forces[1:-1] = evaluation.forces.cpu().numpy().reshape(len(inner), n_atoms, 3)
        if evaluation.magmoms is not None:
            magmoms = np.full((len(images), n_atoms), np.nan)
            magmoms[1:-1] = evaluation.magmoms.cpu().numpy().reshape(len(inner), n_atoms)
    tangents = path_tangents(images, energies)
    slopes = -np.einsum("iac,iac->i", forces, tangents)
    path = ReactionPath(
        ends.key, images, energies, slopes, forces, magmoms, outcome.status, outcome.message, outcome.residual,
        outcome.steps, calls, None,
    )  # fmt: skip
    if path.status != "max_steps":
        return path
    note = f"best bound of the barrier {path.barrier:.3f} eV; other noise (seed) may help too"
    return replace(path, message=f"{path.message}; {note}")


def _evaluated(outcome: Outcome, potential: EnergyModel) -> Evaluation | None:
    """True forces; None for a band that could not be evaluated."""
    return potential(outcome.batch.to(device_of(potential))) if outcome.status in ("converged", "max_steps") else None


def _proven(found: Sequence[tuple[ReactionPath, Endpoints]], potential: EnergyModel) -> list[ReactionPath]:
    """Look at the curvature of the highest images of converged paths, all together."""
    between = [k for k, (p, _) in enumerate(found) if p.status == "converged" and 0 < p.highest < len(p.images) - 1]
    chosen = [found[k] for k in between]
    proofs = prove(
        [p.images[p.highest] for p, _ in chosen],
        [p.forces[p.highest] for p, _ in chosen],
        [path_tangents(p.images, p.energies)[p.highest] for p, _ in chosen],
        [e.curvature().numpy() for _, e in chosen],
        potential,
    )
    known = dict(zip(between, proofs, strict=True))
    return [_with_proof(path, known.get(k)) for k, (path, _) in enumerate(found)]


def _with_proof(path: ReactionPath, proof: Proof | None) -> ReactionPath:
    if proof is None:
        return path
    return _judged(replace(path, proof=proof, force_calls=path.force_calls + proof.force_calls))


def _judged(path: ReactionPath) -> ReactionPath:
    """A path whose highest image is no saddle of first order has no barrier that may be used."""
    proof = path.proof
    if proof is None or proof.first_order:
        return path
    lowest = " and ".join(f"{c:.2f}" for c in proof.curvatures)
    number = ("no negative mode", "1 negative mode, a second not excluded", "2 or more")[proof.negative_modes]
    what = f"highest image has {number} (lowest {lowest} eV/Å²), wanted 1"
    return replace(path, status="unproven", message=f"{what}; try more images, other noise (seed) or more starts")


def _again(path: ReactionPath, key: Hashable, ends: Endpoints, spring: float, device: torch.device) -> Band:
    """Return the band to continue with: from a ridge, pushed along the second mode, most where it is highest."""
    assert path.proof is not None
    if path.proof.negative_modes == 0:
        return band_between(key, ends, np.array([a.positions for a in path.images[1:-1]]), spring, device)
    mode = path.proof.second_mode / np.linalg.norm(path.proof.second_mode, axis=1).max()
    height = np.clip(path.energies - min(path.energies[0], path.energies[-1]), 0, None)[1:-1]
    weight = KICK_A * (-1) ** path.kicks * height / height.max()
    positions = np.array([a.positions for a in path.images[1:-1]]) + weight[:, None, None] * mode
    return band_between(key, ends, positions, spring, device)


def _with_earlier(path: ReactionPath, earlier: ReactionPath | None) -> ReactionPath:
    if earlier is None:
        return path
    return replace(
        path,
        kicks=earlier.kicks + (earlier.proof is not None and earlier.proof.negative_modes > 1),
        steps=path.steps + earlier.steps,
        force_calls=path.force_calls + earlier.force_calls,
    )
