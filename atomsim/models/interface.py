"""The protocol that every potential follows: ``Batch → Evaluation``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from ase.data import chemical_symbols

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError

EnergyModel = Callable[[Batch], Evaluation]
"""Anything with an energy and its gradient: a potential, a sum, a biased or a projected one."""


def device_of(potential: EnergyModel) -> torch.device:
    """Return where a potential computes; a plain function does so on the CPU."""
    return torch.device(getattr(potential, "device", "cpu"))


@runtime_checkable
class Potential(Protocol):
    """A potential energy surface with an identity.

    Calling it evaluates all systems of a batch together. It changes nothing that it is
    given and no global state (not torch's default dtype, thread count or grad mode), and
    an answer does not depend on what else is in the batch, to the rounding of ``dtype``.
    """

    @property
    def name(self) -> str:
        """Name of the card, or of the file."""
        ...

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file, or of the parameters where there is no file; empty where it has no identity."""
        ...

    @property
    def device(self) -> torch.device:
        """Where batches must live."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model; energies, forces and stresses are returned as float64."""
        ...

    @property
    def cutoff(self) -> float:
        """Largest distance at which two atoms interact directly, Å."""
        ...

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers that it was made for."""
        ...

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate energies, forces and stresses of every system.

        Raises:
            InputError: if an element is not in ``elements``.
        """
        ...


def refuse_unknown_elements(batch: Batch, elements: frozenset[int], name: str) -> None:
    """Refuse a batch with an element that a potential was not made for.

    Raises:
        InputError: naming the elements.
    """
    unknown = sorted(set(batch.known.numbers.tolist()) - elements)
    if unknown:
        symbols = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(f"{name} does not know {symbols}: use a potential made for these elements")


def refuse_unidentified(potential: Potential) -> None:
    """Refuse a potential without an identity where its energies are kept or combined.

    Raises:
        InputError: saying what of it cannot be read.
    """
    if not potential.sha256:
        why = getattr(potential, "why_unidentified", "") or "it has no sha256"
        raise InputError(
            f"{potential.name} cannot be told from other potentials: {why}; name it "
            '(load_potential(calculator, name="…")), and what bears this name counts as one potential'
        )
