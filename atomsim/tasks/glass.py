"""Step kind ``glass``: verdicts on structures, with the numbers that they rest on. It needs no potential."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from atomsim.errors import AtomsimError, InputError
from atomsim.io.atoms_json import atoms_from_json
from atomsim.store.records import Record, Task, count_statuses, record_of
from atomsim.tasks.base import Context, Inputs, Source, StepSettings, Structures, make_task, origins
from atomsim.tasks.kind import cost_per_atom
from atomsim.units import GPA

if TYPE_CHECKING:
    from ase import Atoms

    from atomsim.amorphous.mixture import Crystal
    from atomsim.amorphous.verdict import Known, Moving, Verdict
    from atomsim.models.interface import EnergyModel
    from atomsim.models.shared import Shared

KIND = "glass"
NEEDS_POTENTIAL = False
report = "atomsim.report.glass:glass_part"
cost = cost_per_atom
DIGITS = 4
FRAMES_IN = "frames_in"
"""Tag of a structure whose frames another run's folder holds."""
SETTLED = 0.2
"""Part of a trajectory of one temperature that is left out."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Settings(StepSettings):
    """Keys of a ``glass`` step."""

    structures: Structures = Field(min_length=1, description="amorphize, md or relax steps, prototypes or files")
    crystals: Annotated[list[str], BeforeValidator(_as_list), Source(prototypes=False, files=False)] = Field(
        default=[], description="relax steps of crystals of the same potential, for energies and densities"
    )


def expand(settings: Settings, inputs: Inputs, context: Context) -> list[Task]:
    """Make one task for each structure.

    Raises:
        InputError: if crystals and glasses are of two potentials.
    """
    from atomsim.tasks.electrode_inputs import check_one_potential

    crystals = [r for name in settings.crystals for r in inputs[name]]
    glasses = [r for name in settings.structures for r in inputs.get(name, ())]
    computed = [r for r in (*crystals, *glasses) if r.provenance.get("potential")]
    if crystals:
        check_one_potential(computed)
    more = tuple(dict.fromkeys(r.task for r in crystals))
    found = origins(settings.structures, inputs, context)
    return [make_task(replace(o, parents=(*o.parents, *more)), KIND, settings, context) for o in found]


def run(
    tasks: Sequence[Task],
    settings: Settings,
    inputs: Inputs,
    context: Context,
    potential: EnergyModel | None = None,
    shared: Shared | None = None,
) -> Iterator[Record]:
    """Judge structures; one record each."""
    from atomsim.amorphous.verdict import judge

    del potential, shared
    crystals = crystals_of([r for name in settings.crystals for r in inputs[name]])
    sources = {r.task: r for name in settings.structures for r in inputs.get(name, ())}
    for task in tasks:
        atoms = atoms_from_json(task.structure or {})
        source = next((sources[parent] for parent in task.parents if parent in sources), None)
        try:
            verdict = judge(atoms, known_of(source, context), crystals)
        except InputError as error:
            yield record_of(task, "invalid", str(error), structure=task.structure)
            continue
        yield record_of(task, "done", values=values_of(verdict), structure=task.structure)


def crystals_of(records: Sequence[Record]) -> list[Crystal]:
    """Return the crystals of good relaxations."""
    from atomsim.amorphous.mixture import Crystal

    return [Crystal.of(r.label, r.atoms, r.values["energy_eV"]) for r in records if r.good and "energy_eV" in r.values]


def known_of(source: Record | None, context: Context) -> Known:
    """Return what a record knows of its structure beside the geometry."""
    from atomsim.amorphous.verdict import Known

    if source is None:
        return Known()
    stress = source.values.get("stress_GPa")
    energy = source.values.get("energy_eV")
    return Known(
        None if energy is None else float(energy),
        None if stress is None else _matrix(stress) * GPA,
        _moving(source, context),
    )


def _matrix(voigt: Sequence[float]) -> np.ndarray:
    xx, yy, zz, yz, xz, xy = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _moving(source: Record, context: Context) -> Moving | None:
    """Return the frames of a record's last phase, or of a trajectory without its start."""
    from atomsim.amorphous.verdict import Moving
    from atomsim.store.artifacts import artifacts_of, open_artifact

    given = source.tags.get(FRAMES_IN)
    folder = Path(given) if given else context.kept.places.run
    if folder is None or "trajectory" not in artifacts_of(source):
        return None
    try:
        frames = open_artifact(folder, source, "trajectory")
        steps = frames.column("step")
        phases = source.values.get("phases")
        first = phases[-1]["from_step"] if phases else steps[int(SETTLED * len(steps))]
        kept = steps >= first
        return Moving(frames.column("positions")[kept].astype(float), frames.column("cell")[kept])
    except AtomsimError:
        return None


def values_of(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON."""
    pairs, scattering = verdict.distribution, verdict.scattering
    numbers = {k: v for k, v in verdict.values.items() if v is not None}
    return {
        "verdict": verdict.verdict,
        "flags": list(verdict.flags),
        "reasons": list(verdict.reasons),
        **numbers,
        "r_A": _rounded(pairs.r),
        "g": {f"{a}-{b}": _rounded(g) for (a, b), g in pairs.g.items() if a <= b},
        "running_coordination": {f"{a}-{b}": _rounded(n) for (a, b), n in pairs.coordination.items()},
        "q_per_A": _rounded(scattering.q),
        "S_xray": _rounded(scattering.xray),
        "S_faber_ziman": {f"{a}-{b}": _rounded(s) for (a, b), s in scattering.faber_ziman.items()},
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    return [round(float(v), DIGITS) if np.isfinite(v) else None for v in values]


def summarise(settings: Settings, records: Sequence[Record]) -> dict[str, Any]:
    """Count verdicts, and give the spread of densities and energies over seeds."""
    del settings
    judged = [r for r in records if "verdict" in r.values]
    verdicts: dict[str, int] = {}
    for record in judged:
        verdicts[record.values["verdict"]] = verdicts.get(record.values["verdict"], 0) + 1
    return {"statuses": count_statuses(records), "verdicts": verdicts, "spread": spread_of(judged)}


def spread_of(records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """Return mean and standard deviation of the main numbers over the structures of each formula."""
    keys = ("density_g_per_cm3", "density_ratio", "above_crystals_eV_per_atom", "halo_fwhm_deg", "Ru_coordination")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(_formula(record.atoms), []).append(record.values)
    return {
        formula: {
            key: [float(np.mean(found)), float(np.std(found, ddof=1)) if len(found) > 1 else 0.0]
            for key in keys
            if (found := [v[key] for v in values if key in v])
        }
        for formula, values in groups.items()
    }


def _formula(atoms: Atoms) -> str:
    return str(atoms.get_chemical_formula("metal", empirical=True))
