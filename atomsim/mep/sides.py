"""The images on either side of a saddle: what joins it to the ends, or shows that it was not the highest."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms

from atomsim.batch import Evaluation
from atomsim.batching.capacity import Capacity
from atomsim.mep.band import Band, ElasticBand
from atomsim.mep.endpoint_swap import mirrored, swap_at
from atomsim.mep.path import Endpoints, PathSettings, ReactionPath, at_positions, path_tangents
from atomsim.mep.state import SaddleSearch, Watched, band_between, begin_search
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.drive import Outcome, drive
from atomsim.optimize.newton import Newton
from atomsim.optimize.space import Space
from atomsim.optimize.stop import Stop
from atomsim.types import FloatArray

SIDE_FMAX, SIDE_STEPS = (4.0, 1.0), 30
"""Where these images are relaxed to, as multiples of ``fmax_eV_per_A``, and their most steps: they show the path, the
barrier does not depend on them. The second is for a side with an image above the saddle."""
DEEPER_EV = 0.05
"""An image that lies lower under both ends is on its way to another minimum, eV."""
ABOVE_EV = 0.002
"""An image that lies higher over the saddle is no noise, eV."""


def to_paths(climbs: Sequence[SaddleSearch], potential: EnergyModel, settings: PathSettings, room: Capacity) -> None:
    """Lay images between each saddle and both ends; a saddle that one of them overtops was not the highest."""
    sides = {(c.key, side): ends for c in climbs for side, ends in enumerate(_sides(c))}
    counts = {(c.key, side): n for c in climbs for side, n in enumerate(_shares(c, settings.images - 1))}
    even = [c for c in climbs if counts[c.key, 0] == counts[c.key, 1]]
    halved = {c.key: mirror for c in even if (mirror := swap_at(c.ends, c.positions))}
    laid = {
        (key, side): _straight(ends, counts[key, side])
        for (key, side), ends in sides.items()
        if counts[key, side] and not (side == 1 and key in halved)
    }
    learned = {(c.key, side): torch.from_numpy(c.hessian) for c in climbs for side in (0, 1) if c.hessian is not None}
    found: dict[Hashable, Outcome] = {}
    again = list(laid)
    for fmax in SIDE_FMAX:
        bands = [
            band_between(k, sides[k], laid[k], settings.spring_eV_per_A2, device_of(potential), learned.get(k))
            for k in again
        ]
        now = _driven_sides(bands, fmax * settings.fmax_eV_per_A, potential, settings, room)
        found |= now
        again = []
        for climb in climbs:
            assert climb.saddle is not None
            keys = [(climb.key, side) for side in (0, 1) if (climb.key, side) in laid]
            top = float(climb.saddle.evaluation.energy[0]) + ABOVE_EV
            for key in keys:
                climb.calls += (now[key].steps + 1) * counts[key] if key in now else 0
                if float(found[key].evaluation.energy.max()) > top:
                    laid[key] = found[key].batch.positions.cpu().numpy().reshape(counts[key], -1, 3)
                    again.append(key)
    for climb in climbs:
        first, second = (found.get((climb.key, side)) for side in (0, 1))
        if climb.key in halved and first is not None:
            second = mirrored(first, climb.ends, halved[climb.key], climb.positions)
        _joined(climb, [first, second])


def _driven_sides(
    bands: Sequence[Band], fmax: float, potential: EnergyModel, settings: PathSettings, room: Capacity
) -> dict[Hashable, Outcome]:
    """Relax bands without a climbing image; their evaluations hold the true forces."""
    watched = Watched(ElasticBand(settings.spring_eV_per_A2, climb=False))
    stop = Stop(fmax=fmax, max_steps=min(SIDE_STEPS, settings.max_steps), exploded_force=1e3)
    outcomes = drive(bands, potential, Newton(conservative=False), Space(), stop, room, project=watched)
    return {o.key: replace(o, evaluation=watched.seen[o.key]) for o in outcomes}


def _sides(climb: SaddleSearch) -> tuple[Endpoints, Endpoints]:
    """From the start to the saddle, and from there to the end."""
    assert climb.saddle is not None
    ends, top = climb.ends, float(climb.saddle.evaluation.energy[0])
    to_top = climb.positions - ends.start.positions
    return (
        replace(ends, displacement=to_top, end_energy=top),
        replace(
            ends,
            start=at_positions(ends.start, climb.positions),
            displacement=ends.displacement - to_top,
            start_energy=top,
        ),
    )


def _shares(climb: SaddleSearch, n_images: int) -> tuple[int, int]:
    """Images on either side, by length, at least one each."""
    first, second = (float(np.linalg.norm(side.displacement)) for side in _sides(climb))
    n = round(n_images * first / (first + second))
    n = min(max(n, 1), n_images - 1)
    return n, n_images - n


def _straight(ends: Endpoints, n_images: int) -> FloatArray:
    """Positions on the straight line between the ends of one side, Å, (n_images, n_atoms, 3)."""
    fraction = np.arange(1, n_images + 1) / (n_images + 1)
    return np.asarray(ends.start.positions + fraction[:, None, None] * ends.displacement)


def _joined(climb: SaddleSearch, parts: Sequence[Outcome | None]) -> None:
    """Make the path, or begin again from an image above the saddle, or give up.

    A side that runs into another minimum, deeper than both ends, does not converge; ``segments`` continues from it.
    """
    assert climb.saddle is not None
    pieces = [parts[0], climb.saddle, parts[1]]
    known = [p for p in pieces if p is not None]
    climb.failed = any(p.status not in ("converged", "max_steps") for p in known)
    if climb.failed:
        return
    evaluation = Evaluation.join([p.evaluation.to("cpu") for p in known])
    images = [image for p in known for image in p.batch.to("cpu").split()]
    top = float(climb.saddle.evaluation.energy[0])
    if float(evaluation.energy.max()) > top + ABOVE_EV:
        again = begin_search(climb.key, climb.ends, images, evaluation)
        climb.positions, climb.force, climb.tangent = again.positions, again.force, again.tangent
        climb.restarts += 1
        climb.failed = climb.restarts > 1
        return
    settled = all(p is None or p.status == "converged" for p in parts)
    lowest_end = min(climb.ends.start_energy, climb.ends.end_energy)
    climb.failed = not settled and float(evaluation.energy.min()) > lowest_end - DEEPER_EV
    if not climb.failed:
        path = _path(climb, images, evaluation, len(parts[0].batch.sizes) if parts[0] else 0)
        note = "the path runs through a minimum between its ends"
        climb.path = path if settled else replace(path, status="max_steps", message=note)


def _path(climb: SaddleSearch, inner: Sequence[Atoms], evaluation: Evaluation, before: int) -> ReactionPath:
    ends, saddle = climb.ends, climb.saddle
    assert saddle is not None
    images = (at_positions(ends.start, ends.start.positions), *inner, ends.end)
    energies = evaluation.energy.cpu().numpy().copy()
    energies[before] = max(energies[before], energies.max())  # to noise the saddle is the highest
    energies = np.array([ends.start_energy, *energies, ends.end_energy])
    forces = np.zeros((len(images), len(ends.start), 3))
    forces[1:-1] = evaluation.forces.cpu().numpy().reshape(len(inner), -1, 3)
    magmoms = None
    if evaluation.magmoms is not None:
        magmoms = np.full((len(images), len(ends.start)), np.nan)
        magmoms[1:-1] = evaluation.magmoms.cpu().numpy().reshape(len(inner), -1)
    slopes = -np.einsum("iac,iac->i", forces, path_tangents(images, energies))
    return ReactionPath(
        ends.key, images, energies, slopes, forces, magmoms, "converged", climb.note, saddle.residual, climb.steps,
        climb.calls, climb.proof, climb.kicks,
    )  # fmt: skip
