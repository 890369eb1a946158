"""Frames, saved states and the record of a glass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atomsim.io.atoms_json import atoms_to_json
from atomsim.store.records import Record, record_of
from atomsim.tasks.md_record import Log, narrow, summary
from atomsim.tasks.relax import relaxation_values
from atomsim.units import PER_G_CM3

if TYPE_CHECKING:
    from atomsim.amorphous.composition import Composition
    from atomsim.amorphous.melt_quench import Protocol
    from atomsim.dynamics.run import Snapshot
    from atomsim.dynamics.state import MDState
    from atomsim.models.interface import EnergyModel
    from atomsim.relaxation import Relaxation
    from atomsim.tasks.amorphize import Settings


class MeltLog(Log):
    """Frames and thermodynamics of a melt that becomes a glass."""

    composition: Composition

    def total_steps(self) -> int:
        """Return the time steps of melt, quench and anneal."""
        from atomsim.tasks.amorphize import protocol_of

        return protocol_of(self.settings).steps

    def about(self) -> dict[str, Any]:
        """Return facts that hold for all frames."""
        return {"ensemble": "melt, quench, anneal", "formula": self.task.tags["formula"]}


def failed(log: MeltLog, phase: str, snapshot: Snapshot) -> Record:
    """Return the record of a melt that became unstable."""
    steps = int(snapshot.state.step)
    values: dict[str, Any] = {"steps": steps, "phase": phase, "force_calls": steps, "n_atoms": len(log.atoms)}
    if log.keeps_frames:
        values["artifacts"] = log.storage.finish_artifacts()
    message = f"in the {phase}: {snapshot.message}"
    return record_of(log.task, snapshot.status, message, values=values, structure=log.task.structure)


def relaxed(
    ended: Sequence[tuple[MeltLog, MDState]], settings: Settings, protocol: Protocol, potential: EnergyModel
) -> Iterator[Record]:
    """Relax atoms and cell of what was quenched; yield the records of the glasses."""
    from atomsim.relaxation import RelaxSettings, iter_relax

    how = RelaxSettings(
        fmax_eV_per_A=settings.fmax_eV_per_A,
        max_steps=settings.max_steps,
        pressure_GPa=settings.pressure_GPa,
        check_minimum=False,
    )
    systems = []
    for log, state in ended:
        atoms = log.atoms.copy()
        atoms.set_cell(state.batch.cell[0].cpu().numpy(), scale_atoms=False)
        atoms.set_positions(state.batch.positions.cpu().numpy())
        atoms.wrap()
        systems.append(atoms)
    for n, found in iter_relax(systems, potential, how):
        log, state = ended[n]
        charged = log.composition.warning
        flags = [*([charged] if charged else []), *narrow(found.atoms, float(getattr(potential, "cutoff", 0.0)))]
        yield _finished(log, found, settings, protocol, log.judged(state), flags)


def _finished(
    log: MeltLog, found: Relaxation, settings: Settings, protocol: Protocol, judged: dict[str, Any], flags: list[str]
) -> Record:
    what = log.composition
    relaxation = relaxation_values(found)
    values: dict[str, Any] = {
        **relaxation,
        **_series(log, settings),
        "steps": protocol.steps,
        "relaxation_steps": found.steps,
        "force_calls": protocol.steps + found.force_calls,
        "density_g_per_cm3": float(what.mass / found.atoms.cell.volume / PER_G_CM3),
        "start_density_g_per_cm3": float(what.mass / log.atoms.cell.volume / PER_G_CM3),
        "phases": _phases(protocol),
        "quench_rate_K_per_ps": protocol.quench_rate_K_per_ps,
        **judged,
        "flags": [*flags, *judged.get("flags", ())],
    }
    if log.keeps_frames:
        values["artifacts"] = log.storage.finish_artifacts()
    arrays = {"forces": found.forces}
    sound = np.isfinite(found.atoms.positions).all() and np.isfinite(found.atoms.cell.array).all()
    finite = {name: array for name, array in arrays.items() if np.isfinite(array).all()}
    structure = atoms_to_json(found.atoms, finite) if sound else log.task.structure
    return record_of(log.task, found.status, found.message, values=values, structure=structure)


def _series(log: MeltLog, settings: Settings) -> dict[str, Any]:
    """Return temperature, pressure and energy against time; means and a drift over a ramp would mean nothing."""
    if not len(log.rows):
        return {}
    found = summary(np.array(log.rows), len(log.atoms), settings.timestep_fs)
    return {key: found[key] for key in ("series",) if key in found}


def _phases(protocol: Protocol) -> list[dict[str, Any]]:
    ends = protocol.schedule().ends
    return [
        {
            "name": phase.name,
            "from_step": end - phase.stage.steps,
            "to_step": end,
            "temperature_K": phase.stage.temperature_K,
            "end_temperature_K": phase.stage.end_temperature_K or phase.stage.temperature_K,
        }
        for phase, end in zip(protocol.phases, ends, strict=True)
    ]
