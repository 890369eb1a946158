"""Inputs and results of the search for a minimum energy path."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.mep.band import Neighbourhood, improved_tangent
from atomsim.mep.proof import Proof
from atomsim.optimize.space import Space
from atomsim.optimize.springs import spring_hessian
from atomsim.types import FloatArray

if TYPE_CHECKING:
    from atomsim.relaxation import Relaxation

MOVING_ATOM_FRACTION = 0.5
"""Atoms that go at least this part of the longest way are those that travel."""
MIRRORED_A = 0.02
"""Ends that differ by less from each other's image are that image, Å."""


@dataclass(frozen=True)
class PathSettings:
    """Settings of the search for a path."""

    images: int = 5
    """Images between the ends."""
    fmax_eV_per_A: float = 0.05
    """Force threshold of a climbing band: no projected force on an atom of an image is larger, on the climbing image no
    true one. Where a mode is followed, forces at the saddle are 0.4 of it, and projected ones elsewhere up to 5 times
    it."""
    max_steps: int = 200
    """Steps of a band; each evaluates all its images."""
    spring_eV_per_A2: float = 3.0
    climb: bool = True
    search: str = "follow"
    """``follow``: few images find where the saddle is, one system follows the mode along the path to it, the others
    are laid out from there; ``band``: a climbing band all the way, which is also what a hop falls back to."""
    guess: str = "idpp"
    """``idpp`` or ``linear``."""
    noise_A: float = 0.03
    """Standard deviation of smooth seeded noise on the guess, Å: symmetric guesses end on symmetric ridges."""
    starts: int = 1
    """Bands per hop, each with other noise; the lowest proven one is kept."""
    seed: int = 0
    prove_saddle: bool = True
    retries: int = 2
    """Most pushes of a band off a ridge."""

    def __post_init__(self) -> None:
        if self.guess not in ("idpp", "linear"):
            raise InputError(f"unknown guess {self.guess!r}, wanted 'idpp' or 'linear'")
        if self.search not in ("follow", "band"):
            raise InputError(f"unknown search {self.search!r}, wanted 'follow' or 'band'")
        for name, least in (("images", 1), ("starts", 1), ("max_steps", 1), ("seed", 0), ("retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise InputError(f"found {name}={value!r}, wanted a whole number, {least} or more")
        for name, zero in (("fmax_eV_per_A", False), ("spring_eV_per_A2", False), ("noise_A", True)):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not (number and 0 <= value < np.inf and (zero or value > 0)):  # false for NaN too
                raise InputError(f"found {name}={value!r}, wanted a number {'of 0 or more' if zero else 'above 0'}")


@dataclass(frozen=True)
class Endpoints:
    """Two minima to be joined."""

    key: Hashable
    start: Atoms = field(repr=False)
    displacement: FloatArray = field(repr=False)
    """Displacement of every atom to the other end, Å, (n_atoms, 3)."""
    start_energy: float
    """eV."""
    end_energy: float
    """eV."""
    moving: tuple[int, ...]
    """Atoms that travel."""
    hessian: Tensor | None = field(default=None, repr=False)
    """Hessian of the start, or of its host, eV/Å², (3 n_atoms, 3 n_atoms); None for a model of springs."""
    swaps: tuple[EndpointSwap, ...] = field(default=(), repr=False)
    """Symmetry operations that swap the ends."""

    @property
    def end(self) -> Atoms:
        """The other end, positions continuous with the start's."""
        return at_positions(self.start, self.start.positions + self.displacement)

    @cached_property
    def free(self) -> Tensor:
        """Projectors onto the directions in which atoms may move, (n_atoms, 3, 3)."""
        return Batch.pack([self.start]).free

    def curvature(self) -> Tensor:
        """The Hessian that was given, or that of a model of springs; eV/Å², (3 n_atoms, 3 n_atoms)."""
        return spring_hessian(Batch.pack([self.start]), Space()) if self.hessian is None else self.hessian


@dataclass(frozen=True)
class ReactionPath:
    """A path as it was found; ``status`` says whether its barrier may be used."""

    key: Hashable
    images: tuple[Atoms, ...] = field(repr=False)
    """Both ends among them, positions continuous."""
    energies: FloatArray
    """eV, (n_images,)."""
    slopes: FloatArray = field(repr=False)
    """dE/ds along the path, eV/Å, (n_images,)."""
    forces: FloatArray = field(repr=False)
    """True forces, eV/Å, (n_images, n_atoms, 3); zero at an end whose forces were not given."""
    magmoms: FloatArray | None = field(repr=False)
    """μB, (n_images, n_atoms), NaN at an end whose moments were not given; or None."""
    status: str
    """``converged``; ``unproven``, where the highest image is no first-order saddle; or as ``drive`` says."""
    message: str
    residual: float
    """Largest force at the saddle, eV/Å; of a climbing band the largest projected one."""
    steps: int
    force_calls: int
    """Evaluations of single images, the proof's among them."""
    proof: Proof | None = field(repr=False)
    """None without a saddle between the ends, or where none was asked for."""
    kicks: int = 0
    """Pushes of the band off a ridge."""

    @property
    def highest(self) -> int:
        """Number of the highest image, the start being 0."""
        return int(np.argmax(self.energies))

    @property
    def barrier(self) -> float:
        """Forward barrier, eV."""
        return float(self.energies.max() - self.energies[0])

    @property
    def reverse_barrier(self) -> float:
        """Backward barrier, eV."""
        return float(self.energies.max() - self.energies[-1])

    @property
    def reaction_energy(self) -> float:
        """Reaction energy E(end) − E(start), eV."""
        return float(self.energies[-1] - self.energies[0])

    @property
    def lengths(self) -> FloatArray:
        """Distance along the path in all coordinates, Å, (n_images,)."""
        positions = np.array([a.positions for a in self.images])
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(positions, axis=0), axis=(1, 2)))])


def travellers(moved: FloatArray) -> tuple[int, ...]:
    """Atoms that go at least ``MOVING_ATOM_FRACTION`` of the longest way."""
    length = np.linalg.norm(moved, axis=1)
    return tuple(int(n) for n in np.flatnonzero(length >= MOVING_ATOM_FRACTION * length.max()))


def with_end_forces(path: ReactionPath, first: Relaxation | None, last: Relaxation | None) -> ReactionPath:
    """Return a path with the true forces, slopes and moments of its ends where they are known."""
    forces, slopes = path.forces.copy(), path.slopes.copy()
    magmoms = None if path.magmoms is None else path.magmoms.copy()
    for n, end in ((0, first), (-1, last)):
        if end is None:
            continue
        step = path.images[1].positions - path.images[0].positions
        if n == -1:
            step = path.images[-1].positions - path.images[-2].positions
        forces[n] = end.forces
        slopes[n] = -float((end.forces * step).sum() / np.linalg.norm(step))
        if magmoms is not None and end.magmoms is not None:
            magmoms[n] = end.magmoms
    return replace(path, forces=forces, slopes=slopes, magmoms=magmoms)


def at_positions(atoms: Atoms, positions: FloatArray) -> Atoms:
    """Return a copy at other positions, fixed atoms too, without results."""
    placed: Atoms = atoms.copy()
    placed.calc = None
    placed.set_positions(positions, apply_constraint=False)
    return placed


def path_tangents(images: Sequence[Atoms], energies: FloatArray) -> FloatArray:
    """Unit tangents by the rule of the band, one-sided at the ends, (n_images, n_atoms, 3)."""
    positions = torch.from_numpy(np.array([a.positions for a in images]))
    step = torch.diff(positions, dim=0)
    batch = Batch.pack(list(images[1:-1]))
    energy = torch.from_numpy(energies)
    none = torch.zeros(len(images) - 2, dtype=torch.bool)
    near = Neighbourhood(step[:-1].flatten(0, 1), step[1:].flatten(0, 1), energy[:-2], energy[2:], none, none)
    inner = improved_tangent(batch, energy[1:-1], near).view(len(images) - 2, -1, 3)
    first, last = step[0] / step[0].norm(), step[-1] / step[-1].norm()
    return torch.cat([first[None], inner, last[None]]).numpy()


@dataclass(frozen=True)
class EndpointSwap:
    """An operation of the host's space group, as it acts on the atoms of a path."""

    rotation: FloatArray
    """Cartesian, (3, 3)."""
    image: NDArray[np.int64]
    """Where it takes each atom, (n_atoms,)."""

    def vectors(self, vectors: FloatArray) -> FloatArray:
        """Take vectors, one per atom, to where their atoms go, (..., n_atoms, 3)."""
        taken = np.empty_like(vectors)
        taken[..., self.image, :] = vectors @ self.rotation.T
        return taken

    def swaps(self, moved: FloatArray) -> bool:
        """True if it takes the way from start to end, (n_atoms, 3), to the way back."""
        return largest(moved + self.vectors(moved)) < MIRRORED_A

    def off(self, moved: FloatArray, at: FloatArray) -> FloatArray:
        """Mismatch of the image of what lies ``at`` from the start, on the way ``moved``, Å, (n_atoms, 3)."""
        return moved + self.vectors(at) - at


def largest(vectors: FloatArray) -> float:
    """Length of the longest of some vectors, (n, 3)."""
    return float(np.linalg.norm(vectors, axis=1).max())
