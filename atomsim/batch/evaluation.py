"""Energies, forces and stresses of a batch of systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from atomsim.batch.scoped import PER_ATOM, PER_SYSTEM, join_scoped, take_scoped, to_host
from atomsim.batch.systems import Batch, order_of


@dataclass(frozen=True)
class Evaluation:
    """Energies, forces and stresses of a batch."""

    energy: Tensor = field(metadata=PER_SYSTEM)
    """Potential energy, eV, (n_systems,), float64."""
    forces: Tensor = field(metadata=PER_ATOM)
    """Forces −∂E/∂r, eV/Å, (n_atoms, 3), float64."""
    stress: Tensor = field(metadata=PER_SYSTEM)
    """Stress (1/V) ∂E/∂ε, eV/Å³, (n_systems, 3, 3), symmetric, positive under tension; 0 without a cell."""
    magmoms: Tensor | None = field(default=None, metadata=PER_ATOM)
    """Magnetic moments, μB, (n_atoms,), or None where the potential has none."""
    energies: Tensor | None = field(default=None, metadata=PER_ATOM)
    """Atomic energies, eV, (n_atoms,), summing to ``energy``, or None."""

    def take(self, batch: Batch, systems: Sequence[int] | Tensor) -> Self:
        """Return energies, forces and stresses of the given systems of ``batch``, in the given order."""
        order = order_of(systems)
        index = torch.tensor(order, dtype=torch.int64, device=self.energy.device)
        return take_scoped(self, batch.atoms_of(order), index)

    def to(self, device: torch.device | str) -> Self:
        """Return the same on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: None if value is None else value.to(device) for n, value in values.items()}
        return replace(self, **moved)

    @classmethod
    def join(cls, evaluations: Sequence[Self]) -> Self:
        """Concatenate evaluations; an optional field that only some have is NaN for the others."""
        filled = list(evaluations)
        for name in ("magmoms", "energies"):
            if any(getattr(e, name) is not None for e in filled):
                filled = [
                    e
                    if getattr(e, name) is not None
                    else replace(e, **{name: torch.full_like(e.forces[:, 0], torch.nan)})
                    for e in filled
                ]
        return join_scoped(filled)


def on_host(batch: Batch, evaluation: Evaluation) -> tuple[Batch, Evaluation]:
    """Return both on the CPU, fetched from a device in one transfer."""
    if batch.device.type == "cpu":
        return batch, evaluation
    there = {
        (part, f.name): value
        for part, record in enumerate((batch, evaluation))
        for f in fields(record)  # type: ignore[arg-type]
        if (value := getattr(record, f.name)) is not None
    }
    here = dict(zip(there, to_host(list(there.values())), strict=True))
    parts = [{name: value for (part, name), value in here.items() if part == k} for k in (0, 1)]
    return replace(batch, **parts[0]).knowing(batch.known), replace(evaluation, **parts[1])
