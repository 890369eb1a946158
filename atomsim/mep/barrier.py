"""Minimum-energy paths and their barriers: all bands of all hops in one flight, each saddle proven."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from atomsim.batch import Batch, Evaluation
from atomsim.batching import Capacity
from atomsim.mep.band import Band, ElasticBand
from atomsim.mep.curvature import Proof, band_inverse, prove
from atomsim.mep.interpolate import idpp, linear, roughened
from atomsim.mep.path import Ends, FloatArray, Path, PathSettings, at_positions, path_tangents
from atomsim.models.interface import Surface
from atomsim.optimize.drive import Outcome, Stop, drive
from atomsim.optimize.newton import Newton
from atomsim.optimize.rows import Method
from atomsim.optimize.space import Space
from atomsim.relaxation import default_capacity

KICK_A = 0.15
"""Longest row of the step off a ridge, Å."""
RETRIED = 0.3
"""Part of ``fmax_eV_per_A`` that a second try must reach: a flat saddle is further off than its small force tells."""
PROVEN_AT_ONCE = 32
"""Saddles that are looked at together, on a GPU."""


def find_paths(
    ends: Iterable[Ends],
    surface: Surface,
    settings: PathSettings | None = None,
    *,
    capacity: Capacity | None = None,
    method: Method[Any] | None = None,
) -> Iterator[Path]:
    """Find the path between every pair of ends; one ``Path`` each, in no particular order.

    All images of all bands in flight are evaluated together. A band that ends on a ridge (more than
    one negative mode) is pushed off it and goes on; one that ends beside a flat saddle (none) goes on
    to a smaller force.

    Args:
        ends: what to join.
        surface: the potential.
        settings: how.
        capacity: images and atoms in flight; by default one band at a time on a CPU.
        method: the optimizer; by default a quasi-Newton seeded with the ends' Hessian.
    """
    chosen = settings or PathSettings()
    todo = {e.key: e for e in ends}
    device = getattr(surface, "device", torch.device("cpu"))
    room = capacity or default_capacity(surface, [e.start for e in todo.values()], device)
    bands: Iterable[Band] = (band_of(e, chosen, n, device) for e in todo.values() for n in range(chosen.starts))
    found: dict[Hashable, list[Path]] = {}
    spent: dict[Hashable, Path] = {}
    at_once = 1 if device.type == "cpu" else PROVEN_AT_ONCE
    for attempt in range(chosen.retries + 1):
        again: list[Band] = []
        fmax = chosen.fmax_eV_per_A * (RETRIED if attempt else 1.0)
        outcomes = _driven(bands, surface, replace(chosen, fmax_eV_per_A=fmax), room, method)
        for key, path in _settled(outcomes, todo, surface, chosen, at_once):
            path = _with_earlier(path, spent.get(key))
            if path.proof is not None and path.proof.negative_modes != 1 and attempt < chosen.retries:
                spent[key] = path
                again.append(_again(path, key, todo[key[0]], chosen.spring_eV_per_A2, device))
                continue
            of_hop = found.setdefault(key[0], [])
            of_hop.append(path)
            if len(of_hop) == chosen.starts:
                yield best(of_hop)
        bands = again


def _settled(
    outcomes: Iterator[Outcome], todo: dict[Hashable, Ends], surface: Surface, settings: PathSettings, at_once: int
) -> Iterator[tuple[tuple[Hashable, int], Path]]:
    """Turn outcomes into paths with their proofs, so many at once; keys are (hop, start)."""
    while waiting := list(islice(outcomes, at_once)):
        keys: list[tuple[Hashable, int]] = [o.key for o in waiting]  # type: ignore[misc]
        paths = [(_path(o, todo[key[0]], surface), todo[key[0]]) for o, key in zip(waiting, keys, strict=True)]
        proven = _proven(paths, surface) if settings.prove_saddle else [p for p, _ in paths]
        yield from zip(keys, proven, strict=True)


def _driven(
    bands: Iterable[Band], surface: Surface, settings: PathSettings, room: Capacity, method: Method[Any] | None
) -> Iterator[Outcome]:
    stop = Stop(fmax=settings.fmax_eV_per_A, max_steps=settings.max_steps, exploded_force=1e3)
    project = ElasticBand(settings.spring_eV_per_A2, settings.climb)
    return drive(bands, surface, method or Newton(conservative=False), Space(), stop, room, project=project)


def best(paths: Sequence[Path]) -> Path:
    """Return the lowest of the proven paths of one hop, or else the lowest; its calls are those of all."""
    ranked = sorted(paths, key=lambda p: (p.status != "converged", p.status != "unproven", p.barrier))
    return replace(ranked[0], force_calls=sum(p.force_calls for p in paths))


def band_of(ends: Ends, settings: PathSettings, number: int, device: torch.device) -> Band:
    """Return the first guess of a band, with what is known of its curvature."""
    seed = _seed(ends, settings.seed, number)
    straight = linear(ends.start, ends.moved, settings.images)
    guess = straight if settings.guess == "linear" else idpp(ends.start, ends.moved, settings.images, seed)
    free = ~Batch.pack([ends.start]).fixed.numpy()
    positions = roughened(guess, settings.noise_A, np.random.default_rng(seed), free)
    return _band((ends.key, number), ends, positions, settings.spring_eV_per_A2, device)


def _seed(ends: Ends, seed: int, number: int) -> int:
    """A seed that is the same for the same ends, whatever else is computed with them."""
    digest = hashlib.sha256(np.round(ends.moved, 3).tobytes() + np.round(ends.start.positions, 3).tobytes()).digest()
    return int.from_bytes(digest[:4]) ^ (seed * 1_000_003 + number)


def _band(key: Hashable, ends: Ends, positions: FloatArray, spring: float, device: torch.device) -> Band:
    path = np.concatenate([[ends.start.positions], positions, [ends.end.positions]])
    first = Batch.pack([ends.start])
    inverse = band_inverse(ends.curvature(), torch.from_numpy(path), spring, first.fixed)
    return Band(
        key,
        Batch.pack([at_positions(ends.start, p) for p in positions], device),
        inverse.to(device),
        start=first.to(device),
        end=Batch.pack([ends.end], device),
        start_energy=ends.start_energy,
        end_energy=ends.end_energy,
    )


def _path(outcome: Outcome, ends: Ends, surface: Surface) -> Path:
    """Evaluate the band once more, for its true forces."""
    inner = outcome.batch.to("cpu").split()
    images = (at_positions(ends.start, ends.start.positions), *inner, ends.end)
    energies = np.array([ends.start_energy, *outcome.evaluation.energy.tolist(), ends.end_energy])
    calls = (outcome.steps + 1) * len(inner)
    n_atoms = len(ends.start)
    forces, magmoms = np.zeros((len(images), n_atoms, 3)), None
    said = _evaluated(outcome, surface)
    if said is not None:
        calls += len(inner)
        forces[1:-1] = said.forces.cpu().numpy().reshape(len(inner), n_atoms, 3)
        if said.magmoms is not None:
            magmoms = np.full((len(images), n_atoms), np.nan)
            magmoms[1:-1] = said.magmoms.cpu().numpy().reshape(len(inner), n_atoms)
    tangents = path_tangents(images, energies)
    slopes = -np.einsum("iac,iac->i", forces, tangents)
    path = Path(
        ends.key, images, energies, slopes, forces, magmoms, outcome.status, outcome.message, outcome.residual,
        outcome.steps, calls, None,
    )  # fmt: skip
    if path.status != "max_steps":
        return path
    note = f"best bound of the barrier {path.barrier:.3f} eV; raise max_steps, or try other noise (seed)"
    return replace(path, message=f"{path.message}; {note}")


def _evaluated(outcome: Outcome, surface: Surface) -> Evaluation | None:
    """True forces; None for a band that could not be evaluated."""
    return surface(outcome.batch) if outcome.status in ("converged", "max_steps") else None


def _proven(found: Sequence[tuple[Path, Ends]], surface: Surface) -> list[Path]:
    """Look at the curvature of the highest images of converged paths, all together."""
    between = [k for k, (p, _) in enumerate(found) if p.status == "converged" and 0 < p.highest < len(p.images) - 1]
    chosen = [found[k] for k in between]
    proofs = prove(
        [p.images[p.highest] for p, _ in chosen],
        [path_tangents(p.images, p.energies)[p.highest] for p, _ in chosen],
        [e.moving for _, e in chosen],
        [e.curvature().numpy() for _, e in chosen],
        surface,
    )
    known = dict(zip(between, proofs, strict=True))
    return [_with_proof(path, known.get(k)) for k, (path, _) in enumerate(found)]


def _with_proof(path: Path, proof: Proof | None) -> Path:
    if proof is None:
        return path
    path = replace(path, proof=proof, force_calls=path.force_calls + proof.force_calls)
    if proof.first_order:
        return path
    lowest = " and ".join(f"{c:.2f}" for c in proof.curvatures)
    number = "no negative mode" if proof.negative_modes == 0 else "2 or more negative modes"
    what = f"highest image has {number} (lowest {lowest} eV/Å²), wanted 1"
    return replace(path, status="unproven", message=f"{what}; try more images, other noise (seed) or more starts")


def _again(path: Path, key: Hashable, ends: Ends, spring: float, device: torch.device) -> Band:
    """Return the band to go on with: from a ridge, pushed along the second mode, most where it is highest."""
    assert path.proof is not None
    if path.proof.negative_modes == 0:
        return _band(key, ends, np.array([a.positions for a in path.images[1:-1]]), spring, device)
    mode = path.proof.second_mode / np.linalg.norm(path.proof.second_mode, axis=1).max()
    height = np.clip(path.energies - min(path.energies[0], path.energies[-1]), 0, None)[1:-1]
    weight = KICK_A * (-1) ** path.kicks * height / height.max()
    positions = np.array([a.positions for a in path.images[1:-1]]) + weight[:, None, None] * mode
    return _band(key, ends, positions, spring, device)


def _with_earlier(path: Path, earlier: Path | None) -> Path:
    if earlier is None:
        return path
    return replace(
        path,
        kicks=earlier.kicks + (earlier.proof is not None and earlier.proof.negative_modes > 1),
        steps=path.steps + earlier.steps,
        force_calls=path.force_calls + earlier.force_calls,
    )
