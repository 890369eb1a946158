"""Second opinions on relaxed structures (``check_with`` of a ``relax`` step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.errors import AtomsimError
from atomsim.registry.cards import from_folder
from atomsim.tasks.barriers_checks import further_potential

if TYPE_CHECKING:
    from atomsim.models.interface import EnergyModel
    from atomsim.relaxation import Relaxation, RelaxSettings
    from atomsim.tasks.base import Context


def second_opinions(
    relaxation: Relaxation,
    check_with: Sequence[str],
    how: RelaxSettings | None,
    potential: EnergyModel,
    context: Context,
) -> dict[str, Any]:
    """Energies and forces of a relaxed structure by further potentials, and how far they are from its minimum.

    A check that fails is reported as such: it must not cost the relaxation that it was to check.

    Args:
        relaxation: by the first potential.
        check_with: names of the further ones.
        how: settings to relax the structure again by each; None evaluates it only.
        potential: the first.
        context: of the step.

    Returns:
        Keys of the record; empty where nothing was asked for, or the relaxation cannot be used.
    """
    from atomsim.models.interface import device_of

    if not check_with or not np.isfinite(relaxation.energy) or relaxation.status != "converged":
        return {}
    found, failed = {}, {}
    for name in check_with:
        try:
            word = from_folder(name, context.base_dir)
            other = further_potential(word, str(device_of(potential)), context.trust_file)
            found[name] = _opinion(relaxation, other, how)
        except AtomsimError as error:
            failed[name] = str(error)
    worst = max((entry["force_rms_eV_per_A"] for entry in found.values()), default=None)
    spread = {} if worst is None else {"disagreement_eV_per_A": worst}
    return {"checked_with": found} | spread | ({"checks_failed": failed} if failed else {})


def _opinion(relaxation: Relaxation, other: EnergyModel, how: RelaxSettings | None) -> dict[str, Any]:
    from atomsim.batching.capacity import evaluate_all
    from atomsim.relaxation import iter_relax
    from atomsim.units import GPA

    atoms = relaxation.atoms
    ((_, evaluation),) = evaluate_all([atoms], other)
    forces, energy = evaluation.forces.cpu().numpy(), float(evaluation.energy[0])
    off = np.sqrt(np.mean(np.sum((forces - np.asarray(relaxation.forces)) ** 2, axis=1)))
    entry: dict[str, Any] = {
        "energy_eV": energy,
        "energy_per_atom_eV": energy / len(atoms),
        "force_rms_eV_per_A": float(off),
        "pressure_GPa": -float(np.trace(evaluation.stress[0].cpu().numpy())) / 3 / GPA,
    }
    if not all(np.isfinite(value) for value in entry.values()):
        raise AtomsimError("a result is not a finite number")
    if how is None:
        return entry
    _, again = next(iter_relax([atoms], other, replace(how, noise_A=0.0, starts=1)))
    if again.status == "converged":
        entry["energy_eV"], entry["energy_per_atom_eV"] = float(again.energy), float(again.energy) / len(atoms)
        entry["volume_A3"] = float(again.atoms.cell.volume)
        entry["lengths_A"] = [float(x) for x in again.atoms.cell.lengths()]
    return entry | {"relaxed": again.status}


def common_opinions(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the further potentials that have judged every one of these records' values."""
    judged = [list(values.get("checked_with", {})) for values in records]
    return [name for name in judged[0] if all(name in others for others in judged)] if judged else []
