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
from atomsim.constraints.projectors import confined, free_axes
from atomsim.models.interface import Surface
from atomsim.optimize.hessian import DISPLACEMENT
from atomsim.optimize.modes import EXHAUSTED, Ritz, lowest_modes
from atomsim.optimize.products import Products, orthonormal, padded
from atomsim.optimize.space import Space
from atomsim.optimize.springs import FLOOR

NEGLIGIBLE, OF_LARGEST = 0.05, 0.0025
"""A mode counts as negative below minus this, eV/Å², or this part of the largest curvature where that is less: noise
of single-precision forces is a tenth of it."""
FLAT = 1e-6
"""A Hessian without any curvature above this, eV/Å², has no scale: an atom that nothing holds, as far as is known."""
KNOWN = 0.5
"""The lowest mode is known well enough to look beside it when |Hv − λv| is this part of |λ|."""
MAX_PRODUCTS = 5
"""Products spent on the lowest mode at once."""
ROUNDS = 4
"""How often the space beside the lowest mode is searched; once, unless the mode was not the lowest."""
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
    settled: bool
    """Whether there are two negative modes, or a second is excluded (see ``lowest_modes``)."""
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
        return self.negative_modes == 1 and self.settled


def prove(
    images: Sequence[Atoms],
    forces: Sequence[np.ndarray],
    tangents: Sequence[np.ndarray],
    hosts: Sequence[np.ndarray],
    surface: Surface,
) -> list[Proof]:
    """Find the two lowest modes of the highest images of paths, with few force calls.

    Davidson's method, J. Comput. Phys. 17, 87 (1975), leads from the path's direction to a negative mode t.
    Then ``lowest_modes`` looks at all that is orthogonal to t: if nothing there is negative, the Hessian has no
    second negative eigenvalue, t exact or not (Courant–Fischer). If something is, the lowest two values in
    the space of all that was found decide (upper bounds, by Cauchy's interlacing), or better t.

    Args:
        images: one for each path.
        forces: there, eV/Å, (n_atoms, 3).
        tangents: of the path there, (n_atoms, 3), any length.
        hosts: Hessian of the host, or of an end, or what was learned on the way, eV/Å², (3 n_atoms, 3 n_atoms).
        surface: the potential.
    """
    device = torch.device(getattr(surface, "device", "cpu"))
    at_once = max(len(images), 1) if device.type != "cpu" else 1
    proofs: list[Proof] = []
    for begin in range(0, len(images), at_once):
        part = slice(begin, begin + at_once)
        batch, space = Batch.pack(images[part], device), Space()
        known = torch.as_tensor(np.concatenate(forces[part]), dtype=torch.float64, device=device)
        force = space.free_part(batch, known, space.layout(batch))
        products = Products(batch, force, surface, space, in_a_field=True)
        proofs += _Proving(products, tangents[part], hosts[part]).proofs()
    return proofs


class _Proving:
    """The search for the two lowest modes of some images, all in step."""

    def __init__(self, products: Products, tangents: Sequence[np.ndarray], hosts: Sequence[np.ndarray]) -> None:
        self.products, device = products, products.batch.device
        guesses = [_guess(h, t) for h, t in zip(hosts, tangents, strict=True)]
        self.inverses = [torch.from_numpy(g.inverse).to(device) for g in guesses]
        self.small = torch.tensor([g.negligible for g in guesses], dtype=torch.float64, device=device)
        self.start, self.along = (self._padded(v) for v in ([g.lowest for g in guesses], tangents))
        self.ritz = Ritz()
        self.calls = torch.zeros_like(self.small, dtype=torch.int64)
        self.settled = torch.zeros_like(self.small, dtype=torch.bool)

    def _padded(self, vectors: Sequence[np.ndarray]) -> Tensor:
        joined = torch.as_tensor(np.concatenate([v.reshape(-1, 3) for v in vectors]), dtype=torch.float64)
        return self.products.free(self.products.rows.pad(joined.to(self.products.batch.device)))

    def proofs(self) -> list[Proof]:
        """Look until each image is settled or given up."""
        self._lowest()
        open_ = ~self.settled
        for _ in range(ROUNDS):
            open_ = open_ & self._beside(open_)
            if not bool(open_.any()):
                break
        values, combinations = (t.cpu().numpy() for t in self.ritz.values())
        modes = np.einsum("gki,gkm->gmi", torch.stack(self.ritz.basis, dim=1).cpu().numpy(), combinations[:, :, :2])
        return [self._proof(n, values[n], modes[n]) for n in range(len(values))]

    def _lowest(self) -> None:
        """Follow residuals from the path's direction to the lowest mode near it."""
        vector, inverse = self.start, padded(self.inverses, self.products.rows)
        open_, null = ~self.settled, self.products.costless()
        for _ in range(MAX_PRODUCTS):
            vector = orthonormal(self.products.free(vector), [*null, *self.ritz.basis])[0]
            open_ = open_ & vector.any(dim=1)
            product = self.products.two_sided(vector, open_)
            self.calls = self.calls + 2 * open_
            open_ = open_ & torch.isfinite(product).all(dim=1)
            self.ritz.add(*(torch.where(open_[:, None], v, 0.0) for v in (vector, product)))
            value, mode, its, _ = self.ritz.solve()
            rest = its - value[:, None] * mode
            open_ = open_ & (rest.norm(dim=1) > torch.maximum(KNOWN * value.abs(), self.small))
            if not bool(open_.any()):
                return
            vector = torch.einsum("gij,gj->gi", inverse, rest)

    def _beside(self, open_: Tensor) -> Tensor:
        """Look for a negative mode orthogonal to the lowest that is known; return where to look again."""
        rows, lowest = self.products.rows, self.ritz.solve()[1]
        modes = lowest_modes(
            self.products, self.inverses, negative=-self.small, excluded=1.0, beside=rows.unpad(lowest), among=open_
        )
        self.calls = self.calls + modes.force_calls
        known = open_ & torch.isfinite(modes.curvature)
        self.ritz.add(*(torch.where(known[:, None], rows.pad(v), 0.0) for v in (modes.mode, modes.product)))
        values = self.ritz.values()[0]
        ridge = known & (values[:, 1] < -self.small)
        none = modes.settled & (modes.curvature >= -self.small)
        self.settled = self.settled | (open_ & (ridge | none))
        return known & modes.settled & ~self.settled

    def _proof(self, n: int, values: np.ndarray, modes: np.ndarray) -> Proof:
        size = 3 * int(self.products.rows.counts[n])
        along = self.along[n, :size].cpu().numpy()
        found = [float(v) if v < EXHAUSTED / 2 else float("inf") for v in values[:2]]
        lowest, second = modes[0, :size], modes[1, :size] if len(values) > 1 else np.zeros(size)
        return Proof(
            curvatures=(found[0], found[1] if len(found) > 1 else float("inf")),
            overlap=abs(float(lowest @ along)) / max(float(np.linalg.norm(along)), 1e-12),
            settled=bool(self.settled[n]),
            second_mode=second.reshape(-1, 3),
            mode=lowest.reshape(-1, 3),
            force_calls=int(self.calls[n]),
            negligible=float(self.small[n]),
        )


@dataclass(frozen=True)
class _Guess:
    """What a known Hessian says of an image's."""

    inverse: np.ndarray
    lowest: np.ndarray
    """Where to begin looking for the lowest mode."""
    negligible: float


def _guess(host: np.ndarray, tangent: np.ndarray) -> _Guess:
    values, vectors = np.linalg.eigh(0.5 * (host + host.T))
    largest = float(values[-1])
    small = min(NEGLIGIBLE, OF_LARGEST * largest) if largest > FLAT else NEGLIGIBLE
    inverse = (vectors / np.clip(values, 10 * small, None)) @ vectors.T
    return _Guess(inverse, tangent if values[0] > -small else vectors[:, 0], small)


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
