"""Symmetry-distinct ways to put k ions on n sites, and a choice among them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from atomsim.monte_carlo import accept
from atomsim.pulse import at_work
from atomsim.types import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

WALKS = 16
"""Walks over which the steps of a sample are spread, each from another random ordering."""
DRAWS_PER_ORDERING = 50
"""Draws for each random ordering that is wanted, before there are taken to be no more."""


def enumerate_orderings(n_ions: int, permutations: IntArray) -> tuple[BoolArray, IntArray]:
    """Return one representative of every orbit of orderings, and the size of its orbit.

    An ordering is named by its rank in the combinatorial number system (Knuth, TAOCP 4A,
    7.2.1.3), so that an image is found by arithmetic; the lowest rank represents its orbit.

    Args:
        n_ions: occupied sites.
        permutations: the symmetry group as permutations of the sites, (n_operations, n_sites).

    Returns:
        Occupied sites, (n_orbits, n_sites), and orbit sizes, (n_orbits,), summing to the binomial.
    """
    n_sites = permutations.shape[1]
    # An ordering and its complement have the same orbits; the smaller half is faster.
    k = min(n_ions, n_sites - n_ions)
    subsets = np.array(list(combinations(range(n_sites), k)), dtype=np.int64).reshape(comb(n_sites, k), k)
    binomial = np.array([[comb(site, place + 1) for place in range(k)] for site in range(n_sites)], dtype=np.int64)
    places = np.arange(k)

    def rank(sets: IntArray) -> IntArray:
        return binomial[sets, places].sum(axis=1) if k else np.zeros(len(sets), dtype=np.int64)

    own = rank(subsets)
    lowest = own.copy()
    for permutation in permutations:
        np.minimum(lowest, rank(np.sort(permutation[subsets], axis=1)), out=lowest)
    _, multiplicity = np.unique(lowest, return_counts=True)
    representatives = subsets[lowest == own][np.argsort(own[lowest == own])]
    occupied = np.zeros((len(representatives), n_sites), dtype=bool)
    np.put_along_axis(occupied, representatives, True, axis=1)
    return (occupied if k == n_ions else ~occupied), multiplicity


def orbit(occupied: BoolArray, permutations: IntArray) -> BoolArray:
    """Return the distinct images of one ordering, sorted, (orbit size, n_sites)."""
    images = np.zeros(permutations.shape, dtype=bool)
    np.put_along_axis(images, permutations, np.broadcast_to(occupied, permutations.shape), axis=1)
    return np.unique(images, axis=0)


def sample_orderings(
    n_ions: int, permutations: IntArray, quadratic: FloatArray, linear: FloatArray, *, samples: int, seed: int
) -> tuple[BoolArray, IntArray]:
    """Return distinct orderings met at random and on walks that cool down in Coulomb energy.

    Random orderings alone almost never come near the lowest; the states of Metropolis walks do,
    each cooled from the spread of random energies and ended by a descent.

    Args:
        n_ions: occupied sites.
        permutations: the symmetry group as permutations of the sites, (n_operations, n_sites).
        quadratic: Coulomb energy between sites, eV, (n_sites, n_sites).
        linear: Coulomb energy of a site with the host, eV, (n_sites,).
        samples: random orderings to draw.
        seed: of both.

    Returns:
        As ``enumerate_orderings``, for the orderings that were met.
    """
    n_sites = permutations.shape[1]
    generator = np.random.default_rng(seed)
    drawn = np.zeros((samples, n_sites), dtype=bool)
    for row in drawn:
        row[generator.choice(n_sites, n_ions, replace=False)] = True
    spread = float(np.std(coulomb_energy(drawn, quadratic, linear)))
    steps = max(samples // WALKS, 10 * n_sites)
    temperatures = np.geomspace(max(spread, 1e-6), max(1e-2 * spread, 1e-8), steps)
    walked = []
    for n, start in enumerate(drawn[:WALKS], 1):
        at_work("walks that cool down in Coulomb energy", n, WALKS)
        walked += _cool(start, quadratic, linear, temperatures=temperatures, generator=generator)
    met = np.unique(np.concatenate([drawn, np.stack(walked)]), axis=0)
    found: dict[bytes, tuple[BoolArray, int]] = {}
    for n, ordering in enumerate(met, 1):
        at_work("orderings met, compared by symmetry", n, len(met))
        images = orbit(ordering, permutations)
        found.setdefault(images[0].tobytes(), (images[0], len(images)))
    kept = [found[key] for key in sorted(found)]
    return np.stack([ordering for ordering, _ in kept]), np.array([size for _, size in kept], dtype=np.int64)


def random_orderings(n_ions: int, permutations: IntArray, *, count: int, seed: int) -> tuple[BoolArray, IntArray]:
    """Return orderings drawn at random, each one once, whatever their energy: unbiased, for hosts without order.

    Args:
        n_ions: occupied sites.
        permutations: the symmetry group as permutations of the sites, (n_operations, n_sites).
        count: how many; all that there are where these are fewer.
        seed: of the draw.

    Returns:
        As ``enumerate_orderings``, for the orderings that were drawn.
    """
    n_sites = permutations.shape[1]
    generator = np.random.default_rng([seed, n_ions])
    found: dict[bytes, tuple[BoolArray, int]] = {}
    for _ in range(DRAWS_PER_ORDERING * count):
        row = np.zeros(n_sites, dtype=bool)
        row[generator.choice(n_sites, n_ions, replace=False)] = True
        images = orbit(row, permutations)
        found.setdefault(images[0].tobytes(), (row, len(images)))
        if len(found) == count:
            break
    return np.stack([row for row, _ in found.values()]), np.array([n for _, n in found.values()], dtype=np.int64)


def _cool(
    start: BoolArray,
    quadratic: FloatArray,
    linear: FloatArray,
    *,
    temperatures: FloatArray,
    generator: np.random.Generator,
) -> list[BoolArray]:
    """Return the states of one Metropolis walk of ion jumps, one step per temperature (eV), and its end downhill."""
    current = start.copy()
    visited = [current.copy()]
    for temperature in temperatures:
        filled, empty = np.flatnonzero(current), np.flatnonzero(~current)
        i, j = generator.choice(filled), generator.choice(empty)
        change = _jump_energy(current, quadratic, linear, np.array([i]), np.array([j]))[0, 0]
        if accept(float(change), float(temperature), generator):
            current[i], current[j] = False, True
            visited.append(current.copy())
    return [*visited, _descend(current, quadratic, linear)]


def coulomb_energy(occupied: BoolArray, quadratic: FloatArray, linear: FloatArray) -> FloatArray:
    """Return ``s Q s + l s`` of orderings ``s``, (n_orderings,)."""
    s = occupied.astype(float)
    energy: FloatArray = np.einsum("oi,oi->o", s @ quadratic, s) + s @ linear
    return energy


def _descend(occupied: BoolArray, quadratic: FloatArray, linear: FloatArray) -> BoolArray:
    """Move the ion whose jump to an empty site gains most, until none gains."""
    current = occupied.copy()
    while True:
        filled, empty = np.flatnonzero(current), np.flatnonzero(~current)
        change = _jump_energy(current, quadratic, linear, filled, empty)
        i, j = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[i, j] > -1e-9:
            return current
        current[filled[i]], current[empty[j]] = False, True


def _jump_energy(
    occupied: BoolArray, quadratic: FloatArray, linear: FloatArray, filled: IntArray, empty: IntArray
) -> FloatArray:
    """Energy change of moving an ion from i to j: h_j − h_i + Q_ii + Q_jj − 2 Q_ij with h = 2 Q s + l."""
    field = 2 * quadratic @ occupied + linear
    own = np.diag(quadratic)
    change: FloatArray = (
        (field + own)[empty][None, :] - (field - own)[filled][:, None] - 2 * quadratic[np.ix_(filled, empty)]
    )
    return change


def choose(energy: FloatArray, descriptors: Callable[[IntArray], FloatArray], count: int) -> IntArray:
    """Choose orderings that are low in Coulomb energy and unlike each other.

    The lowest first; then, in turn, the ordering farthest from those chosen (greedy
    farthest-point; Gonzalez 1985, Theor. Comput. Sci. 38, 293) and the lowest one left. Far
    ones are sought among the ``10 count`` lowest, and within the lower half: point charges judge
    large differences well and small ones badly.

    Args:
        energy: of all orderings, ascending, eV per host unit, (n_orderings,).
        descriptors: from indices (n,) to a vector for each of these orderings, (n, n_features); they are as far
            apart as the orderings are unlike.
        count: how many to choose.

    Returns:
        Indices of the chosen, ascending, (min(count, n_orderings),).
    """
    n = len(energy)
    if n <= count or count < 1:
        return np.arange(min(n, max(count, 0)))
    pool = max(count, min((n + 1) // 2, 10 * count))
    descriptor = descriptors(np.arange(pool))
    chosen = [0]
    separation = np.linalg.norm(descriptor - descriptor[0], axis=1)
    while len(chosen) < count:
        left = np.setdiff1d(np.arange(pool), chosen)
        pick = int(left[np.argmax(separation[left].round(9))]) if len(chosen) % 2 else int(left[0])
        chosen.append(pick)
        np.minimum(separation, np.linalg.norm(descriptor - descriptor[pick], axis=1), out=separation)
    return np.sort(np.array(chosen, dtype=np.int64))
