"""The Metropolis criterion, and exchanges of two species at fixed composition, vectorised over replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from atomsim.monte_carlo.energy import QuadraticEnergy
from atomsim.types import FloatArray, IntArray


def accept(change: float, temperature: float, generator: np.random.Generator) -> bool:
    """Decide on one move by the Metropolis criterion; a number is drawn only where the move goes uphill.

    Metropolis, Rosenbluth, Rosenbluth, Teller & Teller 1953, J. Chem. Phys. 21, 1087.

    Args:
        change: of the energy or objective.
        temperature: in the same unit.
        generator: of random numbers.
    """
    return bool(change <= 0 or generator.random() < np.exp(-change / temperature))


@dataclass(frozen=True, eq=False)
class Replicas:
    """Occupations that are walked independently, with what is known of their energies."""

    occupations: IntArray = field(repr=False)
    """Species number of each site, (n_replicas, n_sites)."""
    energies: FloatArray
    """eV, (n_replicas,)."""
    fields: FloatArray = field(repr=False)
    """Derivatives of the energies by the occupation variables, eV, (n_replicas, n_sites × n_species)."""
    accepted: IntArray
    """Moves accepted, like-for-like exchanges left out, (n_replicas,)."""
    tried: IntArray
    """Moves tried, like-for-like exchanges left out, (n_replicas,)."""


def start_replicas(energy: QuadraticEnergy, occupations: IntArray) -> Replicas:
    """Return replicas at the given occupations."""
    start = np.array(occupations, dtype=np.int64)
    none = np.zeros(len(start), dtype=np.int64)
    return Replicas(start, energy.energies(start), energy.fields(start), none, none.copy())


def site_pairs(groups: Sequence[Sequence[int] | IntArray]) -> IntArray:
    """Pairs of sites that may exchange their species, (n_pairs, 2): those of one group."""
    found = [pair for group in groups for pair in combinations(sorted(int(s) for s in group), 2)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def metropolis(
    energy: QuadraticEnergy,
    replicas: Replicas,
    pairs: IntArray,
    temperatures: FloatArray,
    steps: int,
    generator: np.random.Generator,
) -> Replicas:
    """Try ``steps`` exchanges on every replica, each with its own pair of sites.

    A pair is drawn uniformly from all pairs, whatever stands on it, so a move and its reverse are proposed equally
    often: with the Metropolis criterion this keeps detailed balance.

    Args:
        energy: of occupations.
        replicas: where to start; not changed.
        pairs: sites that may exchange, (n_pairs, 2).
        temperatures: of the replicas, eV, (n_replicas,).
        steps: exchanges tried per replica.
        generator: of random numbers; all replicas draw from it together.
    """
    n, k = len(replicas.occupations), energy.n_species
    occupations, fields = replicas.occupations.copy(), replicas.fields.copy()
    energies, accepted, tried = replicas.energies.copy(), replicas.accepted.copy(), replicas.tried.copy()
    rows = np.arange(n)
    drawn = generator.integers(len(pairs), size=(steps, n))
    log_uniform = np.log1p(-generator.random((steps, n)))  # of a number in (0, 1]
    for which, bound in zip(drawn, log_uniform, strict=True):
        i, j = pairs[which].T
        a, b = occupations[rows, i], occupations[rows, j]
        # x changes by +1 at (i, b), (j, a) and by −1 at (i, a), (j, b)
        entries = np.stack([i * k + b, j * k + a, i * k + a, j * k + b], axis=1)
        change = fields[rows[:, None], entries] @ _SIGNS
        change += np.einsum("nuv,u,v->n", energy.quadratic[entries[:, :, None], entries[:, None, :]], _SIGNS, _SIGNS)
        unlike = a != b
        moves = np.flatnonzero(unlike & (-change >= bound * temperatures))
        tried += unlike
        accepted[moves] += 1
        energies[moves] += change[moves]
        occupations[moves, i[moves]], occupations[moves, j[moves]] = b[moves], a[moves]
        fields[moves] += 2 * np.einsum("u,nui->ni", _SIGNS, energy.quadratic[entries[moves]])
    return Replicas(occupations, energies, fields, accepted, tried)


_SIGNS = np.array([1.0, 1.0, -1.0, -1.0])
