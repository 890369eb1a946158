"""Configurations that the target work visits, each source a job with its own file.

A job is a system, a way of making frames, and a seed; it returns frames that the teacher has
labelled. What the teacher is asked on the way (relaxations, bands, dynamics) is kept, not asked twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from ase import Atoms

from atomsim.batching.labels import label, labelled
from atomsim.distill.labelling import Recorder, evenly, largest_force
from atomsim.distill.recipe import Recipe, System
from atomsim.distill.structures import structures_of
from atomsim.dynamics import Langevin
from atomsim.dynamics.trajectory import snapshots, stable
from atomsim.errors import AtomsimError
from atomsim.hopping.compute import HostHops
from atomsim.hopping.survey import SurveySettings, survey
from atomsim.mep.find import find_paths
from atomsim.mep.path import PathSettings
from atomsim.models.interface import EnergyModel
from atomsim.relaxation import RelaxSettings, iter_relax
from atomsim.structures.random import compressed, dimers, displaced

Split = Literal["train", "test"]


@dataclass(frozen=True)
class FrameSource:
    """One source of frames."""

    name: str
    """Name of its file: ``Li2RuO3-rattle-train``."""
    domain: str
    split: Split
    system: System | None
    """None for pairs in a box."""
    kind: str


def frame_sources(recipe: Recipe) -> list[FrameSource]:
    """List all sources of a recipe, in order."""
    found = [FrameSource("pairs-train", "pairs", "train", None, "pairs")] if recipe.pairs.per_pair else []
    for system in recipe.systems:
        kinds = {
            "rattle": system.rattled,
            "relax": system.relaxations,
            "md": len(system.md_temperatures_K),
            "compress": system.compressed,
            "hops": system.hops,
        }
        for kind, wanted in kinds.items():
            splits: tuple[Split, ...] = ("train", "test") if kind in ("rattle", "md") else ("train",)
            if wanted:
                found += [FrameSource(f"{system.name}-{kind}-{s}", system.domain, s, system, kind) for s in splits]
    return found


def seed_of(recipe: Recipe, name: str) -> int:
    """Return a seed that depends on the recipe's seed and a name, not on what else there is."""
    return int.from_bytes(hashlib.sha256(f"{recipe.header.seed} {name}".encode()).digest()[:4])


def frames_of(job: FrameSource, recipe: Recipe, teacher: EnergyModel) -> list[Atoms]:
    """Make and label the frames of a job; those with a force above the recipe's limit are left out."""
    return within(all_frames_of(job, recipe, teacher), recipe)


def within(frames: Sequence[Atoms], recipe: Recipe) -> list[Atoms]:
    """Return the frames whose forces are below the recipe's limit."""
    return [f for f in frames if largest_force(f) < recipe.header.max_force_eV_per_A]


def all_frames_of(job: FrameSource, recipe: Recipe, teacher: EnergyModel) -> list[Atoms]:
    """Make and label the frames of a job."""
    rng = np.random.default_rng(seed_of(recipe, job.name))
    if job.system is None:
        p = recipe.pairs
        wanted = dimers(recipe.symbols, p.per_pair, p.from_covalent, p.to_A, p.box_A, p.also)
        frames = label(wanted, teacher)
    else:
        # the same structures for all kinds of frames of a system, but for held-out packings
        again = job.split if job.system.formula else "train"
        structures = structures_of(job.system, np.random.default_rng(seed_of(recipe, f"{job.system.name} {again}")))
        frames = FRAME_MAKERS[job.kind](job.system, structures, teacher, rng, _share(job, recipe))
    for frame in frames:
        frame.info.update(config_type=job.domain, source=job.name)
    return frames


def _share(job: FrameSource, recipe: Recipe) -> float:
    return 1.0 if job.split == "train" else recipe.header.held_out


FrameMaker = Callable[[System, list[Atoms], EnergyModel, np.random.Generator, float], list[Atoms]]


def rattle(
    system: System, structures: list[Atoms], teacher: EnergyModel, rng: np.random.Generator, share: float
) -> list[Atoms]:
    """Displace atoms and strain cells: amplitudes from nearly nothing to the largest."""
    frames = []
    for n in range(ceil(system.rattled * share)):
        amplitude = system.rattle_A * rng.uniform(0.05, 1.0)
        frames.append(displaced(structures[n % len(structures)], amplitude, system.strain, rng))
    return label(frames, teacher)


def relax(
    system: System, structures: list[Atoms], teacher: EnergyModel, rng: np.random.Generator, _: float
) -> list[Atoms]:
    """Keep the paths of relaxations, each from a structure that was displaced a little."""
    frames: list[Atoms] = []
    settings = RelaxSettings(max_steps=system.relax_steps, fmax_eV_per_A=0.03, check_minimum=False)
    for n in range(system.relaxations):
        recorder = Recorder(teacher)
        begin = displaced(structures[n % len(structures)], 0.05, 0.02, rng)
        for _ignored in iter_relax([begin], recorder, settings):
            pass
        frames += evenly(recorder.frames, system.relax_frames)
    return frames


def dynamics(
    system: System, structures: list[Atoms], teacher: EnergyModel, rng: np.random.Generator, share: float
) -> list[Atoms]:
    """Run the teacher's own dynamics, one structure after the other over the temperatures."""
    small = [s for s in structures if len(s) <= system.md_max_atoms] or [min(structures, key=len)]
    temperatures = system.md_temperatures_K
    runs = max(len(temperatures), len(small)) if share == 1.0 else len(temperatures)
    starts = [small[n % len(small)] for n in range(runs)]
    if system.formula:
        starts = [_softened(s, teacher) for s in starts]
    steps = system.md_steps if share == 1.0 else max(system.md_every, ceil(system.md_steps * max(share, 0.5)))
    seen = snapshots(
        starts,
        teacher,
        [temperatures[n % len(temperatures)] for n in range(runs)],
        rng.integers(2**31, size=runs).tolist(),
        Langevin(system.md_timestep_fs, 0.02),
        steps=steps,
        every=system.md_every,
    )
    frames = [frame for s in stable(seen) for frame in labelled(s.state.batch, s.state.evaluation)]
    if share == 1.0:
        return frames
    # the last part of each run: the first frames are still near the crystal that all runs start from
    number = max(runs, ceil(share * len(frames) * system.md_steps / steps))
    return frames[-number:]


def _softened(atoms: Atoms, teacher: EnergyModel) -> Atoms:
    """Take the worst overlaps out of a random packing."""
    settings = RelaxSettings(max_steps=40, fmax_eV_per_A=1.0, cell=False, check_minimum=False, method="fire")
    ((_, found),) = iter_relax([atoms], teacher, settings)
    return Atoms(found.atoms.numbers, found.atoms.positions, cell=found.atoms.cell, pbc=True)


def compress(
    system: System, structures: list[Atoms], teacher: EnergyModel, rng: np.random.Generator, _: float
) -> list[Atoms]:
    """Push pairs of like atoms together: anions to a peroxide and nearer, cations up each other's wall."""
    frames = []
    for n in range(system.compressed):
        begin = displaced(structures[n % len(structures)], 0.05, 0.01, rng)
        element = system.compressed_elements[n % len(system.compressed_elements)]
        frames.append(compressed(begin, element, rng.uniform(1.1, 2.4), rng))
    return label(frames, teacher)


def hops(
    system: System, structures: list[Atoms], teacher: EnergyModel, _: np.random.Generator, __: float
) -> list[Atoms]:
    """Keep the images of bands on their way to the path; a host whose ends do not relax is left out."""
    assert system.ion is not None
    recorder = Recorder(teacher)
    settings = SurveySettings(
        supercell_min_A=6.0,
        max_atoms=max(system.hop_max_atoms, len(structures[0])),
        end_max_steps=40,
        path=PathSettings(images=5, max_steps=system.hop_steps, prove_saddle=False),
    )
    host = HostHops(survey(structures[0], system.ion, settings), settings)
    chosen = sorted(host.view.placed, key=lambda p: (p.hop.length_A, p.hop.name))[: system.hops]
    host.relax_ends(chosen, recorder)
    frames = evenly(recorder.frames, 5 * len(host.ends))
    host.compute_hessian(teacher)
    for placed in chosen:
        ends = host.endpoints(placed)
        if isinstance(ends, str):
            continue
        recorder = Recorder(teacher)
        list(find_paths([ends], recorder, settings.path))
        frames += evenly(recorder.frames, 30)
    if not frames:
        raise AtomsimError(f"no hop of {system.ion} in {system.name} could be sampled; set hops = 0")
    return frames


FRAME_MAKERS: dict[str, FrameMaker] = {
    "rattle": rattle,
    "relax": relax,
    "md": dynamics,
    "compress": compress,
    "hops": hops,
}
