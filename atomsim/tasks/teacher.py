"""Labels of a sample of a run's frames by another potential (``teacher``): how far off the run's own potential is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from atomsim.errors import AtomsimError, InputError
from atomsim.registry.cards import from_folder, load_card
from atomsim.tasks.barriers_checks import further_potential, known_elements

if TYPE_CHECKING:
    import torch

    from atomsim.dynamics.state import MDState
    from atomsim.tasks.base import Context, Origin

PREFIX = "teacher_"
"""Beginning of the names of a sample's arrays in a saved state."""
COMPARED = ("energy_MAE_meV_per_atom", "forces_MAE_meV_per_A", "stress_MAE_GPa")
"""Errors that a card states by domain."""


def require_teacher(settings: Any, origins: Sequence[Origin], context: Context) -> None:
    """Refuse a teacher that is not at hand or does not know the elements, before anything moves.

    Raises:
        InputError: naming it.
    """
    if settings.teacher is None:
        return
    try:
        known = known_elements(settings.teacher, context)
    except InputError as error:
        raise InputError(f"step {context.step!r}: teacher: {error}") from error
    numbers = {int(z) for o in origins for z in o.atoms.numbers}
    if unknown := ", ".join(chemical_symbols[z] for z in sorted(numbers - known)):
        raise InputError(
            f"step {context.step!r}: {unknown} is not known to {settings.teacher} (teacher); choose another"
        )


@dataclass
class Sample:
    """Frames of one run that the teacher is to label, with the answers of the run's own potential."""

    steps: frozenset[int]
    """Time steps of these frames."""
    frames: list[dict[str, np.ndarray]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Any, total: int) -> Sample:
        """Return an empty sample: frames at equal intervals, the last among them; none without a teacher.

        Args:
            settings: of the step.
            total: time steps of a run.
        """
        if settings.teacher is None:
            return cls(frozenset())
        last = total // settings.every
        wanted = min(settings.teacher_frames, last)
        return cls(frozenset((np.linspace(last / wanted, last, wanted).round().astype(int) * settings.every).tolist()))

    def record(self, state: MDState) -> None:
        """Keep a frame, if it is one of the sample."""
        if int(state.step) not in self.steps:
            return
        found = state.evaluation
        tensors = {
            "positions": state.batch.positions, "cell": state.batch.cell[0], "energy": found.energy[0],
            "forces": found.forces, "stress": found.stress[0],
        }  # fmt: skip
        self.frames.append({k: t.detach().cpu().numpy().astype(float) for k, t in tensors.items()})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the frames so far for a saved state."""
        if not self.frames:
            return {}
        return {PREFIX + key: np.stack([f[key] for f in self.frames]) for key in self.frames[0]}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the frames out of a saved state's arrays."""
        own = {key.removeprefix(PREFIX): arrays.pop(key) for key in list(arrays) if key.startswith(PREFIX)}
        n = len(own["energy"]) if own else 0
        self.frames = [{key: array[k] for key, array in own.items()} for k in range(n)]

    def compared(self, atoms: Atoms, name: str, context: Context, device: torch.device | str) -> dict[str, Any]:
        """Return the errors against the teacher, and where they are beyond those of the potential's card.

        A teacher that fails is said so: it must not cost the run that it was to judge.

        Args:
            atoms: the system.
            name: of the teacher.
            context: of the step.
            device: where the teacher computes.
        """
        from atomsim.analysis.agreement import label_errors
        from atomsim.batching.labels import label

        own = [self._labelled(atoms, frame) for frame in self.frames]
        try:
            teacher = further_potential(from_folder(name, context.base_dir), str(device), context.trust_file)
            theirs = label(own, teacher)
        except AtomsimError as error:
            return {"name": name, "frames": 0, "failed": str(error)}
        stated = card_errors(context.potential_name, name)
        found = label_errors(own, theirs)
        beyond = [key for key in COMPARED if key in stated and found[key] > stated[key]]
        facts = {"name": name, "sha256": teacher.sha256, "frames": len(own), "steps": sorted(self.steps)}
        return {**facts, **found, "card": stated, "beyond_card": beyond}

    def _labelled(self, atoms: Atoms, frame: Mapping[str, np.ndarray]) -> Atoms:
        made = Atoms(atoms.numbers, frame["positions"], cell=frame["cell"], pbc=atoms.pbc)
        stress = full_3x3_to_voigt_6_stress(frame["stress"])
        made.calc = SinglePointCalculator(made, energy=float(frame["energy"]), forces=frame["forces"], stress=stress)
        return made


def card_errors(potential: str | None, teacher: str) -> dict[str, float]:
    """Return the errors that a student's card states against this teacher, the largest of its domains; else none."""
    try:
        card = load_card(str(potential))
    except InputError:
        return {}
    if card.distilled is None or card.distilled.teacher != teacher:
        return {}
    domains = [key.removesuffix("_frames") for key in card.errors if key.endswith("_frames")]
    found = {key: [card.errors[f"{d}_{key}"] for d in domains if f"{d}_{key}" in card.errors] for key in COMPARED}
    return {key: max(values) for key, values in found.items() if values}


def flags_of(compared: Mapping[str, Any]) -> list[str]:
    """Return one sentence for errors beyond the card's, or for a teacher that failed."""
    name = compared["name"]
    if "failed" in compared:
        return [f"the teacher {name} labelled nothing: {compared['failed']}"]
    units = {"energy": "meV/atom", "forces": "meV/Å", "stress": "GPa"}
    words = []
    for key in compared["beyond_card"]:
        what = key.split("_", 1)[0]
        words.append(f"{what} {compared[key]:.3g} {units[what]} (card {compared['card'][key]:.3g})")
    return [f"errors against {name} beyond those of the card: {', '.join(words)}"] if words else []
