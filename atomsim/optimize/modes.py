"""Is it a minimum? The lowest mode of many systems at once, and whether a negative one is excluded.

A force below a threshold says nothing of curvature: symmetry keeps cells on saddles that are tenths of an eV above
the minimum. What is known of the inverse Hessian, K, says where to look, and may be wrong just where it matters. So
it only scales coordinates: by Sylvester's law of inertia A = K^½ (H + c) K^½ has as many negative eigenvalues as H
has below −c. Lanczos' method finds those of A that stand out first. It begins from a random vector y, which has no
symmetry. If p_j are the orthonormal polynomials of its recurrence, the vectors p_j(A) y are orthonormal, so an
eigenvector of eigenvalue λ has at most the part 1 / Σ_j p_j(λ)² of its squared length along y (Christoffel's
function). That a random direction has next to nothing of some vector is unlikely, whatever H and K are: where the
chance is below ``DOUBT``, negative eigenvalues are excluded. A K that is wrong costs products, and no truth.
Compare Kuczyński, Woźniakowski, SIAM J. Matrix Anal. Appl. 13, 1094 (1992), whose bound holds for any spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from atomsim.optimize.products import Products
from atomsim.optimize.scaling import scaling
from atomsim.optimize.sparse import Springs

DOUBT = 0.001
"""Probability with which a mode just below what is excluded is overlooked; one far below it is with much less."""
EXCLUDED = 2.0
"""Multiple of the threshold below which modes are excluded: many real minima have modes next to zero, and to tell those
just above the threshold from those just below takes twice the products. Modes that are found there still count."""
SOFTENING = 3
"""Powers of K that draw half of the start towards what K knows to be soft, where most saddles show."""
NEAR_ZERO = 0.1
"""Range above the threshold in which a curvature is measured again, by central differences, eV/Å²."""
MAX_PRODUCTS = 40
"""Products after which a system is given up as unsettled."""
EXHAUSTED = 1e9
"""Stands for a value that a space has no vector for."""


@dataclass(frozen=True)
class Modes:
    """Lowest modes of a batch, one a system."""

    curvature: Tensor
    """Rayleigh quotient, eV/Å², (n_systems,): an upper bound of the lowest eigenvalue.

    NaN where a displaced system could not be evaluated, infinite where nothing can move."""
    mode: Tensor
    """Its vector, (n_rows, 3), of length 1 in each system."""
    product: Tensor
    """The Hessian's with it, eV/Å², (n_rows, 3)."""
    settled: Tensor
    """True where it is negative, or one that far below the threshold is excluded, (n_systems,), bool."""
    force_calls: Tensor
    """Evaluations that each system needed, (n_systems,), int64."""


def lowest_modes(
    products: Products,
    preconditioner: Sequence[Tensor] | Sequence[Springs],
    *,
    negative: float | Tensor = -0.1,
    excluded: float = EXCLUDED,
    max_products: int = MAX_PRODUCTS,
    seed: int = 0,
    beside: Tensor | None = None,
    among: Tensor | None = None,
) -> Modes:
    """Look for modes of negative curvature until there is one in each system, or none can be.

    Args:
        products: of the Hessians at points of small force.
        preconditioner: approximate inverse Hessians, Å²/eV, (3 rows, 3 rows) each; or springs of every system.
        negative: curvature below which a mode is negative, eV/Å², one for all or (n_systems,).
        excluded: multiple of ``negative`` below which modes are excluded.
        max_products: Hessian-vector products at most, one evaluation each; two more confirm what is near or below zero.
        seed: of the random vector.
        beside: a vector for each system, (n_rows, 3), that modes must be orthogonal to. If none of those is
            negative the Hessian has at most one negative eigenvalue (Courant–Fischer).
        among: systems to look at, (n_systems,), bool; all if not given.
    """
    rows = products.rows
    bound = torch.as_tensor(negative, dtype=torch.float64, device=products.batch.device).expand(rows.n_groups)
    others = [] if beside is None else [products.free(rows.pad(beside))]
    search = _Search(products, preconditioner, bound, excluded * bound, others, seed)
    if among is not None:
        search.open = search.open & among
    for _ in range(max_products):
        if not bool(search.open.any()):
            break
        search.advance()
    curvature = torch.where(search.mode.any(dim=1), search.curvature, torch.inf)
    return Modes(
        torch.where(search.lost, torch.nan, curvature),
        rows.unpad(search.mode),
        rows.unpad(search.product),
        search.settled,
        search.calls,
    )


@dataclass
class Ritz:
    """Rayleigh–Ritz in a growing space, for all systems in step."""

    basis: list[Tensor] = field(default_factory=list)
    """Orthonormal, padded; zero where a system had nothing to add."""
    products: list[Tensor] = field(default_factory=list)
    """Products of the Hessian with each."""

    def add(self, vector: Tensor, product: Tensor) -> None:
        """Take in a vector and its product."""
        for known, its in zip(self.basis, self.products, strict=True):
            part = (vector * known).sum(dim=1, keepdim=True)
            vector, product = vector - part * known, product - part * its
        length = vector.norm(dim=1, keepdim=True)
        kept = length > 1e-9
        scale = torch.where(kept, 1 / length.clamp(min=1e-9), 0.0)
        self.basis.append(scale * vector)
        self.products.append(scale * product)

    def correct(self, combination: Tensor, error: Tensor) -> None:
        """Take an error out of the product of a combination of the basis, (n_systems, k)."""
        for k, its in enumerate(self.products):
            self.products[k] = its - combination[:, k, None] * error

    def values(self) -> tuple[Tensor, Tensor]:
        """All values, rising, (n_systems, k), and their combinations of the basis, (n_systems, k, k)."""
        basis, products = torch.stack(self.basis, dim=1), torch.stack(self.products, dim=1)
        small = torch.einsum("gki,gli->gkl", basis, products)
        exhausted = basis.square().sum(dim=2) < 0.5  # a zero vector: it must not look like a soft mode
        small = 0.5 * (small + small.mT) + torch.diag_embed(torch.where(exhausted, EXHAUSTED, 0.0))
        values, combinations = torch.linalg.eigh(small.cpu())  # small: not worth a GPU
        return values.to(basis.device), combinations.to(basis.device)

    def solve(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the lowest value, its vector, the vector's product, and its combination of the basis."""
        values, combinations = self.values()
        lowest = combinations[:, :, 0]
        mode = torch.einsum("gki,gk->gi", torch.stack(self.basis, dim=1), lowest)
        product = torch.einsum("gki,gk->gi", torch.stack(self.products, dim=1), lowest)
        return values[:, 0], mode, product, lowest


class _Search:
    """Lanczos' recurrence in scaled coordinates, all systems in step; those that are settled keep their answer."""

    def __init__(
        self, products: Products, preconditioner: Sequence[Tensor] | Sequence[Springs], bound: Tensor,
        shift: Tensor, others: list[Tensor], seed: int,
    ) -> None:  # fmt: skip
        self.products, self.bound, self.shift = products, bound, shift
        self.scaling = scaling(preconditioner, products)
        scaled: list[Tensor] = []
        for vector in (*products.costless(), *others):
            scaled.append(self.scaling.orthonormal(self.scaling.image(vector), scaled)[0])
        self.outside = scaled
        self.vector, share = self._start(seed)
        self.lanczos: list[Tensor] = []
        self.ritz = Ritz()
        zeros = torch.zeros_like(bound)
        self.before, self.polynomial, self.sum, self.coupling = zeros, zeros + 1.0, zeros + 1.0, zeros
        size = 3 * products.rows.counts
        # of a random unit vector in n dimensions a component has a density of at most √((n − 1)/2π)
        self.wanted = share * 2 * (size - 1) / (math.pi * DOUBT**2)
        self.open = self.vector.any(dim=1)
        self.settled, self.lost, self.sound = ~self.open, self.open & False, self.open | True
        self.calls = torch.zeros_like(bound, dtype=torch.int64)
        nothing = torch.zeros_like(self.scaling.real(self.vector))
        self.curvature, self.mode, self.product = zeros, nothing, nothing

    def _start(self, seed: int) -> tuple[Tensor, Tensor]:
        """Half at random, half softened; and the square of the length of their sum, by which shares are smaller."""
        scaling = self.scaling
        even, soft = (scaling.orthonormal(scaling.noise(s), self.outside)[0] for s in (seed, seed + 1))
        for _ in range(SOFTENING):
            soft = scaling.orthonormal(scaling.softened(soft), self.outside)[0]
        start = even + soft
        length = scaling.inner(start, start)
        start = torch.where(length[:, None] < 0.25, even, start)  # opposed, as they may be where little can move
        return scaling.orthonormal(start, self.outside)[0], scaling.inner(start, start)

    def advance(self) -> None:
        """One product for each open system, and what follows from it."""
        vector = torch.where(self.open[:, None], self.vector, 0.0)
        real = self.scaling.real(vector)
        product = self._finite(self.products.one_sided(real, self.open))
        self.calls = self.calls + self.open
        real = torch.where(self.open[:, None], real, 0.0)
        exhausted = self._recur(vector, self.scaling.image(product - self.shift[:, None] * real))
        self.ritz.add(real, product)
        excluded = exhausted | (self.sound & (self.sum > self.wanted))
        self._judge(excluded)

    def _finite(self, product: Tensor) -> Tensor:
        """Take systems that failed out, with zero in place of their products."""
        failed = self.open & ~torch.isfinite(product).all(dim=1)
        self.lost, self.open = self.lost | failed, self.open & ~failed
        return torch.where(self.open[:, None], product, 0.0)

    def _recur(self, vector: Tensor, image: Tensor) -> Tensor:
        """One step of the recurrence of vectors and of their polynomials at 0; and where nothing is left."""
        self.lanczos.append(vector)
        diagonal = self.scaling.inner(vector, image)
        self.vector, length = self.scaling.orthonormal(image, [*self.outside, *self.lanczos])
        after = -(diagonal * self.polynomial + self.coupling * self.before) / length[:, 0].clamp(min=1e-12)
        # signs alternate as long as the projected matrix is positive definite (Sturm)
        self.sound = self.sound & (after * self.polynomial < 0)
        self.before, self.polynomial, self.coupling = self.polynomial, after, length[:, 0]
        self.sum = self.sum + after.square().clamp(max=1e100)
        return length[:, 0] == 0

    def _judge(self, excluded: Tensor) -> None:
        """Settle systems with a negative mode or none, after a second look at what is near or below zero."""
        values, mode, product, combination = self.ritz.solve()
        doubtful = self.open & (values < torch.where(excluded, self.bound + NEAR_ZERO, self.bound))
        if bool(doubtful.any()):
            better = self._finite(self.products.two_sided(mode, doubtful))
            self.calls = self.calls + 2 * doubtful
            better = torch.where((doubtful & self.open)[:, None], better, product)
            self.ritz.correct(combination, product - better)
            values, product = (mode * better).sum(dim=1), better
        self.curvature = torch.where(self.open, values, self.curvature)
        self.mode, self.product = (
            torch.where(self.open[:, None], new, old) for new, old in ((mode, self.mode), (product, self.product))
        )
        done = self.open & (excluded | (values < self.bound))
        self.settled, self.open = self.settled | done, self.open & ~done
