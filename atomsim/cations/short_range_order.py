"""Warren–Cowley short-range order of arrangements, per shell and pair of species."""

from __future__ import annotations

import numpy as np

from atomsim.cations.problem import OrderingProblem
from atomsim.types import FloatArray, IntArray


def warren_cowley(problem: OrderingProblem, occupations: IntArray, shells: int) -> tuple[list[float], FloatArray]:
    """Return α_ab = 1 − P(b around a) / c_b of each arrangement in each shell.

    Cowley 1950, J. Appl. Phys. 21, 24. Zero is random, negative a preference for unlike neighbours (or, for a = b,
    clustering). Averages over all sites of all sublattices; P counts neighbours that are sites.

    Args:
        problem: sites and species.
        occupations: (n, n_sites).
        shells: pair shells.

    Returns:
        Distances of the shells, Å, and α, (n, shells, n_species, n_species).
    """
    distances, counts = problem.neighbours(shells)
    k = len(problem.species)
    x = np.eye(k)[np.asarray(occupations)]
    fractions = np.bincount(problem.start, minlength=k) / len(problem.start)
    found = np.empty((len(x), len(distances), k, k))
    for s, shell in enumerate(counts):
        pairs = np.einsum("nia,nib->nab", x, np.einsum("ij,njb->nib", shell, x, optimize=True), optimize=True)
        around = pairs / np.maximum(pairs.sum(axis=2, keepdims=True), 1e-12)
        found[:, s] = 1 - around / fractions
    return distances, found
