"""Rounds of active learning: the student runs dynamics, the frames that it knows least are labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from atomsim.batching.labels import label
from atomsim.distill.labelling import Recorder, evenly, largest_force
from atomsim.distill.recipe import Recipe
from atomsim.distill.sampling import seed_of
from atomsim.distill.structures import structures_of
from atomsim.dynamics import Langevin
from atomsim.dynamics.trajectory import snapshots, stable
from atomsim.models.interface import EnergyModel, Potential
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.random import displaced, nearest_pair

TOO_NEAR = 0.3
"""Frames with two atoms nearer than this part of their covalent sum are not shown to the teacher."""


def candidates(recipe: Recipe, student: Potential, number: int) -> list[Atoms]:
    """Return frames of the student's own dynamics, and of its relaxations, from all active systems.

    Args:
        recipe: the recipe.
        student: what moves atoms.
        number: of the round; other rounds give other frames.
    """
    active = recipe.active
    found: list[Atoms] = []
    for system in recipe.systems:
        if not system.active:
            continue
        rng = np.random.default_rng(seed_of(recipe, f"{system.name} active {number}"))
        structures = structures_of(system, rng)
        chosen = [structures[k] for k in rng.permutation(len(structures))[: max(2, len(active.temperatures_K))]]
        starts = [displaced(s, 0.1, system.strain, rng) for s in chosen for _ in active.temperatures_K]
        frames = _heated(starts, recipe, student, rng) + _relaxed(starts, student)
        for frame in frames:
            frame.info.update(config_type=system.domain, source=f"{system.name}-active-{number}")
        found += frames
    return evenly([f for f in found if nearest_pair(f) > TOO_NEAR], active.candidates)


def _heated(starts: Sequence[Atoms], recipe: Recipe, student: EnergyModel, rng: np.random.Generator) -> list[Atoms]:
    active = recipe.active
    seen = snapshots(
        starts,
        student,
        [active.temperatures_K[n % len(active.temperatures_K)] for n in range(len(starts))],
        rng.integers(2**31, size=len(starts)).tolist(),
        Langevin(active.timestep_fs, 0.02),
        steps=active.steps,
        every=active.every,
    )
    return [frame for s in stable(seen) for frame in s.state.batch.to("cpu").split()]


def _relaxed(starts: Sequence[Atoms], student: EnergyModel) -> list[Atoms]:
    """Where the student's relaxations lead: its minima may be none of the teacher's."""
    settings = RelaxSettings(max_steps=80, fmax_eV_per_A=0.03, check_minimum=False)
    found: list[Atoms] = []
    for begin in starts:
        recorder = Recorder(student)
        for _ in iter_relax([begin], recorder, settings):
            pass
        found += evenly(recorder.frames, 5)[1:]
    return [Atoms(a.numbers, a.positions, cell=a.cell, pbc=True) for a in found if np.isfinite(a.positions).all()]


def select_by_disagreement(frames: Sequence[Atoms], members: Sequence[EnergyModel], number: int) -> list[Atoms]:
    """Return the frames on which a committee disagrees most, in their order.

    The measure is the root mean square over atoms of the spread of forces among the members
    (query by committee; Seung, Opper & Sompolinsky 1992, Proc. COLT, 287).
    """
    measure = force_std(frames, members)
    return [frames[k] for k in sorted(np.argsort(-measure, kind="stable")[:number].tolist())]


def force_std(frames: Sequence[Atoms], members: Sequence[EnergyModel]) -> np.ndarray:
    """Root mean square over atoms of the standard deviation of forces, eV/Å, (n_frames,)."""
    by_member = [np.concatenate([f.get_forces() for f in label(frames, member)]) for member in members]
    variance = np.var(np.stack(by_member), axis=0).sum(axis=1)
    ends = np.cumsum([len(f) for f in frames])
    return np.array([np.sqrt(part.mean()) for part in np.split(variance, ends[:-1])])


def select_by_error(
    frames: Sequence[Atoms], student: EnergyModel, teacher: EnergyModel, number: int, limit: float
) -> list[Atoms]:
    """Label all frames and return those on which the student errs most, labels with them.

    Half are the largest errors of forces, half the largest errors of energy per atom.

    Args:
        frames: candidates.
        student: whose errors count.
        teacher: who labels.
        number: how many to return.
        limit: frames with a larger force are left out, eV/Å.
    """
    labels = [f for f in label(frames, teacher) if largest_force(f) < limit]
    own = label(labels, student)
    force = [np.sqrt(np.mean((a.get_forces() - b.get_forces()) ** 2)) for a, b in zip(own, labels, strict=True)]
    energy = [
        abs(a.get_potential_energy() - b.get_potential_energy()) / len(a) for a, b in zip(own, labels, strict=True)
    ]
    by_energy = np.argsort(-np.array(energy), kind="stable")[: number // 2].tolist()
    rest = [k for k in np.argsort(-np.array(force), kind="stable").tolist() if k not in set(by_energy)]
    return [labels[k] for k in sorted([*by_energy, *rest[: number - len(by_energy)]])]
