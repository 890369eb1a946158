"""Sums of potentials and biases: one potential again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import reduce

import torch

from atomsim.batch import Batch, Evaluation
from atomsim.errors import InputError
from atomsim.models.identity import identity_or_name
from atomsim.models.interface import EnergyModel, Potential


class Sum:
    """Potentials and biases added up; itself a ``Potential``.

    What the sum says of itself comes from its potentials: the elements that all of them know,
    the largest cutoff, the lowest precision. A bias is any ``Batch → Evaluation``; all numbers that can
    be reached from it enter the sum's hash. A member without an identity leaves the sum without one.
    Magnetic moments are those of the first member that has any; atomic energies are kept only
    if every member gives them.
    """

    def __init__(self, members: Sequence[EnergyModel]) -> None:
        potentials = [m for m in members if isinstance(m, Potential)]
        if not potentials:
            raise InputError(f"found {len(members)} members without a potential among them; wanted at least one")
        devices = {p.device for p in potentials}
        if len(devices) > 1:
            found = ", ".join(f"{p.name} on {p.device}" for p in potentials)
            raise InputError(f"potentials of a sum must share a device; found {found}; load them with the same device")
        self.members = tuple(members)
        self.name = " + ".join(_name(m) for m in members)
        identities = [_identity(m) for m in members]
        known = [known for known, _ in identities]
        self.sha256 = hashlib.sha256("\n".join(known).encode()).hexdigest() if all(known) else ""
        self.why_unidentified = next((why for known, why in identities if not known), "")
        self.device = devices.pop()
        self.dtype = min((p.dtype for p in potentials), key=lambda d: torch.finfo(d).bits)
        self.cutoff = max(p.cutoff for p in potentials)
        self.elements = frozenset.intersection(*(p.elements for p in potentials))

    def __call__(self, batch: Batch) -> Evaluation:
        """Evaluate every member and add.

        Raises:
            InputError: if a potential of the sum does not know an element.
        """
        return reduce(_add, (member(batch) for member in self.members))


def _add(a: Evaluation, b: Evaluation) -> Evaluation:
    return Evaluation(
        energy=a.energy + b.energy,
        forces=a.forces + b.forces,
        stress=a.stress + b.stress,
        magmoms=b.magmoms if a.magmoms is None else a.magmoms,
        energies=None if a.energies is None or b.energies is None else a.energies + b.energies,
    )


def _name(member: EnergyModel) -> str:
    return member.name if isinstance(member, Potential) else getattr(member, "__name__", type(member).__name__)


def _identity(member: EnergyModel) -> tuple[str, str]:
    """Identity of a member, and the reason why there is none where it is empty."""
    if isinstance(member, Potential):
        return f"{member.name} {member.sha256}" if member.sha256 else "", getattr(member, "why_unidentified", "")
    return identity_or_name(member, "")
