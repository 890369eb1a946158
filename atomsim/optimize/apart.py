"""Check that a relaxed crystal still is one: no atom out of reach of all others, none inside another."""

from __future__ import annotations

import torch
from ase.data import covalent_radii

from atomsim.batch import Batch
from atomsim.errors import counted
from atomsim.models.neighbors import neighbor_list

OVERLAP = 0.4
"""Atoms nearer than this fraction of the sum of their covalent radii have fallen into a hole of the potential."""


def fallen_apart(batch: Batch, cutoff: float) -> str:
    """Say which atoms have lost all others or fallen into one; empty if none has.

    Args:
        batch: systems on the CPU.
        cutoff: range of the potential, Å; 0 if it is not known: then nothing is said of lost atoms.
    """
    radii = OVERLAP * torch.as_tensor(covalent_radii)[batch.numbers]
    pairs = neighbor_list(batch, max(cutoff, 2 * float(radii.max())))
    distance = pairs.vectors(batch).norm(dim=1)
    inside = int((distance < radii[pairs.i] + radii[pairs.j]).sum()) // 2
    if inside:
        return f"{inside} pairs of atoms overlap" if inside > 1 else "a pair of atoms overlaps"
    alone = batch.n_atoms - len(torch.unique(pairs.i))
    if cutoff <= 0 or not alone:
        return ""
    verb = "has" if alone == 1 else "have"
    return f"{alone} of {counted(batch.n_atoms, 'atom')} {verb} no other within {cutoff:g} Å"
