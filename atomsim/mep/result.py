"""A path between two given structures as its user gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from atomsim.errors import InputError
from atomsim.mep.flags import WITHOUT_SADDLE, path_flags, without_saddle
from atomsim.mep.path import PathSettings, ReactionPath
from atomsim.mep.rates import DEFAULT_PREFACTOR, rate
from atomsim.relaxation import Relaxation
from atomsim.types import FloatArray

SPARSE_A = 1.2
"""Images between which an atom goes further may have a minimum or a saddle between them, Å."""
OF_SITES = frozenset({"ion", "vacancies"})
"""Info about the sites that ions have left, true at an end alone."""
NO_SADDLE = (
    "no saddle between the ends: the energy only {way}, so that the {name} is in no basin of its own or on a saddle; "
    "move its atoms a little and relax it, or choose another {name}"
)


@dataclass(frozen=True)
class Segment:
    """One hop of a path, from one minimum to the next."""

    barrier_eV: float | None
    """Forward barrier; None without a saddle of its own."""
    reverse_barrier_eV: float | None
    reaction_energy_eV: float
    status: str
    message: str
    negative_modes: int | None
    n_images: int
    """Both ends among them."""


@dataclass(frozen=True, eq=False)
class MinimumEnergyPath:
    """A path between two minima; ``status`` says whether its barrier may be used, ``flags`` what limits it."""

    status: str
    """``converged``; ``unproven``, where there is no proven first-order saddle between two minima; ``drifted``,
    where both ends relax to one minimum; or what became of the path or of an end: ``max_steps``, ``saddle`` …"""
    message: str
    """Failure and a remedy to try; empty where nothing failed."""
    flags: tuple[str, ...]
    barrier_eV: float | None
    """Highest energy on the path over the start's; None where the path shows no barrier."""
    reverse_barrier_eV: float | None
    """The same over the end's."""
    reaction_energy_eV: float | None
    """Energy of the end over that of the start."""
    upper_bound: bool
    """The highest image is no proven saddle: the barrier of this path may be lower."""
    images: tuple[Atoms, ...] = field(repr=False)
    """Both ends among them, positions continuous, with energies, forces and moments where they are known."""
    energies_eV: FloatArray = field(repr=False)
    """(n_images,)."""
    lengths_A: FloatArray = field(repr=False)
    """Distance along the path in all coordinates, (n_images,)."""
    segments: tuple[Segment, ...]
    """The hops that the path consists of: one, or one more than there are minima between its ends."""
    moved: str
    """Atoms that travel, and how far."""
    remarks: tuple[str, ...]
    """Changes made to the end before anything was computed."""
    end_fmax_eV_per_A: tuple[float, float]
    """Largest force at the start and at the end."""
    end_moved_A: tuple[float, float]
    """Displacement of the atom that moved furthest when an end was relaxed."""
    fmax_eV_per_A: float | None
    """Largest force at the saddle; of a climbing band the largest projected one."""
    negative_modes: int | None
    """Negative modes of the Hessian at the highest saddle: 1 proves it; None where none was looked for."""
    lowest_curvatures_eV_per_A2: tuple[float, ...]
    """Curvatures of the two lowest modes there."""
    overlap_with_path: float | None
    """Overlap of the unstable mode with the path's direction, 0 to 1."""
    attempt_frequency_Hz: float | None
    """Vineyard's prefactor, where one was asked for."""
    evaluations: int
    """Force calls, those of the ends among them."""
    potential: str
    settings: PathSettings = field(repr=False)

    @property
    def ok(self) -> bool:
        """True if the barrier may be used."""
        return self.status == "converged"

    @property
    def saddle(self) -> Atoms | None:
        """The highest image, where there is a barrier."""
        return None if self.barrier_eV is None else self.images[int(np.argmax(self.energies_eV))]

    @property
    def path_length_A(self) -> float:  # noqa: N802 - units are in names
        """Length of the path in all coordinates."""
        return float(self.lengths_A[-1])

    def rate_per_s(self, temperature_K: float) -> float:
        """Return the forward rate by transition-state theory, with 1e13 1/s where no prefactor was computed.

        Raises:
            InputError: without a barrier that may be used.
        """
        if not self.ok or self.barrier_eV is None:
            raise InputError(f"no rate, as the path is {self.status}: {self.message}")
        return rate(self.barrier_eV, temperature_K, self.attempt_frequency_Hz or DEFAULT_PREFACTOR)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the images as plain numbers and words."""
        facts = {k: v for k, v in vars(self).items() if k not in ("images", "settings", "segments")}
        facts |= {k: getattr(self, k).tolist() for k in ("energies_eV", "lengths_A")}
        return facts | {"segments": [asdict(s) for s in self.segments], "settings": asdict(self.settings)}

    def __repr__(self) -> str:
        barrier = "none" if self.barrier_eV is None else f"{'at most ' * self.upper_bound}{self.barrier_eV:.3f} eV"
        return f"<MinimumEnergyPath {self.status}: barrier {barrier}; {self.moved}>"


@dataclass(frozen=True)
class Question:
    """A question to ``neb``, with all that is known before a path is found."""

    settings: PathSettings
    potential: str
    first: Relaxation
    last: Relaxation
    moved: str
    end_moved_A: tuple[float, float]
    remarks: tuple[str, ...]
    flags: tuple[str, ...] = ()
    """Caveats about the ends."""
    trouble: str = ""
    """Reason why the ends are no minima; empty where they are."""

    def without_path(self, status: str, message: str) -> MinimumEnergyPath:
        """Return the answer where the ends allow no path."""
        known = np.array([self.first.energy, self.last.energy])
        change = float(known[1] - known[0]) if np.isfinite(known).all() else None
        length = float(np.linalg.norm(self.last.atoms.positions - self.first.atoms.positions))
        return MinimumEnergyPath(
            status=status,
            message=message,
            flags=self.flags,
            barrier_eV=None,
            reverse_barrier_eV=None,
            reaction_energy_eV=change,
            upper_bound=False,
            images=(self.first.atoms, self.last.atoms),
            energies_eV=known,
            lengths_A=np.array([0.0, length]),
            segments=(),
            moved=self.moved,
            remarks=self.remarks,
            end_fmax_eV_per_A=(self.first.fmax, self.last.fmax),
            end_moved_A=self.end_moved_A,
            fmax_eV_per_A=None,
            negative_modes=None,
            lowest_curvatures_eV_per_A2=(),
            overlap_with_path=None,
            attempt_frequency_Hz=None,
            evaluations=self.first.force_calls + self.last.force_calls,
            potential=self.potential,
            settings=self.settings,
        )

    def with_path(self, path: ReactionPath, parts: Sequence[ReactionPath]) -> MinimumEnergyPath:
        """Return the answer that a path gives."""
        proof = path.proof
        segments = tuple(_segment(p) for p in parts or (path,))
        status, message = self._verdict(path)
        over = _barriers(path)
        flags = [*self.flags, *path_flags(path, parts), *_sparse(path)]
        if self.trouble:  # from an end that is no minimum a path without a saddle says nothing of one
            flags = [flag for flag in flags if flag != WITHOUT_SADDLE]
        if len(segments) > 1:
            flags.append(f"{len(segments)} hops, one after the other: {_listed(segments)}")
        return MinimumEnergyPath(
            status=status,
            message=message,
            flags=tuple(flags),
            barrier_eV=over and over[0],
            reverse_barrier_eV=over and over[1],
            reaction_energy_eV=self.last.energy - self.first.energy,
            upper_bound=over is not None and path.status != "converged",
            images=_with_results(path, self.first.atoms, self.last.atoms),
            energies_eV=path.energies,
            lengths_A=path.lengths,
            segments=segments,
            moved=self.moved,
            remarks=self.remarks,
            end_fmax_eV_per_A=(self.first.fmax, self.last.fmax),
            end_moved_A=self.end_moved_A,
            fmax_eV_per_A=float(path.residual) if np.isfinite(path.residual) else None,
            negative_modes=proof.negative_modes if proof else None,
            lowest_curvatures_eV_per_A2=tuple(float(c) for c in proof.curvatures) if proof else (),
            overlap_with_path=float(proof.overlap) if proof else None,
            attempt_frequency_Hz=None,
            evaluations=path.force_calls + self.first.force_calls + self.last.force_calls,
            potential=self.potential,
            settings=self.settings,
        )

    def _verdict(self, path: ReactionPath) -> tuple[str, str]:
        """A barrier counts only where a proven saddle joins two minima."""
        messages = [m for m in (self.trouble, path.message) if m]
        status = "unproven" if self.trouble and path.status == "converged" else path.status
        if status == "exploded":
            messages.append("no barrier is given; check that atoms that move have a way around the others")
        elif path.status == "converged" and _barriers(path) is None and not self.trouble:
            status = "unproven"
            name, way = (
                ("end", "rises towards it") if path.energies[-1] > path.energies[0] else ("start", "falls from it")
            )
            messages.append(NO_SADDLE.format(name=name, way=way))
        return status, "; ".join(messages)


def attempted(path: MinimumEnergyPath, attempt_Hz: float | None, calls: int) -> MinimumEnergyPath:
    """Return a path with its attempt frequency."""
    return replace(path, attempt_frequency_Hz=attempt_Hz, evaluations=path.evaluations + calls)


def _barriers(path: ReactionPath) -> tuple[float, float] | None:
    """Forward and reverse barrier, eV; None where the energies are those of no path, or highest at an end."""
    usable = path.status in ("converged", "unproven", "max_steps") and bool(np.isfinite(path.energies).all())
    if not usable or without_saddle(path):
        return None
    return path.barrier, path.reverse_barrier


def _segment(path: ReactionPath) -> Segment:
    over = _barriers(path)
    modes = path.proof.negative_modes if path.proof else None
    return Segment(
        over and over[0], over and over[1], path.reaction_energy, path.status, path.message, modes, len(path.images)
    )


def _listed(segments: Sequence[Segment]) -> str:
    known = ["none" if s.barrier_eV is None else f"{s.barrier_eV:.3f}" for s in segments]
    return f"barriers {', '.join(known)} eV, each from the minimum before it"


def _sparse(path: ReactionPath) -> list[str]:
    steps = np.linalg.norm(np.diff([a.positions for a in path.images], axis=0), axis=2).max(axis=1)
    if not steps.max() > SPARSE_A:
        return []
    return [f"images up to {steps.max():.2f} Å apart: a minimum between them may be missed; use more images"]


def _with_results(path: ReactionPath, first: Atoms, last: Atoms) -> tuple[Atoms, ...]:
    """Images with what is known of each on its calculator, and the ends with what they carry."""
    between = {key: value for key, value in first.info.items() if key not in OF_SITES}
    info = [first.info, *[between] * (len(path.images) - 2), last.info]
    images = []
    for n, image in enumerate(path.images):
        known: dict[str, Any] = {}
        if np.isfinite(path.energies[n]):
            known["energy"] = float(path.energies[n])
        if np.isfinite(path.forces[n]).all() and path.status in ("converged", "unproven", "max_steps"):
            known["forces"] = path.forces[n]
        if path.magmoms is not None and np.isfinite(path.magmoms[n]).all():
            known["magmoms"] = path.magmoms[n]
        atoms = image.copy()
        atoms.info = dict(info[n])
        atoms.calc = SinglePointCalculator(atoms, **known) if known else None
        images.append(atoms)
    return tuple(images)
