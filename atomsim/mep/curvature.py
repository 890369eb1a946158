"""What a band starts from knowing, and what proves that it ended on a saddle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.interface import Surface
from atomsim.optimize.hessian import DISPLACEMENT
from atomsim.optimize.springs import FLOOR
from atomsim.projectors import confined, free_axes

NEGLIGIBLE, OF_LARGEST = 0.05, 0.0025
"""A mode counts as negative below minus this, eV/Å², or this part of the largest curvature where that is less: noise
of single-precision forces is a tenth of it."""
LOOSE = 8.0
"""A mode whose sign is clear is known when |Hv − λv| is smaller than so many times that."""
MAX_PRODUCTS = 16
"""Products of the Hessian with a vector for one image, two evaluations each."""
SHELL_A = 2.6
"""Atoms this near to a moving one at the saddle take part in a partial Hessian, Å: its first shell."""


def band_inverse(hessian: Tensor, path: Tensor, spring: float, free: Tensor | None = None) -> Tensor:
    """Inverse of the derivative of a band's projected force, guessed from one Hessian for all images.

    Across the tangent τ an image feels the potential, along it the springs:
    J = P H P + 2k ττᵀ on the diagonal, −k ττ′ᵀ between neighbours, P = 1 − ττᵀ.

    Args:
        hessian: of an end, or of its host, eV/Å², (3 n_atoms, 3 n_atoms).
        path: positions of all images, both ends among them, Å, (n_images + 2, n_atoms, 3).
        spring: spring constant, eV/Å².
        free: projectors onto the directions in which atoms may move, (n_atoms, 3, 3); None where all may in all.

    Returns:
        Å²/eV, (3 n_atoms n_images, 3 n_atoms n_images), symmetric and positive definite but for what is held.
    """
    n_images, size = len(path) - 2, hessian.shape[0]
    moving = torch.eye(3, dtype=torch.float64).repeat(size // 3, 1, 1) if free is None else free.cpu()
    values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.T))
    largest = float(values.max())
    floor = min(FLOOR, 0.1 * largest) if largest > 0 else FLOOR  # argon has no curvature as large as FLOOR
    positive = (vectors * values.clamp(min=floor)) @ vectors.T
    tangent = torch.einsum("aij,naj->nai", moving, path[2:] - path[:-2]).reshape(n_images, size)
    tangent = tangent / tangent.norm(dim=1, keepdim=True).clamp(min=1e-12)
    along = tangent[:, :, None] * tangent[:, None, :]
    across = torch.eye(size, dtype=torch.float64) - along
    jacobian = torch.block_diag(*(across @ positive @ across + 2 * spring * along)).clone()
    for n in range(n_images - 1):
        here, next_ = slice(n * size, (n + 1) * size), slice((n + 1) * size, (n + 2) * size)
        coupling = -spring * torch.outer(tangent[n], tangent[n + 1])
        jacobian[here, next_], jacobian[next_, here] = coupling, coupling.T
    every = moving.repeat(n_images, 1, 1)
    held = torch.block_diag(*(torch.eye(3, dtype=torch.float64) - every))
    inverse = confined(torch.linalg.inv(confined(jacobian, every) + held), every)
    return 0.5 * (inverse + inverse.T)


@dataclass(frozen=True)
class Proof:
    """The two lowest modes at the highest image of a path."""

    curvatures: tuple[float, float]
    """Of the two lowest modes, translations aside, eV/Å²; upper bounds."""
    overlap: float
    """|cosine| between the lowest mode and the path, 0 to 1."""
    residuals: tuple[float, float]
    """|Hv − λv| of each, eV/Å²."""
    second_mode: np.ndarray = field(repr=False)
    """The second, normalised, (n_atoms, 3): the way off where both are negative."""
    mode: np.ndarray = field(repr=False)
    """The lowest, normalised, (n_atoms, 3)."""
    force_calls: int = 0
    negligible: float = NEGLIGIBLE
    """Curvatures above minus this do not count as negative, eV/Å²."""

    @property
    def negative_modes(self) -> int:
        """Number of negative ones: 0, 1, or 2 for at least 2."""
        return sum(c < -self.negligible for c in self.curvatures)

    @property
    def first_order(self) -> bool:
        """Whether it is a saddle of first order."""
        return self.negative_modes == 1


@dataclass
class _Search:
    """Davidson's subspace for one image."""

    atoms: Atoms
    free: np.ndarray
    """Projectors onto the directions in which atoms may move, (n_atoms, 3, 3)."""
    shifts: np.ndarray
    """Projector onto the directions along which all may move together, (3, 3); zero for a lone atom, which is in a
    field that knows its place."""
    values: np.ndarray
    vectors: np.ndarray
    """Of the host's Hessian, the preconditioner."""
    basis: np.ndarray
    products: np.ndarray
    waiting: list[np.ndarray]
    curvatures: np.ndarray
    residuals: np.ndarray
    modes: np.ndarray
    negligible: float

    @classmethod
    def of(cls, atoms: Atoms, tangent: np.ndarray, moving: Sequence[int], host: np.ndarray) -> _Search:
        """Start from the path's direction, or what is known to be lowest, and the moving atoms' own."""
        batch = Batch.pack([atoms])
        along = batch.free_shifts[0].numpy() * (len(atoms) > 1)
        values, vectors = np.linalg.eigh(0.5 * (host + host.T))
        none = np.zeros((0, len(host)))
        small = min(NEGLIGIBLE, OF_LARGEST * float(values[-1]))
        unknown = np.full(2, np.inf)
        free, shifts = batch.free.numpy(), along.T @ along
        search = cls(atoms, free, shifts, values, vectors, none, none, [], unknown, unknown.copy(), none, small)
        lowest = [tangent.ravel()] if values[0] > -small else [vectors[:, 0], search.soft()]
        search.propose([*lowest, *(search.preconditioned(u, 0.0) for u in _axes(moving, len(host)))])
        return search

    def confined(self, direction: np.ndarray) -> np.ndarray:
        """Project a direction, or several, (..., 3 n_atoms), onto what may move."""
        parts = direction.reshape(*direction.shape[:-1], -1, 3)
        return np.asarray(np.einsum("aij,...aj->...ai", self.free, parts).reshape(direction.shape))

    def soft(self) -> np.ndarray:
        """The softest mode after the lowest that is no translation."""
        moves = self.vectors[:, 1:8].T.reshape(-1, len(self.atoms), 3)
        rest = moves - moves.mean(axis=1, keepdims=True) @ self.shifts
        inner = np.linalg.norm(rest, axis=(1, 2)) > 0.7
        return np.asarray(moves[int(inner.argmax())].ravel() if len(moves) else self.vectors[:, 0])

    def preconditioned(self, residual: np.ndarray, shift: float) -> np.ndarray:
        return np.asarray(
            self.vectors @ ((self.vectors.T @ residual) / np.clip(self.values - shift, 10 * self.negligible, None))
        )

    def propose(self, directions: Sequence[np.ndarray] | np.ndarray) -> None:
        """Queue what of these directions is new: without translations, what is held and the known."""
        for direction in directions:
            new = self.confined(direction).reshape(-1, 3)
            new = (new - new.mean(axis=0) @ self.shifts).ravel()
            start = np.linalg.norm(new)
            for _ in range(2):
                for known in (*self.basis, *self.waiting):
                    new = new - (known @ new) * known
            if start > 0 and np.linalg.norm(new) > 1e-3 * start:
                self.waiting.append(new / np.linalg.norm(new))

    def learn(self, products: np.ndarray) -> None:
        """Take in the products of the queued directions, and queue what would improve the two lowest modes."""
        self.basis = np.concatenate([self.basis, self.waiting])
        self.products = np.concatenate([self.products, products])
        self.waiting = []
        small = self.basis @ self.products.T
        values, mixing = np.linalg.eigh(0.5 * (small + small.T))
        found = min(2, len(values))
        self.curvatures[:found] = values[:found]
        self.modes = mixing[:, :found].T @ self.basis
        rest = mixing[:, :found].T @ self.products - values[:found, None] * self.modes
        rest = self.confined(rest)
        self.residuals[:found] = np.linalg.norm(rest, axis=1)
        small = self.negligible
        if self.curvatures[1] < -small or len(self.basis) >= MAX_PRODUCTS:
            return
        # what is found is an upper bound: a negative curvature is certain, a positive one not
        certain = np.maximum(LOOSE * small, 0.5 * np.abs(values[:found]))
        allowed = np.where(
            values[:found] < -small, certain, np.clip(0.7 * (values[:found] + small), small, LOOSE * small)
        )
        unknown = [k for k in range(found) if self.residuals[k] > allowed[k]]
        self.propose([self.preconditioned(rest[k], values[k]) for k in unknown])


def _axes(moving: Sequence[int], size: int) -> list[np.ndarray]:
    return [np.eye(size)[3 * n + c] for n in moving[:2] for c in range(3)]


def prove(
    images: Sequence[Atoms],
    tangents: Sequence[np.ndarray],
    moving: Sequence[Sequence[int]],
    hosts: Sequence[np.ndarray],
    surface: Surface,
) -> list[Proof]:
    """Find the two lowest modes of the highest images of paths, all in step, with few force calls.

    Block Davidson (J. Comput. Phys. 17, 87 (1975)) over products of the true Hessian with vectors, by
    central differences of forces; the host's Hessian preconditions. The curvatures found are upper
    bounds (Cauchy's interlacing), so two negative ones prove that a saddle is not of first order.

    Args:
        images: one for each path.
        tangents: of the path there, (n_atoms, 3), any length.
        moving: atoms that travel.
        hosts: Hessian of the host, or of an end, or what was learned on the way, eV/Å², (3 n_atoms, 3 n_atoms).
        surface: the potential.
    """
    searches = [_Search.of(*args) for args in zip(images, tangents, moving, hosts, strict=True)]
    while True:
        active = [s for s in searches if s.waiting]
        if not active:
            break
        for search, products in zip(active, _products(active, surface), strict=True):
            search.learn(products)
    return [_proof(s, t) for s, t in zip(searches, tangents, strict=True)]


def _products(searches: Sequence[_Search], surface: Surface) -> list[np.ndarray]:
    """Hessian times the queued directions of each image, eV/Å²."""
    displaced, lengths = [], []
    for search in searches:
        for direction in search.waiting:
            lengths.append(DISPLACEMENT / np.linalg.norm(direction.reshape(-1, 3), axis=1).max())
            for sign in (1, -1):
                atoms = search.atoms.copy()
                step = sign * lengths[-1] * direction.reshape(-1, 3)
                atoms.set_positions(atoms.positions + step, apply_constraint=False)
                displaced.append(atoms)
    said = surface(Batch.pack(displaced, getattr(surface, "device", "cpu")))
    forces = [f.cpu().numpy().ravel() for f in said.forces.split([len(a) for a in displaced])]
    found = iter(
        -(up - down) / (2 * length) for up, down, length in zip(forces[::2], forces[1::2], lengths, strict=True)
    )
    return [np.array([next(found) for _ in search.waiting]) for search in searches]


def _proof(search: _Search, tangent: np.ndarray) -> Proof:
    along = search.confined(tangent.ravel())
    second = search.modes[1] if len(search.modes) > 1 else np.zeros(len(along))
    return Proof(
        curvatures=(float(search.curvatures[0]), float(search.curvatures[1])),
        overlap=abs(float(search.modes[0] @ along)) / max(float(np.linalg.norm(along)), 1e-12),
        residuals=(float(search.residuals[0]), float(search.residuals[1])),
        second_mode=second.reshape(-1, 3),
        mode=search.modes[0].reshape(-1, 3),
        force_calls=2 * len(search.basis),
        negligible=search.negligible,
    )


def shell(atoms: Atoms, moving: Sequence[int], radius: float = SHELL_A) -> tuple[int, ...]:
    """Return the moving atoms and their neighbours within ``radius`` (Å), fixed atoms left out, sorted."""
    i, j = neighbor_list("ij", Atoms(atoms), radius)
    near = {int(m) for m in moving} | {int(b) for a, b in zip(i, j, strict=True) if int(a) in moving}
    fixed = {int(f) for f in np.flatnonzero(Batch.pack([atoms]).fixed.numpy())}
    return tuple(sorted(near - fixed))


def partial_hessian(
    atoms: Atoms, chosen: tuple[int, ...], surface: Surface, systems_at_once: int = 1
) -> tuple[np.ndarray, int]:
    """Second derivatives with respect to some atoms, all others held; eV/Å², (3 n, 3 n), and its force calls.

    Central differences of forces along the directions in which constraints let the atoms move, zero along others;
    all displaced systems are independent and evaluated as batches.
    """
    one = Batch.pack([atoms], getattr(surface, "device", "cpu"))
    axes = {a: free_axes(one.free[a].cpu()).to(one.device) for a in chosen}
    steps = [(a, sign * DISPLACEMENT * axis) for a in chosen for axis in axes[a] for sign in (1, -1)]
    index = torch.as_tensor(chosen, device=one.device)
    forces: list[Tensor] = []
    for begin in range(0, len(steps), systems_at_once):
        part = steps[begin : begin + systems_at_once]
        batch = one.take([0] * len(part))
        positions = batch.positions.clone().view(len(part), -1, 3)
        for n, (a, step) in enumerate(part):
            positions[n, a] += step
        said = surface(replace(batch, positions=positions.view(-1, 3))).forces.view(len(part), -1, 3)
        forces += list(said[:, index].flatten(1).cpu())
    if not forces:
        return np.zeros((3 * len(chosen), 3 * len(chosen))), 0
    found = torch.stack(forces)
    curvature = -(found[0::2] - found[1::2]) / (2 * DISPLACEMENT)
    frame = torch.block_diag(*(axes[a].cpu() for a in chosen))
    curvature = frame.T @ curvature
    curvature = confined(0.5 * (curvature + curvature.T), one.free.cpu()[list(chosen)])
    return curvature.numpy(), len(steps)
