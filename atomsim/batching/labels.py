"""Labels: energies, forces and stresses of structures by a potential, as results of their calculators."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from atomsim.batch import Batch, Evaluation
from atomsim.batching.capacity import Capacity, evaluate_all
from atomsim.models.interface import EnergyModel, device_of

ON_A_CPU = Capacity(systems=200, atoms=200)
"""Batch for labelling on a CPU: a small MACE gains there from batches of small cells."""


def label(frames: Sequence[Atoms], potential: EnergyModel) -> list[Atoms]:
    """Return the frames with energy, forces and stress of a potential, batch by batch."""
    capacity = ON_A_CPU if device_of(potential).type == "cpu" else None
    found: list[Atoms] = []
    for batch, evaluation in evaluate_all(frames, potential, capacity):
        found += labelled(batch, evaluation)
    return [_with_info(new, old) for new, old in zip(found, frames, strict=True)]


def labelled(batch: Batch, evaluation: Evaluation) -> list[Atoms]:
    """Return the systems of a batch with their energies, forces and stresses."""
    energies, forces, stresses = (
        t.detach().cpu().numpy() for t in (evaluation.energy, evaluation.forces, evaluation.stress)
    )
    found = []
    for n, (atoms, first) in enumerate(zip(batch.to("cpu").split(), batch.starts.tolist(), strict=True)):
        results = {
            "energy": float(energies[n]),
            "forces": forces[first : first + len(atoms)],
            "stress": full_3x3_to_voigt_6_stress(stresses[n]),
        }
        atoms.set_constraint()
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def _with_info(new: Atoms, old: Atoms) -> Atoms:
    new.info.update(old.info)
    return new
