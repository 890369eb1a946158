"""Initial Hessian of a band; verification of first-order saddles from the two lowest modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from atomsim.batch import Batch
from atomsim.models.interface import EnergyModel, device_of
from atomsim.optimize.modes import EXHAUSTED, Ritz, lowest_modes
from atomsim.optimize.products import Products, orthonormal, padded
from atomsim.optimize.space import Space

NEGATIVE_ABSOLUTE, NEGATIVE_RELATIVE = 0.05, 0.0025
"""A mode counts as negative below minus this, eV/Å², or this part of the largest curvature where that is less: noise
of single-precision forces is a tenth of it."""
FLAT = 1e-6
"""A Hessian without any curvature above this, eV/Å², has no scale: an atom that nothing holds, as far as is known."""
KNOWN = 0.5
"""The lowest mode is known well enough to look beside it when |Hv − λv| is this part of |λ|."""
MAX_PRODUCTS = 5
"""Products spent on the lowest mode at once."""
ROUNDS = 4
"""Searches of the space beside the lowest mode; one, unless the mode was not the lowest."""


@dataclass(frozen=True)
class Proof:
    """The two lowest modes at the highest image of a path."""

    curvatures: tuple[float, float]
    """Curvatures of the two lowest modes, translations aside, eV/Å²; upper bounds."""
    overlap: float
    """|cosine| between the lowest mode and the path, 0 to 1."""
    settled: bool
    """True if there are two negative modes, or a second is excluded (see ``lowest_modes``)."""
    second_mode: np.ndarray = field(repr=False)
    """The second, normalised, (n_atoms, 3): the way off where both are negative."""
    mode: np.ndarray = field(repr=False)
    """The lowest, normalised, (n_atoms, 3)."""
    force_calls: int = 0
    negligible: float = NEGATIVE_ABSOLUTE
    """Curvatures above minus this do not count as negative, eV/Å²."""

    @property
    def negative_modes(self) -> int:
        """Number of negative ones: 0, 1, or 2 for at least 2."""
        return sum(c < -self.negligible for c in self.curvatures)

    @property
    def first_order(self) -> bool:
        """True for a saddle of first order."""
        return self.negative_modes == 1 and self.settled


def prove(
    images: Sequence[Atoms],
    forces: Sequence[np.ndarray],
    tangents: Sequence[np.ndarray],
    hosts: Sequence[np.ndarray],
    potential: EnergyModel,
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
        potential: the potential.
    """
    device = device_of(potential)
    at_once = max(len(images), 1) if device.type != "cpu" else 1
    proofs: list[Proof] = []
    for begin in range(0, len(images), at_once):
        part = slice(begin, begin + at_once)
        batch, space = Batch.pack(images[part], device), Space()
        known = torch.as_tensor(np.concatenate(forces[part]), dtype=torch.float64, device=device)
        force = space.free_part(batch, known, space.layout(batch))
        products = Products(batch, force, potential, space, in_a_field=True)
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
    """Initial Hessian of an image, from a known one."""

    inverse: np.ndarray
    lowest: np.ndarray
    """Where to begin looking for the lowest mode."""
    negligible: float


def _guess(host: np.ndarray, tangent: np.ndarray) -> _Guess:
    values, vectors = np.linalg.eigh(0.5 * (host + host.T))
    largest = float(values[-1])
    small = min(NEGATIVE_ABSOLUTE, NEGATIVE_RELATIVE * largest) if largest > FLAT else NEGATIVE_ABSOLUTE
    inverse = (vectors / np.clip(values, 10 * small, None)) @ vectors.T
    return _Guess(inverse, tangent if values[0] > -small else vectors[:, 0], small)
