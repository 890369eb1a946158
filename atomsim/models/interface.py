"""The protocol that every potential follows: ``Batch → Evaluation``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

from atomsim.batch import Batch, Evaluation

Surface = Callable[[Batch], Evaluation]
"""Anything with an energy and its gradient: a potential, a sum, a biased or a projected one."""


@runtime_checkable
class Potential(Protocol):
    """A potential energy surface with an identity.

    Calling it evaluates all systems of a batch together. It changes nothing that it is
    given and no global state (not torch's default dtype, thread count or grad mode), and
    an answer does not depend on what else is in the batch, to the rounding of ``dtype``.
    """

    name: str
    """Name of the card, or of the file."""
    sha256: str
    """SHA-256 of the weights file, or of the parameters where there is no file."""
    device: torch.device
    """Where batches must live."""
    dtype: torch.dtype
    """Precision of the model; energies, forces and stresses are returned as float64."""
    cutoff: float
    """Largest distance at which two atoms interact directly, Å."""
    elements: frozenset[int]
    """Atomic numbers that it was made for."""

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces and stresses of every system.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        ...
