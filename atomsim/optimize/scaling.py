"""Coordinates in which the search for modes is short: what is known of the inverse Hessian, K, makes them.

The search sees vectors of an inner product space of its own. With a dense K they are K^-½ x of real ones x and the
product is the plain one. With springs a vector is the pair (x, K^-1 x) and the product x · K^-1 x': the same numbers,
and no square root is ever needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atomsim.optimize.products import Products, orthonormal, padded
from atomsim.optimize.sparse import Springs

TOLERANCE = 1e-3
"""Tolerance of the solutions that make vectors of a search: errors are errors of K, which cost no truth."""


class Dense:
    """Scaling by the symmetric square root of a dense inverse Hessian."""

    def __init__(self, matrices: Sequence[Tensor], products: Products) -> None:
        """Take the roots."""
        self.products, self.matrix = products, _roots(matrices, products)

    def real(self, vector: Tensor) -> Tensor:
        """Return the real coordinates of a vector."""
        return self.products.free(torch.einsum("gij,gj->gi", self.matrix, vector))

    def image(self, gradient: Tensor) -> Tensor:
        """Return the vector whose inner product with any other is the gradient's with that one's real coordinates."""
        return self.real(gradient)

    def noise(self, seed: int) -> Tensor:
        """Return a vector without a preferred direction."""
        return self.products.free(self.products.noise(seed))

    def softened(self, vector: Tensor) -> Tensor:
        """Return a vector times K."""
        return self.real(self.real(vector))

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product, (n_systems,)."""
        return (a * b).sum(dim=1)

    def orthonormal(self, vector: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Orthogonalise and normalise; and the length that was left, (n_systems, 1)."""
        return orthonormal(vector, others)


class Sprung:
    """Scaling by springs of large systems: pairs (x, K^-1 x), one after the other."""

    def __init__(self, springs: Sequence[Springs], products: Products) -> None:
        """Keep the springs."""
        self.products, self.springs = products, springs

    def real(self, vector: Tensor) -> Tensor:
        """Return the real coordinates of a vector."""
        return vector[:, : vector.shape[1] // 2]

    def image(self, gradient: Tensor) -> Tensor:
        """Return the vector whose inner product with any other is the gradient's with that one's real coordinates."""
        gradient = self.products.free(gradient)
        return self._pair([s.solve(g, TOLERANCE) for s, g in self._each(gradient)])

    def noise(self, seed: int) -> Tensor:
        """Return a vector without a preferred direction."""
        noise = self.products.free(self.products.noise(seed))
        return self._pair([s.root(z) for s, z in self._each(noise)])

    def softened(self, vector: Tensor) -> Tensor:
        """Return a vector times K."""
        return self.image(self.real(vector))

    def inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product, (n_systems,)."""
        half = a.shape[1] // 2
        return (a[:, :half] * b[:, half:]).sum(dim=1)

    def orthonormal(self, vector: Tensor, others: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Orthogonalise and normalise; and the length that was left, (n_systems, 1)."""
        half = vector.shape[1] // 2
        before = self.inner(vector, vector).clamp(min=0).sqrt()[:, None]
        if others:
            known = torch.stack(list(others), dim=1)
            for _ in range(2):
                parts = torch.einsum("gi,gki->gk", vector[:, :half], known[:, :, half:])
                vector = vector - torch.einsum("gk,gki->gi", parts, known)
        after = self.inner(vector, vector).clamp(min=0).sqrt()[:, None]
        left = after > 1e-7 * before
        return torch.where(left, vector / after.clamp(min=1e-300), 0.0), torch.where(left, after, 0.0)

    def _each(self, vectors: Tensor) -> list[tuple[Springs, Tensor]]:
        sizes = (3 * self.products.rows.counts).tolist()
        return [(s, vectors[n, :size]) for n, (s, size) in enumerate(zip(self.springs, sizes, strict=True))]

    def _pair(self, found: list[Tensor]) -> Tensor:
        """Vectors and the springs' Hessians with them, padded."""
        width = 3 * self.products.rows.width
        paired = found[0].new_zeros(len(found), 2 * width)
        for n, (springs, x) in enumerate(zip(self.springs, found, strict=True)):
            paired[n, : len(x)], paired[n, width : width + len(x)] = x, springs.times(x)
        return paired


def scaling(known: Sequence[Tensor] | Sequence[Springs], products: Products) -> Dense | Sprung:
    """Return the coordinates that go with what is known of all systems, matrices or springs."""
    springs = [k for k in known if isinstance(k, Springs)]
    if springs:
        return Sprung(springs, products)
    return Dense([k for k in known if isinstance(k, Tensor)], products)


def _roots(matrices: Sequence[Tensor], products: Products) -> Tensor:
    """Square roots, padded; a direction of which a matrix says nothing sound is scaled by its mean."""
    symmetric = padded([torch.nan_to_num(0.5 * (m + m.mT)) for m in matrices], products.rows)
    values, vectors = torch.linalg.eigh(symmetric.cpu())  # on a GPU an eigensolver would stall it
    mean = values.clamp(min=0).sum(dim=1, keepdim=True) / (values > 0).sum(dim=1, keepdim=True).clamp(min=1)
    mean = torch.where(mean > 0, mean, 1.0)
    values = torch.where(values > 1e-6 * mean, values, mean)
    return torch.einsum("gik,gk,gjk->gij", vectors, values.sqrt(), vectors).to(symmetric.device)
