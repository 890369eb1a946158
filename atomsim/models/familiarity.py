"""Distance of structures from what a potential learned from, by its own features of atoms.

Each atom's last-layer features are whitened by their spread over the training atoms of its element, and compared with a
few hundred of these, chosen far from one another. A structure's unfamiliarity is the mean distance of its atoms to
the nearest of them over a limit, which was calibrated on frames whose errors are known: above 1 most structures have
more than twice the error of the potential's card. After Janet et al., Chem. Sci. 2019, 10, 7913 (distances in feature
space), with farthest points (Gonzalez 1985) in place of all training points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, cast

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree
from torch import Tensor

from atomsim.batch import Batch
from atomsim.errors import InputError
from atomsim.types import FloatArray, IntArray

COMPONENTS = 16
"""Directions of feature space that are kept, those of the largest spread."""
POINTS = 800
"""Training atoms of each element that are kept."""
LEAST = 1e-3
"""Spread of a direction over that of the widest, below which it is noise."""


class HasFeatures(Protocol):
    """A potential that shows its features of atoms."""

    familiarity: Familiarity | None
    """Summary of its training; None where nobody kept it."""

    def features(self, batch: Batch) -> Tensor:
        """Return features that do not turn with the structure, (n_atoms, n_features)."""
        ...


@dataclass(frozen=True, eq=False)
class Environments:
    """Training atoms of one element in feature space."""

    mean: FloatArray
    """(n_features,)."""
    whitening: FloatArray = field(repr=False)
    """Features less their mean times this have unit variance, (n_features, n_components)."""
    points: FloatArray = field(repr=False)
    """Kept atoms, whitened, (n_points, n_components)."""

    @classmethod
    def of(cls, features: FloatArray) -> Environments:
        """Summarise the features of all training atoms of an element, (n_atoms, n_features)."""
        mean = features.mean(axis=0)
        _, spread, directions = np.linalg.svd(features - mean, full_matrices=False)
        kept = max(1, min(COMPONENTS, int((spread > LEAST * spread[0]).sum())))
        scale = np.maximum(spread[:kept] / np.sqrt(len(features)), 1e-12)
        whitening = directions[:kept].T / scale
        return cls(mean, whitening, farthest((features - mean) @ whitening, POINTS))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.points)

    def distances(self, features: FloatArray) -> FloatArray:
        """Distance of atoms to the nearest kept one, (n_atoms,)."""
        found: FloatArray = self._tree.query((features - self.mean) @ self.whitening)[0]
        return found


@dataclass(frozen=True, eq=False)
class Familiarity:
    """Summary of a potential's training, and the distance from which on its errors grow."""

    environments: Mapping[int, Environments]
    """By atomic number."""
    limit: float = 1.0
    """Mean distance of a structure's atoms above which it counts as unfamiliar."""

    @classmethod
    def of(cls, features: FloatArray, numbers: IntArray) -> Familiarity:
        """Summarise the features of all training atoms, (n_atoms, n_features) with their (n_atoms,) elements."""
        by_element = {int(z): Environments.of(features[numbers == z]) for z in np.unique(numbers)}
        return cls(by_element)

    def with_limit(self, limit: float) -> Familiarity:
        """Return the same with another limit."""
        return replace(self, limit=limit)

    def of_atoms(self, features: FloatArray, numbers: IntArray) -> FloatArray:
        """Distance of each atom over the limit, (n_atoms,); infinite for an element that was not there."""
        found = np.full(len(numbers), np.inf)
        for z, known in self.environments.items():
            chosen = numbers == z
            if chosen.any():
                found[chosen] = known.distances(features[chosen]) / self.limit
        return found


def farthest(points: FloatArray, number: int) -> FloatArray:
    """Return points far from one another: each the one farthest from those before, the first nearest to zero."""
    chosen = [int(np.argmin((points**2).sum(axis=1)))]
    apart = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(number, len(points)) and apart.max() > 0:
        chosen.append(int(np.argmax(apart)))
        apart = np.minimum(apart, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def unfamiliarity(systems: Sequence[Atoms], potential: object) -> list[float] | None:
    """Return how unlike its training each structure is to a potential; above 1 do not trust its errors.

    Args:
        systems: structures.
        potential: any; None is returned for one that does not know what it learned from.
    """
    known: Familiarity | None = getattr(potential, "familiarity", None)
    if known is None:
        return None
    return [float(known.of_atoms(features_of(a, cast(HasFeatures, potential)), a.numbers).mean()) for a in systems]


def features_of(atoms: Atoms, potential: HasFeatures) -> FloatArray:
    """Return the features of one structure's atoms, (n_atoms, n_features)."""
    found: FloatArray = (
        potential.features(Batch.pack([atoms], getattr(potential, "device", "cpu"))).cpu().double().numpy()
    )
    return found


def to_safetensors(known: Familiarity) -> bytes:
    """Return the summary as a file, half precision for the kept atoms."""
    from safetensors.numpy import save

    tensors = {"limit": np.array([known.limit])}
    for z, each in known.environments.items():
        tensors |= {f"{z}.mean": each.mean.astype(np.float32), f"{z}.whitening": each.whitening.astype(np.float32)}
        tensors[f"{z}.points"] = np.ascontiguousarray(each.points.astype(np.float16))
    data: bytes = save({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    return data


def from_safetensors(data: bytes, name: str = "familiarity") -> Familiarity:
    """Read the summary.

    Raises:
        InputError: if the bytes are no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = {key: np.asarray(value, dtype=np.float64) for key, value in load(data).items()}
        numbers = sorted({int(key.partition(".")[0]) for key in tensors if "." in key})
        environments = {
            z: Environments(tensors[f"{z}.mean"], tensors[f"{z}.whitening"], tensors[f"{z}.points"]) for z in numbers
        }
        return Familiarity(environments, float(tensors["limit"][0]))
    except (SafetensorError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"{name} is no summary of what a potential learned from: {error}; copy it again") from error
